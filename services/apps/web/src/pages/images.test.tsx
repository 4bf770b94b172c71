// Images and jobs against a scripted node: what is sent, what is shown, and what is offered to whom.

import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { App } from "../app";
import type { Role, Upload } from "../api/types";
import { answer, image, job } from "../test-data";
import { ScriptedNode, Source } from "../test-node";

let node: ScriptedNode;
let user: ReturnType<typeof userEvent.setup>;

beforeEach(() => {
  node = new ScriptedNode();
  user = userEvent.setup();
  vi.stubGlobal("fetch", node.fetch);
  vi.stubGlobal("EventSource", Source);
});

function show(hash: string, role: Role = "admin") {
  node.role = role;
  window.location.hash = hash;
  render(<App />);
}

function brought(name: string) {
  const one = image(name, "qcow2");
  one.spec.source = { upload: "u" };
  return one;
}

const list = (items: unknown[]) => () => answer(200, { items, revision: 5 });
const upload = (offset: number): Upload => ({ id: "u1", name: "d.qcow2", size: 4, offset, complete: offset === 4 });
const body = (route: string) => node.asked.findLast((each) => each.route === route)?.body;

async function choose(action: string, name: string) {
  await user.click(await screen.findByRole("button", { name: `More actions on ${name}` }));
  await user.click(await screen.findByRole("menuitem", { name: action }));
}

describe("images", () => {
  it("are uploaded, and a broken upload goes on where it ended", async () => {
    node.replies.set("POST /uploads", () => answer(201, upload(0)));
    node.replies.set("GET /uploads/u1", () => answer(200, upload(2)));
    node.replies.set("PATCH /uploads/u1", () => answer(503, { detail: "The disk is busy." }));
    show("#/images");
    await user.click(await screen.findByRole("button", { name: "Upload" }));
    const dialog = await screen.findByRole("dialog");
    await user.click(within(dialog).getByRole("button", { name: "Upload" }));
    await within(dialog).findByText("Choose a file.");
    await user.upload(within(dialog).getByLabelText(/^File/), new File(["disk"], "d.qcow2"));
    expect(within(dialog).getByLabelText(/^Name/)).toHaveProperty("value", "d");
    await user.click(within(dialog).getByRole("button", { name: "Upload" }));
    await within(dialog).findByText("The disk is busy.");
    expect(within(dialog).getByRole("progressbar").getAttribute("aria-valuenow")).toBe("50");
    node.replies.set("PATCH /uploads/u1", () => answer(200, upload(4)));
    await user.click(within(dialog).getByRole("button", { name: "Resume" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(node.count("POST /uploads")).toBe(1);
    expect(body("POST /images")).toMatchObject({
      metadata: { name: "d" },
      spec: { format: "qcow2", source: { upload: "u1" } },
    });
  });

  it("shows uploads that did not end, and discards them", async () => {
    node.replies.set("GET /uploads", () => answer(200, { items: [upload(2), { ...upload(4), id: "u2" }] }));
    show("#/images");
    const left = await screen.findByRole("list", { name: "Unfinished uploads" });
    expect(within(left).getAllByRole("listitem").length).toBe(1);
    node.replies.delete("GET /uploads");
    await user.click(within(left).getByRole("button", { name: "Discard the upload of d.qcow2" }));
    await waitFor(() => expect(screen.queryByRole("list", { name: "Unfinished uploads" })).toBeNull());
    expect(node.count("DELETE /uploads/u1")).toBe(1);
  });

  it("are pulled, and what the node says against it is at its field", async () => {
    const violations = [{ field: "spec.source.registry.reference", message: "has no tag" }];
    node.replies.set("POST /images", () => answer(422, { title: "Invalid", violations }));
    show("#/images");
    await user.click(await screen.findByRole("button", { name: "Pull from a registry" }));
    const dialog = await screen.findByRole("dialog");
    await user.type(within(dialog).getByLabelText(/Reference/), "docker.io/library/busybox");
    await user.type(within(dialog).getByLabelText(/^Name/), "busybox");
    await user.click(within(dialog).getByRole("button", { name: "Pull" }));
    await within(dialog).findByText("Has no tag.");
    expect(body("POST /images")).toMatchObject({
      spec: { format: "oci_archive", source: { registry: { reference: "docker.io/library/busybox" } } },
    });
  });

  it("are imported from a stick in the node or a folder of the node", async () => {
    const file = { path: "images/debian 12.qcow2", size_bytes: 2 ** 20 };
    const medium = { device: "", file_system: "", size_bytes: 2 ** 30, reason: "" };
    const inbox = { ...medium, kind: "folder", name: "import", path: "/var/lib/skerry/data/import", files: [file] };
    const stick = { ...medium, kind: "stick", name: "STICK", path: "", files: [], reason: "It holds nothing." };
    node.replies.set("GET /media", () => answer(200, { items: [inbox, stick] }));
    show("#/images");
    await user.click(await screen.findByRole("button", { name: "Import from a stick or folder" }));
    const form = within(await screen.findByRole("dialog"));
    await form.findByText("import is /var/lib/skerry/data/import on the node.");
    form.getByText("STICK: It holds nothing.");
    await user.click(form.getByRole("button", { name: "Import" }));
    await form.findByText("Choose a file.");
    await user.selectOptions(form.getByLabelText(/^File/), "import/images/debian 12.qcow2");
    expect(form.getByLabelText<HTMLInputElement>(/^Name/).value).toBe("debian-12");
    await user.click(form.getByRole("button", { name: "Import" }));
    await waitFor(() =>
      expect(body("POST /images")).toMatchObject({
        metadata: { name: "debian-12" },
        spec: { format: "qcow2", source: { folder: "import/images/debian 12.qcow2" } },
      }),
    );
  });

  it("are brought in unsigned if an administrator says so", async () => {
    const violations = [{ field: "spec.allow_unsigned", message: "must be true: lab requires signatures" }];
    node.replies.set("POST /images", () => answer(422, { title: "Invalid", violations }));
    show("#/images");
    await user.click(await screen.findByRole("button", { name: "Import from a URL" }));
    const form = within(await screen.findByRole("dialog"));
    expect(form.queryByRole("switch")).toBeNull();
    await user.type(form.getByLabelText(/Address/), "https://lab/app.tar");
    await user.type(form.getByLabelText(/^Name/), "app");
    await user.type(form.getByLabelText(/SHA-256/), "0".repeat(64));
    await user.selectOptions(form.getByLabelText(/^Form/), "oci_archive");
    await user.click(form.getByRole("button", { name: "Import" }));
    await form.findByText(/requires signatures\.$/);
    expect(body("POST /images")).not.toHaveProperty("spec.allow_unsigned");
    node.replies.delete("POST /images");
    await user.click(form.getByRole("switch"));
    await user.click(form.getByRole("button", { name: "Import" }));
    await waitFor(() => expect(body("POST /images")).toMatchObject({ spec: { allow_unsigned: true } }));
  });

  it("tell what was found of their signatures, and are downloaded as archives", async () => {
    const signed = image("app", "oci_archive");
    signed.spec.signature = { state: "verified", key: "ab".repeat(32) };
    const wrong = image("other", "oci_archive", "failed");
    wrong.spec.signature = { state: "failed", message: "By another key." };
    node.replies.set("GET /images", list([signed, wrong]));
    const hrefs: string[] = [];
    vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
      hrefs.push(this.href);
    });
    show("#/images");
    expect((await screen.findByRole("row", { name: /app/ })).textContent).toContain(
      "Signature verifiedby abababababab…",
    );
    expect(screen.getByRole("row", { name: /other/ }).textContent).toContain("By another key.");
    await choose("Download as OCI archive", "app");
    await choose("Download for docker load", "app");
    expect(hrefs.map((href) => new URL(href).search)).toEqual(["?format=oci", "?format=docker"]);
    expect(hrefs[0]).toContain("/api/v1/images/app/export");
  });

  it("says why one cannot be deleted", async () => {
    const used = brought("debian");
    if (used.status) used.status.used_by = [{ kind: "Vm", id: "id-guest" }];
    node.replies.set("GET /images", list([used, image("tiny", "kernel_initrd")]));
    node.replies.set("DELETE /images/debian", () => answer(409, { detail: "It is used by the machine guest." }));
    show("#/images");
    expect((await screen.findByRole("row", { name: /debian/ })).textContent).toContain("guest");
    await choose("Delete", "debian");
    await user.click(within(await screen.findByRole("dialog")).getByRole("button", { name: "Delete" }));
    await screen.findByText("It is used by the machine guest.");
    await user.click(screen.getByRole("button", { name: "Cancel" }));
    await user.click(screen.getByRole("button", { name: "More actions on tiny" }));
    expect((await screen.findByRole("menuitem", { name: /Delete/ })).textContent).toContain(
      "part of the node's system",
    );
  });

  it("are pinned as long as nobody else has changed them", async () => {
    node.replies.set("GET /images", list([brought("debian")]));
    show("#/images");
    await choose("Pin", "debian");
    await waitFor(() => expect(body("PATCH /images/debian")).toEqual({ spec: { pinned: true } }));
  });

  it("are only looked at by a viewer, who is asked for no uploads", async () => {
    show("#/images", "viewer");
    await screen.findByRole("grid", { name: "Images" });
    expect(screen.queryByRole("button", { name: /Upload|Import|Pull|More actions/ })).toBeNull();
    expect(node.count("GET /uploads")).toBe(0);
  });
});

describe("jobs", () => {
  it("show how far they are, what failed, and are cancelled", async () => {
    const subject = { kind: "Vm" as const, id: "id-guest" };
    const at = { percent: 40, bytes_done: 1024, bytes_total: 2048 };
    node.replies.set(
      "GET /jobs",
      list([job("old", { state: "failed", message: "No such file.", retryable: true }), job("new", at, subject)]),
    );
    show("#/jobs");
    const rows = within(await screen.findByRole("grid", { name: "Jobs" })).getAllByRole("row");
    expect(rows[1]?.textContent).toContain("Import image guest");
    expect(rows[1]?.textContent).toContain("1.0 KiB of 2.0 KiB");
    expect(screen.getByRole("progressbar", { name: "Progress of new" }).getAttribute("aria-valuenow")).toBe("40");
    expect(rows[2]?.textContent).toContain("No such file.");
    await choose("Cancel", "new");
    await user.click(within(await screen.findByRole("dialog")).getByRole("button", { name: "Cancel the job" }));
    await waitFor(() => expect(node.count("POST /jobs/new/actions/abort")).toBe(1));
    await choose("Try again", "old");
    await waitFor(() => expect(node.count("POST /jobs/old/actions/retry")).toBe(1));
  });

  it("are only looked at by a viewer, and there may be none", async () => {
    show("#/jobs", "viewer");
    await screen.findByRole("heading", { name: "No jobs" });
    expect(screen.queryByRole("button", { name: /More actions/ })).toBeNull();
  });
});

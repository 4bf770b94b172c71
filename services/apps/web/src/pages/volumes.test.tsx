// Volumes, disks, revisions and registries against a scripted node: what is sent, what is shown, and to whom.

import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { App } from "../app";
import type { PodRevision, Role } from "../api/types";
import { answer, disk, image, pod, pool, registry, snapshot, vm, volume } from "../test-data";
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

function holds(lists: Record<string, unknown[]>) {
  for (const [kind, items] of Object.entries(lists)) {
    node.replies.set(`GET /${kind}`, () => answer(200, { items, revision: 5 }));
  }
}

const body = (route: string) => node.asked.findLast((each) => each.route === route)?.body;
const dialog = async () => within(await screen.findByRole("dialog"));

async function choose(action: string | RegExp, name: string) {
  await user.click(await screen.findByRole("button", { name: `More actions on ${name}` }));
  await user.click(await screen.findByRole("menuitem", { name: action }));
}

describe("what a pod takes", () => {
  it("stands under its facts while it runs, and nowhere if nobody can tell", async () => {
    const taken = {
      name: "main",
      cpu_us: 5,
      memory_bytes: 2 ** 20,
      memory_peak_bytes: 2 ** 21,
      tasks: 3,
      oom_kills: 1,
    };
    node.replies.set("GET /pods/web/stats", () => answer(200, { at: "2026-01-01T00:00:00Z", containers: [taken] }));
    node.replies.set("GET /pods/other/stats", () => answer(404, { title: "Not found" }));
    holds({ pods: [pod("web"), pod("other")] });
    show("#/pods/web/details");
    const table = await screen.findByRole("grid", { name: "What the containers of web take" });
    expect(table.textContent).toContain("1.0 MiB, at most 2.0 MiB; 1 killed for want of it");
    window.location.hash = "#/pods/other/details";
    await waitFor(() => expect(node.count("GET /pods/other/stats")).toBe(1));
    expect(screen.queryByRole("grid", { name: /take/ })).toBeNull();
  });
});

describe("volumes", () => {
  it("are listed with their pool, and say why they cannot be deleted", async () => {
    holds({
      volumes: [volume("data"), volume("free")],
      vms: [vm("guest", {}, { disks: [disk("data")] })],
      pools: [pool("default")],
    });
    show("#/volumes");
    const row = await screen.findByRole("row", { name: /data/ });
    expect(row.textContent).toContain("1.0 GiB");
    expect(within(row).getByRole("link", { name: "guest" }).getAttribute("href")).toBe("#/vms/guest");
    const place = screen.getByRole("region", { name: "Pool default" });
    expect(
      within(place)
        .getByRole("progressbar", { name: /Promised/ })
        .getAttribute("aria-valuenow"),
    ).toBe("75");
    expect(place.textContent).toContain("80 %, 90 %, 95 %");
    await user.click(screen.getByRole("button", { name: "More actions on data" }));
    expect((await screen.findByRole("menuitem", { name: /Delete/ })).textContent).toContain("guest has it");
  });

  it("become images, as they are or as a snapshot has them", async () => {
    holds({ volumes: [volume("data")], snapshots: [snapshot("before", ["data"]), snapshot("other", ["logs"])] });
    node.replies.set("POST /images", () => answer(409, { detail: "`guest` runs with `data`." }));
    show("#/volumes");
    await choose("Make an image", "data");
    const form = await dialog();
    await user.type(form.getByLabelText(/^Name/), "golden");
    await user.click(form.getByRole("button", { name: "Make image" }));
    await form.findByText("`guest` runs with `data`.");
    const spec = { format: "qcow2", architecture: "x86_64", source: { volume: { volume: "data" } } };
    expect(body("POST /images")).toEqual({ metadata: { name: "golden" }, spec });
    expect(form.queryByRole("option", { name: "other" })).toBeNull();
    node.replies.delete("POST /images");
    await user.selectOptions(form.getByLabelText(/^Of/), "before");
    await user.click(form.getByRole("button", { name: "Make image" }));
    const source = { volume: { volume: "data", snapshot: "before" } };
    await waitFor(() => expect(body("POST /images")).toMatchObject({ spec: { source } }));
  });

  it("are made, and a refusal is at its field", async () => {
    const violations = [{ field: "spec.source.volume", message: "say which volume of the snapshot `before`" }];
    holds({ pools: [pool("default")], snapshots: [snapshot("before", ["a", "b"])] });
    node.replies.set("POST /volumes", () => answer(422, { title: "Invalid", violations }));
    show("#/volumes");
    await user.click(await screen.findByRole("button", { name: "Create volume" }));
    const form = await dialog();
    await user.type(form.getByLabelText(/^Name/), "copy");
    await user.click(form.getByRole("button", { name: "Create" }));
    await form.findByText("An empty volume needs a size.");
    await user.selectOptions(form.getByLabelText(/Begins with/), "snapshot");
    await user.selectOptions(form.getByLabelText(/^Snapshot/), "before");
    await user.click(form.getByRole("button", { name: "Create" }));
    await form.findByText("Say which volume of the snapshot `before`.");
    expect(body("POST /volumes")).toEqual({
      metadata: { name: "copy" },
      spec: { pool: "default", form: "disk", source: { snapshot: "before" } },
    });
  });

  it("grow, and a node without room says so", async () => {
    holds({ volumes: [volume("data")] });
    node.replies.set("PATCH /volumes/data", () => answer(507, { detail: "Pool `default` has no room." }));
    show("#/volumes");
    await choose("Grow", "data");
    const form = await dialog();
    const size = form.getByLabelText(/New size/);
    expect(size).toHaveProperty("value", "1");
    await user.clear(size);
    await user.type(size, "3");
    await user.click(form.getByRole("button", { name: "Grow" }));
    await form.findByText("Pool `default` has no room.");
    expect(body("PATCH /volumes/data")).toEqual({ spec: { size_mib: 3072 } });
  });

  it("are attached and detached", async () => {
    const other = disk("root", { boot_index: 1 });
    holds({ volumes: [volume("data"), volume("root")], vms: [vm("guest", {}, { disks: [other] })] });
    show("#/volumes");
    await choose("Attach", "data");
    const form = await dialog();
    await user.click(form.getByRole("button", { name: "Attach" }));
    await form.findByText("Choose a virtual machine.");
    await user.selectOptions(form.getByLabelText(/Virtual machine/), "guest");
    await user.click(form.getByRole("button", { name: "Attach" }));
    await waitFor(() =>
      expect(body("PATCH /vms/guest")).toEqual({ spec: { disks: [other, { volume: "data", read_only: false }] } }),
    );
    await choose("Detach", "root");
    await user.click((await dialog()).getByRole("button", { name: "Detach" }));
    await waitFor(() => expect(body("PATCH /vms/guest")).toEqual({ spec: { disks: [] } }));
  });

  it("have snapshots, which are taken, gone back to after a question, and deleted", async () => {
    holds({
      volumes: [volume("data", {}, { snapshot: "id-second" })],
      snapshots: [snapshot("first", ["data"]), snapshot("second", ["data"], "first")],
    });
    show("#/volumes/data");
    const part = within(await screen.findByRole("region", { name: "Snapshots of data" }));
    expect(part.getAllByRole("listitem").map((item) => item.getAttribute("data-name"))).toEqual(["first", "second"]);
    expect(part.getAllByRole("listitem")[1]?.textContent).toContain("Current");
    await user.click(part.getByRole("button", { name: "Take snapshot" }));
    const form = await dialog();
    await user.type(form.getByLabelText(/^Name/), "third");
    await user.click(form.getByRole("button", { name: "Take snapshot" }));
    await waitFor(() =>
      expect(body("POST /snapshots")).toEqual({
        metadata: { name: "third" },
        spec: { volumes: ["data"], description: "" },
      }),
    );
    await choose("Revert to it", "snapshot first");
    expect(node.count("POST /snapshots/first/actions/revert")).toBe(0);
    await user.click((await dialog()).getByRole("button", { name: "Revert" }));
    await waitFor(() => expect(node.count("POST /snapshots/first/actions/revert")).toBe(1));
    await choose("Delete", "snapshot first");
    await user.click((await dialog()).getByRole("button", { name: "Delete" }));
    await waitFor(() => expect(node.count("DELETE /snapshots/first")).toBe(1));
  });

  it("are only looked at by a viewer", async () => {
    holds({ volumes: [volume("data")], pools: [pool("default")], snapshots: [snapshot("first", ["data"])] });
    show("#/volumes/data", "viewer");
    await screen.findByRole("region", { name: "Snapshots of data" });
    expect(screen.queryByRole("button", { name: /Create|Take|More actions|Change/ })).toBeNull();
  });
});

describe("a virtual machine", () => {
  const off = vm("guest", { state: "stopped" }, { power: "stopped", firmware: "uefi", disks: [disk("root")] });

  it("is made with disks, firmware and data for cloud-init", async () => {
    holds({ images: [image("debian", "qcow2")], volumes: [volume("data"), volume("files", { form: "folder" })] });
    show("#/vms");
    await user.click(await screen.findByRole("button", { name: "Create virtual machine" }));
    const form = await dialog();
    await user.type(form.getByLabelText(/^Name/), "web");
    await user.selectOptions(form.getByLabelText(/^Image/), "debian");
    await user.type(form.getByLabelText(/Disk size/), "20");
    await user.selectOptions(form.getByLabelText(/Firmware/), "uefi");
    await user.click(form.getByLabelText(/TPM/));
    await user.click(form.getByRole("button", { name: "Add disk" }));
    await user.selectOptions(form.getByLabelText(/^Volume/), "data");
    await user.click(form.getByLabelText(/Data for cloud-init/));
    await user.type(form.getByLabelText(/User-data/), "#!/bin/sh");
    await user.click(form.getByRole("button", { name: "Create" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(body("POST /vms")).toMatchObject({
      spec: {
        image: "debian",
        disk_size_mib: 20_480,
        firmware: "uefi",
        tpm: true,
        disks: [{ volume: "data" }],
        init: { user_data: "#!/bin/sh", ssh_keys: [] },
      },
    });
  });

  it("is cloned, renamed and rebuilt", async () => {
    holds({ vms: [off], images: [image("debian", "qcow2"), image("tiny", "kernel_initrd")] });
    show("#/vms");
    await choose("Clone", "guest");
    let form = await dialog();
    await user.type(form.getByLabelText(/^Name/), "copy");
    await user.click(form.getByLabelText("Start it"));
    await user.click(form.getByRole("button", { name: "Clone" }));
    await waitFor(() =>
      expect(body("POST /vms")).toEqual({
        metadata: { name: "copy" },
        spec: { clone_of: "guest", power: "stopped" },
      }),
    );
    await choose("Rename", "guest");
    form = await dialog();
    await user.clear(form.getByLabelText(/^Name/));
    await user.type(form.getByLabelText(/^Name/), "shop");
    await user.click(form.getByRole("button", { name: "Rename" }));
    await waitFor(() => expect(body("PATCH /vms/guest")).toEqual({ metadata: { name: "shop" } }));
    await choose("Rebuild", "guest");
    form = await dialog();
    await user.selectOptions(form.getByLabelText(/Disk image/), "debian");
    await user.click(form.getByRole("button", { name: "Rebuild" }));
    await waitFor(() => expect(body("PATCH /vms/guest")).toEqual({ spec: { image: "debian" } }));
  });

  it("says why it is not cloned while it runs, and keeps its volumes unless told otherwise", async () => {
    holds({ vms: [vm("guest", {}, { disks: [disk("root")] })], volumes: [volume("root")] });
    show("#/vms/guest/disks");
    await screen.findByRole("button", { name: "Detach root" });
    const [inRow] = screen.getAllByRole("button", { name: "More actions on guest" });
    if (!inRow) throw new Error("no menu");
    await user.click(inRow);
    expect((await screen.findByRole("menuitem", { name: /Clone/ })).textContent).toContain("Stop it first.");
    await user.click(screen.getByRole("menuitem", { name: "Delete" }));
    const form = await dialog();
    expect(form.getByLabelText("Delete its volumes, too: root")).toHaveProperty("checked", false);
    await user.click(form.getByRole("button", { name: "Delete" }));
    await waitFor(() => expect(node.count("DELETE /vms/guest")).toBe(1));
  });
});

describe("a container", () => {
  const revision = (number: number, state: PodRevision["state"], name: string): PodRevision => {
    const template = {
      containers: pod("x").spec.containers.map((each) => ({ ...each, image: name })),
      init: [],
      volumes: [],
    };
    return { number, state, at: "2026-01-02T03:04:05Z", reason: state === "failed" ? "It ended." : "", template };
  };
  const history = [revision(1, "good", "old"), revision(2, "failed", "bad"), revision(3, "good", "new")];

  it("goes back to any revision that is kept, after a question", async () => {
    holds({ pods: [pod("web", { history, revision: 3 })] });
    show("#/pods/web/revisions");
    const rows = within(await screen.findByRole("grid", { name: "Revisions of web" }))
      .getAllByRole("row")
      .slice(1);
    expect(rows.map((row) => row.getAttribute("data-revision"))).toEqual(["3", "2", "1"]);
    expect(rows[0]?.textContent).toContain("In use");
    expect(rows[1]?.textContent).toContain("It ended.");
    await user.click(screen.getByRole("button", { name: "Go back to revision 1" }));
    await user.click((await dialog()).getByRole("button", { name: "Go back" }));
    await waitFor(() => expect(body("PATCH /pods/web")).toEqual({ spec: history[0]?.template }));
  });

  it("has changes held back and let through", async () => {
    holds({ pods: [pod("web", { history, revision: 3 })] });
    show("#/pods/web/revisions");
    await user.click(await screen.findByLabelText("Hold changes of its containers back"));
    await waitFor(() => expect(body("PATCH /pods/web")).toEqual({ spec: { update: { paused: true } } }));
  });
});

describe("registries", () => {
  it("are added and changed, and a password is never sent unasked", async () => {
    holds({ registries: [registry("lab", { username: "ada", plain_http: true })] });
    show("#/registries");
    expect((await screen.findByRole("row", { name: /lab/ })).textContent).toContain("Plain HTTP");
    await choose("Change", "lab");
    let form = await dialog();
    expect(form.getByLabelText(/Password/)).toHaveProperty("value", "");
    await user.click(form.getByRole("button", { name: "Change" }));
    await waitFor(() => expect(body("PATCH /registries/lab")).toMatchObject({ spec: { username: "ada" } }));
    expect(body("PATCH /registries/lab")).not.toHaveProperty("spec.password");
    await user.click(screen.getByRole("button", { name: "Add registry" }));
    form = await dialog();
    await user.type(form.getByLabelText(/^Name/), "hub");
    await user.type(form.getByLabelText(/^Host/), "docker.io");
    await user.click(form.getByRole("button", { name: "Add" }));
    await waitFor(() => expect(body("POST /registries")).toMatchObject({ spec: { host: "docker.io", mirrors: [] } }));
  });

  it("have rules of signatures, whose faults are at their fields", async () => {
    const key = (text: string) => `-----BEGIN PUBLIC KEY-----\n${text}\n-----END PUBLIC KEY-----\n`;
    const rule = { prefix: "lab", require: true, keys: [key("AA=="), key("BB==")] };
    holds({ registries: [registry("lab", { signatures: [rule] })] });
    const field = "spec.signatures[1].keys[0]";
    node.replies.set("PATCH /registries/lab", () => answer(422, { violations: [{ field, message: "is no key" }] }));
    show("#/registries");
    expect((await screen.findByRole("row", { name: /lab/ })).textContent).toContain("lab: required (2 keys)");
    await choose("Change", "lab");
    const form = await dialog();
    await user.click(form.getByRole("button", { name: "Add rule" }));
    const second = within(form.getByRole("group", { name: "Rule 2" }));
    await user.click(form.getByRole("button", { name: "Change" }));
    await second.findByText("Nothing could be pulled without a key.");
    await user.type(second.getByLabelText(/^Path/), "lab");
    await user.type(second.getByLabelText(/^Public keys/), "none");
    await user.click(form.getByRole("button", { name: "Change" }));
    await second.findByText("Has a rule already.");
    await second.findByText("Must be public keys in PEM and nothing else.");
    await user.type(second.getByLabelText(/^Path/), "/app");
    await user.clear(second.getByLabelText(/^Public keys/));
    await user.click(second.getByLabelText(/^Public keys/));
    await user.paste(key("CC=="));
    await user.click(form.getByRole("button", { name: "Change" }));
    await second.findByText("Is no key.");
    const added = { prefix: "lab/app", require: true, keys: [key("CC==")] };
    expect(body("PATCH /registries/lab")).toMatchObject({ spec: { signatures: [rule, added] } });
    node.replies.delete("PATCH /registries/lab");
    await user.click(form.getByRole("button", { name: "Remove rule 1" }));
    await user.click(form.getByRole("button", { name: "Remove rule 1" }));
    await user.click(form.getByRole("button", { name: "Change" }));
    await waitFor(() => expect(body("PATCH /registries/lab")).toMatchObject({ spec: { signatures: [] } }));
  });

  it("are changed by an admin only", async () => {
    holds({ registries: [registry("lab")] });
    show("#/registries", "operator");
    await screen.findByRole("row", { name: /lab/ });
    expect(screen.queryByRole("button", { name: /Add|More actions/ })).toBeNull();
  });
});

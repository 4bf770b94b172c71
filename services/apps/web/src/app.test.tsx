// The screens against a scripted node: which one comes, and what it does with the node's answers.

import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { App } from "./app";
import type { Role } from "./api/types";
import { NO_IMAGE } from "./forms/vm";
import { answer, image, pod } from "./test-data";
import { ScriptedNode, Source } from "./test-node";

let node: ScriptedNode;
let user: ReturnType<typeof userEvent.setup>;

beforeEach(() => {
  node = new ScriptedNode();
  user = userEvent.setup();
  vi.stubGlobal("fetch", node.fetch);
  vi.stubGlobal("EventSource", Source);
});

function show(hash = "", role: Role | null = "admin") {
  node.role = role;
  window.location.hash = hash;
  render(<App />);
}

describe("before sign-in", () => {
  it("an unclaimed node is claimed, after the form's own checks", async () => {
    node.claimed = false;
    show("", null);
    await user.type(await screen.findByLabelText(/Claim code/), "acde fhjk mnpq");
    await user.type(screen.getByLabelText(/^Password \*|^Password$/), "short");
    await user.click(screen.getByRole("button", { name: "Set up" }));
    expect(screen.getByText(/at least 10 characters; this has 5/)).toBeTruthy();
    expect(node.count("POST /claim")).toBe(0);
    await user.type(screen.getByLabelText(/^Password \*|^Password$/), " but longer");
    await user.type(screen.getByLabelText(/Password again/), "short but longer");
    await user.click(screen.getByRole("button", { name: "Set up" }));
    await screen.findByRole("region", { name: "Workloads" });
    expect(node.asked.find((each) => each.route === "POST /claim")?.body).toEqual({
      code: "acde fhjk mnpq",
      username: "admin",
      password: "short but longer",
    });
  });

  it("a wrong claim code is said at its field, and a claimed node leads to sign-in", async () => {
    node.claimed = false;
    node.replies.set("POST /claim", () => answer(403, { detail: "wrong code" }));
    show("", null);
    await user.type(await screen.findByLabelText(/Claim code/), "x");
    for (const name of [/^Password \*|^Password$/, /Password again/])
      await user.type(screen.getByLabelText(name), "long enough");
    await user.click(screen.getByRole("button", { name: "Set up" }));
    await screen.findByText(/not the node's claim code/);
    node.replies.set("POST /claim", () => answer(409, { detail: "This node has been claimed already." }));
    await user.click(screen.getByRole("button", { name: "Set up" }));
    await screen.findByText(/claimed already/);
    node.claimed = true;
    await user.click(screen.getByRole("button", { name: "Go to sign-in" }));
    await screen.findByRole("heading", { name: "Sign in" });
  });

  it("wrong passwords and rate limits are told apart", async () => {
    show("", null);
    node.replies.set("POST /login", () => answer(401, {}));
    await user.type(await screen.findByLabelText(/User name/), "admin");
    await user.type(screen.getByLabelText(/Password/), "wrong");
    await user.click(screen.getByRole("button", { name: "Sign in" }));
    await screen.findByText("User name or password is wrong.");
    node.replies.set("POST /login", () => answer(429, {}, { "retry-after": "30" }));
    await user.type(screen.getByLabelText(/Password/), "wrong");
    await user.click(screen.getByRole("button", { name: "Sign in" }));
    await screen.findByText(/Try again in 30 s/);
  });

  it("waits for a node that does not answer, and goes on by itself", async () => {
    node.away = true;
    show("", null);
    await screen.findByText("The node does not answer yet, retrying.");
    node.away = false;
    await screen.findByRole("heading", { name: "Sign in" }, { timeout: 4_000 });
  });
});

describe("the page", () => {
  it("shows the node and leads to every workload in one step", async () => {
    show();
    const workloads = await screen.findByRole("region", { name: "Workloads" });
    expect(within(workloads).getByRole("link", { name: "guest" }).getAttribute("href")).toBe("#/vms/guest");
    expect(within(workloads).getByRole("link", { name: "web" }).getAttribute("href")).toBe("#/pods/web");
    expect(screen.getByText(/Virtual machines run under emulation/)).toBeTruthy();
    expect(screen.getByText("Needs attention")).toBeTruthy();
  });

  it("asks before it restarts the machine", async () => {
    show();
    await user.click(await screen.findByRole("button", { name: "Restart" }));
    const dialog = await screen.findByRole("dialog");
    expect(dialog.textContent).toContain("1 running workload");
    expect(node.count("POST /node/actions/restart")).toBe(0);
    await user.click(within(dialog).getByRole("button", { name: "Restart" }));
    await waitFor(() => expect(node.count("POST /node/actions/restart")).toBe(1));
  });

  it("stops a machine, and says so when the node refuses", async () => {
    node.replies.set("POST /vms/guest/actions/stop", () => answer(409, { detail: "The guest is being saved." }));
    show("#/vms");
    await user.click(await screen.findByRole("button", { name: "Stop guest" }));
    await screen.findByText("The guest is being saved.");
  });

  it("shows why a container is not up", async () => {
    show("#/pods");
    expect((await screen.findByRole("row", { name: /web/ })).textContent).toContain("The image is damaged.");
  });

  it("offers only usable images of the right form, and shows a refusal at its field", async () => {
    const violations = [{ field: "spec.memory_mib", message: "the node has 512 MiB for workloads" }];
    node.replies.set("POST /vms", () => answer(422, { title: "Invalid", violations }));
    show("#/vms");
    await user.click(await screen.findByRole("button", { name: "Create virtual machine" }));
    const dialog = await screen.findByRole("dialog");
    const choices = within(within(dialog).getByLabelText(/Image/)).getAllByRole("option");
    expect(choices.map((choice) => choice.getAttribute("value"))).toEqual(["", "tiny", NO_IMAGE]);
    await user.type(within(dialog).getByLabelText(/Name/), "second");
    await user.click(within(dialog).getByRole("button", { name: "Create" }));
    await within(dialog).findByText("The node has 512 MiB for workloads.");
    expect(
      within(dialog)
        .getByLabelText(/Memory/)
        .getAttribute("aria-invalid"),
    ).toBe("true");
    node.replies.delete("POST /vms");
    await user.click(within(dialog).getByRole("button", { name: "Create" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(node.asked.findLast((each) => each.route === "POST /vms")?.body).toEqual({
      metadata: { name: "second" },
      spec: { image: "tiny", vcpus: 1, memory_mib: 256, publish: [] },
    });
  });

  it("shows images in every state, and one layer that an image has twice", async () => {
    const complaints = vi.spyOn(console, "error");
    const states = ["pending", "receiving", "available", "quarantined", "failed"] as const;
    const layer = { role: "layer", path: "/blob", size: 512, sha256: "a".repeat(64), virtual_size: null };
    const items = states.map((state) => {
      const one = image(state, "oci_archive", state);
      one.spec.files = [layer, layer];
      one.status?.conditions.push({ type: "Here", state: "false", reason: "R", message: `why ${state}`, since: "" });
      return one;
    });
    node.replies.set("GET /images", () => answer(200, { items, revision: 5 }));
    show("#/images");
    const rows = within(await screen.findByRole("grid", { name: "Images" })).getAllByRole("row");
    expect(rows.slice(1).map((row) => within(row).getAllByRole("cell")[1]?.textContent)).toEqual([
      "Being checked",
      "Being brought in",
      "Available",
      "Damagedwhy quarantined",
      "Not brought inwhy failed",
    ]);
    expect(complaints).not.toHaveBeenCalled();
  });

  it("shows a viewer no button that the node would refuse", async () => {
    show("#/vms", "viewer");
    await screen.findByRole("link", { name: "guest" });
    expect(screen.queryByRole("button", { name: /Stop|Create/ })).toBeNull();
    await user.click(screen.getByRole("button", { name: "More actions on guest" }));
    expect((await screen.findAllByRole("menuitem")).map((item) => item.textContent)).toEqual([
      "Details",
      "Serial output",
    ]);
  });

  it("lists active alarms by severity, cleared ones last", async () => {
    show("#/alarms");
    await screen.findByRole("grid", { name: "Alarms" });
    const rows = screen.getAllByRole("row").slice(1);
    const texts = rows.map((row) => row.textContent);
    expect(texts.map((text) => /hot|warm|gone/.exec(text)?.[0])).toEqual(["hot", "warm", "gone"]);
    expect(texts[2]).toContain("cleared");
  });

  it("holds a fault of one screen to that screen", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const broken = { ...pod("web"), spec: {} };
    node.replies.set("GET /pods", () => answer(200, { items: [broken], revision: 5 }));
    show("#/pods");
    await screen.findByText(/This screen cannot be shown/);
    window.location.hash = "#/alarms";
    await screen.findByRole("grid", { name: "Alarms" });
  });

  it("comes back to sign-in when the session has ended, and keeps the place", async () => {
    show("#/vms");
    await user.click(await screen.findByRole("button", { name: "Stop guest" }));
    node.role = null;
    await user.click(await screen.findByRole("button", { name: "Stop guest" }));
    await screen.findByText(/Your session has ended/);
    await user.type(screen.getByLabelText(/User name/), "admin");
    await user.type(screen.getByLabelText(/Password/), "four small grey seals");
    await user.click(screen.getByRole("button", { name: "Sign in" }));
    await screen.findByRole("heading", { level: 1, name: "Virtual machines" });
  });

  it("does not pretend to be signed out when the node could not be told", async () => {
    node.replies.set("POST /logout", () => answer(503, { detail: "The node is busy." }));
    show();
    await user.click(await screen.findByRole("button", { name: "Account admin" }));
    await user.click(await screen.findByRole("menuitem", { name: "Sign out" }));
    await screen.findByText("The node is busy.");
    expect(screen.queryByRole("heading", { name: "Sign in" })).toBeNull();
  });
});

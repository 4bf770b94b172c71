import { describe, expect, it } from "vitest";
import { disk, pod, pool, vm, volume } from "./test-data";
import {
  poolView,
  volumeState,
  volumeWork,
  whyNoSnapshot,
  whyNotAttached,
  whyNotDeleted,
  whyNotDetached,
} from "./volume";

const guest = vm("guest", {}, { disks: [disk("data")] });
const files = { name: "files", source: { volume: { name: "files", read_only: false } } };
const node = { vms: [guest], pods: [pod("web", {}, { volumes: [files] })] };

describe("a volume", () => {
  it("says why it cannot be deleted", () => {
    const reasons = [
      [volume("data"), "guest has it; detach it first."],
      [volume("files", { form: "folder" }), "web uses it; change or delete that first."],
      [volume("free", { locked: true }), "It is locked; unlock it first."],
      [volume("free", {}, { operation: "growing" }), "Growing; try again later."],
      [volume("free", {}, { operation: "creating" }), ""],
      [volume("free"), ""],
    ] as const;
    for (const [one, why] of reasons) expect(whyNotDeleted(one, node)).toBe(why);
  });

  it("is attached if it is a disk, and detached if somebody has it", () => {
    expect(whyNotAttached(volume("free"))).toBe("");
    expect(whyNotAttached(volume("files", { form: "folder" }))).toContain("only containers");
    expect(whyNotDetached(volume("data"), node)).toBe("");
    expect(whyNotDetached(volume("data", { locked: true }), node)).toContain("locked");
    expect(whyNotDetached(volume("free"), node)).toBe("No virtual machine has it.");
    expect(whyNoSnapshot(volume("free"))).toBe("");
    expect(whyNoSnapshot(volume("files", { form: "folder" }))).toContain("folder");
    expect(whyNoSnapshot(volume("lost", {}, { state: "lost" }))).toBe("It is not ready.");
  });

  it("shows a state that this page does not know as it is called", () => {
    const odd = volume("odd", {}, { state: "moving" as "lost", operation: "moving" as "none" });
    expect([volumeState(odd), volumeWork(odd)]).toEqual([["moving", "warning"], "moving"]);
    const going = volume("going");
    going.metadata.phase = "removing";
    expect(volumeState(going)[0]).toBe("Deleting");
    expect(whyNotDeleted(going, node)).toBe("It is being deleted.");
  });
});

describe("a pool", () => {
  it("tells what is used, promised, and left for new data", () => {
    const view = poolView(pool("default"));
    expect([view.used, view.usedPercent]).toEqual(["40.0 GiB of 100 GiB", 40]);
    expect([view.promised, view.promisedPercent]).toEqual(["150 GiB of 200 GiB", 75]);
    expect(view.left).toBe(50 * 2 ** 30);
    expect([view.scarce, view.why]).toEqual(["", []]);
  });

  it("repeats the node's word on scarce space", () => {
    const low = { type: "SpaceLow", state: "true" as const, reason: "Major", message: "Delete something.", since: "" };
    const view = poolView(pool("default", { conditions: [low] }));
    expect([view.scarce, view.why]).toEqual(["major", ["Delete something."]]);
  });

  it("is shown before the node has looked at it", () => {
    expect(poolView({ ...pool("new"), status: null })).toMatchObject({ ready: false, usedPercent: 0, left: 0 });
  });
});

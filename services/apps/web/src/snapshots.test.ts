import { describe, expect, it } from "vitest";
import { type Step, basesOf, consistencyText, snapshotTree, whyNotReverted } from "./snapshots";
import { disk, snapshot, vm, volume } from "./test-data";

/** `a b (c d | e)`: lines with their branches. */
function shape(lines: Step[][]): string {
  const line = (steps: Step[]): string =>
    steps
      .map(({ snapshot, branches }) =>
        [snapshot.metadata.name, branches.length > 0 ? `(${shape(branches)})` : ""].join(""),
      )
      .join(" ");
  return lines.map(line).join(" | ");
}

const data = volume("data");
const at = (second: number) => ({ taken: `2026-01-02T03:04:0${second}Z` });

describe("the tree of snapshots", () => {
  it("is a line as long as each has one successor, and branches where there are more", () => {
    const all = [
      snapshot("d", ["data"], "c", at(4)),
      snapshot("a", ["data"], null, at(1)),
      snapshot("e", ["data"], "b", at(5)),
      snapshot("c", ["data"], "b", at(3)),
      snapshot("b", ["data"], "a", at(2)),
      snapshot("elsewhere", ["other"], null, at(1)),
    ];
    expect(shape(snapshotTree(all, [data]))).toBe("a b(c d | e)");
  });

  it("begins anew where what was before is gone, and bears one that follows itself", () => {
    const all = [snapshot("x", ["data"], "gone", at(1)), snapshot("y", ["data"], "y", at(2))];
    expect(shape(snapshotTree(all, [data]))).toBe("x | y");
  });

  it("shows one that is being taken after what is there now", () => {
    const based = volume("data", {}, { snapshot: "id-a" });
    const coming = snapshot("b", ["data"], null, { state: "creating", volumes: [], taken: null });
    expect(shape(snapshotTree([snapshot("a", ["data"]), coming], [based]))).toBe("a b");
    expect([...basesOf([based, data])]).toEqual(["id-a"]);
  });

  it("leaves out one whose volume was another of this name", () => {
    const other = snapshot("a", ["data"]);
    const part = other.status?.volumes[0];
    if (part) part.volume = "id-earlier";
    expect(snapshotTree([other], [data])).toEqual([]);
  });
});

describe("a snapshot", () => {
  it("is gone back to when nobody runs with its volumes", () => {
    const one = snapshot("a", ["data"]);
    const running = vm("guest", {}, { disks: [disk("data")] });
    const off = vm("guest", { state: "stopped" }, { disks: [disk("data")], power: "stopped" });
    expect(whyNotReverted(one, [running])).toBe("Stop guest first.");
    expect(whyNotReverted(one, [off, vm("other")])).toBe("");
    expect(whyNotReverted(snapshot("b", ["data"], null, { state: "creating" }), [])).toBe("It is not ready.");
  });

  it("says whether what is in it is whole", () => {
    const condition = { type: "Consistent", state: "true" as const, reason: "Frozen", message: "", since: "" };
    expect(consistencyText(snapshot("a", ["data"]))).toBe("");
    expect(consistencyText(snapshot("a", ["data"], null, { guest_running: true }))).toContain("power cut");
    expect(consistencyText(snapshot("a", ["data"], null, { guest_running: true, conditions: [condition] }))).toBe(
      "file systems at rest",
    );
  });
});

import { describe, expect, it } from "vitest";
import type { PodState, VmState } from "./api/types";
import { disk, pod, vm } from "./test-data";
import { allowedIn, podWorkload, publishText, sizeText, vmWorkload } from "./workload";

describe("a virtual machine", () => {
  it("is shown with its state, size and ports", () => {
    const shown = vmWorkload(vm("a"));
    expect(shown).toMatchObject({ label: "Running", tone: "good", reason: "", resources: "2 vCPU, 512 MiB" });
    expect(shown.publish.map(publishText)).toEqual(["8081 → 8080/tcp"]);
    expect(shown.allowed).toMatchObject({ start: false, stop: true, remove: true });
  });

  it("has a screen unless it is to have none", () => {
    expect(vmWorkload(vm("a")).hasScreen).toBe(true);
    expect(vmWorkload(vm("a", {}, { graphics: "none" })).hasScreen).toBe(false);
    expect(podWorkload(pod("p")).hasScreen).toBe(false);
  });

  it("without an image is shown with what it starts from", () => {
    const without = vm("a", {}, { disks: [disk("data"), { ...disk("root"), boot_index: 1 }] });
    delete without.spec.image;
    expect(vmWorkload(without).image).toBe("volume root");
    without.spec.disks = [];
    expect(vmWorkload(without).image).toBe("CD");
  });

  it("is being created while nobody has looked at it", () => {
    expect(vmWorkload(vm("a", null))).toMatchObject({ label: "Creating", tone: "busy", addresses: [] });
  });

  it("says why it is not up, by its reason or else by its first broken condition", () => {
    const since = "2026-01-02T03:04:05Z";
    const conditions = [
      { type: "Defined", state: "true" as const, reason: "Ok", message: "fine", since },
      { type: "Ready", state: "false" as const, reason: "NoImage", message: "The image is damaged.", since },
    ];
    expect(vmWorkload(vm("a", { state: "failed", conditions })).reason).toBe("The image is damaged.");
    expect(vmWorkload(vm("a", { state: "failed", conditions, reason: "QEMU died." })).reason).toBe("QEMU died.");
    expect(vmWorkload(vm("a", { state: "running", conditions })).reason).toBe("");
  });

  it("allows nothing any more once it is being removed", () => {
    const going = vm("a");
    going.metadata.phase = "removing";
    const shown = vmWorkload(going);
    expect(shown.label).toBe("Deleting");
    expect(Object.values(shown.allowed)).toEqual([false, false, false, false, false]);
  });

  it("of a newer node shows its state as it is called", () => {
    const shown = vmWorkload(vm("a", { state: "migrating" as VmState }));
    expect(shown).toMatchObject({ label: "migrating", tone: "warning" });
  });
});

describe("the actions of a virtual machine", () => {
  const none = { possible: false, why: "it does not run" };
  const yes = { possible: true, why: "" };

  it("are those that the node names, each refusal with its reason", () => {
    const actions = [
      { action: "start" as const, ...yes },
      { action: "stop" as const, ...none },
      { action: "pause" as const, ...none },
      { action: "resume" as const, ...none },
      { action: "suspend" as const, ...none },
    ];
    const shown = vmWorkload(vm("a", { state: "stopped", actions }));
    expect(shown.allowed).toMatchObject({ start: true, stop: false, restart: false, remove: true });
    expect(shown.more.map(({ word, why }) => [word, why])).toEqual([
      ["Pause", "it does not run"],
      ["Suspend", "it does not run"],
    ]);
  });

  it("offer to resume what is paused", () => {
    const actions = [
      { action: "pause" as const, ...none },
      { action: "resume" as const, ...yes },
    ];
    const shown = vmWorkload(vm("a", { state: "paused", actions }));
    expect(shown.more).toEqual([{ action: "resume", word: "Resume", why: "" }]);
  });
});

describe("a pod", () => {
  it("adds up its containers", () => {
    const one = pod("p");
    const [container] = one.spec.containers;
    if (!container) throw new Error("the pod has a container");
    one.spec.containers = [
      { ...container, cpu_limit_m: 500 },
      { ...container, name: "side", image: "other", cpu_limit_m: 1000, memory_mib: 960 },
    ];
    const shown = podWorkload(one);
    expect(shown.resources).toBe("1.5 CPU, up to 1 GiB");
    expect(shown.image).toBe("tiny, other");
    expect(shown.containers).toEqual(["main", "side"]);
  });

  it("tells how a container ended", () => {
    const ended = {
      name: "main",
      state: "exited" as const,
      pid: null,
      ready: false,
      exit_code: 137,
      exit_reason: "oom",
      restarts: 3,
      started_at: null,
      started_run: null,
    };
    const shown = podWorkload(pod("p", { state: "backoff", containers: [ended] }));
    expect(shown.reason).toBe("Container main ended with code 137 (oom).");
    expect(shown.starts).toEqual({ term: "Restarts", count: 3 });
  });
});

describe("what is allowed", () => {
  const states: (VmState | PodState)[] = [
    "creating",
    "pending",
    "starting",
    "running",
    "paused",
    "backoff",
    "failed",
    "crashed",
  ];

  it.each(states)("a workload that is wanted on can be stopped while %s", (state) => {
    expect(allowedIn(state, "running", false).stop).toBe(true);
  });

  it("a workload that is wanted off can be started, even while it still stops", () => {
    for (const state of ["stopped", "stopping", "failed"]) {
      expect(allowedIn(state, "stopped", false)).toMatchObject({ start: true, stop: false });
    }
  });

  it("only what is up or on its way can be forced off", () => {
    expect(allowedIn("stopping", "stopped", false).forceStop).toBe(true);
    expect(allowedIn("stopped", "stopped", false).forceStop).toBe(false);
  });
});

it("memory is told in the unit that makes it short", () => {
  expect([64, 1024, 1536, 1100].map(sizeText)).toEqual(["64 MiB", "1 GiB", "1.5 GiB", "1100 MiB"]);
});

describe("what only one kind has", () => {
  const agent = { type: "GuestAgent", state: "true" as const, reason: "Answers", message: "", since: "" };
  const guest = { agent_version: "9", interfaces: [{ name: "eth0", mac: "", addresses: ["10.0.0.9"] }] };
  const keys = { ssh_keys: ["a", "b"], password: null, user_data: null, network_data: "version: 2" };
  const init = { hostname: null, metadata: false, ...keys };

  it("are a machine's disks, firmware, and what its guest is told and says", () => {
    const spec = { firmware: "uefi" as const, tpm: true, guest_agent: true, init, disks: [disk("root")] };
    const nics = [
      { network: "lab", port: "1", mac: "02:00:00:00:00:02", address: "10.90.0.2", plugged: true },
      { network: "core", port: "2", mac: "02:00:00:00:00:03", address: "10.91.0.2", plugged: false },
    ];
    const { extras, asks } = vmWorkload(vm("a", { conditions: [agent], guest, nics }, spec));
    expect(Object.fromEntries(extras.map(({ term, lines }) => [term, lines.join("; ")]))).toEqual({
      Interfaces: "lab: 10.90.0.2, 02:00:00:00:00:02; core: 10.91.0.2, 02:00:00:00:00:03, not in the guest yet",
      Disks: "root",
      Firmware: "UEFI, TPM 2.0",
      "cloud-init": "2 SSH keys, network configuration",
      "Guest agent": "There",
      "Guest says": "eth0: 10.0.0.9",
    });
    expect(asks.filter(({ why }) => why).map(({ question, why }) => [question, why])).toEqual([
      ["clone", "Stop it first."],
      ["rebuild", "Stop it first."],
    ]);
  });

  it("are nothing where there is nothing to say", () => {
    expect(vmWorkload(vm("a")).extras).toEqual([]);
    expect(podWorkload(pod("a")).extras).toEqual([]);
    const [container] = pod("a").spec.containers;
    const containers = container && [{ ...container, huge_pages: [{ size: "2Mi" as const, mib: 64 }] }];
    const held = [{ node: 1, size: "2Mi" as const, count: 32 }];
    expect(podWorkload(pod("a", { huge_pages: held }, { containers })).extras).toEqual([
      { term: "Huge pages", lines: ["main: 32 of 2 MiB", "Set aside: 32 of 2 MiB on NUMA node 1"] },
    ]);
    expect(podWorkload(pod("a", { risks: ["May load modules."] })).extras).toEqual([
      { term: "Risks", lines: ["May load modules."] },
    ]);
  });
});

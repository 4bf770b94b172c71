// How a virtual machine or a pod is shown: one view for both, and what may be done with it in its state.

import type { WorkloadKind } from "./api/client";
import type {
  Condition,
  Pod,
  PodState,
  PodStatus,
  Publish,
  Vm,
  VmAction,
  VmActionState,
  VmState,
  VmStatus,
} from "./api/types";
import { countText } from "./format";

export type Tone = "good" | "busy" | "off" | "warning" | "bad";

export interface Allowed {
  start: boolean;
  stop: boolean;
  forceStop: boolean;
  restart: boolean;
  remove: boolean;
}

/** An action that only virtual machines know, and why it is not possible now. */
export interface MoreAction {
  action: VmAction;
  word: string;
  why: string;
}

/** What is asked more about before it is done with a virtual machine. */
export type VmQuestion = "snapshot" | "clone" | "rebuild" | "rename";

export interface VmAsk {
  question: VmQuestion;
  word: string;
  why: string;
}

/** A fact that only workloads of one kind have. */
export interface Extra {
  term: string;
  lines: string[];
}

export interface Workload {
  kind: WorkloadKind;
  id: string;
  name: string;
  label: string;
  tone: Tone;
  /** Why it is in this state, or nothing. */
  reason: string;
  image: string;
  /** Names of the images whose digests are worth knowing. */
  images: string[];
  addresses: string[];
  publish: Publish[];
  network: string;
  resources: string;
  startedAt: string | null;
  nextTry: string | null;
  /** How often it was started (VM) or started again (pod). */
  starts: { term: string; count: number };
  conditions: Condition[];
  emulated: boolean;
  allowed: Allowed;
  more: MoreAction[];
  asks: VmAsk[];
  extras: Extra[];
  created: string;
  owner: string;
  containers: string[];
  /** Those that run before the others. */
  initContainers: string[];
  /** Whether there is somebody to talk to. */
  isUp: boolean;
  /** Whether it has a screen to look at. */
  hasScreen: boolean;
}

const vmStates: Record<VmState, [string, Tone]> = {
  creating: ["Creating", "busy"],
  stopped: ["Stopped", "off"],
  starting: ["Starting", "busy"],
  running: ["Running", "good"],
  paused: ["Paused", "warning"],
  suspended: ["Suspended", "off"],
  stopping: ["Stopping", "busy"],
  crashed: ["Crashed", "bad"],
  backoff: ["Waiting to retry", "warning"],
  failed: ["Failed", "bad"],
  deleting: ["Deleting", "busy"],
};

const podStates: Record<PodState, [string, Tone]> = {
  pending: ["Pending", "busy"],
  starting: ["Starting", "busy"],
  running: ["Running", "good"],
  backoff: ["Waiting to retry", "warning"],
  stopping: ["Stopping", "busy"],
  stopped: ["Stopped", "off"],
  succeeded: ["Finished", "off"],
  failed: ["Failed", "bad"],
  deleting: ["Deleting", "busy"],
};

/** A state of a newer node than this page is shown as it is called. */
function shown(states: Record<string, [string, Tone]>, state: string): [string, Tone] {
  return states[state] ?? [state, "warning"];
}

export function allowedIn(state: string, wanted: string, removing: boolean): Allowed {
  if (removing || state === "deleting") {
    return { start: false, stop: false, forceStop: false, restart: false, remove: false };
  }
  const up = ["running", "paused", "starting", "backoff", "crashed", "pending", "creating", "failed"].includes(state);
  return {
    start: wanted === "stopped" || ["stopped", "failed", "succeeded", "crashed"].includes(state),
    stop: wanted === "running" && up,
    forceStop: ["running", "paused", "starting", "stopping"].includes(state),
    restart: wanted === "running" && ["running", "paused", "backoff", "failed", "crashed"].includes(state),
    remove: true,
  };
}

const moreWords: [VmAction, string][] = [
  ["pause", "Pause"],
  ["resume", "Resume"],
  ["reboot", "Reboot"],
  ["reset", "Reset"],
  ["suspend", "Suspend"],
];

/** What the node says can be done. Until it has looked at the machine, what its state lets expect. */
function vmAllowed(actions: VmActionState[], expected: Allowed): Allowed {
  if (actions.length === 0 || !expected.remove) return expected;
  const possible = (wanted: VmAction) => actions.some(({ action, possible }) => action === wanted && possible);
  return {
    start: possible("start"),
    stop: possible("stop"),
    forceStop: possible("force_stop"),
    restart: possible("restart"),
    remove: true,
  };
}

/** The further actions; of pause and resume the one that fits. */
function moreActions(actions: VmActionState[], state: string): MoreAction[] {
  const paused = state === "paused";
  return moreWords.flatMap(([action, word]) => {
    const found = actions.find((one) => one.action === action);
    const hidden = action === (paused ? "pause" : "resume");
    return found && !hidden ? [{ action, word, why: found.possible ? "" : found.why }] : [];
  });
}

function vmAsks({ spec, status }: Vm): VmAsk[] {
  const isOff = spec.power === "stopped" && status?.state === "stopped";
  const notOff = isOff ? "" : "Stop it first.";
  return [
    { question: "snapshot", word: "Take snapshot", why: spec.disks.length > 0 ? "" : "It has no volumes." },
    { question: "clone", word: "Clone", why: notOff },
    { question: "rebuild", word: "Rebuild", why: spec.firmware ? notOff : "It does not boot from a disk." },
    { question: "rename", word: "Rename", why: "" },
  ];
}

const extra = (term: string, lines: string[]): Extra[] => (lines.length > 0 ? [{ term, lines }] : []);

const firmwareWords: Record<string, string> = { bios: "BIOS", uefi: "UEFI", uefi_secure: "UEFI with Secure Boot" };

/** Its further network interfaces; guests know them by their Ethernet addresses. */
function nicLines(status: Vm["status"]): string[] {
  return (status?.nics ?? []).map(({ network, address, mac, plugged }) => {
    const later = !plugged && status?.state === "running" ? ", not in the guest yet" : "";
    return `${network}: ${address}, ${mac}${later}`;
  });
}

function vmExtras({ spec, status }: Vm): Extra[] {
  const { firmware, init } = spec;
  const guest = (status?.guest?.interfaces ?? []).map(
    ({ name, addresses }) => `${name}: ${addresses.join(", ") || "–"}`,
  );
  const hasAgent = status?.conditions.some(({ type, state }) => type === "GuestAgent" && state === "true") ?? false;
  const keys = init?.ssh_keys.length ?? 0;
  // The rest of what it is told is never shown, not even whether it is there.
  const told = init
    ? [`${countText(keys, "SSH key", "SSH keys")}${init.network_data ? ", network configuration" : ""}`]
    : [];
  return [
    ...extra("Interfaces", nicLines(status)),
    ...extra(
      "Disks",
      spec.disks.map((disk) => `${disk.volume}${disk.read_only ? ", read only" : ""}`),
    ),
    ...extra("Firmware", firmware ? [`${firmwareWords[firmware] ?? firmware}${spec.tpm ? ", TPM 2.0" : ""}`] : []),
    ...extra("cloud-init", told),
    ...extra("Protected", spec.protected ? ["Deleting it is refused"] : []),
    ...extra("Guest agent", spec.guest_agent ? [hasAgent ? "There" : "Not there yet"] : []),
    ...extra("Guest says", guest),
  ];
}

function reasonOf(status: { reason: string; conditions: Condition[] }, tone: Tone): string {
  if (status.reason) return status.reason;
  if (tone === "good" || tone === "off") return "";
  const broken = status.conditions.find((condition) => condition.state === "false" && condition.message);
  return broken?.message ?? "";
}

export function sizeText(mib: number): string {
  return mib >= 1024 && mib % 512 === 0 ? `${mib / 1024} GiB` : `${mib} MiB`;
}

const noVmStatus: Pick<VmStatus, "state" | "reason" | "addresses" | "conditions"> = {
  state: "creating",
  reason: "",
  addresses: [],
  conditions: [],
};

/** What a machine without an image starts from first. */
function startsFrom(vm: Vm): string {
  const order = (disk: { boot_index?: number | null }) => disk.boot_index ?? Infinity;
  const first = [...vm.spec.disks].sort((one, other) => order(one) - order(other))[0];
  return first ? `volume ${first.volume}` : "CD";
}

export function vmWorkload(vm: Vm): Workload {
  const status: Partial<VmStatus> & typeof noVmStatus = { ...noVmStatus, ...vm.status };
  const removing = vm.metadata.phase === "removing";
  const state = removing ? "deleting" : status.state;
  const [label, tone] = shown(vmStates, state);
  const { vcpus, memory_mib, publish, image, power, network } = vm.spec;
  return {
    kind: "vms",
    id: vm.metadata.id,
    name: vm.metadata.name,
    label,
    tone,
    reason: reasonOf(status, tone),
    image: image ?? startsFrom(vm),
    images: [],
    addresses: status.addresses,
    publish,
    network,
    resources: `${vcpus} vCPU, ${sizeText(memory_mib)}`,
    startedAt: state === "running" ? (status.started_at ?? null) : null,
    nextTry: status.next_try ?? null,
    starts: { term: "Starts", count: status.starts ?? 0 },
    conditions: status.conditions,
    emulated: status.accelerator === "emulation",
    allowed: vmAllowed(status.actions ?? [], allowedIn(state, power, removing)),
    more: moreActions(status.actions ?? [], state),
    asks: removing ? [] : vmAsks(vm),
    extras: vmExtras(vm),
    created: vm.metadata.created,
    owner: vm.metadata.owner,
    containers: [],
    initContainers: [],
    isUp: ["running", "stopping"].includes(state),
    hasScreen: vm.spec.graphics === "vnc",
  };
}

const noPodStatus: Pick<PodStatus, "state" | "reason" | "addresses" | "conditions" | "containers"> = {
  state: "pending",
  reason: "",
  addresses: [],
  conditions: [],
  containers: [],
};

export function podWorkload(pod: Pod): Workload {
  const status: Partial<PodStatus> & typeof noPodStatus = { ...noPodStatus, ...pod.status };
  const removing = pod.metadata.phase === "removing";
  const state = removing ? "deleting" : status.state;
  const [label, tone] = shown(podStates, state);
  const { containers, publish, power, network } = pod.spec;
  const images = [...new Set(containers.map((container) => container.image))];
  const memory = containers.reduce((sum, container) => sum + container.memory_mib, 0);
  const limits = containers.map((container) => container.cpu_limit_m ?? null);
  const cpu = limits.every((limit) => limit !== null)
    ? `${limits.reduce((sum, limit) => sum + limit, 0) / 1000} CPU, `
    : "";
  const starts = status.containers.flatMap((container) => container.started_at ?? []);
  return {
    kind: "pods",
    id: pod.metadata.id,
    name: pod.metadata.name,
    label,
    tone,
    reason: reasonOf(status, tone) || exitText(status.containers, tone),
    image: images.join(", "),
    images,
    addresses: status.addresses,
    publish,
    network,
    resources: `${cpu}up to ${sizeText(memory)}`,
    startedAt: state === "running" ? (starts.sort().at(0) ?? null) : null,
    nextTry: status.next_try ?? null,
    starts: { term: "Restarts", count: status.containers.reduce((sum, container) => sum + container.restarts, 0) },
    conditions: status.conditions,
    emulated: false,
    allowed: allowedIn(state, power, removing),
    more: [],
    asks: [],
    extras: [...extra("Huge pages", pagesText(pod)), ...extra("Risks", status.risks ?? [])],
    created: pod.metadata.created,
    owner: pod.metadata.owner,
    containers: containers.map((container) => container.name),
    initContainers: pod.spec.init.map((container) => container.name),
    isUp: state === "running",
    hasScreen: false,
  };
}

/** What its containers may have, and how much of it is set aside for the pod now. */
function pagesText(pod: Pod): string[] {
  const pageMib = { "2Mi": 2, "1Gi": 1024 };
  const asked = pod.spec.containers.flatMap(({ name, huge_pages }) =>
    (huge_pages ?? []).map(({ size, mib }) => `${name}: ${mib / pageMib[size]} of ${sizeText(pageMib[size])}`),
  );
  const held = (pod.status?.huge_pages ?? []).map(
    ({ node, size, count }) => `Set aside: ${count} of ${sizeText(pageMib[size])} on NUMA node ${node}`,
  );
  return [...asked, ...held];
}

function exitText(containers: PodStatus["containers"], tone: Tone): string {
  if (tone === "good" || tone === "busy") return "";
  const ended = containers.find((c) => c.state === "exited" && (c.exit_code !== 0 || c.exit_reason !== "exited"));
  if (!ended) return "";
  const code = ended.exit_code === null ? "" : ` with code ${ended.exit_code}`;
  return `Container ${ended.name} ended${code}${ended.exit_reason ? ` (${ended.exit_reason})` : ""}.`;
}

/** `8081 → 8080/tcp`: port at the node, port at the workload. */
export function publishText({ host_port, workload_port, protocol }: Publish): string {
  return `${host_port} → ${workload_port}/${protocol}`;
}

// How a volume is shown, who has it, and why something cannot be done with it now.

import type { LiveState } from "./api/live";
import type { Pod, Pool, PoolStatus, Vm, Volume } from "./api/types";
import { bytesText } from "./format";
import type { Tone } from "./workload";

const MIB = 1024 * 1024;

const states: Record<string, [string, Tone]> = {
  creating: ["Being made", "busy"],
  available: ["Available", "good"],
  in_use: ["In use", "good"],
  error: ["Error", "bad"],
  lost: ["Lost", "bad"],
  deleting: ["Deleting", "busy"],
};

const operations: Record<string, string> = {
  creating: "Being made",
  cloning: "Being copied",
  growing: "Growing",
  snapshotting: "Snapshot being taken",
  reverting: "Being set back",
  checking: "Being checked",
};

/** State as a word, and how it is meant. */
export function volumeState({ metadata, status }: Volume): [string, Tone] {
  const state = metadata.phase === "removing" ? "deleting" : (status?.state ?? "creating");
  return states[state] ?? [state, "warning"];
}

/** What is being done with its data now, or nothing. */
export function volumeWork({ status }: Volume): string {
  const operation = status?.operation ?? "none";
  return operation === "none" ? "" : (operations[operation] ?? operation);
}

/** Size that guests see, in bytes: what is wanted until the node has said what is. */
export function volumeSize({ spec, status }: Volume): number {
  return status?.size_bytes || (spec.size_mib ?? 0) * MIB;
}

export function vmsWith(vms: Vm[], volume: string): Vm[] {
  return vms.filter((vm) => vm.spec.disks.some((disk) => disk.volume === volume));
}

export function podsWith(pods: Pod[], volume: string): Pod[] {
  return pods.filter((pod) =>
    pod.spec.volumes.some(({ source }) => "volume" in source && source.volume.name === volume),
  );
}

type Users = Pick<LiveState, "vms" | "pods">;

function names(items: { metadata: { name: string } }[]): string {
  return items.map(({ metadata }) => metadata.name).join(", ");
}

export function whyNotDeleted(volume: Volume, { vms, pods }: Users): string {
  const { name } = volume.metadata;
  const machines = vmsWith(vms, name);
  const users = podsWith(pods, name);
  if (volume.metadata.phase === "removing") return "It is being deleted.";
  if (volume.spec.locked) return "It is locked; unlock it first.";
  if (machines.length > 0) return `${names(machines)} has it; detach it first.`;
  if (users.length > 0) return `${names(users)} uses it; change or delete that first.`;
  return busyWith(volume, ["creating", "checking"]);
}

/** Why it has to be waited for, unless what it does is no hindrance. */
function busyWith(volume: Volume, harmless: string[] = []): string {
  const operation = volume.status?.operation ?? "none";
  return operation === "none" || harmless.includes(operation) ? "" : `${volumeWork(volume)}; try again later.`;
}

export function whyNotAttached(volume: Volume): string {
  if (volume.metadata.phase === "removing") return "It is being deleted.";
  return volume.spec.form === "folder" ? "It is a folder, which only containers can use." : "";
}

export function whyNotDetached(volume: Volume, { vms }: Users): string {
  if (vmsWith(vms, volume.metadata.name).length === 0) return "No virtual machine has it.";
  return volume.spec.locked ? "It is locked; unlock it first." : "";
}

export function whyNoSnapshot(volume: Volume): string {
  if (volume.spec.form === "folder") return "It is a folder, which has no snapshots.";
  const state = volume.status?.state ?? "creating";
  return state === "available" || state === "in_use" ? "" : "It is not ready.";
}

export function whyNoImage(volume: Volume): string {
  return volume.spec.form === "folder" ? "It is a folder, and no disk." : whyNoSnapshot(volume);
}

/** From these shares in use on, in percent, a pool raises an alarm: the node's own steps. */
export const pool_steps = [80, 90, 95];

export interface PoolView {
  ready: boolean;
  state: string;
  /** What is to be said of it, as sentences. */
  why: string[];
  usedPercent: number;
  promisedPercent: number;
  used: string;
  promised: string;
  /** How scarce space is by the node's word, which does not come and go with every file; empty if there is enough. */
  scarce: string;
  /** Space that is left for new data, in bytes. */
  left: number;
  /** Space that new data never gets, in bytes. */
  reserve: number;
  volumes: number;
  snapshots: number;
}

const noPoolStatus: Omit<PoolStatus, "observed_generation" | "unmanaged"> = {
  state: "creating",
  reason: "",
  conditions: [],
  size_bytes: 0,
  used_bytes: 0,
  free_bytes: 0,
  reserve_bytes: 0,
  committed_bytes: 0,
  limit_bytes: 0,
  volumes: 0,
  snapshots: 0,
  guest_room_bytes: null,
  prepared: false,
};

const poolStates: Record<string, string> = { creating: "Being readied", ready: "Ready", failed: "Failed" };

export function poolView(pool: Pool): PoolView {
  const status = { ...noPoolStatus, ...pool.status };
  const { size_bytes, used_bytes, committed_bytes, limit_bytes } = status;
  const share = (part: number, whole: number) => (whole > 0 ? Math.min(100, Math.round((part / whole) * 100)) : 0);
  const of = (part: number, whole: number) => `${bytesText(part)} of ${bytesText(whole)}`;
  const low = status.conditions.find(({ type, state }) => type === "SpaceLow" && state === "true");
  return {
    ready: status.state === "ready",
    state: poolStates[status.state] ?? status.state,
    why: [...new Set([low?.message ?? "", status.reason])].filter(Boolean),
    usedPercent: share(used_bytes, size_bytes),
    promisedPercent: share(committed_bytes, limit_bytes),
    used: of(used_bytes, size_bytes),
    promised: of(committed_bytes, limit_bytes),
    scarce: low?.reason.toLowerCase() ?? "",
    left: Math.max(0, status.free_bytes - status.reserve_bytes),
    reserve: status.reserve_bytes,
    volumes: status.volumes,
    snapshots: status.snapshots,
  };
}

// Snapshots as they follow each other: a line as long as each has one successor, branches where there are more.

import type { Snapshot, Vm, Volume } from "./api/types";
import { vmsWith } from "./volume";
import type { Tone } from "./workload";

export interface Step {
  snapshot: Snapshot;
  /** What follows when it is more than one line. */
  branches: Step[][];
}

const states: Record<string, [string, Tone]> = {
  creating: ["Being taken", "busy"],
  ready: ["Ready", "good"],
  reverting: ["Being set back to", "busy"],
  failed: ["Failed", "bad"],
  lost: ["Lost", "bad"],
  deleting: ["Deleting", "busy"],
};

export function snapshotState({ metadata, status }: Snapshot): [string, Tone] {
  const state = metadata.phase === "removing" ? "deleting" : (status?.state ?? "creating");
  return states[state] ?? [state, "warning"];
}

/** The snapshots that hold one of the volumes. */
export function snapshotsOf(snapshots: Snapshot[], volumes: Volume[]): Snapshot[] {
  const ids = new Set(volumes.map(({ metadata }) => metadata.id));
  const names = new Set(volumes.map(({ metadata }) => metadata.name));
  return snapshots.filter(({ spec, status }) => {
    const parts = status?.volumes ?? [];
    // Another volume may have the name by now; until the snapshot is taken there is nothing but the name.
    return parts.length > 0 ? parts.some((part) => ids.has(part.volume)) : spec.volumes.some((name) => names.has(name));
  });
}

/** The snapshots that the volumes are now based on. */
export function basesOf(volumes: Volume[]): Set<string> {
  return new Set(volumes.flatMap(({ status }) => status?.snapshot ?? []));
}

function parentOf(snapshot: Snapshot, volumes: Volume[]): string | null {
  const parts = snapshot.status?.volumes ?? [];
  if (parts.length === 0) return volumes[0]?.status?.snapshot ?? null;
  const ids = new Set(volumes.map(({ metadata }) => metadata.id));
  return parts.find((part) => ids.has(part.volume) && part.parent)?.parent ?? null;
}

const when = ({ metadata, status }: Snapshot) => status?.taken ?? metadata.created;

/** The lines that begin with nothing before them, oldest first. */
export function snapshotTree(snapshots: Snapshot[], volumes: Volume[]): Step[][] {
  const mine = snapshotsOf(snapshots, volumes).toSorted((one, other) => when(one).localeCompare(when(other)));
  const known = new Set(mine.map(({ metadata }) => metadata.id));
  const after = new Map<string | null, Snapshot[]>();
  for (const snapshot of mine) {
    const parent = parentOf(snapshot, volumes);
    const key = parent && known.has(parent) && parent !== snapshot.metadata.id ? parent : null;
    after.set(key, [...(after.get(key) ?? []), snapshot]);
  }
  const line = (first: Snapshot): Step[] => {
    const steps: Step[] = [];
    let next: Snapshot | undefined = first;
    while (next) {
      const following: Snapshot[] = after.get(next.metadata.id) ?? [];
      const forks = following.length > 1;
      steps.push({ snapshot: next, branches: forks ? following.map(line) : [] });
      next = forks ? undefined : following[0];
    }
    return steps;
  };
  return (after.get(null) ?? []).map(line);
}

/** Whether what is in it is whole, for people; nothing if no guest had to do with it. */
export function consistencyText({ status }: Snapshot): string {
  if (!status?.guest_running) return "";
  const whole = status.conditions.some(({ type, state }) => type === "Consistent" && state === "true");
  return whole ? "file systems at rest" : "guest running, as after a power cut";
}

export function whyNotReverted(snapshot: Snapshot, vms: Vm[]): string {
  if (snapshot.metadata.phase === "removing") return "It is being deleted.";
  if (snapshot.status?.state !== "ready") return "It is not ready.";
  const running = snapshot.spec.volumes
    .flatMap((volume) => vmsWith(vms, volume))
    .find((vm) => vm.spec.power !== "stopped" || (vm.status?.state ?? "stopped") !== "stopped");
  return running ? `Stop ${running.metadata.name} first.` : "";
}

export function whyNotDropped({ metadata, status }: Snapshot): string {
  if (metadata.phase === "removing") return "It is being deleted.";
  return status?.state === "reverting" ? "Volumes are being set back to it." : "";
}

// The forms of volumes and snapshots as data: what is typed, what is wrong with it, what is sent.

import type { VolumeInput, VolumeSource, VolumeSpec } from "../api/types";
import { type Faults, checkName } from "./fields";

/** What a new volume begins with. */
export type Beginning = "empty" | "image" | "snapshot" | "volume";

export interface VolumeDraft {
  name: string;
  form: VolumeSpec["form"];
  beginning: Beginning;
  image: string;
  snapshot: string;
  /** Another volume, or which of a snapshot's. */
  volume: string;
  /** In GiB, such as `0.5`. */
  size: string;
  pool: string;
}

export const newVolume: VolumeDraft = {
  name: "",
  form: "disk",
  beginning: "empty",
  image: "",
  snapshot: "",
  volume: "",
  size: "",
  pool: "default",
};

export const volumeFields = [
  "metadata.name",
  "spec.size_mib",
  "spec.pool",
  "spec.source",
  "spec.source.image",
  "spec.source.snapshot",
  "spec.source.volume",
];

const most_mib = 67_108_864;

/** A size typed in GiB as MiB, or a fault; nothing typed is nothing. */
export function checkSize(faults: Faults, field: string, text: string): number | undefined {
  const typed = text.trim().replace(",", ".");
  if (!typed) return undefined;
  const mib = Math.round(Number(typed) * 1024);
  if (/^\d*\.?\d+$/.test(typed) && mib >= 1 && mib <= most_mib) return mib;
  faults[field] = "Must be a number of GiB from 0.001 to 65536, such as 20 or 0.5.";
  return undefined;
}

/** Bytes as the size fields take them. */
export function inGib(bytes: number): string {
  return String(Math.round((bytes / 1024 ** 3) * 1000) / 1000);
}

function sourceOf(draft: VolumeDraft, faults: Faults): Partial<VolumeSource> | null {
  const choose = (field: string, chosen: string, what: string) => {
    if (!chosen) faults[`spec.source.${field}`] = `Choose ${what}.`;
  };
  switch (draft.beginning) {
    case "empty":
      return null;
    case "image":
      choose("image", draft.image, "an image");
      return { image: draft.image };
    case "snapshot":
      choose("snapshot", draft.snapshot, "a snapshot");
      return { snapshot: draft.snapshot, ...(draft.volume ? { volume: draft.volume } : {}) };
    case "volume":
      choose("volume", draft.volume, "a volume");
      return { volume: draft.volume };
  }
}

export function checkVolume(draft: VolumeDraft): { faults: Faults; input: VolumeInput } {
  const faults: Faults = {};
  checkName(faults, "metadata.name", draft.name);
  const size_mib = checkSize(faults, "spec.size_mib", draft.size);
  const source = sourceOf(draft, faults);
  if (!source && size_mib === undefined) faults["spec.size_mib"] ??= "An empty volume needs a size.";
  const spec = {
    pool: draft.pool,
    form: draft.form,
    ...(size_mib === undefined ? {} : { size_mib }),
    ...(source ? { source } : {}),
  };
  return { faults, input: { metadata: { name: draft.name }, spec } };
}

// The forms that bring images in, as data: what is typed, what is wrong with it, what is sent.

import type { ImageInput, ImageSpec } from "../api/types";
import { type Faults, checkName } from "./fields";

export type Way = "upload" | "url" | "registry" | "medium";
export type ImageFormat = ImageSpec["format"];

export interface ImageDraft {
  name: string;
  format: ImageFormat;
  description: string;
  version: string;
  sha256: string;
  /** Address, reference, or medium and path on it; nothing for an upload. */
  from: string;
  /** An administrator answers for a container image that nobody has signed. */
  allow_unsigned: boolean;
}

/** Forms of files that can be brought in; what comes from a registry is always a container's image. */
export const fileFormats: [ImageFormat, string][] = [
  ["qcow2", "Disk of a virtual machine (qcow2)"],
  ["raw", "Disk of a virtual machine (raw)"],
  ["vmdk", "Disk of a virtual machine (vmdk)"],
  ["vdi", "Disk of a virtual machine (vdi)"],
  ["iso", "CD for virtual machines (iso)"],
  ["kernel_initrd", "Kernel and initrd of virtual machines (tar)"],
  ["oci_archive", "Container (OCI archive)"],
];

export const newImage: ImageDraft = {
  name: "",
  format: "qcow2",
  description: "",
  version: "",
  sha256: "",
  from: "",
  allow_unsigned: false,
};

export const imageFields = [
  "metadata.name",
  "spec.format",
  "spec.description",
  "spec.version",
  "spec.sha256",
  "spec.allow_unsigned",
  "spec.source",
  "spec.source.upload",
  "spec.source.url",
  "spec.source.folder",
  "spec.source.registry",
  "spec.source.registry.reference",
];

const endings: [RegExp, ImageFormat][] = [
  [/\.qcow2$/i, "qcow2"],
  [/\.(raw|img)$/i, "raw"],
  [/\.vmdk$/i, "vmdk"],
  [/\.vdi$/i, "vdi"],
  [/\.iso$/i, "iso"],
  [/\.(tar|oci)$/i, "oci_archive"],
];

/** What a file's name lets expect, until the person says otherwise. */
export function guessed(fileName: string): Partial<ImageDraft> {
  const format = endings.find(([ending]) => ending.test(fileName))?.[1];
  const name = fileName
    .toLowerCase()
    .replace(/\.[a-z0-9]+$/, "")
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 63)
    .replace(/^-+|-+$/g, "");
  return { name, ...(format ? { format } : {}) };
}

function checkFrom(faults: Faults, way: Way, from: string) {
  if (way === "url" && !/^https?:\/\/[^\s/]+\/\S*$/.test(from)) {
    faults["spec.source"] = "Give the address of a file, beginning with https:// or http://.";
  }
  if (way === "registry" && !/^[^\s/]+\/\S+$/.test(from)) {
    faults["spec.source"] = "Give registry, name and tag, such as docker.io/library/busybox:1.36.";
  }
}

export function checkImage(draft: ImageDraft, way: Way, hasFile: boolean): Faults {
  const faults: Faults = {};
  const sha256 = draft.sha256.trim();
  checkName(faults, "metadata.name", draft.name);
  checkFrom(faults, way, draft.from.trim());
  if (way === "medium" && !draft.from) faults["spec.source"] = "Choose a file.";
  if (way === "upload" && !hasFile) faults["spec.source"] = "Choose a file.";
  if (way === "url" && !sha256) faults["spec.sha256"] = "Needed for a file from elsewhere.";
  if (sha256 && !/^[0-9a-fA-F]{64}$/.test(sha256)) faults["spec.sha256"] = "Must be 64 hex digits.";
  return faults;
}

/** For what a registry sends, its own rules say what is wanted. */
export function mayBeUnsigned({ format }: ImageDraft, way: Way): boolean {
  return way !== "registry" && format === "oci_archive";
}

/** The document; `upload` is the id of the finished upload. */
export function imageInput(draft: ImageDraft, way: Way, upload: string): ImageInput {
  const sha256 = draft.sha256.trim().toLowerCase();
  const from = draft.from.trim();
  const sources = {
    upload: { upload },
    url: { url: from },
    registry: { registry: { reference: from } },
    // The name as it is on the medium: it may begin or end with a blank.
    medium: { folder: draft.from },
  };
  const spec = {
    format: way === "registry" ? ("oci_archive" as const) : draft.format,
    source: sources[way],
    architecture: "x86_64",
    description: draft.description.trim(),
    version: draft.version.trim(),
    ...(sha256 && way !== "registry" ? { sha256 } : {}),
    ...(draft.allow_unsigned && mayBeUnsigned(draft, way) ? { allow_unsigned: true } : {}),
  };
  return { metadata: { name: draft.name }, spec };
}

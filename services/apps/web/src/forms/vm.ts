// The create form of virtual machines as data: what is typed, what is wrong with it, what is sent.

import type { VmFirmware, VmInput } from "../api/types";
import { type Faults, type PublishDraft, checkName, checkNumber, checkPublish } from "./fields";
import { checkSize } from "./volume";
import { checkImage, formShows } from "./workload";

export interface DiskDraft {
  volume: string;
  read_only: boolean;
}

/** What cloud-init in the guest is told. */
export interface InitDraft {
  hostname: string;
  password: string;
  /** One key a line. */
  ssh_keys: string;
  user_data: string;
  network_data: string;
}

export interface VmDraft {
  name: string;
  image: string;
  vcpus: string;
  memory_mib: string;
  publish: PublishDraft[];
  /** Size of the disk made from the image in GiB; the image's own if empty. */
  disk_size: string;
  /** What the image asks for if empty. */
  firmware: VmFirmware | "";
  tpm: boolean;
  guest_agent: boolean;
  disks: DiskDraft[];
  /** Nothing if the guest is told nothing. */
  init: InitDraft | null;
}

/** In the place of an image: it starts from the first of the volumes that it is given. No image can be called so. */
export const NO_IMAGE = "-";

export const newVm: VmDraft = {
  name: "",
  image: "",
  vcpus: "1",
  memory_mib: "256",
  publish: [],
  disk_size: "",
  firmware: "",
  tpm: false,
  guest_agent: false,
  disks: [],
  init: null,
};

export const newInit: InitDraft = { hostname: "", password: "", ssh_keys: "", user_data: "", network_data: "" };

/** Lines of keys without empty ones and remarks. */
export function keysOf(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith("#"));
}

function initOf(draft: InitDraft, faults: Faults) {
  const ssh_keys = keysOf(draft.ssh_keys);
  const wrong = ssh_keys.find((key) => !/^(sk-)?(ssh|ecdsa)-\S+ [A-Za-z0-9+/=]{16,}/.test(key));
  if (wrong) faults["spec.init.ssh_keys"] = `This is no public key: ${wrong.slice(0, 24)}`;
  return {
    metadata: false,
    hostname: draft.hostname.trim() || null,
    password: draft.password || null,
    ssh_keys,
    user_data: draft.user_data.trim() ? draft.user_data : null,
    network_data: draft.network_data.trim() ? draft.network_data : null,
  };
}

/** What only a machine that boots from a disk has. */
function bootOf(draft: VmDraft, faults: Faults, fromCd: boolean) {
  const own = draft.image !== NO_IMAGE;
  const disk_size_mib = own ? checkSize(faults, "spec.disk_size_mib", draft.disk_size) : undefined;
  if (fromCd && !draft.disk_size.trim())
    faults["spec.disk_size_mib"] = "A CD is installed on an empty disk: give its size.";
  if (draft.tpm && draft.firmware === "bios") faults["spec.tpm"] = "A TPM needs UEFI.";
  return {
    ...(disk_size_mib === undefined ? {} : { disk_size_mib }),
    ...(draft.firmware ? { firmware: draft.firmware } : {}),
    ...(draft.tpm ? { tpm: true } : {}),
  };
}

function disksOf(draft: VmDraft, faults: Faults) {
  draft.disks.forEach(({ volume }, index) => {
    const field = `spec.disks[${index}].volume`;
    if (!volume) faults[field] = "Choose a volume.";
    else if (draft.disks.findIndex((disk) => disk.volume === volume) < index)
      faults[field] = `${volume} is given twice.`;
  });
  return draft.disks.map(({ volume, read_only }) => ({ volume, ...(read_only ? { read_only } : {}) }));
}

/**
 * `fromDisk`: whether the machine boots from a disk: one of its own, made from the image, or empty if the image is a CD
 * (`fromCd`), or without an image the first that it is given.
 */
export function checkVm(draft: VmDraft, fromDisk = false, fromCd = false): { faults: Faults; input: VmInput } {
  const faults: Faults = {};
  checkName(faults, "metadata.name", draft.name);
  const without = draft.image === NO_IMAGE;
  if (!without) checkImage(faults, "spec.image", draft.image);
  const disks = disksOf(draft, faults);
  if (without && disks.length === 0) faults["spec.image"] = "Attach the volume below that it starts from.";
  const spec = {
    ...(without ? {} : { image: draft.image }),
    vcpus: checkNumber(faults, "spec.vcpus", draft.vcpus, 1, 64),
    memory_mib: checkNumber(faults, "spec.memory_mib", draft.memory_mib, 32, 1_048_576),
    publish: checkPublish(faults, draft.publish),
    ...(fromDisk ? bootOf(draft, faults, fromCd) : {}),
    ...(disks.length > 0 ? { disks } : {}),
    ...(draft.guest_agent ? { guest_agent: true } : {}),
    ...(draft.init ? { init: initOf(draft.init, faults) } : {}),
  };
  return { faults, input: { metadata: { name: draft.name }, spec } };
}

export const vmFields = ["metadata.name", "spec.image", "spec.vcpus", "spec.memory_mib"];
const bootFields = ["spec.disk_size_mib", "spec.firmware", "spec.tpm"];
const initFields = ["hostname", "password", "ssh_keys", "user_data", "network_data"].map(
  (field) => `spec.init.${field}`,
);
const diskField = /^spec\.disks\[(\d+)\]\.volume$/;

/** Whether the form has a place to show what is wrong with a field. */
export function vmFormShows(draft: VmDraft, fromDisk: boolean) {
  const shown = [...vmFields, ...(fromDisk ? bootFields : []), ...(draft.init ? [...initFields, "spec.init"] : [])];
  const common = formShows(shown, draft.publish.length);
  return (field: string) => {
    const disk = diskField.exec(field);
    if (disk) return Number(disk[1]) < draft.disks.length;
    return common(field) || (draft.init !== null && field.startsWith("spec.init.ssh_keys["));
  };
}

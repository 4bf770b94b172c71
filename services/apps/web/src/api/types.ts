// The shapes of the node's HTTP API, by short names. They come from the committed OpenAPI description
// (config/openapi/skerry-v1.json) through schema.d.ts, which `npm run generate` writes.

import type { components } from "./schema";

type Schemas = components["schemas"];

/** The node fills in what a request may leave out, so documents that come from it have every key. */
type Full<T> = { [K in keyof T]-?: Exclude<T[K], undefined> };

export type Health = Schemas["Health"];
export type Principal = Schemas["Principal"];
export type Role = Schemas["Role"];
export type Summary = Omit<Schemas["Summary"], "claim_code">;
export type Ticket = Schemas["Ticket"];
export type Violation = Schemas["Violation"];

export type Meta = Full<Schemas["Meta"]>;
export type Condition = Schemas["Condition"];
export type Protocol = Schemas["Protocol"];
export type Publish = Full<Schemas["Publish"]>;
export type Severity = Schemas["Severity"];
export type HugePageSize = Schemas["HugePageSize"];
export type RestartPolicy = Schemas["RestartPolicy"];
export type UserNamespace = Schemas["UserNamespace"];

export type VmInput = Schemas["VmInput"];
export type VmDisk = Full<Schemas["VmDisk"]>;
export type VmFirmware = Schemas["VmFirmware"];
/** A machine that starts from what it is given has no image. */
export type VmSpec = Omit<Full<Schemas["VmSpec"]>, "publish" | "disks" | "image"> & {
  image?: string;
  publish: Publish[];
  disks: VmDisk[];
};
export type VmState = Schemas["VmState"];
export type VmStatus = Schemas["VmStatus"];
export type VmAction = Schemas["VmAction"];
export type VmActionState = Schemas["VmActionState"];

export type PodInput = Schemas["PodInput"];
/** What a container has none of, and need not say, is left out. */
type Sparse = "devices" | "huge_pages" | "privileged" | "tty";
export type Container = Omit<Full<Schemas["Container"]>, Sparse> & Pick<Schemas["Container"], Sparse>;
export type PodSpec = Omit<Full<Schemas["PodSpec"]>, "publish" | "containers"> & {
  publish: Publish[];
  containers: Container[];
};
export type PodState = Schemas["PodState"];
export type PodStatus = Schemas["PodStatus"];
export type PodStats = Schemas["PodStats"];
export type ContainerStats = Schemas["ContainerStats"];
export type PodRevision = Schemas["PodRevision"];

/** What an image's registry has no rule for is left out. */
export type ImageSpec = Omit<Full<Schemas["ImageSpec"]>, "allow_unsigned" | "signature"> &
  Pick<Schemas["ImageSpec"], "allow_unsigned" | "signature">;
export type ImageStatus = Schemas["ImageStatus"];
export type ImageInput = Schemas["ImageInput"];
export type VolumeSource = Schemas["VolumeSource"];
export type VolumeInput = Omit<Schemas["VolumeInput"], "spec"> & {
  spec: Omit<Schemas["VolumeSpec"], "source"> & { source?: Partial<VolumeSource> };
};
export type VolumeSpec = Omit<Full<Schemas["VolumeSpec"]>, "source"> & { source: VolumeSource };
export type VolumeStatus = Full<Schemas["VolumeStatus"]>;
export type PoolSpec = Full<Schemas["PoolSpec"]>;
export type PoolStatus = Full<Schemas["PoolStatus"]>;
export type SnapshotInput = Schemas["SnapshotInput"];
export type SnapshotSpec = Full<Schemas["SnapshotSpec"]>;
export type SnapshotStatus = Omit<Full<Schemas["SnapshotStatus"]>, "volumes"> & {
  volumes: Full<Schemas["SnapshotVolume"]>[];
};
export type RegistryInput = Schemas["RegistryInput"];
export type SignatureRule = Full<Schemas["SignatureRule"]>;
/** A registry without rules of signatures leaves them out. */
export type RegistrySpec = Omit<Full<Schemas["RegistrySpec"]>, "signatures"> & { signatures?: SignatureRule[] };
export type LocalRef = Schemas["LocalRef"];
export type Upload = Schemas["Upload"];
export type ImportMedium = Full<Schemas["ImportMedium"]>;
export type UploadInput = Schemas["UploadInput"];
export type JobSpec = Full<Schemas["JobSpec"]>;
export type JobStatus = Full<Schemas["JobStatus"]>;
export type AlarmSpec = Full<Schemas["AlarmSpec"]>;
export type AlarmStatus = Schemas["AlarmStatus"];

export interface Resource<Kind extends Schemas["Kind"], Spec, Status> {
  kind: Kind;
  metadata: Meta;
  spec: Spec;
  /** Null until a controller has looked at a new resource. */
  status: Status | null;
}

export type Vm = Resource<"Vm", VmSpec, VmStatus>;
export type Pod = Resource<"Pod", PodSpec, PodStatus>;
export type Image = Resource<"Image", ImageSpec, ImageStatus>;
export type Alarm = Resource<"Alarm", AlarmSpec, AlarmStatus>;
export type Job = Resource<"Job", JobSpec, JobStatus>;
export type Volume = Resource<"Volume", VolumeSpec, VolumeStatus>;
export type Pool = Resource<"Pool", PoolSpec, PoolStatus>;
export type Snapshot = Resource<"Snapshot", SnapshotSpec, SnapshotStatus>;
export type Registry = Resource<"Registry", RegistrySpec, object>;
export type AnyResource = Vm | Pod | Image | Alarm | Job | Volume | Pool | Snapshot | Registry;

export interface List<R> {
  items: R[];
  revision: number;
  next?: string | null;
}

/** A change as the watch tells it; kinds that this page does not show are passed over. */
export interface Change extends Omit<Schemas["Change"], "document"> {
  document: AnyResource;
}

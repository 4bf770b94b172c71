// The shapes of the node's HTTP API as this page uses them. The node always sends every key of a status.

export type Owner = "system" | "local" | "smo";
export type Role = "viewer" | "operator" | "admin" | "auditor";
export type Power = "running" | "stopped";
export type Protocol = "tcp" | "udp";
export type Accelerator = "kvm" | "emulation";
export type Severity = "critical" | "major" | "minor" | "warning";
export type KindName = "Vm" | "Pod" | "Image" | "Alarm";

export interface Meta {
  id: string;
  name: string;
  labels: Record<string, string>;
  generation: number;
  revision: number;
  owner: Owner;
  phase: "present" | "removing";
  finalizers: string[];
  created: string;
  updated: string;
}

export interface Condition {
  type: string;
  state: "true" | "false" | "unknown";
  reason: string;
  message: string;
  since: string;
}

export interface Resource<Kind extends KindName, Spec, Status> {
  kind: Kind;
  metadata: Meta;
  spec: Spec;
  /** Absent until a controller has looked at a new resource. */
  status?: Status | null;
}

export interface Publish {
  protocol: Protocol;
  host_port: number;
  workload_port: number;
}

export interface VmSpec {
  image: string;
  vcpus: number;
  memory_mib: number;
  power: Power;
  network: string;
  publish: Publish[];
  stop_timeout_s: number;
}

export type VmState =
  | "creating"
  | "stopped"
  | "starting"
  | "running"
  | "paused"
  | "stopping"
  | "crashed"
  | "backoff"
  | "failed"
  | "deleting";

export interface VmStatus {
  observed_generation: number;
  state: VmState;
  reason: string;
  port: string | null;
  pid: number | null;
  addresses: string[];
  accelerator: Accelerator | null;
  started_at: string | null;
  starts: number;
  crashes: number;
  next_try: string | null;
  conditions: Condition[];
}

export interface Container {
  name: string;
  image: string;
  command: string[];
  args: string[];
  env: { name: string; value: string }[];
  memory_mib: number;
  cpu_limit_m: number | null;
  pids: number;
}

export type RestartPolicy = "always" | "on_failure" | "never";

export interface PodSpec {
  containers: Container[];
  power: Power;
  restart: RestartPolicy;
  network: string;
  publish: Publish[];
  stop_timeout_s: number;
}

export type PodState =
  "pending" | "starting" | "running" | "backoff" | "stopping" | "stopped" | "succeeded" | "failed" | "deleting";

export interface ContainerStatus {
  name: string;
  state: "waiting" | "running" | "exited";
  pid: number | null;
  exit_code: number | null;
  exit_reason: string;
  restarts: number;
  started_at: string | null;
}

export interface PodStatus {
  observed_generation: number;
  state: PodState;
  reason: string;
  port: string | null;
  addresses: string[];
  containers: ContainerStatus[];
  next_try: string | null;
  conditions: Condition[];
}

export interface ImageSpec {
  format: "oci_archive" | "kernel_initrd";
  source: unknown;
  architecture: string;
  files: { role: string; path: string; sha256: string; size: number }[];
  kernel_arguments: string;
  description: string;
}

export interface ImageStatus {
  observed_generation: number;
  state: "pending" | "available" | "damaged";
  conditions: Condition[];
}

export interface AlarmSpec {
  definition: string;
  object: { kind: string; id: string } | null;
  severity: Severity;
}

export interface AlarmStatus {
  message: string;
  raised: string | null;
  changed: string | null;
  cleared: string | null;
  acknowledged: string | null;
  count: number;
}

export type Vm = Resource<"Vm", VmSpec, VmStatus>;
export type Pod = Resource<"Pod", PodSpec, PodStatus>;
export type Image = Resource<"Image", ImageSpec, ImageStatus>;
export type Alarm = Resource<"Alarm", AlarmSpec, AlarmStatus>;
export type AnyResource = Vm | Pod | Image | Alarm;

export interface List<R> {
  items: R[];
  revision: number;
  next?: string | null;
}

export interface Change {
  revision: number;
  kind: string;
  removed: boolean;
  document: AnyResource;
}

export interface Health {
  claimed: boolean;
  version: string;
  node_id: string;
  ready: boolean;
  hostname: string;
}

export interface Principal {
  username: string;
  role: Role;
}

export interface Summary {
  node_id: string;
  hostname: string;
  version: string;
  build: string;
  board: string;
  claimed: boolean;
  urls: string[];
  fingerprint: string;
  addresses: { device: string; address: string; prefix: number; origin: string }[];
  uptime_s: number;
  memory: { total: number; available: number };
  load1: number;
  cpus: number;
  accelerator: Accelerator | null;
  workloads: { vms: number; vms_running: number; pods: number; pods_running: number };
  alarms: { critical: number; major: number; minor: number; warning: number };
  store_healthy: boolean;
  ready: boolean;
}

export interface Violation {
  field: string;
  message: string;
}

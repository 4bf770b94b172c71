// Documents for tests, as a node sends them. They hold what the page reads; a node sends more.

import type {
  Alarm,
  Image,
  ImageStatus,
  Job,
  JobStatus,
  Meta,
  Pod,
  PodStatus,
  Pool,
  PoolStatus,
  Registry,
  RegistrySpec,
  Severity,
  Snapshot,
  SnapshotStatus,
  Vm,
  VmDisk,
  VmStatus,
  Volume,
  VolumeSpec,
  VolumeStatus,
} from "./api/types";

const moment = "2026-01-02T03:04:05Z";
let revision = 10;

export function meta(name: string, part: Partial<Meta> = {}): Meta {
  revision += 1;
  return {
    id: `id-${name}`,
    name,
    labels: {},
    generation: 1,
    revision,
    owner: "local",
    phase: "present",
    finalizers: [],
    created: moment,
    updated: moment,
    ...part,
  };
}

export function vm(name: string, status: Partial<VmStatus> | null = {}, part: Partial<Vm["spec"]> = {}): Vm {
  const full = {
    observed_generation: 1,
    state: "running",
    reason: "",
    port: null,
    pid: 1,
    addresses: ["10.88.0.2"],
    accelerator: "kvm",
    started_at: moment,
    starts: 1,
    crashes: 0,
    next_try: null,
    actions: [],
    conditions: [],
  } as unknown as VmStatus;
  return {
    kind: "Vm",
    metadata: meta(name),
    spec: {
      cpu: null,
      huge_pages: null,
      max_vcpus: null,
      max_memory_mib: null,
      io_threads: null,
      pci: [],
      media: [],
      host_devices: [],
      numa: null,
      queues: null,
      image: "tiny",
      vcpus: 2,
      memory_mib: 512,
      power: "running",
      request: null,
      network: "default",
      nics: [],
      publish: [{ protocol: "tcp", host_port: 8081, workload_port: 8080 }],
      stop_timeout_s: 90,
      disks: [],
      disk_size_mib: null,
      clone_of: null,
      firmware: null,
      init: null,
      guest_agent: false,
      cpu_weight: null,
      cpu_limit_percent: null,
      protected: false,
      tpm: false,
      nic_model: "virtio",
      graphics: "vnc",
      crash_policy: { action: "restart", max: 5, window_s: 600, give_up: false },
      on_guest_off: "stay_off",
      on_guest_reboot: "restart",
      autostart: "last_state",
      start_order: 500,
      start_delay_s: 0,
      ...part,
    },
    status: status && { ...full, ...status },
  };
}

export function pod(name: string, status: Partial<PodStatus> | null = {}, part: Partial<Pod["spec"]> = {}): Pod {
  const full = {
    observed_generation: 1,
    state: "running",
    reason: "",
    port: null,
    addresses: ["10.88.0.3"],
    containers: [],
    init: [],
    revision: 1,
    history: [],
    risks: [],
    next_try: null,
    conditions: [],
  } as unknown as PodStatus;
  const container = {
    command: [],
    args: [],
    env: [],
    working_dir: "",
    user: "",
    memory_mib: 64,
    memory_request_mib: null,
    cpu_limit_m: null,
    cpu_request_m: 100,
    pids: 1024,
    capabilities: { add: [], drop: [] },
    read_only_root: false,
    mounts: [],
    tmpfs: [],
    startup: null,
    liveness: null,
    readiness: null,
    stdin: false,
    memory_reservation_mib: null,
    io: null,
    log_rate: null,
  };
  return {
    kind: "Pod",
    metadata: meta(name),
    spec: {
      containers: [{ name: "main", image: "tiny", ...container }],
      init: [],
      volumes: [],
      power: "running",
      restart: "always",
      network: "default",
      host_network: false,
      user_namespace: null,
      publish: [],
      stop_timeout_s: 30,
      autostart: "last_state",
      start_order: 500,
      start_delay_s: 0,
      depends_on: [],
      request: null,
      update: { min_ready_s: 10, deadline_s: 600, rollback: true, paused: false, history: 10 },
      ...part,
    },
    status: status && { ...full, ...status },
  };
}

export function image(name: string, format: Image["spec"]["format"], state: ImageStatus["state"] = "available"): Image {
  return {
    kind: "Image",
    metadata: meta(name, { owner: "system" }),
    spec: {
      format,
      source: "built_in",
      architecture: "x86_64",
      files: [],
      kernel_arguments: "",
      description: "",
      sha256: null,
      firmware: null,
      min_memory_mib: null,
      min_disk_bytes: null,
      default_user: "",
      version: "",
      family: null,
      min_vcpus: null,
      os: "",
      pinned: false,
    },
    status: { observed_generation: 1, state, conditions: [], job: null, used_by: [], last_used: null, verified: null },
  };
}

export function job(name: string, status: Partial<JobStatus> = {}, subject: Job["spec"]["subject"] = null): Job {
  const full: JobStatus = {
    state: "running",
    stage: "fetch",
    message: "",
    reason: "",
    percent: null,
    bytes_done: null,
    bytes_total: null,
    rate: null,
    attempts: 1,
    retryable: false,
    started: moment,
    finished: null,
  };
  return {
    kind: "Job",
    metadata: meta(name),
    spec: { operation: "image.import", deadline_s: 600, abort: false, params: {}, subject },
    status: { ...full, ...status },
  };
}

export function alarm(name: string, severity: Severity, cleared: string | null = null, changed = moment): Alarm {
  return {
    kind: "Alarm",
    metadata: meta(name, { owner: "system" }),
    spec: { definition: name.toUpperCase(), object: null, severity },
    status: { message: name, raised: moment, changed, cleared, acknowledged: null, count: 1 },
  };
}

export function disk(volume: string, part: Partial<VmDisk> = {}): VmDisk {
  const limits = { bytes_per_s: null, iops: null };
  return { volume, bus: "virtio", read_only: false, boot_index: null, keep_on_delete: true, limits, ...part };
}

export function volume(name: string, part: Partial<VolumeSpec> = {}, status: Partial<VolumeStatus> = {}): Volume {
  const full = {
    state: "available",
    operation: "none",
    reason: "",
    size_bytes: 2 ** 30,
    used_bytes: 2 ** 20,
    conditions: [],
    snapshot: null,
    serial: `serial-${name}`,
  } as unknown as VolumeStatus;
  return {
    kind: "Volume",
    metadata: meta(name),
    spec: {
      allocation: "thin",
      erase_on_delete: false,
      form: "disk",
      locked: false,
      pool: "default",
      size_mib: 1024,
      source: { image: null, snapshot: null, volume: null },
      ...part,
    },
    status: { ...full, ...status },
  };
}

/** A snapshot of volumes that `volume` made, after another one. */
export function snapshot(
  name: string,
  volumes: string[],
  parent: string | null = null,
  status: Partial<SnapshotStatus> = {},
): Snapshot {
  const parts = volumes.map((each) => ({
    name: each,
    volume: `id-${each}`,
    parent: parent && `id-${parent}`,
    size_bytes: 2 ** 30,
    used_bytes: 2 ** 20,
  }));
  const full = { state: "ready", reason: "", taken: moment, guest_running: false, conditions: [], volumes: parts };
  return {
    kind: "Snapshot",
    metadata: meta(name),
    spec: { description: "", reverts: 0, vm: null, volumes },
    status: { ...(full as unknown as SnapshotStatus), ...status },
  };
}

export function pool(name: string, status: Partial<PoolStatus> = {}): Pool {
  const full = {
    state: "ready",
    reason: "",
    size_bytes: 100 * 2 ** 30,
    used_bytes: 40 * 2 ** 30,
    free_bytes: 60 * 2 ** 30,
    reserve_bytes: 10 * 2 ** 30,
    committed_bytes: 150 * 2 ** 30,
    limit_bytes: 200 * 2 ** 30,
    volumes: 2,
    snapshots: 1,
    conditions: [],
    unmanaged: [],
  } as unknown as PoolStatus;
  return {
    kind: "Pool",
    metadata: meta(name, { owner: "system" }),
    spec: { overcommit_percent: 200, source: "data_partition" },
    status: { ...full, ...status },
  };
}

export function registry(name: string, part: Partial<RegistrySpec> = {}): Registry {
  const spec = {
    host: "registry.lab:5000",
    mirrors: [],
    plain_http: false,
    ca_pem: null,
    username: null,
    ...part,
  };
  return { kind: "Registry", metadata: meta(name), spec, status: {} };
}

/** A JSON response, or a problem if the status says so. */
export function answer(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(body === undefined ? null : JSON.stringify(body), { status, headers });
}

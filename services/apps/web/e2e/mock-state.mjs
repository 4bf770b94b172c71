// The state behind the mock node: documents, a revision, and workloads that take a moment to change state.

import { randomUUID } from "node:crypto";
import * as storage from "./mock-storage.mjs";

const kinds = {
  vms: "Vm",
  pods: "Pod",
  images: "Image",
  volumes: "Volume",
  snapshots: "Snapshot",
  pools: "Pool",
  registries: "Registry",
  alarms: "Alarm",
  jobs: "Job",
};
const nameRule = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export class Problem extends Error {
  constructor(status, title, detail, violations) {
    super(detail);
    Object.assign(this, { status, title, detail, violations });
  }
}

export class NodeState {
  constructor({ step_ms = 400 } = {}) {
    this.step_ms = step_ms;
    this.revision = 100;
    this.documents = Object.fromEntries(Object.keys(kinds).map((plural) => [plural, new Map()]));
    this.listeners = new Set();
    this.started = Date.now();
    this.users = new Map();
    this.code = "ACDE-FHJK-MNPQ";
    this.nextAddress = 2;
    this.seed();
  }

  get claimed() {
    return this.users.size > 0;
  }

  seed() {
    const file = (role, size, digit) => ({
      role,
      size,
      path: `/usr/share/skerry/images/${role}`,
      sha256: digit.repeat(64),
    });
    const image = (name, format, description, files) =>
      this.put(
        "images",
        name,
        { format, source: "built_in", architecture: "x86_64", files, kernel_arguments: "", description },
        {
          observed_generation: 1,
          state: "available",
          conditions: [],
        },
      );
    image("tiny", "oci_archive", "busybox web server", [file("archive", 1_240_064, "a")]);
    image("tiny-vm", "kernel_initrd", "small Linux with a web server", [
      file("kernel", 8_912_896, "b"),
      file("initrd", 2_097_152, "c"),
    ]);
    this.put("pools", "default", { source: "data_partition", overcommit_percent: 200 }, storage.poolStatus(this));
    const now = new Date().toISOString();
    this.put(
      "alarms",
      "kvm-unusable",
      { definition: "KVM_UNUSABLE", object: null, severity: "warning" },
      {
        message:
          "KVM cannot be used: the processor does not offer virtualization. Virtual machines run under emulation.",
        raised: now,
        changed: now,
        cleared: null,
        acknowledged: null,
        count: 1,
      },
    );
    this.put(
      "alarms",
      "store-recovered",
      { definition: "STORE_RECOVERED", object: null, severity: "major" },
      {
        message: "The store was recovered from its checkpoint.",
        raised: now,
        changed: now,
        cleared: now,
        acknowledged: null,
        count: 2,
      },
    );
  }

  put(plural, name, spec, status) {
    this.revision += 1;
    const now = new Date().toISOString();
    const known = this.documents[plural].get(name);
    const metadata = known
      ? { ...known.metadata, revision: this.revision, updated: now }
      : {
          id: randomUUID(),
          name,
          labels: {},
          generation: 1,
          revision: this.revision,
          owner: plural === "images" || plural === "alarms" ? "system" : "local",
          phase: "present",
          finalizers: [],
          created: now,
          updated: now,
        };
    const document = { kind: kinds[plural], metadata, spec, status };
    this.documents[plural].set(name, document);
    this.tell(plural, document, false);
    return document;
  }

  tell(plural, document, removed) {
    for (const listener of this.listeners) {
      listener(plural, { revision: this.revision, kind: document.kind, removed, document });
    }
  }

  list(plural) {
    const items = [...this.documents[plural].values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    return { items, revision: this.revision };
  }

  find(plural, key) {
    const found =
      this.documents[plural].get(key) ?? [...this.documents[plural].values()].find((each) => each.metadata.id === key);
    if (!found) throw new Problem(404, "Not found", `There is no ${kinds[plural]} \`${key}\`.`);
    return found;
  }

  create(plural, body) {
    const name = body?.metadata?.name ?? "";
    const violations = this.check(plural, name, body?.spec ?? {});
    if (violations.length > 0) throw new Problem(422, "Invalid", "The document is not valid.", violations);
    if (this.documents[plural].has(name)) throw new Problem(409, "Conflict", `The name \`${name}\` is in use.`);
    if (storage.kinds.includes(plural)) return storage.create(this, plural, name, body.spec);
    const common = { power: "running", network: "default", publish: [], stop_timeout_s: 30 };
    const container = { command: [], args: [], env: [], memory_mib: 64, cpu_limit_m: null, pids: 1024 };
    const spec =
      plural === "vms"
        ? { vcpus: 1, memory_mib: 256, graphics: "vnc", disks: [], ...common, ...body.spec }
        : {
            restart: "always",
            init: [],
            volumes: [],
            update: { paused: false },
            ...common,
            ...body.spec,
            containers: body.spec.containers.map((c) => ({ ...container, ...c })),
          };
    const document = this.put(plural, name, spec, null);
    this.address = this.nextAddress++;
    this.walk(plural, name, [this.status(document, plural === "vms" ? "creating" : "pending"), "starting", "running"]);
    return document;
  }

  check(plural, name, spec) {
    const violations = [];
    const add = (field, message) => violations.push({ field, message });
    if (!nameRule.test(name)) add("metadata.name", "use 1 to 63 of a-z, 0-9 and -");
    if (plural !== "vms" && plural !== "pods") return violations;
    const taken = [...this.documents.vms.values(), ...this.documents.pods.values()].flatMap((each) =>
      each.spec.publish.map((publish) => [publish.host_port, each.metadata.name]),
    );
    for (const { host_port } of spec.publish ?? []) {
      const holder = taken.find(([port]) => port === host_port);
      if (holder) add("spec.publish", `${host_port} is already published by \`${holder[1]}\``);
      if ([443, 53, 67].includes(host_port)) add("spec.publish", `${host_port} is the node's own`);
    }
    if (plural === "vms" && spec.memory_mib > 4096) add("spec.memory_mib", "the node has 1490 MiB for workloads");
    return violations;
  }

  status(document, state) {
    const up = state === "running";
    const now = new Date().toISOString();
    const before = document.status;
    const common = {
      observed_generation: 1,
      state,
      reason: "",
      port: null,
      addresses: before?.addresses?.length ? before.addresses : [`10.88.0.${this.address ?? 2}`],
      next_try: null,
      conditions: [
        { type: "Ready", state: up ? "true" : "false", reason: up ? "Up" : "NotUp", message: "", since: now },
      ],
    };
    if (document.kind === "Vm") {
      return {
        ...common,
        pid: up ? 812 : null,
        accelerator: "emulation",
        started_at: up ? now : (before?.started_at ?? null),
        starts: (before?.starts ?? 0) + (up ? 1 : 0),
        crashes: 0,
      };
    }
    const containers = document.spec.containers.map(({ name }) => ({
      name,
      state: up ? "running" : "waiting",
      pid: up ? 907 : null,
      exit_code: null,
      exit_reason: "",
      restarts: 0,
      started_at: up ? now : null,
    }));
    const template = { containers: document.spec.containers, init: [], volumes: [] };
    const first = { number: 1, state: "good", at: now, reason: "", template };
    return { ...common, containers, history: before?.history ?? [first], revision: before?.revision ?? 1 };
  }

  /** Changes parts of a document: objects are merged, everything else takes the place of what was. */
  patch(plural, key, { spec }) {
    const document = this.find(plural, key);
    const merge = (old, part) =>
      part !== null && typeof part === "object" && !Array.isArray(part)
        ? Object.fromEntries(
            [...new Set([...Object.keys(old ?? {}), ...Object.keys(part)])].map((name) => [
              name,
              name in part ? merge(old?.[name], part[name]) : old[name],
            ]),
          )
        : part;
    const { name } = document.metadata;
    const next = this.put(plural, name, merge(document.spec, spec), document.status);
    if (storage.kinds.includes(plural)) storage.changed(this, plural, name);
    if (plural === "pods" && spec.containers) this.revise(name);
    return next;
  }

  /** A pod's containers have changed: one more revision. */
  revise(name) {
    const { spec, status } = this.documents.pods.get(name);
    const { containers, init, volumes } = spec;
    const number = status.revision + 1;
    const one = {
      number,
      state: "good",
      at: new Date().toISOString(),
      reason: "",
      template: { containers, init, volumes },
    };
    this.put("pods", name, spec, { ...status, revision: number, history: [...status.history, one] });
    this.walk("pods", name, ["starting", "running"]);
  }

  /** Goes through states one after the other, a step apart. */
  walk(plural, name, states) {
    const [state, ...rest] = states;
    if (state === undefined) return;
    const step = () => {
      const document = this.documents[plural].get(name);
      if (!document || document.metadata.phase === "removing") return;
      const status = typeof state === "string" ? this.status(document, state) : state;
      this.put(plural, name, document.spec, status);
      this.walk(plural, name, rest);
    };
    setTimeout(step, this.step_ms);
  }

  act(plural, key, action) {
    const document = this.find(plural, key);
    if (plural === "snapshots" && action === "revert") return storage.revert(this, document);
    const { name } = document.metadata;
    const power = action === "start" || action === "restart" ? "running" : "stopped";
    const next = this.put(plural, name, { ...document.spec, power }, document.status);
    const paths = {
      start: ["starting", "running"],
      stop: ["stopping", "stopped"],
      force_stop: ["stopped"],
      restart: ["stopping", "starting", "running"],
    };
    if (!paths[action]) throw new Problem(404, "Not found", `There is no action \`${action}\`.`);
    this.walk(plural, name, paths[action]);
    return next;
  }

  remove(plural, key) {
    const document = this.find(plural, key);
    const { name } = document.metadata;
    document.metadata = { ...document.metadata, phase: "removing" };
    const removing = this.put(plural, name, document.spec, document.status);
    setTimeout(() => {
      this.revision += 1;
      this.documents[plural].delete(name);
      this.tell(plural, { ...removing, metadata: { ...removing.metadata, revision: this.revision } }, true);
    }, this.step_ms * 2);
    return removing;
  }

  output(plural, key) {
    const { name } = this.find(plural, key).metadata;
    return plural === "vms"
      ? [
          "[    0.000000] Linux version 6.12.57 (x86_64)",
          "[    0.000000] Command line: console=ttyS0 quiet",
          "[    0.412003] virtio_net virtio0 eth0: registered",
          "[    1.204411] Run /init as init process",
          "\u001b[1;32mtiny vm\u001b[0m: eth0 has 10.88.0.3, web server on port 8080",
        ]
      : [`${name}: web server on port 8080`, "10.88.0.1 - GET / 200"];
  }

  summary() {
    const running = (plural) =>
      [...this.documents[plural].values()].filter((each) => each.status?.state === "running").length;
    const active = (severity) =>
      [...this.documents.alarms.values()].filter((each) => !each.status.cleared && each.spec.severity === severity)
        .length;
    const used = (running("vms") * 256 + running("pods") * 64 + 210) * 1024 * 1024;
    const total = 2 * 1024 ** 3;
    return {
      node_id: "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c",
      hostname: "skerry-0b6d1a52",
      version: "0.1.0",
      build: "5f2c9e1",
      board: "qemu-q35",
      claimed: this.claimed,
      urls: ["https://10.0.2.15/", "https://[fe80::5054:ff:fe12:3456]/"],
      fingerprint: "3fa85f6457174562b3fc2c963f66afa63fa85f6457174562b3fc2c963f66afa6",
      addresses: [
        { device: "enp1s0", address: "10.0.2.15", prefix: 24, origin: "dhcp" },
        { device: "enp1s0", address: "fe80::5054:ff:fe12:3456", prefix: 64, origin: "link-local" },
      ],
      uptime_s: Math.floor((Date.now() - this.started) / 1000) + 93_784,
      memory: { total, available: total - used },
      load1: 0.42,
      cpus: 2,
      accelerator: "emulation",
      workloads: {
        vms: this.documents.vms.size,
        vms_running: running("vms"),
        pods: this.documents.pods.size,
        pods_running: running("pods"),
      },
      alarms: {
        critical: active("critical"),
        major: active("major"),
        minor: active("minor"),
        warning: active("warning"),
      },
      store_healthy: true,
      ready: true,
    };
  }
}

// Volumes, snapshots, pools and registries of the mock node: they come and change a step after they were asked for.

const MIB = 1024 * 1024;

export const kinds = ["volumes", "snapshots", "pools", "registries"];

export function poolStatus(state) {
  const sizes = [...state.documents.volumes.values()].map(({ spec }) => (spec.size_mib ?? 0) * MIB);
  const [size_bytes, used_bytes] = [64 * 1024 * MIB, 20 * 1024 * MIB];
  return {
    observed_generation: 1,
    state: "ready",
    reason: "",
    size_bytes,
    used_bytes,
    free_bytes: size_bytes - used_bytes,
    reserve_bytes: size_bytes / 10,
    committed_bytes: sizes.reduce((sum, size) => sum + size, 0),
    limit_bytes: size_bytes * 2,
    volumes: sizes.length,
    snapshots: state.documents.snapshots.size,
    conditions: [],
    unmanaged: [],
  };
}

const defaults = {
  volumes: { pool: "default", form: "disk", allocation: "thin", erase_on_delete: false, locked: false, source: {} },
  snapshots: { description: "", reverts: 0, vm: null, volumes: [] },
  registries: { mirrors: [], plain_http: false, ca_pem: null, username: null },
};

export function create(state, plural, name, spec) {
  const { password: _hidden, ...shown } = spec;
  const document = state.put(plural, name, { ...defaults[plural], ...shown }, plural === "registries" ? {} : null);
  changed(state, plural, name);
  return document;
}

/** What a document says of itself a step later. */
export function changed(state, plural, name) {
  const statusOf = { volumes: volumeStatus, snapshots: snapshotStatus }[plural];
  if (!statusOf) return;
  setTimeout(() => {
    const document = state.documents[plural].get(name);
    if (!document) return;
    state.put(plural, name, document.spec, statusOf(state, document));
    const pool = state.documents.pools.get("default");
    state.put("pools", "default", pool.spec, poolStatus(state));
  }, state.step_ms);
}

function volumeStatus(state, { spec, status }) {
  const size_bytes = (spec.size_mib ?? 256) * MIB;
  return {
    conditions: [],
    used_bytes: MIB,
    reason: "",
    serial: "c0ffee",
    snapshot: null,
    ...status,
    size_bytes,
    state: "available",
    operation: "none",
  };
}

function snapshotStatus(state, { metadata, spec, status }) {
  if (status) return { ...status, state: "ready", reverts: spec.reverts };
  const volumes = spec.volumes.map((name) => {
    const volume = state.documents.volumes.get(name);
    const parent = volume.status.snapshot;
    state.put("volumes", name, volume.spec, { ...volume.status, snapshot: metadata.id });
    const { size_bytes, used_bytes } = volume.status;
    return { name, volume: volume.metadata.id, parent, size_bytes, used_bytes };
  });
  const taken = new Date().toISOString();
  return { state: "ready", reason: "", taken, volumes, conditions: [], guest_running: false, reverts: 0, frozen: [] };
}

/** What is there is kept in another snapshot first. */
export function revert(state, { metadata, spec, status }) {
  const reverts = spec.reverts + 1;
  const description = `taken before the volumes were set back to ${metadata.name}`;
  create(state, "snapshots", `before-${metadata.name}-${reverts}`, { volumes: spec.volumes, description });
  const next = state.put("snapshots", metadata.name, { ...spec, reverts }, { ...status, state: "reverting" });
  setTimeout(() => {
    for (const name of spec.volumes) {
      const volume = state.documents.volumes.get(name);
      if (volume) state.put("volumes", name, volume.spec, { ...volume.status, snapshot: metadata.id });
    }
    changed(state, "snapshots", metadata.name);
  }, state.step_ms * 2);
  return next;
}

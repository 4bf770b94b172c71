// Requests to the node. The session is a cookie that scripts cannot read; writes carry a header that other
// sites cannot send (the node refuses a write by cookie without it).

import { Refused, Unreachable, refusalFrom } from "./problem";
import type {
  Health,
  Image,
  ImageInput,
  ImportMedium,
  List,
  Pod,
  PodInput,
  PodStats,
  Principal,
  RegistryInput,
  SnapshotInput,
  Summary,
  Ticket,
  Upload,
  UploadInput,
  Vm,
  VmAction,
  VmInput,
  VolumeInput,
} from "./types";

const base = "/api/v1";
/** Longer than a busy node under emulation takes for its slowest answer. */
const patience_ms = 15_000;

export type WorkloadKind = "vms" | "pods";
export type Action = VmAction;
/** Whatever the page can delete or change by name. */
export type Collection = WorkloadKind | "images" | "jobs" | "volumes" | "snapshots" | "pools" | "registries";

interface Call {
  method?: "GET" | "POST" | "PATCH" | "DELETE";
  /** Sent as JSON, or as it is if it is bytes. */
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  query?: Record<string, string | number | boolean | undefined>;
}

export function pathOf(path: string, query: Call["query"] = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${base}${path}?${text}` : `${base}${path}`;
}

/** Sends a request and gives the good response; everything else is thrown. */
export async function send(path: string, call: Call = {}): Promise<Response> {
  const method = call.method ?? "GET";
  const headers: Record<string, string> = { accept: "application/json" };
  if (method !== "GET") headers["x-skerry-request"] = "1";
  const { body } = call;
  if (body !== undefined) headers["content-type"] = "application/json";
  Object.assign(headers, call.headers);
  let response: Response;
  try {
    response = await fetch(pathOf(path, call.query), {
      method,
      headers,
      body: body === undefined || body instanceof Blob ? body : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: call.signal ?? AbortSignal.timeout(patience_ms),
    });
  } catch (cause) {
    throw new Unreachable(cause);
  }
  if (!response.ok) throw await refusalFrom(response);
  return response;
}

async function read<T>(path: string, call: Call = {}): Promise<T> {
  const response = await send(path, call);
  try {
    return (await response.json()) as T;
  } catch (cause) {
    // Cut off in the middle, or not the node that answered.
    throw new Unreachable(cause);
  }
}

/** All resources of a kind, however many pages that takes. */
export async function listAll<R>(kind: string): Promise<List<R>> {
  const items: R[] = [];
  let revision: number | null = null;
  let next: string | undefined;
  do {
    const page: List<R> = await read(`/${kind}`, { query: { limit: 500, continue: next } });
    items.push(...page.items);
    // The first page's revision: a watch from there cannot miss what changed while the others were read.
    revision ??= page.revision;
    next = page.next ?? undefined;
  } while (next);
  return { items, revision };
}

const at = (kind: Collection, name: string) => `/${kind}/${encodeURIComponent(name)}`;

const change = (kind: Collection, name: string, body: object, revision?: number) =>
  send(at(kind, name), {
    method: "PATCH",
    body,
    headers: {
      "content-type": "application/merge-patch+json",
      ...(revision === undefined ? {} : { "if-match": `"${revision}"` }),
    },
  });

export const api = {
  health: () => read<Health>("/health"),
  session: () => read<Principal>("/session"),
  claim: (code: string, username: string, password: string) =>
    read<Principal>("/claim", { method: "POST", body: { code, username, password } }),
  login: (username: string, password: string) =>
    read<Principal>("/login", { method: "POST", body: { username, password, purpose: "page" } }),
  logout: () => send("/logout", { method: "POST" }),
  summary: () => read<Summary>("/summary"),
  list: listAll,
  createVm: (vm: VmInput) => read<Vm>("/vms", { method: "POST", body: vm }),
  /** The node makes everything else of it as it is in the other machine, and refuses an image. */
  cloneVm: (clone_of: string, name: string, start: boolean) =>
    send("/vms", {
      method: "POST",
      body: { metadata: { name }, spec: { clone_of, ...(start ? {} : { power: "stopped" }) } },
    }),
  podStats: (name: string) => read<PodStats>(`${at("pods", name)}/stats`),
  createPod: (pod: PodInput) => read<Pod>("/pods", { method: "POST", body: pod }),
  act: (kind: WorkloadKind, name: string, action: Action) =>
    send(`${at(kind, name)}/actions/${action}`, { method: "POST" }),
  remove: (kind: Collection, name: string, query?: Call["query"]) =>
    send(at(kind, name), { method: "DELETE", ...(query ? { query } : {}) }),
  /**
   * Changes parts; with a revision only if nobody has changed it since. That is for values that were made from what was
   * there: a status that goes on counts as a change, too.
   */
  patch: (kind: Collection, name: string, spec: object, revision?: number) => change(kind, name, { spec }, revision),
  rename: (kind: Collection, name: string, to: string) => change(kind, name, { metadata: { name: to } }),
  createVolume: (volume: VolumeInput) => send("/volumes", { method: "POST", body: volume }),
  createSnapshot: (snapshot: SnapshotInput) => send("/snapshots", { method: "POST", body: snapshot }),
  revert: (snapshot: string) => send(`${at("snapshots", snapshot)}/actions/revert`, { method: "POST" }),
  createRegistry: (registry: RegistryInput) => send("/registries", { method: "POST", body: registry }),
  createImage: (image: ImageInput) => read<Image>("/images", { method: "POST", body: image }),
  /** Where the node writes a container image to one archive, as it is asked for. */
  archivePath: (name: string, format: "oci" | "docker") => pathOf(`${at("images", name)}/export`, { format }),
  /** An image of a volume, or of the volume as a snapshot has it. */
  exportVolume: (name: string, volume: string, snapshot: string) =>
    read<Image>("/images", {
      method: "POST",
      body: {
        metadata: { name },
        spec: {
          format: "qcow2",
          architecture: "x86_64",
          source: { volume: { volume, ...(snapshot ? { snapshot } : {}) } },
        },
      },
    }),
  actOnJob: (name: string, action: "abort" | "retry") =>
    send(`${at("jobs", name)}/actions/${action}`, { method: "POST" }),
  /** Sticks in the node and folders of the node, with the image files on them. The node may have to mount them first. */
  media: () => read<{ items: ImportMedium[] }>("/media"),
  uploads: () => read<{ items: Upload[] }>("/uploads"),
  upload: (id: string, signal?: AbortSignal) => read<Upload>(`/uploads/${id}`, signal ? { signal } : {}),
  createUpload: (upload: UploadInput) => read<Upload>("/uploads", { method: "POST", body: upload }),
  /** Adds bytes to a file where it ends. */
  appendUpload: (id: string, offset: number, bytes: Blob, signal: AbortSignal) =>
    read<Upload>(`/uploads/${id}`, {
      method: "PATCH",
      body: bytes,
      headers: { "content-type": "application/partial-upload", "upload-offset": String(offset) },
      signal,
    }),
  removeUpload: (id: string) => send(`/uploads/${id}`, { method: "DELETE" }),
  /** For one WebSocket at this full path. */
  ticket: (path: string) => read<Ticket>("/tickets", { method: "POST", body: { path } }),
  power: (action: "restart" | "power_off") => send(`/node/actions/${action}`, { method: "POST" }),
  /** Path of a workload's output: serial console of a VM, logs of a pod. */
  outputPath: (kind: WorkloadKind, name: string) => `${at(kind, name)}/${kind === "vms" ? "serial" : "logs"}`,
  /** Path of a workload's terminal: serial line of a VM, a program in a pod. */
  terminalPath: (kind: WorkloadKind, name: string) => `${at(kind, name)}/${kind === "vms" ? "console" : "exec"}`,
  /** Path of a virtual machine's screen. */
  screenPath: (name: string) => `${at("vms", name)}/vnc`,
};

export type Api = typeof api;

/** True if the session is not, or no longer, good. */
export const isUnauthenticated = (error: unknown) => error instanceof Refused && error.status === 401;

// What the node holds, kept current: lists once, then the stream of changes; lists again whenever the stream
// broke. Also polls the summary, whose figures change without a revision, and so notices a dead connection
// that the stream would hold for alive.

import { type Api, isUnauthenticated } from "./client";
import { Refused } from "./problem";
import type {
  Alarm,
  AnyResource,
  Change,
  Image,
  Job,
  List,
  Pod,
  Pool,
  Registry,
  Snapshot,
  Summary,
  Vm,
  Volume,
} from "./types";
import type { OpenWatch, Watch } from "./watch";

export type Connection =
  | { state: "connecting" }
  | { state: "online" }
  /** `away`: no answer at all; `refusing`: something answers, but not with the node's state. */
  | { state: "lost"; how: "away" | "refusing"; since: number };

export interface LiveState {
  connection: Connection;
  /** Whether the lists were read at least once. */
  loaded: boolean;
  summary: Summary | null;
  vms: Vm[];
  pods: Pod[];
  images: Image[];
  volumes: Volume[];
  snapshots: Snapshot[];
  pools: Pool[];
  registries: Registry[];
  alarms: Alarm[];
  jobs: Job[];
}

const kinds = ["vms", "pods", "images", "volumes", "snapshots", "pools", "registries", "alarms", "jobs"] as const;
type Listed = (typeof kinds)[number];
const listOf: Record<string, Listed> = {
  Vm: "vms",
  Pod: "pods",
  Image: "images",
  Volume: "volumes",
  Snapshot: "snapshots",
  Pool: "pools",
  Registry: "registries",
  Alarm: "alarms",
  Job: "jobs",
};
/** What the summary counts. */
const counted: Listed[] = ["vms", "pods", "alarms"];

const poll_ms = 5_000;
/** Several changes in a row cause one poll. */
const soon_ms = 300;
const first_retry_ms = 500;
const longest_retry_ms = 5_000;
/** A stream that lives this long was a good one; the next retry is quick again. */
const good_stream_ms = 5_000;

export const nothing: LiveState = {
  connection: { state: "connecting" },
  loaded: false,
  summary: null,
  vms: [],
  pods: [],
  images: [],
  volumes: [],
  snapshots: [],
  pools: [],
  registries: [],
  alarms: [],
  jobs: [],
};

/** A list with one change applied: ordered by name, an older change never undoes a newer one. */
export function applied<R extends AnyResource>(list: R[], document: R, removed: boolean): R[] {
  const { id, name, revision } = document.metadata;
  const known = list.find((entry) => entry.metadata.id === id);
  if (known && known.metadata.revision > revision) return list;
  const rest = list.filter((entry) => entry.metadata.id !== id);
  if (removed) return rest;
  const place = rest.findIndex((entry) => entry.metadata.name > name);
  return place < 0 ? [...rest, document] : rest.toSpliced(place, 0, document);
}

export class Live {
  private state = nothing;
  private listeners = new Set<() => void>();
  private watch: Watch | null = null;
  private openedAt = 0;
  private retry_ms = first_retry_ms;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private poller: ReturnType<typeof setInterval> | undefined;
  private soon: ReturnType<typeof setTimeout> | undefined;
  private running = false;
  private syncing = false;
  private polling = false;

  constructor(
    private readonly api: Pick<Api, "list" | "summary">,
    private readonly openWatch: OpenWatch,
    private readonly signedOut: () => void,
  ) {}

  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };

  readonly snapshot = () => this.state;

  start() {
    if (this.running) return;
    this.running = true;
    this.poller = setInterval(() => void this.poll(), poll_ms);
    void this.sync();
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
    clearInterval(this.poller);
    clearTimeout(this.soon);
    this.watch?.close();
    this.watch = null;
  }

  /** Reads everything anew now, for the button beside the banner and after an own change. */
  readonly refresh = () => {
    this.retry_ms = first_retry_ms;
    void this.sync();
  };

  /** Asked again after every wait: the page may have been left meanwhile. */
  private stopped(): boolean {
    return !this.running;
  }

  private set(part: Partial<LiveState>) {
    this.state = { ...this.state, ...part };
    for (const listener of this.listeners) listener();
  }

  private async sync() {
    if (!this.running || this.syncing) return;
    this.syncing = true;
    clearTimeout(this.timer);
    this.watch?.close();
    this.watch = null;
    try {
      const [summary, ...lists] = await Promise.all([
        this.api.summary(),
        ...kinds.map((kind): Promise<List<AnyResource>> => this.api.list(kind)),
      ]);
      if (this.stopped()) return;
      const items = Object.fromEntries(kinds.map((kind, place) => [kind, lists[place]?.items ?? []]));
      this.set({ connection: { state: "online" }, loaded: true, summary, ...(items as Pick<LiveState, Listed>) });
      // The oldest of them: a change told twice does no harm, a missed one does.
      this.open(Math.min(...lists.map((list) => list.revision)));
    } catch (error) {
      this.failed(error);
    } finally {
      this.syncing = false;
    }
  }

  private open(after: number) {
    this.openedAt = 0;
    this.watch = this.openWatch(after, [...kinds], {
      opened: () => {
        this.openedAt = Date.now();
      },
      changed: (change) => this.change(change),
      ended: () => {
        this.watch = null;
        if (this.openedAt > 0 && Date.now() - this.openedAt > good_stream_ms) this.retry_ms = first_retry_ms;
        this.later();
      },
    });
  }

  private change(change: Change) {
    const list = listOf[change.kind];
    if (!list) return;
    const next = applied(this.state[list] as AnyResource[], change.document, change.removed);
    this.set({ [list]: next });
    // Counts in the summary follow workloads and alarms; do not let them disagree with the lists for long.
    if (counted.includes(list)) this.pollSoon();
  }

  private pollSoon() {
    this.soon ??= setTimeout(() => {
      this.soon = undefined;
      void this.poll();
    }, soon_ms);
  }

  private async poll() {
    if (!this.running || this.polling || this.syncing || !this.state.loaded) return;
    this.polling = true;
    try {
      const summary = await this.api.summary();
      if (this.stopped()) return;
      this.set({ summary });
      // An answer without a stream: the lists may be old, so they are read before the banner goes.
      if (this.state.connection.state === "lost") void this.sync();
    } catch (error) {
      this.failed(error);
    } finally {
      this.polling = false;
    }
  }

  private failed(error: unknown) {
    if (!this.running) return;
    if (isUnauthenticated(error)) {
      this.stop();
      this.signedOut();
      return;
    }
    const how = error instanceof Refused ? "refusing" : "away";
    const before = this.state.connection;
    const since = before.state === "lost" ? before.since : Date.now();
    this.set({ connection: { state: "lost", how, since } });
    this.later();
  }

  private later() {
    if (!this.running) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.sync(), this.retry_ms);
    this.retry_ms = Math.min(this.retry_ms * 2, longest_retry_ms);
  }
}

import { beforeEach, describe, expect, it, vi } from "vitest";
import { vm } from "../test-data";
import { Live, applied } from "./live";
import { Refused, Unreachable } from "./problem";
import type { Summary, Vm } from "./types";
import type { OpenWatch, WatchEvents } from "./watch";

class FakeNode {
  vms: Vm[] = [vm("a")];
  revision = 40;
  error: Error | null = null;
  streams: { after: number; kinds: string[]; events: WatchEvents; closed: boolean }[] = [];
  signedOut = vi.fn();
  summaries = 0;
  refuseStreams = false;

  api = {
    list: (kind: string) => {
      if (this.error) return Promise.reject(this.error);
      // The caller says what it expects; the fake has virtual machines and empty lists.
      return Promise.resolve({ items: (kind === "vms" ? this.vms : []) as never[], revision: this.revision });
    },
    summary: () => {
      this.summaries += 1;
      return this.error ? Promise.reject(this.error) : Promise.resolve({ hostname: "n" } as Summary);
    },
  };

  open: OpenWatch = (after, kinds, events) => {
    const stream = { after, kinds, events, closed: false };
    this.streams.push(stream);
    if (this.refuseStreams) queueMicrotask(() => events.ended());
    return { close: () => void (stream.closed = true) };
  };

  get stream() {
    const last = this.streams.at(-1);
    if (!last) throw new Error("no stream was opened");
    return last;
  }
}

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

describe("live state", () => {
  let node: FakeNode;
  let live: Live;

  beforeEach(async () => {
    vi.useFakeTimers();
    node = new FakeNode();
    live = new Live(node.api, node.open, node.signedOut);
    live.start();
    await settle();
    return () => live.stop();
  });

  it("reads the lists, then goes on from their revision", () => {
    expect(live.snapshot().connection.state).toBe("online");
    expect(live.snapshot().vms.map((each) => each.metadata.name)).toEqual(["a"]);
    expect(node.stream.after).toBe(40);
    expect(node.stream.kinds).toContain("pods");
  });

  it("applies changes and asks for the summary once for several", async () => {
    const before = node.summaries;
    for (const name of ["b", "c"]) {
      node.stream.events.changed({ revision: 41, kind: "Vm", removed: false, document: vm(name) });
    }
    await settle(1_000);
    expect(live.snapshot().vms.map((each) => each.metadata.name)).toEqual(["a", "b", "c"]);
    expect(node.summaries - before).toBe(1);
  });

  it("ignores kinds that it does not show", () => {
    const before = live.snapshot();
    node.stream.events.changed({ revision: 41, kind: "Port", removed: false, document: vm("x") });
    expect(live.snapshot()).toBe(before);
  });

  it("reads everything again after the stream ends, without crying wolf", async () => {
    node.vms = [vm("z")];
    node.revision = 90;
    node.stream.events.ended();
    expect(live.snapshot().connection.state).toBe("online");
    await settle(600);
    expect(live.snapshot().vms.map((each) => each.metadata.name)).toEqual(["z"]);
    expect(node.streams.length).toBe(2);
    expect(node.stream.after).toBe(90);
  });

  it("says when the node is away, keeps what it knew, and recovers by itself", async () => {
    node.error = new Unreachable(null);
    node.stream.events.ended();
    await settle(600);
    expect(live.snapshot().connection).toMatchObject({ state: "lost", how: "away" });
    expect(live.snapshot().vms.length).toBe(1);
    await settle(60_000);
    node.error = null;
    await settle(10_000);
    expect(live.snapshot().connection.state).toBe("online");
  });

  it("notices by the summary that a stream is only seemingly alive", async () => {
    node.error = new Unreachable(null);
    await settle(5_000);
    expect(live.snapshot().connection.state).toBe("lost");
    await settle(600);
    expect(node.streams[0]?.closed).toBe(true);
  });

  it("tells a node that refuses from one that is away", async () => {
    node.error = new Refused(503, "Unavailable", "noded does not answer");
    node.stream.events.ended();
    await settle(600);
    expect(live.snapshot().connection).toMatchObject({ state: "lost", how: "refusing" });
  });

  it("does not hammer a node that refuses streams", async () => {
    node.refuseStreams = true;
    node.stream.events.ended();
    await settle(60_000);
    expect(node.streams.length).toBeGreaterThan(5);
    expect(node.streams.length).toBeLessThan(20);
  });

  it("stops and says so when the session is gone", async () => {
    node.error = new Refused(401, "Unauthenticated", "");
    await settle(5_000);
    expect(node.signedOut).toHaveBeenCalledOnce();
    const asked = node.summaries;
    await settle(60_000);
    expect(node.summaries).toBe(asked);
  });
});

describe("applied", () => {
  it("keeps the order of names and drops what is gone", () => {
    const list = [vm("a"), vm("c")];
    const with_b = applied(list, vm("b"), false);
    expect(with_b.map((each) => each.metadata.name)).toEqual(["a", "b", "c"]);
    expect(applied(with_b, vm("b"), true).map((each) => each.metadata.name)).toEqual(["a", "c"]);
  });

  it("does not let an older change undo a newer one", () => {
    const older = vm("a", { state: "stopped" });
    const newer = vm("a", { state: "running" });
    expect(applied([newer], older, false)).toEqual([newer]);
    expect(applied([older], newer, false)).toEqual([newer]);
  });
});

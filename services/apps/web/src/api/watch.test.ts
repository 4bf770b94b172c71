import { beforeEach, describe, expect, it, vi } from "vitest";
import { vm } from "../test-data";
import { openWatch } from "./watch";

class FakeSource extends EventTarget {
  static last: FakeSource | undefined;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  onmessage: ((event: MessageEvent<string>) => void) | null = null;
  closed = false;
  constructor(readonly url: string) {
    super();
    FakeSource.last = this;
  }
  close() {
    this.closed = true;
  }
}

describe("watch", () => {
  const events = { opened: vi.fn(), changed: vi.fn(), ended: vi.fn() };
  let source: FakeSource;

  beforeEach(() => {
    vi.clearAllMocks();
    vi.stubGlobal("EventSource", FakeSource);
    openWatch(5, ["vms", "pods"], events);
    if (!FakeSource.last) throw new Error("no source");
    source = FakeSource.last;
  });

  it("asks for the kinds after the revision", () => {
    expect(source.url).toBe("/api/v1/watch?after=5&kinds=vms%2Cpods");
  });

  it("passes changes on", () => {
    const change = { revision: 6, kind: "Vm", removed: false, document: vm("a") };
    source.onmessage?.(new MessageEvent("message", { data: JSON.stringify(change) }));
    source.dispatchEvent(new MessageEvent("change", { data: JSON.stringify(change) }));
    expect(events.changed).toHaveBeenCalledTimes(2);
  });

  it("ends once on an error and does not let the browser go on from nowhere", () => {
    source.onerror?.();
    source.onerror?.();
    expect(source.closed).toBe(true);
    expect(events.ended).toHaveBeenCalledOnce();
  });

  it("ends when the node says that changes were missed", () => {
    source.dispatchEvent(new MessageEvent("gone", { data: "{}" }));
    expect(events.ended).toHaveBeenCalledOnce();
  });

  it("ends on what it cannot read rather than show something old", () => {
    source.onmessage?.(new MessageEvent("message", { data: "{" }));
    expect(events.ended).toHaveBeenCalledOnce();
    expect(source.closed).toBe(true);
  });
});

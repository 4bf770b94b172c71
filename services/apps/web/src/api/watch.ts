// One stream of changes from the node, as server-sent events. It never repairs itself: whoever opened it
// reads the lists again and opens another one, which also covers a gap (410) and an ended session (401),
// neither of which EventSource can tell apart.

import { pathOf } from "./client";
import type { Change } from "./types";

export interface WatchEvents {
  /** The stream is open. */
  opened: () => void;
  changed: (change: Change) => void;
  /** The stream ended, for whatever reason. Said once. */
  ended: () => void;
}

export interface Watch {
  close: () => void;
}

export type OpenWatch = (after: number, kinds: string[], events: WatchEvents) => Watch;

function parse(data: string): Change | null {
  try {
    const change = JSON.parse(data) as Partial<Change> | null;
    return typeof change?.revision === "number" && change.document ? (change as Change) : null;
  } catch {
    return null;
  }
}

export const openWatch: OpenWatch = (after, kinds, events) => {
  const source = new EventSource(pathOf("/watch", { after, kinds: kinds.join(",") }));
  let done = false;
  const end = () => {
    if (done) return;
    done = true;
    source.close();
    events.ended();
  };
  const change = (event: MessageEvent<string>) => {
    const found = parse(event.data);
    // What cannot be read may hide a change: start over rather than show something old.
    if (found) events.changed(found);
    else end();
  };
  source.onopen = () => events.opened();
  source.onmessage = change;
  source.addEventListener("change", change);
  source.addEventListener("gone", end);
  source.onerror = end;
  return {
    close: () => {
      done = true;
      source.close();
    },
  };
};

// Terminals over WebSockets, with the sub-protocol `skerry.terminal` of the node's API description.

import { api } from "./client";

export interface TerminalEvents {
  /** Bytes to show. */
  output: (bytes: Uint8Array) => void;
  /** It is over; why, in words for people. */
  ended: (why: string) => void;
}

export interface TerminalLink {
  /** What is typed. */
  type: (text: string) => void;
  resize: (cols: number, rows: number) => void;
  close: () => void;
}

/** Pairs of a query; a name may come more than once. */
export type Pairs = [string, string][];

const protocol = "skerry.terminal";

/**
 * Opens a terminal at a path of the API. The ticket proves the session, since a WebSocket cannot carry the header that
 * protects other requests; a failure to get one is thrown.
 */
export async function openTerminal(path: string, query: Pairs, events: TerminalEvents): Promise<TerminalLink> {
  const full = `/api/v1${path}`;
  const { ticket } = await api.ticket(full);
  const pairs = new URLSearchParams([...query, ["ticket", ticket]]);
  const address = new URL(`${full}?${pairs.toString()}`, window.location.href);
  address.protocol = address.protocol === "http:" ? "ws:" : "wss:";
  const socket = new WebSocket(address, protocol);
  socket.binaryType = "arraybuffer";
  const encoder = new TextEncoder();
  let over = false;
  const end = (why: string) => {
    if (!over) events.ended(why);
    over = true;
  };
  const say = (message: string | Uint8Array<ArrayBuffer>) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(message);
  };
  socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === "string") {
      const why = said(data);
      if (why) end(why);
    } else if (!over) {
      // The first byte tells output and error output apart; a terminal shows both.
      events.output(new Uint8Array(data, 1));
    }
  };
  socket.onclose = ({ code, reason }) => end(closed(code, reason));
  return {
    type: (text) => say(encoder.encode(text)),
    resize: (cols, rows) => say(JSON.stringify({ type: "resize", cols, rows })),
    close: () => {
      over = true;
      socket.close();
    },
  };
}

interface Said {
  type?: string;
  code?: number;
  detail?: string;
}

/** Why it is over, if the message says so. */
export function said(text: string): string {
  let message: Said;
  try {
    message = JSON.parse(text) as Said;
  } catch {
    return "";
  }
  if (message.type === "exit") {
    return message.code === 0 ? "The program has ended." : `The program has ended with code ${message.code}.`;
  }
  return message.type === "refused" ? (message.detail ?? "The node refused.") : "";
}

/** A close code in words. */
export function closed(code: number, reason: string): string {
  switch (code) {
    case 1000:
      return "The connection has ended.";
    case 1001:
      return "The node's service stops; connect again in a moment.";
    case 4401:
      return "The session has ended. Sign in again.";
    case 4408:
      return "Nothing moved for two hours, so the connection was closed.";
    default:
      return reason || "The connection was lost.";
  }
}

// Terminals over WebSockets, with the sub-protocol `skerry.terminal` of the node's API description.

import { type Pairs, closed, openSocket } from "./socket";

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

const protocol = "skerry.terminal";

/** Opens a terminal at a path of the API; a failure to get a ticket for it is thrown. */
export async function openTerminal(path: string, query: Pairs, events: TerminalEvents): Promise<TerminalLink> {
  const socket = await openSocket(path, query, protocol);
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

// WebSockets of the API.

import { api } from "./client";

/** Pairs of a query; a name may come more than once. */
export type Pairs = [string, string][];

/**
 * Opens a WebSocket at a path of the API. The ticket proves the session, since a WebSocket cannot carry the header that
 * protects other requests; a failure to get one is thrown.
 */
export async function openSocket(path: string, query: Pairs, protocol: string): Promise<WebSocket> {
  const full = `/api/v1${path}`;
  const { ticket } = await api.ticket(full);
  const pairs = new URLSearchParams([...query, ["ticket", ticket]]);
  const address = new URL(`${full}?${pairs.toString()}`, window.location.href);
  address.protocol = address.protocol === "http:" ? "ws:" : "wss:";
  const socket = new WebSocket(address, protocol);
  socket.binaryType = "arraybuffer";
  return socket;
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

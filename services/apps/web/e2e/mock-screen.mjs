// A screen of the mock node, by RFB (RFC 6143): one colour, whose red tells that Escape was pressed and whose green that
// Delete was. A mouse pointer comes with it, which the page must draw without breaking the policy.

import { accept } from "./mock-socket.mjs";

const width = 160;
const height = 90;
const pointer = -239;
const keys = { escape: 0xff1b, delete: 0xffff };

export function screen(request, socket) {
  let stage = "version";
  let unread = Buffer.alloc(0);
  let colour = [32, 32, 160, 0];
  let stale = false;
  let waits = false;
  const link = accept(request, socket, "binary", ({ kind, data }) => {
    if (kind === 8) return socket.end();
    unread = Buffer.concat([unread, data]);
    for (let size = next(); size > 0 && unread.length >= size; size = next()) {
      const message = unread.subarray(0, size);
      unread = unread.subarray(size);
      take(message);
    }
    return undefined;
  });
  link.bytes("RFB 003.008\n");

  /** The length of the next message, or 0 if it is not known yet. */
  function next() {
    if (stage === "version") return 12;
    if (stage !== "messages") return 1;
    if (unread.length < 1) return 0;
    if (unread[0] === 2) return unread.length < 4 ? 0 : 4 + 4 * unread.readUInt16BE(2);
    return { 0: 20, 3: 10, 4: 8, 5: 6 }[unread[0]] ?? 1;
  }

  function take(message) {
    switch (stage) {
      case "version":
        stage = "security";
        return link.bytes([1, 1]);
      case "security":
        stage = "init";
        return link.bytes([0, 0, 0, 0]);
      case "init":
        stage = "messages";
        return link.bytes([
          ...[0, width, 0, height],
          ...[32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0],
          ...[0, 0, 0, 4, ...Buffer.from("mock")],
        ]);
      default:
        return talk(message);
    }
  }

  function talk(message) {
    if (message[0] === 3) {
      waits = true;
      stale ||= message[1] === 0;
    }
    if (message[0] === 4 && message[1] === 1) {
      const key = message.readUInt32BE(4);
      if (key === keys.escape) colour = [255, ...colour.slice(1)];
      if (key === keys.delete) colour = [colour[0], 255, ...colour.slice(2)];
      stale = true;
    }
    if (!waits || !stale) return;
    waits = false;
    stale = false;
    const pixels = Buffer.alloc(width * height * 4, Buffer.from(colour));
    const rectangle = (x, y, w, h, encoding) => {
      const head = Buffer.alloc(12);
      [x, y, w, h].forEach((value, at) => head.writeUInt16BE(value, at * 2));
      head.writeInt32BE(encoding, 8);
      return head;
    };
    // The pointer: 2 by 2 points, and which of them are drawn.
    const arrow = Buffer.concat([Buffer.alloc(16, 255), Buffer.from([0xc0, 0xc0])]);
    link.bytes(
      Buffer.concat([
        Buffer.from([0, 0, 0, 2]),
        ...[rectangle(0, 0, width, height, 0), pixels, rectangle(0, 0, 2, 2, pointer), arrow],
      ]),
    );
  }
}

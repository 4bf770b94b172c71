// WebSockets of the mock node (RFC 6455), as much as terminals and screens need: messages below 64 KiB, no extensions.

import { createHash } from "node:crypto";

const magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Answers a handshake and calls back with each message; gives what can be sent. */
export function accept(request, socket, protocol, onMessage) {
  const answer = createHash("sha1")
    .update(request.headers["sec-websocket-key"] + magic)
    .digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Protocol: ${protocol}\r\nSec-WebSocket-Accept: ${answer}\r\n\r\n`,
  );
  let waiting = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    waiting = Buffer.concat([waiting, chunk]);
    for (let frame = take(); frame; frame = take()) onMessage(frame);
  });
  socket.on("error", () => undefined);

  function take() {
    if (waiting.length < 2) return null;
    const long = (waiting[1] & 0x7f) === 126;
    const head = long ? 8 : 6;
    if (waiting.length < head) return null;
    const length = long ? waiting.readUInt16BE(2) : waiting[1] & 0x7f;
    if (waiting.length < head + length) return null;
    const mask = waiting.subarray(head - 4, head);
    const data = Buffer.from(waiting.subarray(head, head + length).map((byte, at) => byte ^ mask[at % 4]));
    const kind = waiting[0] & 0x0f;
    waiting = waiting.subarray(head + length);
    return { kind, data };
  }

  const send = (kind, data) => {
    const head =
      data.length < 126 ? [0x80 | kind, data.length] : [0x80 | kind, 126, data.length >> 8, data.length & 255];
    socket.write(Buffer.concat([Buffer.from(head), data]));
  };
  return {
    bytes: (data) => send(2, Buffer.from(data)),
    output: (text) => send(2, Buffer.concat([Buffer.from([1]), Buffer.from(text)])),
    say: (message) => send(1, Buffer.from(JSON.stringify(message))),
    close: (code, reason) => {
      send(8, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));
      socket.end();
    },
  };
}

/** A shell that knows `exit` and gives back everything else, in colours. */
export function shell(request, socket, url) {
  let line = "";
  let size = `${url.searchParams.get("cols") ?? "-"}x${url.searchParams.get("rows") ?? "-"}`;
  const words = url.searchParams.getAll("command").join(" ");
  const link = accept(request, socket, "skerry.terminal", ({ kind, data }) => {
    if (kind === 8) return socket.end();
    if (kind === 1) {
      const { cols, rows } = JSON.parse(data.toString());
      size = `${cols}x${rows}`;
      return undefined;
    }
    if (kind !== 2) return undefined;
    for (const char of data.toString()) {
      if (char === "\x1b") continue;
      if (char !== "\r") {
        line += char;
        link.output(char);
        continue;
      }
      if (line === "exit") {
        link.say({ type: "exit", code: 3 });
        return link.close(1000, "the program has ended");
      }
      link.output(`\r\n\x1b[38;2;90;200;120myou said ${line}\x1b[0m in ${size}\r\n\x1b[1m/ # \x1b[0m`);
      line = "";
    }
    return undefined;
  });
  link.output(`${words || "serial line"}\r\n\x1b[1m/ # \x1b[0m`);
}

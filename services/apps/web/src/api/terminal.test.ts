import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { closed } from "./socket";
import { type TerminalLink, openTerminal, said } from "./terminal";

class FakeSocket {
  static last: FakeSocket;
  static readonly OPEN = 1;
  binaryType = "";
  readyState = 1;
  sent: (string | Uint8Array)[] = [];
  onmessage: (event: { data: unknown }) => void = () => undefined;
  onclose: (event: { code: number; reason: string }) => void = () => undefined;
  constructor(
    readonly url: URL,
    readonly protocol: string,
  ) {
    FakeSocket.last = this;
  }
  send(message: string | Uint8Array) {
    this.sent.push(message);
  }
  close() {
    this.readyState = 3;
    this.onclose({ code: 1005, reason: "" });
  }
}

const bytes = (text: string) => new TextEncoder().encode(text);
const ended = vi.fn();
const output = vi.fn();
let asked: { url: string; body: string }[] = [];

beforeEach(() => {
  asked = [];
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("fetch", (url: string, init: { body: string }) => {
    asked.push({ url, body: init.body });
    return Promise.resolve(new Response(JSON.stringify({ ticket: "t1", expires_in_s: 30 }), { status: 201 }));
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.clearAllMocks();
});

function open(): Promise<TerminalLink> {
  const query: [string, string][] = [
    ["tty", "true"],
    ["command", "/bin/sh"],
    ["command", "-l"],
  ];
  return openTerminal("/pods/web/exec", query, { output, ended });
}

test("a ticket for the path is shown in the handshake", async () => {
  await open();
  expect(asked).toEqual([{ url: "/api/v1/tickets", body: JSON.stringify({ path: "/api/v1/pods/web/exec" }) }]);
  const { url, protocol } = FakeSocket.last;
  expect(url.pathname).toBe("/api/v1/pods/web/exec");
  expect(url.search).toBe("?tty=true&command=%2Fbin%2Fsh&command=-l&ticket=t1");
  expect([url.protocol, protocol]).toEqual(["ws:", "skerry.terminal"]);
});

test("what is typed goes out as bytes, sizes as messages", async () => {
  const link = await open();
  link.type("ü\r");
  link.resize(80, 24);
  expect(FakeSocket.last.sent).toEqual([bytes("ü\r"), '{"type":"resize","cols":80,"rows":24}']);
});

test("output is shown without its first byte, and the end is told once", async () => {
  await open();
  const socket = FakeSocket.last;
  socket.onmessage({ data: bytes("\u0001hi").buffer });
  expect(output.mock.calls.map(([shown]) => [...(shown as Uint8Array)])).toEqual([[...bytes("hi")]]);
  socket.onmessage({ data: '{"type":"exit","code":3}' });
  socket.onclose({ code: 1000, reason: "" });
  expect(ended.mock.calls).toEqual([["The program has ended with code 3."]]);
});

test("who closes it needs no telling", async () => {
  const link = await open();
  link.close();
  link.type("late");
  expect(ended).not.toHaveBeenCalled();
  expect(FakeSocket.last.sent).toEqual([]);
});

test("ends have words", () => {
  expect(said('{"type":"refused","status":409,"detail":"it does not run"}')).toBe("it does not run");
  expect(said('{"type":"exit","code":0}')).toBe("The program has ended.");
  expect(said("x")).toBe("");
  expect(closed(4404, "there is no Pod `x`")).toBe("there is no Pod `x`");
  expect(closed(1006, "")).toBe("The connection was lost.");
  expect(closed(4401, "")).toContain("Sign in");
});

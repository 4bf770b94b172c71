import { describe, expect, it, vi } from "vitest";
import { LineCutter, readOutput } from "./output";

describe("lines", () => {
  it("are put together over chunks, with the open end apart", () => {
    const cutter = new LineCutter();
    expect(cutter.push("one\r\ntw")).toEqual(["one"]);
    expect(cutter.tail()).toBe("tw");
    expect(cutter.push("o\nlogin: ")).toEqual(["two"]);
    expect(cutter.tail()).toBe("login: ");
  });

  it("lose colours, titles and control characters, keep tabs", () => {
    expect(new LineCutter().push("\u001b[1;31mred\u001b[0m\u001b]0;title\u0007\ta\u0000b\n")).toEqual(["red\tab"]);
  });

  it("show what a progress bar has come to", () => {
    expect(new LineCutter().push("10 %\r50 %\r100 %\r\n")).toEqual(["100 %"]);
  });
});

describe("readOutput", () => {
  it("keeps characters whole that are cut between chunks", async () => {
    const bytes = new TextEncoder().encode("grün\n");
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(bytes.slice(0, 3));
        controller.enqueue(bytes.slice(3));
        controller.close();
      },
    });
    vi.stubGlobal("fetch", vi.fn().mockResolvedValue(new Response(body)));
    const lines: string[] = [];
    await readOutput(
      "/vms/a/serial",
      { tail: 10 },
      { lines: (more) => lines.push(...more) },
      new AbortController().signal,
    );
    expect(lines).toEqual(["grün"]);
  });
});

import { expect, test, vi } from "vitest";
import { Refused } from "./problem";
import type { Upload } from "./types";
import { begunWith, piece_bytes, sendFile } from "./upload";

const size = piece_bytes + 3;
const file = new Blob([new Uint8Array(size)]);
const at = (offset: number): Upload => ({ id: "u", name: "disk.raw", size, offset, complete: offset === size });
const never = new AbortController().signal;

/** A node that has so many bytes already, and refuses bytes that belong elsewhere. */
function nodeWith(have: number) {
  const sent: [number, number][] = [];
  let offset = have;
  return {
    sent,
    upload: () => Promise.resolve(at(offset)),
    appendUpload: (_id: string, from: number, bytes: Blob, signal: AbortSignal) => {
      if (signal.aborted) return Promise.reject(new Error("aborted"));
      if (from !== offset) return Promise.reject(new Refused(409, "Conflict", "elsewhere", [], null));
      sent.push([from, bytes.size]);
      offset += bytes.size;
      return Promise.resolve(at(offset));
    },
  };
}

test("a file goes in pieces, and each is told", async () => {
  const node = nodeWith(0);
  const progress = vi.fn();
  expect((await sendFile(node, "u", file, progress, never)).complete).toBe(true);
  expect(node.sent).toEqual([
    [0, piece_bytes],
    [piece_bytes, 3],
  ]);
  expect(progress.mock.calls.map(([upload]) => (upload as Upload).offset)).toEqual([0, piece_bytes, size]);
});

test("it goes on where the node's part of the file ends", async () => {
  const node = nodeWith(piece_bytes);
  await sendFile(node, "u", file, () => undefined, never);
  expect(node.sent).toEqual([[piece_bytes, 3]]);
});

test("after a lost answer the node is asked where the file ends, once", async () => {
  const node = nodeWith(piece_bytes);
  const upload = vi.fn(node.upload).mockResolvedValueOnce(at(0));
  await sendFile({ ...node, upload }, "u", file, () => undefined, never);
  expect(node.sent).toEqual([[piece_bytes, 3]]);
  const wrong = { ...node, upload: () => Promise.resolve(at(0)) };
  await expect(sendFile(wrong, "u", file, () => undefined, never)).rejects.toThrow("elsewhere");
});

test("it can be stopped", async () => {
  const stop = new AbortController();
  const node = nodeWith(0);
  await expect(sendFile(node, "u", file, () => stop.abort(), stop.signal)).rejects.toThrow("aborted");
  expect(node.sent).toEqual([]);
});

test("the same file is known by name and size", () => {
  const named = { name: "disk.raw", size };
  expect(begunWith([at(size), at(7)], named)?.offset).toBe(7);
  expect(begunWith([at(7)], { ...named, size: 1 })).toBeUndefined();
  expect(begunWith([at(7)], { ...named, name: "other.raw" })).toBeUndefined();
});

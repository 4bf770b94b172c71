import { expect, it } from "vitest";
import { bytesText, fingerprintLines, spanText } from "./format";

it("sizes", () => {
  expect([0, 1023, 1536, 256 * 1024 ** 2, 2 * 1024 ** 3].map(bytesText)).toEqual([
    "0 B",
    "1023 B",
    "1.5 KiB",
    "256 MiB",
    "2.0 GiB",
  ]);
});

it("lengths of time", () => {
  expect([0, 59, 60, 3_725, 90_061, -4].map(spanText)).toEqual(["0 s", "59 s", "1 min", "1 h 2 min", "1 d 1 h", "0 s"]);
});

it("fingerprints, in every form in which they come", () => {
  const hex = "ab".repeat(32);
  const lines = Array<string>(4).fill(Array<string>(8).fill("AB").join(":"));
  for (const form of [hex, `sha256:${hex}`, `SHA-256:${hex.toUpperCase()}`, Array<string>(32).fill("AB").join(":")]) {
    expect(fingerprintLines(form)).toEqual(lines);
  }
  expect(fingerprintLines("odd")).toEqual(["odd"]);
  expect(fingerprintLines("")).toEqual([]);
});

import { describe, expect, it } from "vitest";
import type { ContainerStats, PodStats } from "./api/types";
import { usesOf } from "./use";

const mib = 1024 * 1024;

function reading(second: number, cpu_us: number, part: Partial<ContainerStats> = {}): PodStats {
  const whole = {
    name: "main",
    cpu_us,
    memory_bytes: 3 * mib,
    memory_limit_bytes: 64 * mib,
    memory_peak_bytes: 5 * mib,
    tasks: 2,
    oom_kills: 0,
    read_bytes: mib,
    written_bytes: 0,
    throttled_us: null,
  };
  return { at: `2026-01-01T00:00:0${second}Z`, containers: [{ ...whole, ...part }] };
}

describe("what containers take", () => {
  it("is told by two readings", () => {
    expect(usesOf(reading(5, 1_500_000), reading(0, 1_000_000))).toEqual([
      {
        name: "main",
        processor: "10.0 %",
        memory: "3.0 MiB of 64.0 MiB, at most 5.0 MiB",
        tasks: "2",
        disk: "1.0 MiB read, 0 B written",
        kills: 0,
      },
    ]);
  });

  it("is not guessed", () => {
    const processor = (now: PodStats, before?: PodStats) => usesOf(now, before)[0]?.processor;
    expect(processor(reading(5, 7))).toBe("–");
    expect(processor(reading(5, 7), reading(0, 9))).toBe("–");
    expect(processor(reading(5, 7), reading(5, 7))).toBe("–");
    expect(processor(reading(5, 7), reading(0, 7, { name: "other" }))).toBe("–");
    const uncounted = { read_bytes: null, written_bytes: null, memory_limit_bytes: null };
    const [use] = usesOf(reading(5, 7, uncounted));
    expect(use?.disk).toBe("not counted");
    expect(use?.memory).toBe("3.0 MiB, at most 5.0 MiB");
  });
});

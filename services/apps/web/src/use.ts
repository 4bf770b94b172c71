// What the containers of a pod take, from two readings of the kernel's counters.

import type { ContainerStats, PodStats } from "./api/types";
import { bytesText } from "./format";

export interface Use {
  name: string;
  /** Of one processor; nothing before the second reading. */
  processor: string;
  memory: string;
  tasks: string;
  disk: string;
  kills: number;
}

export function usesOf(now: PodStats, before?: PodStats): Use[] {
  return now.containers.map((container) => ({
    name: container.name,
    processor: processorText(container, now.at, before),
    memory: memoryText(container),
    tasks: String(container.tasks),
    disk: diskText(container),
    kills: container.oom_kills,
  }));
}

function processorText({ name, cpu_us }: ContainerStats, at: string, before?: PodStats): string {
  const earlier = before?.containers.find((other) => other.name === name);
  if (!before || !earlier) return "–";
  const passed_us = (Date.parse(at) - Date.parse(before.at)) * 1000;
  // One that was started again counts from nothing.
  if (!(passed_us > 0) || cpu_us < earlier.cpu_us) return "–";
  return `${(((cpu_us - earlier.cpu_us) / passed_us) * 100).toFixed(1)} %`;
}

function memoryText({ memory_bytes, memory_limit_bytes, memory_peak_bytes }: ContainerStats): string {
  const limit = memory_limit_bytes ? ` of ${bytesText(memory_limit_bytes)}` : "";
  return `${bytesText(memory_bytes)}${limit}, at most ${bytesText(memory_peak_bytes)}`;
}

function diskText({ read_bytes, written_bytes }: ContainerStats): string {
  if (typeof read_bytes !== "number" || typeof written_bytes !== "number") return "not counted";
  return `${bytesText(read_bytes)} read, ${bytesText(written_bytes)} written`;
}

// How far a job is: its stage, its share if that is known, and what it says.

import { Progress } from "../patternfly";
import type { Job } from "../api/types";
import { bytesText } from "../format";

/** States in which there is nothing left to come. */
const over = ["completed", "failed", "aborted"];

export function isOver(job: Job): boolean {
  return over.includes(job.status?.state ?? "queued");
}

/** `1.0 MiB of 2.0 MiB, 300 KiB/s`, as much of it as is known. */
export function amountText(job: Job): string {
  const { bytes_done, bytes_total, rate } = job.status ?? {};
  if (bytes_done === undefined || bytes_done === null) return "";
  const total = bytes_total ? ` of ${bytesText(bytes_total)}` : "";
  return `${bytesText(bytes_done)}${total}${rate ? `, ${bytesText(rate)}/s` : ""}`;
}

export function JobProgress({ job, name }: { job: Job; name: string }) {
  const { percent, stage } = job.status ?? {};
  if (isOver(job)) return null;
  const amount = amountText(job);
  const text = [stage, amount].filter(Boolean).join(": ");
  return (
    <div className="sk-job">
      {typeof percent === "number" ? <Progress size="sm" value={percent} aria-label={`Progress of ${name}`} /> : null}
      {text ? <span className="sk-reason">{text}</span> : null}
    </div>
  );
}

// Checks of form fields, and the way from a refusal's violations back to the fields. The rules are those of
// the node, told early; the node has the last word.

import { Refused, explain } from "../api/problem";
import type { Publish } from "../api/types";

/** What is wrong, by field path as the node names it. */
export type Faults = Record<string, string>;

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
export const nameRule = "up to 63 of a–z, 0–9 and hyphens, no hyphen at either end";

export function checkName(faults: Faults, field: string, value: string) {
  if (!label.test(value)) faults[field] = value ? `Use ${nameRule}.` : "Give a name.";
}

/** A rule as a line of its own. */
export function hint(rule: string): string {
  return `${rule.charAt(0).toUpperCase()}${rule.slice(1)}.`;
}

/** A whole number in a range, or a fault. */
export function checkNumber(faults: Faults, field: string, text: string, low: number, high: number): number {
  const value = /^\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (!(value >= low && value <= high)) faults[field] = `Must be a whole number from ${low} to ${high}.`;
  return value;
}

export interface PublishDraft {
  protocol: "tcp" | "udp";
  host_port: string;
  workload_port: string;
}

export const emptyPublish: PublishDraft = { protocol: "tcp", host_port: "", workload_port: "" };

export function checkPublish(faults: Faults, drafts: PublishDraft[]): Publish[] {
  const seen = new Set<string>();
  return drafts.map((draft, index) => {
    const at = `spec.publish[${index}]`;
    const host_port = checkNumber(faults, `${at}.host_port`, draft.host_port, 1, 65_535);
    const workload_port = checkNumber(faults, `${at}.workload_port`, draft.workload_port, 1, 65_535);
    const key = `${draft.protocol}/${host_port}`;
    if (seen.has(key)) faults[`${at}.host_port`] = `${host_port} is given twice.`;
    seen.add(key);
    return { protocol: draft.protocol, host_port, workload_port };
  });
}

export interface FormRefusal {
  faults: Faults;
  /** What belongs to no field of the form. */
  general: string | null;
}

/** Sorts a refusal's violations to the fields that the form shows. */
export function refusalToForm(error: unknown, shows: (field: string) => boolean): FormRefusal {
  if (!(error instanceof Refused) || error.violations.length === 0) {
    return { faults: {}, general: sentence(explain(error)) };
  }
  const faults: Faults = {};
  const rest: string[] = [];
  for (const { field, message } of error.violations) {
    // The node may name a document's name with or without its parent.
    const path = field === "name" ? "metadata.name" : field;
    if (shows(path)) faults[path] ??= sentence(message);
    else rest.push(`${field}: ${message}`);
  }
  return { faults, general: rest.length > 0 ? rest.join("; ") : null };
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

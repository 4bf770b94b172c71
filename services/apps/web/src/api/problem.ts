// What can go wrong with a request: the node refused it (problem+json, RFC 9457), or no answer came.

import type { Violation } from "./types";

/** The node answered, and the answer is a refusal. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly violations: Violation[] = [],
    readonly retryAfter: number | null = null,
  ) {
    super(detail || title);
    this.name = "Refused";
  }
}

/** No answer came: the node is away, restarting, or the network between is broken. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super("The node does not answer.", { cause });
    this.name = "Unreachable";
  }
}

function violationsOf(value: unknown): Violation[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry: unknown) => {
    const { field, message } = (entry ?? {}) as Partial<Violation>;
    return typeof field === "string" && typeof message === "string" ? [{ field, message }] : [];
  });
}

/** Reads a refusal out of a response, whatever its body is. */
export async function refusalFrom(response: Response): Promise<Refused> {
  const body: unknown = await response.json().catch(() => null);
  const problem = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const text = (key: string) => (typeof problem[key] === "string" ? problem[key] : "");
  const wait = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  return new Refused(
    response.status,
    text("title") || response.statusText || `HTTP ${response.status}`,
    text("detail"),
    violationsOf(problem["violations"]),
    Number.isFinite(wait) ? wait : null,
  );
}

/** A sentence for people on any error. */
export function explain(error: unknown): string {
  if (error instanceof Refused) return error.detail || `${error.title} (${error.status})`;
  if (error instanceof Unreachable) return "The node does not answer. Nothing was changed as far as this page knows.";
  return error instanceof Error ? error.message : String(error);
}

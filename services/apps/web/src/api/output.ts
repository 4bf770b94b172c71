// Follows a text stream of the node (serial output, logs) line by line.

import { send } from "./client";

/** Escape sequences of terminals (ECMA-48) and control characters that would only clutter the text. */
const clutter =
  /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\u001b[@-_]|[\u0000-\u0008\u000b-\u001f\u007f]/g;

/** Cuts chunks into lines; a line that was begun is kept until its end comes. */
export class LineCutter {
  private rest = "";

  push(chunk: string): string[] {
    const parts = (this.rest + chunk).split("\n");
    this.rest = parts.pop() ?? "";
    return parts.map(cleaned);
  }

  /** What was begun and not ended, such as a login prompt. */
  tail(): string {
    return cleaned(this.rest);
  }
}

function cleaned(line: string): string {
  // A lone carriage return overwrites the line, as progress bars do: only what is left on screen counts.
  const shown = line.replace(/\r+$/, "").split("\r").pop() ?? "";
  return shown.replace(clutter, "");
}

export interface OutputEvents {
  lines: (lines: string[], tail: string) => void;
}

export interface OutputQuery {
  tail?: number | undefined;
  follow?: boolean | undefined;
  container?: string | undefined;
  /** A length of time before now, such as `5m`. */
  since?: string | undefined;
  timestamps?: boolean | undefined;
}

/** Reads until the stream ends or the signal says so. */
export async function readOutput(
  path: string,
  query: OutputQuery,
  events: OutputEvents,
  signal: AbortSignal,
): Promise<void> {
  const response = await send(path, { query: { ...query }, signal });
  const reader = response.body?.getReader();
  if (!reader) return;
  const decoder = new TextDecoder();
  const cutter = new LineCutter();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      events.lines(cutter.push(decoder.decode(value, { stream: true })), cutter.tail());
    }
  } finally {
    // Leaving early must also end the stream at the node.
    await reader.cancel().catch(() => undefined);
  }
}

// A state as a coloured label. The word carries the meaning; colour and icon only repeat it.

import { Label, Spinner } from "../patternfly";
import type { Tone } from "../workload";

const looks: Record<Tone, { status?: "success" | "warning" | "danger"; color?: "grey" | "blue" }> = {
  good: { status: "success" },
  busy: { color: "blue" },
  off: { color: "grey" },
  warning: { status: "warning" },
  bad: { status: "danger" },
};

export function StateLabel({ tone, label }: { tone: Tone; label: string }) {
  const busy = tone === "busy" ? { icon: <Spinner size="sm" isInline aria-label={`${label}, in progress`} /> } : {};
  return (
    <Label {...looks[tone]} {...busy} variant="outline" isCompact data-state={label}>
      {label}
    </Label>
  );
}

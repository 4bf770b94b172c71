// A field of several lines.

import { TextArea } from "../patternfly";
import { FieldFrame } from "./Field";

interface Props {
  id: string;
  label: string;
  value: string;
  onValue: (value: string) => void;
  rows?: number;
  placeholder?: string;
  fault?: string | undefined;
  rule?: string | undefined;
}

export function AreaField({ id, label, value, onValue, rows = 4, placeholder, fault, rule }: Props) {
  return (
    <FieldFrame id={id} label={label} fault={fault} rule={rule}>
      <TextArea
        id={id}
        name={id}
        className="sk-mono"
        value={value}
        onChange={(_event, text) => onValue(text)}
        validated={fault ? "error" : "default"}
        aria-describedby={fault || rule ? `${id}-help` : undefined}
        rows={rows}
        placeholder={placeholder ?? ""}
        resizeOrientation="vertical"
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
      />
    </FieldFrame>
  );
}

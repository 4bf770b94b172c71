// A field in which one of several is chosen.

import { FormSelect, FormSelectOption } from "../patternfly";
import { FieldFrame } from "./Field";

interface Props {
  id: string;
  label: string;
  /** Values with what people read. */
  options: readonly (readonly [string, string])[];
  value: string;
  onValue: (value: string) => void;
  /** Shown while nothing is chosen; without it the first is chosen. */
  placeholder?: string;
  fault?: string | undefined;
  rule?: string | undefined;
  required?: boolean;
}

export function Choice({ id, label, options, value, onValue, placeholder, fault, rule, required }: Props) {
  return (
    <FieldFrame id={id} label={label} fault={fault} rule={rule} required={required ?? false}>
      <FormSelect
        id={id}
        value={value}
        validated={fault ? "error" : "default"}
        onChange={(_event, chosen) => onValue(chosen)}
        aria-describedby={fault || rule ? `${id}-help` : undefined}
      >
        {placeholder ? <FormSelectOption value="" label={placeholder} isPlaceholder /> : null}
        {options.map(([each, text]) => (
          <FormSelectOption key={each} value={each} label={text} />
        ))}
      </FormSelect>
    </FieldFrame>
  );
}

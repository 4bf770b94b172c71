// A form field with its label, its rule, and what is wrong with it.

import { FormGroup, FormHelperText, HelperText, HelperTextItem, TextInput } from "../patternfly";
import type { ComponentProps, ReactNode } from "react";

interface Frame {
  id: string;
  label: string;
  fault?: string | undefined;
  rule?: string | undefined;
  required?: boolean;
}

export function FieldFrame({ id, label, fault, rule, required, children }: Frame & { children: ReactNode }) {
  return (
    <FormGroup label={label} fieldId={id} isRequired={required}>
      {children}
      {fault || rule ? (
        <FormHelperText>
          <HelperText id={`${id}-help`}>
            {fault ? (
              <HelperTextItem variant="error" aria-live="polite">
                {fault}
              </HelperTextItem>
            ) : (
              <HelperTextItem>{rule}</HelperTextItem>
            )}
          </HelperText>
        </FormHelperText>
      ) : null}
    </FormGroup>
  );
}

type Input = Omit<ComponentProps<typeof TextInput>, "id" | "onChange" | "value" | "label" | "ref">;

interface Text extends Frame {
  value: string;
  onValue: (value: string) => void;
  input?: Input;
}

export function TextField({ value, onValue, input, ...frame }: Text) {
  const { id, fault, rule, required } = frame;
  return (
    <FieldFrame {...frame}>
      <TextInput
        {...input}
        id={id}
        name={id}
        value={value}
        onChange={(_event, text) => onValue(text)}
        isRequired={required}
        validated={fault ? "error" : "default"}
        aria-describedby={fault || rule ? `${id}-help` : undefined}
      />
    </FieldFrame>
  );
}

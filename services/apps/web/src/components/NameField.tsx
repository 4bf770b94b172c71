// The name of something new.

import { hint, nameRule } from "../forms/fields";
import { TextField } from "./Field";

/** For what is no prose: names, addresses, digests. */
export const plain = { autoComplete: "off", autoCapitalize: "none", spellCheck: false } as const;

interface Props {
  value: string;
  fault: string | undefined;
  onValue: (name: string) => void;
}

export function NameField({ value, fault, onValue }: Props) {
  return (
    <TextField
      id="create-name"
      label="Name"
      required
      rule={hint(nameRule)}
      fault={fault}
      value={value}
      onValue={onValue}
      input={plain}
    />
  );
}

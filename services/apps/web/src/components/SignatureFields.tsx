// Which images of a registry must be signed, and by whom.

import { Button, FormFieldGroup, FormFieldGroupHeader, Switch } from "../patternfly";
import type { Faults } from "../forms/fields";
import { type RuleDraft, emptyRule } from "../forms/registry";
import { AreaField } from "./AreaField";
import { TextField } from "./Field";
import { plain } from "./NameField";

interface Props {
  rules: RuleDraft[];
  faults: Faults;
  onRules: (rules: RuleDraft[]) => void;
}

export function SignatureFields({ rules, faults, onRules }: Props) {
  const change = (index: number, part: Partial<RuleDraft>) =>
    onRules(rules.map((rule, at) => (at === index ? { ...rule, ...part } : rule)));
  const add = (
    <Button variant="secondary" size="sm" onClick={() => onRules([...rules, emptyRule])}>
      Add rule
    </Button>
  );
  return (
    <FormFieldGroup
      header={
        <FormFieldGroupHeader
          titleText={{ text: "Signatures", id: "signatures-title" }}
          titleDescription={
            faults["spec.signatures"] ??
            "Which images must be signed. Of several rules the one with the longest path counts."
          }
          actions={add}
        />
      }
    >
      {rules.map((rule, index) => {
        const at = `spec.signatures[${index}]`;
        const fault = Object.entries(faults).find(([field]) => field.startsWith(`${at}.keys`))?.[1];
        return (
          <div key={index} role="group" aria-label={`Rule ${index + 1}`}>
            <TextField
              id={`rule-${index}-prefix`}
              label="Path"
              rule="Where the rule is for, such as lab; empty: the whole registry"
              fault={faults[`${at}.prefix`]}
              value={rule.prefix}
              onValue={(prefix) => change(index, { prefix })}
              input={plain}
            />
            <AreaField
              id={`rule-${index}-keys`}
              label="Public keys (PEM)"
              rule="ECDSA on P-256 or Ed25519, as cosign makes them. A signature by one of them is enough."
              placeholder="-----BEGIN PUBLIC KEY-----"
              fault={fault}
              value={rule.keys}
              onValue={(keys) => change(index, { keys })}
            />
            <div className="sk-bar">
              <Switch
                id={`rule-${index}-require`}
                label="Refuse images without a good signature"
                isChecked={rule.require}
                onChange={(_event, require) => change(index, { require })}
              />
              <Button
                variant="plain"
                aria-label={`Remove rule ${index + 1}`}
                onClick={() => onRules(rules.filter((_rule, other) => other !== index))}
              >
                Remove
              </Button>
            </div>
          </div>
        );
      })}
    </FormFieldGroup>
  );
}

// The volumes that a new virtual machine has as further disks.

import { Button, FormFieldGroup, FormFieldGroupHeader, Switch } from "../patternfly";
import type { Faults } from "../forms/fields";
import type { DiskDraft } from "../forms/vm";
import { useNode } from "../node";
import { whyNotAttached } from "../volume";
import { Choice } from "./Choice";

interface Props {
  drafts: DiskDraft[];
  faults: Faults;
  onDrafts: (drafts: DiskDraft[]) => void;
}

export function DiskFields({ drafts, faults, onDrafts }: Props) {
  const { volumes } = useNode();
  const usable = volumes.filter((volume) => !whyNotAttached(volume)).map(({ metadata }) => metadata.name);
  const change = (index: number, part: Partial<DiskDraft>) =>
    onDrafts(drafts.map((draft, at) => (at === index ? { ...draft, ...part } : draft)));
  const add = (
    <Button
      variant="secondary"
      size="sm"
      isDisabled={usable.length === 0}
      onClick={() => onDrafts([...drafts, { volume: "", read_only: false }])}
    >
      Add disk
    </Button>
  );
  return (
    <FormFieldGroup
      header={
        <FormFieldGroupHeader
          titleText={{ text: "Disks from volumes", id: "disks-title" }}
          titleDescription={
            usable.length === 0
              ? "This node has no volume that is a disk; see Volumes."
              : "In the order in which the guest finds them."
          }
          actions={add}
        />
      }
    >
      {drafts.map((draft, index) => (
        <div className="sk-disk" key={index} role="group" aria-label={`Disk ${index + 1}`}>
          <Choice
            id={`disk-${index}`}
            label="Volume"
            required
            placeholder="Choose a volume"
            options={usable.map((name) => [name, name] as const)}
            value={draft.volume}
            fault={faults[`spec.disks[${index}].volume`]}
            onValue={(volume) => change(index, { volume })}
          />
          <Switch
            id={`disk-${index}-read-only`}
            label="Read only"
            isChecked={draft.read_only}
            onChange={(_event, read_only) => change(index, { read_only })}
          />
          <Button
            variant="plain"
            aria-label={`Remove disk ${index + 1}`}
            onClick={() => onDrafts(drafts.filter((_draft, other) => other !== index))}
          >
            Remove
          </Button>
        </div>
      ))}
    </FormFieldGroup>
  );
}

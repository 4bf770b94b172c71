// Gives a volume to a virtual machine, and takes it away again. Both work while the machine runs.

import { Switch } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import type { Vm } from "../api/types";
import { useNode } from "../node";
import { vmsWith, whyNotAttached } from "../volume";
import { Choice } from "./Choice";
import { ConfirmDialog } from "./ConfirmDialog";
import { CreateDialog } from "./CreateDialog";

interface Props {
  /** Whichever is given is not asked for. */
  volume?: string;
  vm?: string;
  onClose: () => void;
}

export function AttachDialog({ volume = "", vm = "", onClose }: Props) {
  const { vms, volumes } = useNode();
  const [chosen, setChosen] = useState({ volume, vm });
  const [read_only, setReadOnly] = useState(false);
  const machine = vms.find(({ metadata }) => metadata.name === chosen.vm);
  const check = (): Record<string, string> => {
    if (!machine) return { "spec.disks": "Choose a virtual machine." };
    return chosen.volume ? {} : { "spec.disks": "Choose a volume." };
  };
  const send = async () => {
    const disks = [...(machine?.spec.disks ?? []), { volume: chosen.volume, read_only }];
    await api.patch("vms", chosen.vm, { disks }, machine?.metadata.revision);
  };
  const machines = vms.filter(({ metadata }) => metadata.phase !== "removing");
  const has = (name: string) => vmsWith(vms, name).some(({ metadata }) => metadata.name === chosen.vm);
  const free = volumes.filter((each) => !whyNotAttached(each) && !has(each.metadata.name));
  return (
    <CreateDialog
      title={volume ? `Attach ${volume}` : `Attach a volume to ${vm}`}
      action="Attach"
      focus="#create-attach"
      check={check}
      send={send}
      shows={(field) => field.startsWith("spec.disks")}
      onClose={onClose}
    >
      {(faults) => {
        const fault = Object.values(faults)[0];
        return (
          <>
            {volume ? (
              <Choice
                id="create-attach"
                label="Virtual machine"
                required
                placeholder="Choose a virtual machine"
                options={machines.map(({ metadata: { name } }) => [name, name] as const)}
                value={chosen.vm}
                fault={fault}
                onValue={(name) => setChosen({ volume, vm: name })}
              />
            ) : (
              <Choice
                id="create-attach"
                label="Volume"
                required
                placeholder="Choose a volume"
                options={free.map(({ metadata: { name } }) => [name, name] as const)}
                value={chosen.volume}
                fault={fault}
                onValue={(name) => setChosen({ volume: name, vm })}
              />
            )}
            <Switch
              id="create-read-only"
              label="The guest may only read it"
              isChecked={read_only}
              onChange={(_event, on) => setReadOnly(on)}
            />
          </>
        );
      }}
    </CreateDialog>
  );
}

interface DetachProps {
  volume: string;
  /** Who has it. Several may, if they only read it. */
  vms: Vm[];
  onClose: () => void;
}

export function DetachDialog({ volume, vms, onClose }: DetachProps) {
  const names = vms.map(({ metadata }) => metadata.name).join(", ");
  const detach = async () => {
    for (const { metadata, spec } of vms) {
      const disks = spec.disks.filter((disk) => disk.volume !== volume);
      await api.patch("vms", metadata.name, { disks }, metadata.revision);
    }
  };
  return (
    <ConfirmDialog title={`Detach ${volume} from ${names}?`} action="Detach" onConfirm={detach} onClose={onClose}>
      The volume stays as it is. A guest that has it mounted should let go of it first.
    </ConfirmDialog>
  );
}

// Makes a virtual machine.

import { FormFieldGroup, FormFieldGroupHeader, Switch } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import type { VmFirmware } from "../api/types";
import type { Faults } from "../forms/fields";
import { type InitDraft, NO_IMAGE, type VmDraft, checkVm, newInit, newVm, vmFormShows } from "../forms/vm";
import { useNode } from "../node";
import { AreaField } from "./AreaField";
import { Choice } from "./Choice";
import { CreateDialog } from "./CreateDialog";
import { DiskFields } from "./DiskFields";
import { TextField } from "./Field";
import { ImageSelect, usableImages } from "./ImageSelect";
import { NameField, plain } from "./NameField";
import { PublishFields } from "./PublishFields";

const firmwares: [VmFirmware | "", string][] = [
  ["", "As the image asks for"],
  ["bios", "BIOS"],
  ["uefi", "UEFI"],
  ["uefi_secure", "UEFI with Secure Boot"],
];

interface PartProps {
  draft: VmDraft;
  faults: Faults;
  change: (part: Partial<VmDraft>) => void;
}

export function VmForm({ onClose }: { onClose: () => void }) {
  const images = usableImages(useNode().images, "kernel_initrd", "qcow2", "raw", "iso");
  // One image leaves nothing to choose.
  const only = images.length === 1 ? images[0] : undefined;
  const [draft, setDraft] = useState<VmDraft>({ ...newVm, image: only?.metadata.name ?? "" });
  const change = (part: Partial<VmDraft>) => setDraft((present) => ({ ...present, ...part }));
  const chosen = images.find(({ metadata }) => metadata.name === draft.image);
  const without = draft.image === NO_IMAGE;
  const fromDisk = without || (chosen !== undefined && chosen.spec.format !== "kernel_initrd");
  const fromCd = chosen?.spec.format === "iso";
  return (
    <CreateDialog
      title="Create virtual machine"
      check={() => checkVm(draft, fromDisk, fromCd).faults}
      send={() => api.createVm(checkVm(draft, fromDisk, fromCd).input)}
      shows={vmFormShows(draft, fromDisk)}
      onClose={onClose}
    >
      {(faults) => (
        <>
          <NameField value={draft.name} fault={faults["metadata.name"]} onValue={(name) => change({ name })} />
          <ImageSelect
            images={images}
            instead={[NO_IMAGE, "None: it starts from a volume"]}
            value={draft.image}
            fault={faults["spec.image"]}
            onValue={(image) => change({ image })}
          />
          <div className="sk-pair">
            <TextField
              id="create-vcpus"
              label="Virtual CPUs"
              required
              rule="1 to 64"
              fault={faults["spec.vcpus"]}
              value={draft.vcpus}
              onValue={(vcpus) => change({ vcpus })}
              input={{ inputMode: "numeric", autoComplete: "off" }}
            />
            <TextField
              id="create-memory"
              label="Memory in MiB"
              required
              rule="32 or more"
              fault={faults["spec.memory_mib"]}
              value={draft.memory_mib}
              onValue={(memory_mib) => change({ memory_mib })}
              input={{ inputMode: "numeric", autoComplete: "off" }}
            />
          </div>
          {fromDisk ? <BootFields draft={draft} fromCd={fromCd} faults={faults} change={change} /> : null}
          <DiskFields drafts={draft.disks} faults={faults} onDrafts={(disks) => change({ disks })} />
          <PublishFields drafts={draft.publish} faults={faults} onDrafts={(publish) => change({ publish })} />
          <GuestFields draft={draft} faults={faults} change={change} />
        </>
      )}
    </CreateDialog>
  );
}

/** The machine's own disk, made from the image or empty beside a CD, if it gets one, and what starts it from a disk. */
function BootFields({ draft, fromCd, faults, change }: PartProps & { fromCd: boolean }) {
  return (
    <>
      <div className="sk-pair">
        {draft.image === NO_IMAGE ? null : (
          <TextField
            id="create-disk-size"
            label="Disk size in GiB"
            required={fromCd}
            rule={fromCd ? "Of the empty disk to install on" : "Empty: the image's own"}
            fault={faults["spec.disk_size_mib"]}
            value={draft.disk_size}
            onValue={(disk_size) => change({ disk_size })}
            input={{ inputMode: "decimal", autoComplete: "off" }}
          />
        )}
        <Choice
          id="create-firmware"
          label="Firmware"
          options={firmwares}
          value={draft.firmware}
          fault={faults["spec.firmware"] ?? faults["spec.tpm"]}
          onValue={(firmware) => change({ firmware: firmware as VmFirmware | "" })}
        />
      </div>
      <Switch
        id="create-tpm"
        label="TPM 2.0, which needs UEFI; snapshots and clones leave it out"
        isChecked={draft.tpm}
        onChange={(_event, tpm) => change({ tpm })}
      />
    </>
  );
}

function GuestFields({ draft, faults, change }: PartProps) {
  const { init } = draft;
  const changeInit = (part: Partial<InitDraft>) => change({ init: { ...newInit, ...init, ...part } });
  return (
    <FormFieldGroup
      header={
        <FormFieldGroupHeader
          titleText={{ text: "Guest", id: "guest-title" }}
          titleDescription="What software in the guest is given, if it has it."
        />
      }
    >
      <Switch
        id="create-agent"
        label="Line to the QEMU guest agent"
        isChecked={draft.guest_agent}
        onChange={(_event, guest_agent) => change({ guest_agent })}
      />
      <Switch
        id="create-init"
        label="Data for cloud-init"
        isChecked={init !== null}
        onChange={(_event, on) => change({ init: on ? newInit : null })}
      />
      {init ? <InitFields init={init} faults={faults} change={changeInit} /> : null}
    </FormFieldGroup>
  );
}

interface InitProps {
  init: InitDraft;
  faults: Faults;
  change: (part: Partial<InitDraft>) => void;
}

function InitFields({ init, faults, change }: InitProps) {
  const keys = Object.entries(faults).find(([field]) => field.startsWith("spec.init.ssh_keys"))?.[1];
  return (
    <>
      <div className="sk-pair">
        <TextField
          id="create-hostname"
          label="Host name"
          rule="Empty: the machine's name"
          fault={faults["spec.init.hostname"]}
          value={init.hostname}
          onValue={(hostname) => change({ hostname })}
          input={plain}
        />
        <TextField
          id="create-guest-password"
          label="Password"
          rule="For the image's own account; never shown again"
          fault={faults["spec.init.password"]}
          value={init.password}
          onValue={(password) => change({ password })}
          input={{ type: "password", autoComplete: "new-password" }}
        />
      </div>
      <AreaField
        id="create-keys"
        label="SSH public keys"
        rows={3}
        rule="One a line, for the image's own account"
        placeholder="ssh-ed25519 AAAA… name"
        fault={keys}
        value={init.ssh_keys}
        onValue={(ssh_keys) => change({ ssh_keys })}
      />
      <AreaField
        id="create-user-data"
        label="User-data"
        rule="#cloud-config, a script, or MIME; never shown again. At most 64 KiB with the rest."
        placeholder="#cloud-config"
        fault={faults["spec.init.user_data"] ?? faults["spec.init"]}
        value={init.user_data}
        onValue={(user_data) => change({ user_data })}
      />
      <AreaField
        id="create-network-data"
        label="Network configuration"
        rows={3}
        rule="Version 1 or 2, in YAML. Empty: by DHCP."
        placeholder="version: 2"
        fault={faults["spec.init.network_data"]}
        value={init.network_data}
        onValue={(network_data) => change({ network_data })}
      />
    </>
  );
}

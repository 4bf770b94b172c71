// What is asked before a virtual machine is deleted, snapshot, cloned, rebuilt or renamed.

import { Switch } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import { type Faults, checkName } from "../forms/fields";
import { useLive, useNode } from "../node";
import { go, useRoute } from "../route";
import type { VmQuestion } from "../workload";
import { Choice } from "./Choice";
import { ConfirmDialog } from "./ConfirmDialog";
import { CreateDialog } from "./CreateDialog";
import { usableImages } from "./ImageSelect";
import { NameField } from "./NameField";
import { SnapshotDialog } from "./VolumeActions";

interface Props {
  name: string;
  onClose: () => void;
}

export function VmDialog({ question, name, onClose }: Props & { question: VmQuestion }) {
  switch (question) {
    case "snapshot":
      return <SnapshotDialog of={name} part={{ vm: name }} onClose={onClose} />;
    case "clone":
      return <CloneDialog name={name} onClose={onClose} />;
    case "rebuild":
      return <RebuildDialog name={name} onClose={onClose} />;
    case "rename":
      return <RenameDialog name={name} onClose={onClose} />;
  }
}

function checkedName(name: string): Faults {
  const faults: Faults = {};
  checkName(faults, "metadata.name", name);
  return faults;
}

const showsName = (field: string) => field === "metadata.name";

function CloneDialog({ name, onClose }: Props) {
  const [copy, setCopy] = useState("");
  const [start, setStart] = useState(true);
  return (
    <CreateDialog
      title={`Clone ${name}`}
      action="Clone"
      check={() => checkedName(copy)}
      send={() => api.cloneVm(name, copy, start)}
      shows={showsName}
      onClose={onClose}
    >
      {(faults) => (
        <>
          <NameField value={copy} fault={faults["metadata.name"]} onValue={setCopy} />
          <Switch id="create-start" label="Start it" isChecked={start} onChange={(_event, on) => setStart(on)} />
          <p className="sk-reason">
            The copy gets volumes of its own, which begin as those of {name} are and share their data. What {name}{" "}
            publishes and what its TPM keeps is not copied.
          </p>
        </>
      )}
    </CreateDialog>
  );
}

function RebuildDialog({ name, onClose }: Props) {
  const { images, vms } = useNode();
  const vm = vms.find(({ metadata }) => metadata.name === name);
  const [image, setImage] = useState("");
  // The image that it has would change nothing.
  const disks = usableImages(images, "qcow2", "raw").filter((each) => each.metadata.name !== vm?.spec.image);
  return (
    <CreateDialog
      title={`Rebuild ${name}`}
      action="Rebuild"
      focus="#create-image"
      check={(): Faults => (image ? {} : { "spec.image": "Choose an image." })}
      send={() => api.patch("vms", name, { image })}
      shows={(field) => field === "spec.image"}
      onClose={onClose}
    >
      {(faults) => (
        <Choice
          id="create-image"
          label="Disk image"
          required
          placeholder="Choose an image"
          rule="The machine begins anew from it. Its first volume is detached and stays."
          options={disks.map(({ metadata }) => [metadata.name, metadata.name] as const)}
          value={image}
          fault={faults["spec.image"]}
          onValue={setImage}
        />
      )}
    </CreateDialog>
  );
}

function RenameDialog({ name, onClose }: Props) {
  const route = useRoute();
  const [other, setOther] = useState(name);
  const send = async () => {
    await api.rename("vms", name, other);
    if (route.name === name) go("vms", other, route.tab);
  };
  return (
    <CreateDialog
      title={`Rename ${name}`}
      action="Rename"
      check={() => checkedName(other)}
      send={send}
      shows={showsName}
      onClose={onClose}
    >
      {(faults) => (
        <>
          <NameField value={other} fault={faults["metadata.name"]} onValue={setOther} />
          <p className="sk-reason">Id, addresses and volumes stay, and so does the host name that its guest goes by.</p>
        </>
      )}
    </CreateDialog>
  );
}

/** Asks before a virtual machine is deleted, and what becomes of its volumes. */
export function RemoveVmDialog({ name, onRemoved, onClose }: Props & { onRemoved: () => void }) {
  const { vms } = useNode();
  const live = useLive();
  const [volumes, setVolumes] = useState(false);
  const disks = vms.find(({ metadata }) => metadata.name === name)?.spec.disks ?? [];
  const remove = async () => {
    await api.remove("vms", name, volumes ? { delete_volumes: true } : undefined);
    live.refresh();
    onRemoved();
  };
  return (
    <ConfirmDialog title={`Delete ${name}?`} action="Delete" onConfirm={remove} onClose={onClose}>
      <p className="sk-gap-below">
        The virtual machine <strong>{name}</strong> is stopped and deleted. This cannot be undone.
      </p>
      {disks.length > 0 ? (
        <Switch
          id="confirm-volumes"
          label={`Delete its volumes, too: ${disks.map((disk) => disk.volume).join(", ")}`}
          isChecked={volumes}
          onChange={(_event, on) => setVolumes(on)}
        />
      ) : null}
    </ConfirmDialog>
  );
}

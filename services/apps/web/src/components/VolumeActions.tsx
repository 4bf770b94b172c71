// What can be done with a volume, behind one button, and the questions that come before it.

import { useState } from "react";
import { api } from "../api/client";
import type { Volume } from "../api/types";
import { type Faults, checkName } from "../forms/fields";
import { checkSize, inGib } from "../forms/volume";
import { useLive, useNode } from "../node";
import { snapshotsOf } from "../snapshots";
import {
  vmsWith,
  volumeSize,
  whyNoImage,
  whyNoSnapshot,
  whyNotAttached,
  whyNotDeleted,
  whyNotDetached,
} from "../volume";
import { AttachDialog, DetachDialog } from "./AttachDialog";
import { ConfirmDialog } from "./ConfirmDialog";
import { CreateDialog } from "./CreateDialog";
import { Choice } from "./Choice";
import { TextField } from "./Field";
import { NameField } from "./NameField";
import { useNotices } from "./Notices";
import { type RowAction, RowMenu } from "./RowMenu";

type Question = "grow" | "attach" | "detach" | "snapshot" | "export" | "remove";

export function VolumeActions({ volume, onRemoved }: { volume: Volume; onRemoved?: () => void }) {
  const node = useNode();
  const notices = useNotices();
  const [asked, setAsked] = useState<Question | null>(null);
  const { metadata, spec } = volume;
  const { name } = metadata;
  const lock = () =>
    api.patch("volumes", name, { locked: !spec.locked }).catch((error: unknown) => {
      notices.failed(`${name} was not changed`, error);
    });
  const goes = metadata.phase === "removing" ? "It is being deleted." : "";
  const actions: RowAction[] = [
    { word: "Take snapshot", why: goes || whyNoSnapshot(volume), onDo: () => setAsked("snapshot") },
    { word: "Make an image", why: goes || whyNoImage(volume), onDo: () => setAsked("export") },
    { word: "Grow", why: goes, onDo: () => setAsked("grow") },
    { word: "Attach", why: whyNotAttached(volume), onDo: () => setAsked("attach") },
    { word: "Detach", why: whyNotDetached(volume, node), onDo: () => setAsked("detach") },
    { word: spec.locked ? "Unlock" : "Lock", why: goes, onDo: () => void lock() },
    { word: "Delete", why: whyNotDeleted(volume, node), danger: true, onDo: () => setAsked("remove") },
  ];
  return (
    <>
      <RowMenu name={name} actions={actions} />
      {asked ? <Ask question={asked} volume={volume} onRemoved={onRemoved} onClose={() => setAsked(null)} /> : null}
    </>
  );
}

interface AskProps {
  question: Question;
  volume: Volume;
  onRemoved: (() => void) | undefined;
  onClose: () => void;
}

function Ask({ question, volume, onRemoved, onClose }: AskProps) {
  const { vms } = useNode();
  const live = useLive();
  const { name } = volume.metadata;
  switch (question) {
    case "grow":
      return <GrowDialog volume={volume} onClose={onClose} />;
    case "attach":
      return <AttachDialog volume={name} onClose={onClose} />;
    case "detach": {
      const holders = vmsWith(vms, name);
      return <DetachDialog volume={name} vms={holders} onClose={onClose} />;
    }
    case "snapshot":
      return <SnapshotDialog of={name} part={{ volumes: [name] }} onClose={onClose} />;
    case "export":
      return <ExportDialog volume={volume} onClose={onClose} />;
    case "remove": {
      const remove = async () => {
        await api.remove("volumes", name);
        live.refresh();
        onRemoved?.();
      };
      return (
        <ConfirmDialog title={`Delete ${name}?`} action="Delete" onConfirm={remove} onClose={onClose}>
          The volume <strong>{name}</strong> is deleted with all that is in it. Its snapshots stay until they are
          deleted, too. This cannot be undone.
        </ConfirmDialog>
      );
    }
  }
}

function GrowDialog({ volume, onClose }: { volume: Volume; onClose: () => void }) {
  const { name } = volume.metadata;
  const present = inGib(volumeSize(volume));
  const [size, setSize] = useState(present);
  const checked = () => {
    const faults: Faults = {};
    const size_mib = checkSize(faults, "spec.size_mib", size);
    if (size_mib === undefined) faults["spec.size_mib"] ??= "Give a size.";
    return { faults, spec: { size_mib } };
  };
  return (
    <CreateDialog
      title={`Grow ${name}`}
      action="Grow"
      focus="#create-size"
      check={() => checked().faults}
      send={() => api.patch("volumes", name, checked().spec)}
      shows={(field) => field === "spec.size_mib"}
      onClose={onClose}
    >
      {(faults) => (
        <TextField
          id="create-size"
          label="New size in GiB"
          required
          rule={`It has ${present} GiB and cannot shrink. A guest makes use of the new space by its own means.`}
          fault={faults["spec.size_mib"]}
          value={size}
          onValue={setSize}
          input={{ inputMode: "decimal", autoComplete: "off" }}
        />
      )}
    </CreateDialog>
  );
}

function ExportDialog({ volume, onClose }: { volume: Volume; onClose: () => void }) {
  const { snapshots } = useNode();
  const of = volume.metadata.name;
  const [name, setName] = useState("");
  const [snapshot, setSnapshot] = useState("");
  const ready = snapshotsOf(snapshots, [volume]).filter(({ status }) => status?.state === "ready");
  const check = () => {
    const faults: Faults = {};
    checkName(faults, "metadata.name", name);
    return faults;
  };
  const fields = ["spec.source.volume.snapshot", "spec.source.volume.volume"];
  return (
    <CreateDialog
      title={`Make an image of ${of}`}
      action="Make image"
      check={check}
      send={() => api.exportVolume(name, of, snapshot)}
      shows={(field) => field === "metadata.name" || fields.includes(field)}
      onClose={onClose}
    >
      {(faults) => (
        <>
          <NameField value={name} fault={faults["metadata.name"]} onValue={setName} />
          <Choice
            id="create-snapshot"
            label="Of"
            options={[
              ["", "The volume as it is now"],
              ...ready.map(({ metadata }) => [metadata.name, metadata.name] as const),
            ]}
            rule="While a machine runs with it, only a snapshot can be chosen. The copy is an image of its own."
            fault={fields.map((field) => faults[field]).find(Boolean)}
            value={snapshot}
            onValue={setSnapshot}
          />
        </>
      )}
    </CreateDialog>
  );
}

interface SnapshotProps {
  /** Name of what it is taken of. */
  of: string;
  /** The part of the document that says so. */
  part: { volumes: string[] } | { vm: string };
  onClose: () => void;
}

export function SnapshotDialog({ of, part, onClose }: SnapshotProps) {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const check = () => {
    const faults: Faults = {};
    checkName(faults, "metadata.name", name);
    return faults;
  };
  const send = () => api.createSnapshot({ metadata: { name }, spec: { ...part, description: description.trim() } });
  return (
    <CreateDialog
      title={`Take snapshot of ${of}`}
      action="Take snapshot"
      check={check}
      send={send}
      shows={(field) => ["metadata.name", "spec.description"].includes(field)}
      onClose={onClose}
    >
      {(faults) => (
        <>
          <NameField value={name} fault={faults["metadata.name"]} onValue={setName} />
          <TextField
            id="create-description"
            label="Description"
            fault={faults["spec.description"]}
            value={description}
            onValue={setDescription}
            input={{ autoComplete: "off" }}
          />
        </>
      )}
    </CreateDialog>
  );
}

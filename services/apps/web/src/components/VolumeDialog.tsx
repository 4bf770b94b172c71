// Makes a volume: empty, or with what an image, a snapshot or another volume holds.

import { useState } from "react";
import { api } from "../api/client";
import { type Beginning, type VolumeDraft, checkVolume, newVolume, volumeFields } from "../forms/volume";
import { useNode } from "../node";
import { Choice } from "./Choice";
import { CreateDialog } from "./CreateDialog";
import { TextField } from "./Field";
import { usableImages } from "./ImageSelect";
import { NameField } from "./NameField";

const forms = [
  ["disk", "Disk of a virtual machine"],
  ["folder", "Folder for containers"],
] as const;

const beginnings: [Beginning, string][] = [
  ["empty", "Nothing: it is empty"],
  ["image", "An image"],
  ["snapshot", "A snapshot"],
  ["volume", "Another volume, as it is now"],
];

interface Props {
  /** What is chosen already. */
  start?: Partial<VolumeDraft>;
  onClose: () => void;
}

export function VolumeDialog({ start, onClose }: Props) {
  const [draft, setDraft] = useState<VolumeDraft>({ ...newVolume, ...start });
  const change = (part: Partial<VolumeDraft>) => setDraft((present) => ({ ...present, ...part }));
  const { pools } = useNode();
  const isFolder = draft.form === "folder";
  const names = pools.map(({ metadata }) => metadata.name);
  return (
    <CreateDialog
      title="Create volume"
      check={() => checkVolume(draft).faults}
      send={() => api.createVolume(checkVolume(draft).input)}
      shows={(field) => volumeFields.includes(field)}
      onClose={onClose}
    >
      {(faults) => (
        <>
          <NameField value={draft.name} fault={faults["metadata.name"]} onValue={(name) => change({ name })} />
          <div className="sk-pair">
            <Choice
              id="create-form-of"
              label="What it is"
              options={forms}
              value={draft.form}
              onValue={(form) => change(form === "folder" ? { form, beginning: "empty" } : { form: "disk" })}
            />
            <Choice
              id="create-beginning"
              label="Begins with"
              options={isFolder ? beginnings.slice(0, 1) : beginnings}
              value={draft.beginning}
              fault={faults["spec.source"]}
              onValue={(value) => change({ beginning: value as Beginning, image: "", snapshot: "", volume: "" })}
            />
          </div>
          <Source draft={draft} faults={faults} change={change} />
          <div className={names.length > 1 ? "sk-pair" : ""}>
            <TextField
              id="create-size"
              label="Size in GiB"
              required={draft.beginning === "empty"}
              rule={
                draft.beginning === "empty"
                  ? "Such as 20 or 0.5; it can grow later"
                  : "Empty: as large as what it begins with"
              }
              fault={faults["spec.size_mib"] ?? faults["spec.pool"]}
              value={draft.size}
              onValue={(size) => change({ size })}
              input={{ inputMode: "decimal", autoComplete: "off" }}
            />
            {names.length > 1 ? (
              <Choice
                id="create-pool"
                label="Pool"
                options={names.map((name) => [name, name] as const)}
                value={draft.pool}
                onValue={(pool) => change({ pool })}
              />
            ) : null}
          </div>
        </>
      )}
    </CreateDialog>
  );
}

interface SourceProps {
  draft: VolumeDraft;
  faults: Record<string, string>;
  change: (part: Partial<VolumeDraft>) => void;
}

/** Which image, snapshot or volume. */
function Source({ draft, faults, change }: SourceProps) {
  const { images, snapshots, volumes } = useNode();
  const named = (items: { metadata: { name: string } }[]) =>
    items.map(({ metadata }) => [metadata.name, metadata.name] as const);
  if (draft.beginning === "image") {
    return (
      <Choice
        id="create-image"
        label="Image"
        required
        placeholder="Choose a disk image"
        options={named(usableImages(images, "qcow2", "raw"))}
        value={draft.image}
        fault={faults["spec.source.image"]}
        onValue={(image) => change({ image })}
      />
    );
  }
  if (draft.beginning === "snapshot") {
    const parts = snapshots.find(({ metadata }) => metadata.name === draft.snapshot)?.spec.volumes ?? [];
    return (
      <div className="sk-pair">
        <Choice
          id="create-snapshot"
          label="Snapshot"
          required
          placeholder="Choose a snapshot"
          options={named(snapshots.filter(({ status }) => status?.state === "ready"))}
          value={draft.snapshot}
          fault={faults["spec.source.snapshot"]}
          onValue={(snapshot) => change({ snapshot, volume: "" })}
        />
        {parts.length > 1 ? (
          <Choice
            id="create-part"
            label="Which of its volumes"
            required
            placeholder="Choose a volume"
            options={parts.map((name) => [name, name] as const)}
            value={draft.volume}
            fault={faults["spec.source.volume"]}
            onValue={(volume) => change({ volume })}
          />
        ) : null}
      </div>
    );
  }
  if (draft.beginning === "volume") {
    const disks = volumes.filter(({ spec, metadata }) => spec.form === "disk" && metadata.phase !== "removing");
    return (
      <Choice
        id="create-volume"
        label="Volume"
        required
        placeholder="Choose a volume"
        rule="No virtual machine may be running with it"
        options={named(disks)}
        value={draft.volume}
        fault={faults["spec.source.volume"]}
        onValue={(volume) => change({ volume })}
      />
    );
  }
  return null;
}

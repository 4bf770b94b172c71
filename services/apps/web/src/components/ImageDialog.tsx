// Brings an image in: a file of this computer, a file that the node fetches, one on a stick in the node or in a folder of
// the node, or a pull from a registry.

import { Button, FormSelect, FormSelectOption, Progress, Switch } from "../patternfly";
import { useEffect, useRef, useState } from "react";
import { api } from "../api/client";
import type { Upload } from "../api/types";
import { begunWith, sendFile } from "../api/upload";
import { hint, nameRule } from "../forms/fields";
import {
  type ImageDraft,
  type ImageFormat,
  type Way,
  checkImage,
  fileFormats,
  guessed,
  imageFields,
  imageInput,
  mayBeUnsigned,
  newImage,
} from "../forms/image";
import { bytesText } from "../format";
import { mayChangeNode, usePrincipal } from "../session";
import { CreateDialog } from "./CreateDialog";
import { FieldFrame, TextField } from "./Field";
import { MediumField } from "./MediumField";

const titles: Record<Way, string> = {
  upload: "Upload image",
  url: "Import image from a URL",
  registry: "Pull image from a registry",
  medium: "Import image from a stick or folder",
};
const actions: Record<Way, string> = { upload: "Upload", url: "Import", registry: "Pull", medium: "Import" };
const plain = { autoComplete: "off", autoCapitalize: "none", spellCheck: false } as const;

interface Props {
  way: Way;
  /** Uploads that were begun and not ended. */
  begun: Upload[];
  onClose: () => void;
}

export function ImageDialog({ way, begun, onClose }: Props) {
  const [draft, setDraft] = useState<ImageDraft>(newImage);
  const change = (part: Partial<ImageDraft>) => setDraft((present) => ({ ...present, ...part }));
  const sending = useSending(begun);
  const { role } = usePrincipal();
  const { file, upload } = sending;
  const send = async () => {
    const id = way === "upload" ? await sending.send(draft.sha256.trim().toLowerCase()) : "";
    await api.createImage(imageInput(draft, way, id));
  };
  const guess = (fileName: string) => ({ ...guessed(fileName), ...(draft.name ? { name: draft.name } : {}) });
  const choose = (chosen: File | null) => {
    sending.choose(chosen);
    if (chosen) change(guess(chosen.name));
  };
  return (
    <CreateDialog
      title={titles[way]}
      action={upload && !upload.complete ? "Resume" : actions[way]}
      check={() => checkImage(draft, way, file !== null)}
      send={send}
      shows={(field) => imageFields.includes(field)}
      onClose={onClose}
    >
      {(faults) => {
        const from =
          faults["spec.source"] ??
          faults["spec.source.upload"] ??
          faults["spec.source.url"] ??
          faults["spec.source.folder"] ??
          faults["spec.source.registry.reference"];
        return (
          <>
            {way === "upload" ? (
              <FileField sending={sending} fault={from} onChoose={choose} />
            ) : way === "medium" ? (
              <MediumField
                value={draft.from}
                fault={from}
                onChoose={(chosen) => change({ from: chosen, ...guess(chosen.split("/").at(-1) ?? "") })}
              />
            ) : (
              <TextField
                id="create-from"
                label={way === "url" ? "Address" : "Reference"}
                required
                rule={way === "url" ? "https:// or http://" : "Such as docker.io/library/busybox:1.36"}
                fault={from ?? faults["spec.source.registry"]}
                value={draft.from}
                onValue={(value) => change({ from: value })}
                input={plain}
              />
            )}
            <TextField
              id="create-name"
              label="Name"
              required
              rule={hint(nameRule)}
              fault={faults["metadata.name"]}
              value={draft.name}
              onValue={(name) => change({ name })}
              input={plain}
            />
            {way === "registry" ? null : (
              <FieldFrame id="create-format" label="Form" required fault={faults["spec.format"]}>
                <FormSelect
                  id="create-format"
                  value={draft.format}
                  onChange={(_event, format) => change({ format: format as ImageFormat })}
                >
                  {fileFormats.map(([value, label]) => (
                    <FormSelectOption key={value} value={value} label={label} />
                  ))}
                </FormSelect>
              </FieldFrame>
            )}
            <Words draft={draft} faults={faults} change={change} />
            {way === "registry" ? null : (
              <TextField
                id="create-sha256"
                label="SHA-256"
                required={way === "url"}
                rule={way === "url" ? "What arrives must have it" : "Checked if given"}
                fault={faults["spec.sha256"]}
                value={draft.sha256}
                onValue={(sha256) => change({ sha256 })}
                input={plain}
              />
            )}
            {mayBeUnsigned(draft, way) ? (
              <FieldFrame id="create-unsigned" label="Signature" fault={faults["spec.allow_unsigned"]}>
                <Switch
                  id="create-unsigned"
                  label="Bring it in unsigned, though a registry requires signatures (administrators only)"
                  isChecked={draft.allow_unsigned}
                  isDisabled={!mayChangeNode(role)}
                  onChange={(_event, allow_unsigned) => change({ allow_unsigned })}
                />
              </FieldFrame>
            ) : null}
          </>
        );
      }}
    </CreateDialog>
  );
}

interface WordsProps {
  draft: ImageDraft;
  faults: Record<string, string>;
  change: (part: Partial<ImageDraft>) => void;
}

function Words({ draft, faults, change }: WordsProps) {
  return (
    <div className="sk-pair">
      <TextField
        id="create-version"
        label="Version"
        fault={faults["spec.version"]}
        value={draft.version}
        onValue={(version) => change({ version })}
        input={plain}
      />
      <TextField
        id="create-description"
        label="Description"
        fault={faults["spec.description"]}
        value={draft.description}
        onValue={(description) => change({ description })}
        input={{ autoComplete: "off" }}
      />
    </div>
  );
}

interface Sending {
  file: File | null;
  upload: Upload | null;
  /** An earlier upload that this file may go on with. */
  earlier: Upload | undefined;
  goOn: boolean;
  busy: boolean;
  choose: (file: File | null) => void;
  setGoOn: (goOn: boolean) => void;
  pause: () => void;
  /** Brings the file over and gives the upload's id. */
  send: (sha256: string) => Promise<string>;
}

function useSending(begun: Upload[]): Sending {
  const [file, setFile] = useState<File | null>(null);
  const [upload, setUpload] = useState<Upload | null>(null);
  // Another file may have the same name and size: a person says that it is the same.
  const [goOn, setGoOn] = useState(false);
  const [busy, setBusy] = useState(false);
  const stop = useRef<AbortController | null>(null);
  const earlier = file ? begunWith(begun, file) : undefined;
  // Who closes the dialog pauses: what has come stays at the node.
  useEffect(() => () => stop.current?.abort(), []);
  const send = async (sha256: string) => {
    if (!file) throw new Error("Choose a file.");
    const stopper = new AbortController();
    stop.current = stopper;
    setBusy(true);
    try {
      const announce = () => api.createUpload({ name: file.name, size: file.size, ...(sha256 ? { sha256 } : {}) });
      const { id } = upload ?? (goOn ? earlier : undefined) ?? (await announce());
      return (await sendFile(api, id, file, setUpload, stopper.signal)).id;
    } catch (error) {
      if (stopper.signal.aborted) throw new Error("Paused. What has come stays at the node.", { cause: error });
      throw error;
    } finally {
      setBusy(false);
    }
  };
  const choose = (chosen: File | null) => {
    setFile(chosen);
    setUpload(null);
  };
  return { file, upload, earlier, goOn, busy, choose, setGoOn, pause: () => stop.current?.abort(), send };
}

interface FileProps {
  sending: Sending;
  fault: string | undefined;
  onChoose: (file: File | null) => void;
}

function FileField({ sending, fault, onChoose }: FileProps) {
  const { file, upload, earlier, goOn, busy } = sending;
  const percent = upload ? Math.floor((upload.offset / Math.max(1, upload.size)) * 100) : 0;
  return (
    <>
      <FieldFrame id="create-file" label="File" required fault={fault}>
        <input
          id="create-file"
          type="file"
          className="sk-file"
          disabled={busy}
          aria-invalid={fault !== undefined}
          aria-describedby={fault ? "create-file-help" : undefined}
          onChange={(event) => onChoose(event.target.files?.item(0) ?? null)}
        />
      </FieldFrame>
      {earlier && !upload ? (
        <Switch
          id="create-go-on"
          label={`Go on with the earlier upload of this file (${bytesText(earlier.offset)} are there)`}
          isChecked={goOn}
          onChange={(_event, checked) => sending.setGoOn(checked)}
        />
      ) : null}
      {file && upload ? (
        <div className="sk-upload">
          <Progress
            title={file.name}
            value={percent}
            helperText={`${bytesText(upload.offset)} of ${bytesText(upload.size)}`}
          />
          {busy && !upload.complete ? (
            <Button variant="secondary" size="sm" onClick={sending.pause}>
              Pause
            </Button>
          ) : null}
        </div>
      ) : null}
    </>
  );
}

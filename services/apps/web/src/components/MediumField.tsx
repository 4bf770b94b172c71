// A choice among the image files on sticks in the node and in folders of the node.

import { FormSelect, FormSelectOption, FormSelectOptionGroup } from "../patternfly";
import { useEffect, useState } from "react";
import { api } from "../api/client";
import type { ImportMedium } from "../api/types";
import { bytesText } from "../format";
import { FieldFrame } from "./Field";

interface Props {
  /** Medium and path, as the node wants it. */
  value: string;
  fault: string | undefined;
  onChoose: (value: string) => void;
}

export function MediumField({ value, fault, onChoose }: Props) {
  const [media, setMedia] = useState<ImportMedium[] | null>(null);
  const [failed, setFailed] = useState("");
  useEffect(() => {
    let stale = false;
    api.media().then(
      ({ items }) => {
        if (!stale) setMedia(items);
      },
      (error: unknown) => {
        if (!stale) setFailed(error instanceof Error ? error.message : "The media could not be listed.");
      },
    );
    return () => {
      stale = true;
    };
  }, []);
  const known = media ?? [];
  const none = known.every(({ files }) => files.length === 0);
  return (
    <>
      <FieldFrame id="create-medium" label="File" required fault={fault}>
        <FormSelect id="create-medium" value={value} onChange={(_event, chosen) => onChoose(chosen)}>
          <FormSelectOption
            value=""
            label={
              failed ? failed : media === null ? "Being looked for" : none ? "No image files found" : "Choose a file"
            }
            isPlaceholder
          />
          {known.map(({ kind, name, files }) => (
            <FormSelectOptionGroup key={name} label={kind === "folder" ? `Folder ${name}` : `Stick ${name}`}>
              {files.map(({ path, size_bytes }) => (
                <FormSelectOption key={path} value={`${name}/${path}`} label={`${path} (${bytesText(size_bytes)})`} />
              ))}
            </FormSelectOptionGroup>
          ))}
        </FormSelect>
      </FieldFrame>
      <ul className="sk-lines sk-reason">
        {known.map(({ name, path, reason }) =>
          reason || path ? (
            <li key={name}>{reason ? `${name}: ${reason}` : `${name} is ${path} on the node.`}</li>
          ) : null,
        )}
      </ul>
    </>
  );
}

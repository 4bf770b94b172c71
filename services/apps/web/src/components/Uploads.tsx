// Files that were begun and not ended, so that they can be gone on with or thrown away.

import { Alert, Button } from "../patternfly";
import { api } from "../api/client";
import type { Upload } from "../api/types";
import { bytesText } from "../format";
import { useNotices } from "./Notices";

export function Uploads({ uploads, onChanged }: { uploads: Upload[]; onChanged: () => void }) {
  const notices = useNotices();
  const discard = async ({ id, name }: Upload) => {
    try {
      await api.removeUpload(id);
    } catch (error) {
      notices.failed(`The upload of ${name} was not discarded`, error);
    }
    onChanged();
  };
  if (uploads.length === 0) return null;
  return (
    <Alert variant="info" isInline title="Unfinished uploads" component="h2" className="sk-gap-below">
      <p>Choose the same file again under Upload to go on.</p>
      <ul className="sk-lines" aria-label="Unfinished uploads">
        {uploads.map((upload) => (
          <li key={upload.id}>
            {upload.name}: {bytesText(upload.offset)} of {bytesText(upload.size)}{" "}
            <Button
              variant="link"
              isInline
              onClick={() => void discard(upload)}
              aria-label={`Discard the upload of ${upload.name}`}
            >
              Discard
            </Button>
          </li>
        ))}
      </ul>
    </Alert>
  );
}

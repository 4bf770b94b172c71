// Brings a file to the node in pieces. What has come stays there, so that a broken connection, a pause or a reload of the
// page costs one piece at most.

import type { Api } from "./client";
import { Refused } from "./problem";
import type { Upload } from "./types";

/** Small enough that progress is seen and that little is sent twice. */
export const piece_bytes = 4 * 1024 * 1024;
/** For one piece over a slow line. */
const patience_ms = 120_000;

/** Sends what the node does not have yet, until the file is whole. Throws when it is stopped or the connection breaks. */
export async function sendFile(
  api: Pick<Api, "upload" | "appendUpload">,
  id: string,
  file: Blob,
  progress: (upload: Upload) => void,
  signal: AbortSignal,
): Promise<Upload> {
  const patience = () => AbortSignal.any([signal, AbortSignal.timeout(patience_ms)]);
  let upload = await api.upload(id, patience());
  let told = false;
  progress(upload);
  while (!upload.complete) {
    const { offset } = upload;
    try {
      upload = await api.appendUpload(id, offset, file.slice(offset, offset + piece_bytes), patience());
      told = false;
    } catch (error) {
      // The file ends elsewhere than was thought, as after an answer that was lost: the node is asked, once.
      if (told || !(error instanceof Refused) || error.status !== 409) throw error;
      told = true;
      upload = await api.upload(id, patience());
    }
    progress(upload);
  }
  return upload;
}

/** The unfinished upload that the same file was begun with, as far as name and size can tell. */
export function begunWith(uploads: Upload[], file: { name: string; size: number }): Upload | undefined {
  return uploads.find(({ name, size, complete }) => !complete && name === file.name && size === file.size);
}

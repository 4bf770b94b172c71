// Images that workloads can start from, and ways to bring in more.

import { Button, EmptyState, EmptyStateBody, PageSection, Table, Tbody, Td, Th, Thead, Title, Tr } from "../patternfly";
import { useCallback, useEffect, useState } from "react";
import { api } from "../api/client";
import type { Image, Upload } from "../api/types";
import { ConfirmDialog } from "../components/ConfirmDialog";
import { CopyText } from "../components/CopyText";
import { ImageDialog } from "../components/ImageDialog";
import { JobProgress } from "../components/JobProgress";
import { Loading } from "../components/Loading";
import { useNotices } from "../components/Notices";
import { RowMenu } from "../components/RowMenu";
import { StateLabel } from "../components/StateLabel";
import { Uploads } from "../components/Uploads";
import { Lines } from "../components/WorkloadTable";
import type { Way } from "../forms/image";
import { bytesText } from "../format";
import { useLive, useNode } from "../node";
import { nameOf } from "../refs";
import { mayChangeWorkloads, usePrincipal } from "../session";
import type { Tone } from "../workload";

const states: Record<string, [string, Tone]> = {
  pending: ["Being checked", "busy"],
  available: ["Available", "good"],
  receiving: ["Being brought in", "busy"],
  quarantined: ["Damaged", "bad"],
  failed: ["Not brought in", "bad"],
};

const formats: Record<string, string> = {
  oci_archive: "Container (OCI)",
  kernel_initrd: "Virtual machine (kernel)",
  qcow2: "Virtual machine (qcow2)",
  raw: "Virtual machine (raw)",
  vmdk: "Virtual machine (vmdk)",
  vdi: "Virtual machine (vdi)",
  iso: "CD for virtual machines",
};

/** Leaves it to the browser, which has the session's cookie, keeps what comes in no memory, and names the file. */
function download(path: string) {
  const link = document.createElement("a");
  link.href = path;
  link.download = "";
  link.click();
}

/** Unfinished uploads; they are no resources, so that nothing tells of their changes. */
function useUploads(wanted: boolean): [Upload[], () => void] {
  const [uploads, setUploads] = useState<Upload[]>([]);
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    if (!wanted) return;
    let stale = false;
    api.uploads().then(
      ({ items }) => {
        if (!stale) setUploads(items.filter(({ complete }) => !complete));
      },
      // Only a help: the list of images says it when the node is away.
      () => undefined,
    );
    return () => {
      stale = true;
    };
  }, [wanted, asked]);
  return [uploads, useCallback(() => setAsked((number) => number + 1), [])];
}

export function Images() {
  const { images, loaded } = useNode();
  const { role } = usePrincipal();
  const live = useLive();
  const mayChange = mayChangeWorkloads(role);
  const [way, setWay] = useState<Way | null>(null);
  const [removing, setRemoving] = useState<Image | null>(null);
  const [uploads, lookAgain] = useUploads(mayChange);
  const close = () => {
    setWay(null);
    lookAgain();
  };
  const remove = async (name: string) => {
    await api.remove("images", name);
    live.refresh();
  };
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Images</Title>
      </PageSection>
      <PageSection isFilled>
        {mayChange ? (
          <div className="sk-bar sk-bar-start">
            <Button onClick={() => setWay("upload")}>Upload</Button>
            <Button variant="secondary" onClick={() => setWay("url")}>
              Import from a URL
            </Button>
            <Button variant="secondary" onClick={() => setWay("medium")}>
              Import from a stick or folder
            </Button>
            <Button variant="secondary" onClick={() => setWay("registry")}>
              Pull from a registry
            </Button>
          </div>
        ) : null}
        <Uploads uploads={uploads} onChanged={lookAgain} />
        {!loaded ? (
          <Loading />
        ) : images.length === 0 ? (
          <EmptyState titleText="No images" headingLevel="h2">
            <EmptyStateBody>
              The images built into the node are registered when its services have started.
            </EmptyStateBody>
          </EmptyState>
        ) : (
          <Table aria-label="Images" variant="compact" gridBreakPoint="grid-lg">
            <Thead>
              <Tr>
                <Th>Name</Th>
                <Th>State</Th>
                <Th>For</Th>
                <Th modifier="nowrap">Version</Th>
                <Th modifier="nowrap">Size</Th>
                <Th modifier="nowrap">Used by</Th>
                <Th>SHA-256</Th>
                {mayChange ? <Th screenReaderText="Actions" /> : null}
              </Tr>
            </Thead>
            <Tbody>
              {images.map((image) => (
                <ImageRow
                  key={image.metadata.id}
                  image={image}
                  mayChange={mayChange}
                  onRemove={() => setRemoving(image)}
                />
              ))}
            </Tbody>
          </Table>
        )}
      </PageSection>
      {way ? <ImageDialog way={way} begun={uploads} onClose={close} /> : null}
      {removing ? (
        <ConfirmDialog
          title={`Delete ${removing.metadata.name}?`}
          action="Delete"
          onConfirm={() => remove(removing.metadata.name)}
          onClose={() => setRemoving(null)}
        >
          The image <strong>{removing.metadata.name}</strong> is deleted from this node. This cannot be undone.
        </ConfirmDialog>
      ) : null}
    </>
  );
}

interface RowProps {
  image: Image;
  mayChange: boolean;
  onRemove: () => void;
}

function ImageRow({ image, mayChange, onRemove }: RowProps) {
  const { metadata, spec, status } = image;
  const node = useNode();
  return (
    <Tr>
      <Td dataLabel="Name">
        <div className="sk-state">
          <strong>{metadata.name}</strong>
          {spec.description ? <span className="sk-reason">{spec.description}</span> : null}
        </div>
      </Td>
      <Td dataLabel="State">
        <State image={image} />
      </Td>
      <Td dataLabel="For">{formats[spec.format] ?? spec.format}</Td>
      <Td dataLabel="Version">{spec.version || "–"}</Td>
      <Td dataLabel="Size">{bytesText(spec.files.reduce((sum, file) => sum + file.size, 0))}</Td>
      <Td dataLabel="Used by">
        <Lines lines={[...new Set((status?.used_by ?? []).map((ref) => nameOf(node, ref)))]} />
      </Td>
      <Td dataLabel="SHA-256">
        <Digests image={image} />
      </Td>
      {mayChange ? (
        <Td isActionCell>
          <Actions image={image} onRemove={onRemove} />
        </Td>
      ) : null}
    </Tr>
  );
}

interface SignatureProps {
  name: string;
  found: NonNullable<Image["spec"]["signature"]>;
}

function State({ image: { metadata, spec, status } }: { image: Image }) {
  const { jobs } = useNode();
  const state = status?.state ?? "pending";
  const [label, tone] = metadata.phase === "removing" ? (["Deleting", "busy"] as const) : shown(state);
  const broken = status?.conditions.find((condition) => condition.state === "false");
  const job = jobs.find(({ metadata: { id, name } }) => [id, name].includes(status?.job ?? ""));
  return (
    <div className="sk-state">
      <StateLabel tone={tone} label={label} />
      {spec.pinned ? <StateLabel tone="off" label="Pinned" /> : null}
      {spec.signature ? <Signature name={metadata.name} found={spec.signature} /> : null}
      {job && state === "receiving" ? <JobProgress job={job} name={metadata.name} /> : null}
      {tone === "bad" && broken ? <span className="sk-reason">{broken.message}</span> : null}
    </div>
  );
}

const signed: Record<string, [string, Tone]> = {
  verified: ["Signature verified", "good"],
  unsigned: ["Not signed", "warning"],
  failed: ["Signature not good", "bad"],
};

function Signature({ name, found: { state, key, message } }: SignatureProps) {
  const [label, tone] = signed[state] ?? [state, "warning"];
  return (
    <>
      <StateLabel tone={tone} label={label} />
      {key ? (
        <span className="sk-reason">
          by <CopyText what={`key that signed ${name}`} text={key} shown={`${key.slice(0, 12)}…`} />
        </span>
      ) : null}
      {message ? <span className="sk-reason">{message}</span> : null}
    </>
  );
}

function shown(state: string): [string, Tone] {
  return states[state] ?? [state, "warning"];
}

/** More than these say nothing more to people: an image from a registry may have many layers. */
const digests_shown = 3;

function Digests({ image: { metadata, spec } }: { image: Image }) {
  const more = spec.files.length - digests_shown;
  return (
    <ul className="sk-lines">
      {spec.files.slice(0, digests_shown).map((file, place) => (
        // An image from a registry may have the same layer twice, so the place tells them apart.
        <li key={place}>
          {file.role}{" "}
          <CopyText
            what={`digest of ${metadata.name}, ${file.role}`}
            text={`sha256:${file.sha256}`}
            shown={`${file.sha256.slice(0, 12)}…`}
          />
        </li>
      ))}
      {more > 0 ? <li className="sk-none">and {more} more</li> : null}
    </ul>
  );
}

function Actions({ image: { metadata, spec, status }, onRemove }: { image: Image; onRemove: () => void }) {
  const notices = useNotices();
  const builtIn = spec.source === "built_in";
  const pin = () =>
    api.patch("images", metadata.name, { pinned: !spec.pinned }, metadata.revision).catch((error: unknown) => {
      notices.failed(`${metadata.name} was not changed`, error);
    });
  const whyKept = builtIn ? "It is part of the node's system." : spec.pinned ? "It is pinned." : "";
  const archives =
    spec.format === "oci_archive"
      ? (["oci", "docker"] as const).map((form) => ({
          word: form === "oci" ? "Download as OCI archive" : "Download for docker load",
          why: status?.state === "available" ? "" : "It is not available.",
          onDo: () => download(api.archivePath(metadata.name, form)),
        }))
      : [];
  const actions = [
    ...archives,
    { word: spec.pinned ? "Unpin" : "Pin", why: builtIn ? whyKept : "", onDo: () => void pin() },
    { word: "Delete", why: whyKept, danger: true, onDo: onRemove },
  ];
  return <RowMenu name={metadata.name} actions={actions} />;
}

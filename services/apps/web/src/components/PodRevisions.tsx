// The revisions of a pod that are kept, the way back to each, and holding changes back.

import { Alert, Button, Switch, Table, Tbody, Td, Th, Thead, Tr } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import type { Pod, PodRevision } from "../api/types";
import { momentText } from "../format";
import type { Tone } from "../workload";
import { ConfirmDialog } from "./ConfirmDialog";
import { useNotices } from "./Notices";
import { StateLabel } from "./StateLabel";
import { Lines } from "./WorkloadTable";

const states: Record<string, [string, Tone]> = {
  rolling: ["Rolling out", "busy"],
  good: ["Good", "good"],
  failed: ["Failed", "bad"],
};

interface Props {
  pod: Pod;
  mayChange: boolean;
}

export function PodRevisions({ pod, mayChange }: Props) {
  const [asked, setAsked] = useState<PodRevision | null>(null);
  const { metadata, status, spec } = pod;
  const newestFirst = (status?.history ?? []).toReversed();
  return (
    <div className="sk-meters sk-facts">
      {mayChange ? <Hold pod={pod} /> : spec.update.paused ? <p>Changes of its containers are held back.</p> : null}
      {newestFirst.length === 0 ? (
        <p className="sk-none">No revisions yet</p>
      ) : (
        <Table aria-label={`Revisions of ${metadata.name}`} variant="compact" gridBreakPoint="grid">
          <Thead>
            <Tr>
              <Th>Revision</Th>
              <Th>State</Th>
              <Th>Images</Th>
              <Th>Made</Th>
              {mayChange ? <Th screenReaderText="Actions" /> : null}
            </Tr>
          </Thead>
          <Tbody>
            {newestFirst.map((revision) => (
              <RevisionRow
                key={revision.number}
                revision={revision}
                runs={revision.number === status?.revision}
                onBack={mayChange ? () => setAsked(revision) : null}
              />
            ))}
          </Tbody>
        </Table>
      )}
      {asked ? <BackDialog pod={pod} revision={asked} onClose={() => setAsked(null)} /> : null}
    </div>
  );
}

interface RowProps {
  revision: PodRevision;
  runs: boolean;
  onBack: (() => void) | null;
}

function RevisionRow({ revision, runs, onBack }: RowProps) {
  const { number, state, at, reason, template } = revision;
  // One that another took the place of before it was good stays as it was.
  const leftBehind = state === "rolling" && !runs;
  const [label, tone] = leftBehind
    ? (["Never finished", "off"] as const)
    : (states[state] ?? [state, "warning" as const]);
  return (
    <Tr data-revision={number}>
      <Td dataLabel="Revision">
        <span className="sk-panel-title">
          {number} {runs ? <StateLabel tone="good" label="In use" /> : null}
        </span>
      </Td>
      <Td dataLabel="State">
        <div className="sk-state">
          <StateLabel tone={tone} label={label} />
          {reason ? <span className="sk-reason">{reason}</span> : null}
        </div>
      </Td>
      <Td dataLabel="Images">
        <Lines lines={template.containers.map(({ name, image }) => `${name}: ${image}`)} />
      </Td>
      <Td dataLabel="Made">{momentText(at)}</Td>
      {onBack ? (
        <Td isActionCell>
          {runs ? null : (
            <Button variant="secondary" size="sm" aria-label={`Go back to revision ${number}`} onClick={onBack}>
              Go back
            </Button>
          )}
        </Td>
      ) : null}
    </Tr>
  );
}

/** Holds changes back, and lets them through again. */
function Hold({ pod: { metadata, spec } }: { pod: Pod }) {
  const notices = useNotices();
  const { name } = metadata;
  const { paused } = spec.update;
  const change = (on: boolean) =>
    api.patch("pods", name, { update: { paused: on } }).catch((error: unknown) => {
      notices.failed(`${name} was not changed`, error);
    });
  return (
    <>
      <Switch
        id="revisions-hold"
        label="Hold changes of its containers back"
        isChecked={paused}
        onChange={(_event, on) => void change(on)}
      />
      {paused ? (
        <Alert variant="info" isInline title="What runs stays, whatever is changed, until changes are let through." />
      ) : null}
    </>
  );
}

interface BackProps {
  pod: Pod;
  revision: PodRevision;
  onClose: () => void;
}

/** What an earlier revision was becomes the newest one. */
function BackDialog({ pod: { metadata, spec }, revision: { number, template }, onClose }: BackProps) {
  const { containers, init, volumes } = template;
  const back = () => api.patch("pods", metadata.name, { containers, init, volumes }, metadata.revision);
  return (
    <ConfirmDialog
      title={`Take ${metadata.name} back to revision ${number}?`}
      action="Go back"
      onConfirm={back}
      onClose={onClose}
    >
      Its containers are started anew with the images and settings of revision {number}, as a new revision. What is
      published and how it is restarted stays as it is now.
      {spec.update.paused ? " Changes are held back: it happens once they are let through." : ""}
    </ConfirmDialog>
  );
}

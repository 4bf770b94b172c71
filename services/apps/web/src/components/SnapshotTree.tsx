// Snapshots of volumes as they follow each other, and what can be done with each.

import { Label } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import type { Snapshot, Volume } from "../api/types";
import { bytesText, momentText } from "../format";
import { useLive, useNode } from "../node";
import {
  type Step,
  basesOf,
  consistencyText,
  snapshotState,
  snapshotTree,
  whyNotDropped,
  whyNotReverted,
} from "../snapshots";
import { ConfirmDialog } from "./ConfirmDialog";
import { RowMenu } from "./RowMenu";
import { StateLabel } from "./StateLabel";
import { VolumeDialog } from "./VolumeDialog";

interface Props {
  volumes: Volume[];
  mayChange: boolean;
}

type Question = "revert" | "volume" | "remove";
interface Asked {
  snapshot: Snapshot;
  question: Question;
}

export function SnapshotTree({ volumes, mayChange }: Props) {
  const { snapshots } = useNode();
  const [asked, setAsked] = useState<Asked | null>(null);
  const lines = snapshotTree(snapshots, volumes);
  const bases = basesOf(volumes);
  const onAsk = mayChange ? (snapshot: Snapshot, question: Question) => setAsked({ snapshot, question }) : null;
  return (
    <>
      {lines.length === 0 ? <p className="sk-none">No snapshots</p> : null}
      {lines.map((line) => (
        <Line key={line[0]?.snapshot.metadata.id} line={line} bases={bases} onAsk={onAsk} />
      ))}
      {asked ? <Ask {...asked} onClose={() => setAsked(null)} /> : null}
    </>
  );
}

interface LineProps {
  line: Step[];
  bases: Set<string>;
  onAsk: ((snapshot: Snapshot, question: Question) => void) | null;
}

function Line({ line, bases, onAsk }: LineProps) {
  return (
    <ol className="sk-line" aria-label="Snapshots, oldest first">
      {line.map(({ snapshot, branches }) => (
        <li key={snapshot.metadata.id} data-name={snapshot.metadata.name}>
          <div className="sk-snapshot">
            <Facts snapshot={snapshot} isBase={bases.has(snapshot.metadata.id)} />
            {onAsk ? <Actions snapshot={snapshot} onAsk={(question) => onAsk(snapshot, question)} /> : null}
          </div>
          {branches.map((branch) => (
            <Line key={branch[0]?.snapshot.metadata.id} line={branch} bases={bases} onAsk={onAsk} />
          ))}
        </li>
      ))}
    </ol>
  );
}

function Facts({ snapshot, isBase }: { snapshot: Snapshot; isBase: boolean }) {
  const { metadata, spec, status } = snapshot;
  const [label, tone] = snapshotState(snapshot);
  const used = (status?.volumes ?? []).reduce((sum, part) => sum + part.used_bytes, 0);
  const facts = [
    momentText(status?.taken ?? metadata.created),
    used > 0 ? bytesText(used) : "",
    spec.vm ? `machine ${spec.vm}` : spec.volumes.length > 1 ? spec.volumes.join(", ") : "",
    consistencyText(snapshot),
  ];
  return (
    <div className="sk-state">
      <span className="sk-panel-title">
        <strong>{metadata.name}</strong> <StateLabel tone={tone} label={label} />
        {isBase ? (
          <Label color="blue" isCompact>
            Current
          </Label>
        ) : null}
      </span>
      {spec.description ? <span>{spec.description}</span> : null}
      <span className="sk-reason">{facts.filter(Boolean).join(" · ")}</span>
      {status?.reason ? <span className="sk-reason">{status.reason}</span> : null}
    </div>
  );
}

function Actions({ snapshot, onAsk }: { snapshot: Snapshot; onAsk: (question: Question) => void }) {
  const { vms } = useNode();
  const notReady = snapshot.status?.state === "ready" ? "" : "It is not ready.";
  const actions = [
    { word: "Revert to it", why: whyNotReverted(snapshot, vms), onDo: () => onAsk("revert") },
    { word: "New volume from it", why: notReady, onDo: () => onAsk("volume") },
    { word: "Delete", why: whyNotDropped(snapshot), danger: true, onDo: () => onAsk("remove") },
  ];
  return <RowMenu name={`snapshot ${snapshot.metadata.name}`} actions={actions} />;
}

function Ask({ snapshot, question, onClose }: Asked & { onClose: () => void }) {
  const live = useLive();
  const { name } = snapshot.metadata;
  const { volumes } = snapshot.spec;
  if (question === "volume") {
    return <VolumeDialog start={{ beginning: "snapshot", snapshot: name }} onClose={onClose} />;
  }
  if (question === "revert") {
    return (
      <ConfirmDialog title={`Revert to ${name}?`} action="Revert" onConfirm={() => api.revert(name)} onClose={onClose}>
        <strong>{volumes.join(", ")}</strong> {volumes.length > 1 ? "are" : "is"} set back to what the snapshot holds.
        What is there now is kept in another snapshot first.
      </ConfirmDialog>
    );
  }
  const remove = async () => {
    await api.remove("snapshots", name);
    live.refresh();
  };
  return (
    <ConfirmDialog title={`Delete snapshot ${name}?`} action="Delete" onConfirm={remove} onClose={onClose}>
      What the volumes hold now stays. This cannot be undone.
    </ConfirmDialog>
  );
}

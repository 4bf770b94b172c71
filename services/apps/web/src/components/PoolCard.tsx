// How full a pool is, how much of it is promised, and from where on that matters.

import { Button, Card, CardBody, CardTitle, Progress, ProgressVariant } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import type { Pool } from "../api/types";
import { type Faults, checkNumber } from "../forms/fields";
import { bytesText, countText } from "../format";
import { pool_steps, poolView } from "../volume";
import { CreateDialog } from "./CreateDialog";
import { TextField } from "./Field";
import { StateLabel } from "./StateLabel";

function variantOf(scarce: string): ProgressVariant | undefined {
  if (!scarce) return undefined;
  return scarce === "minor" ? ProgressVariant.warning : ProgressVariant.danger;
}

export function PoolCard({ pool, mayChange }: { pool: Pool; mayChange: boolean }) {
  const [changing, setChanging] = useState(false);
  const { name } = pool.metadata;
  const { ready, state, why } = poolView(pool);
  return (
    <Card component="section" aria-label={`Pool ${name}`} isCompact>
      <CardTitle component="h2">
        <span className="sk-panel-title">
          Pool {name} <StateLabel tone={ready ? "good" : "warning"} label={state} />
        </span>
      </CardTitle>
      <CardBody className="sk-meters">
        <Meters pool={pool} />
        {why.map((sentence) => (
          <p key={sentence}>{sentence}</p>
        ))}
        <Unmanaged pool={pool} />
        {mayChange ? (
          <div>
            <Button variant="link" isInline onClick={() => setChanging(true)}>
              Change how much may be promised
            </Button>
          </div>
        ) : null}
      </CardBody>
      {changing ? <PromiseDialog pool={pool} onClose={() => setChanging(false)} /> : null}
    </Card>
  );
}

function Meters({ pool }: { pool: Pool }) {
  const { usedPercent, promisedPercent, scarce, used, promised, left, reserve, volumes, snapshots } = poolView(pool);
  const steps = pool_steps.map((percent) => `${percent} %`).join(", ");
  return (
    <>
      <Progress
        title="In use"
        value={usedPercent}
        label={used}
        valueText={`${used} in use`}
        variant={variantOf(scarce)}
      />
      <Progress
        title="Promised to volumes"
        value={promisedPercent}
        label={promised}
        valueText={`${promised} promised to volumes`}
        variant={promisedPercent >= 100 ? ProgressVariant.warning : undefined}
      />
      <p className="sk-reason">
        {countText(volumes, "volume", "volumes")}, {countText(snapshots, "snapshot", "snapshots")}. Volumes may be
        promised {pool.spec.overcommit_percent} % of the pool. New data gets {bytesText(left)} more;{" "}
        {bytesText(reserve)} stay free for the node itself. Alarms from {steps} in use on.
      </p>
    </>
  );
}

/** Files that no record speaks of: never removed by the node, so that somebody has to know. */
function Unmanaged({ pool: { status } }: { pool: Pool }) {
  const files = status?.unmanaged ?? [];
  if (files.length === 0) return null;
  return (
    <details>
      <summary>{countText(files.length, "file", "files")} without a record</summary>
      <ul className="sk-lines sk-mono">
        {files.map(({ path, name, used_bytes }) => (
          <li key={path}>
            {path} {name ? `(${name})` : ""} {bytesText(used_bytes)}
          </li>
        ))}
      </ul>
    </details>
  );
}

function PromiseDialog({ pool: { metadata, spec }, onClose }: { pool: Pool; onClose: () => void }) {
  const [percent, setPercent] = useState(String(spec.overcommit_percent));
  const field = "spec.overcommit_percent";
  const check = () => {
    const faults: Faults = {};
    return { faults, overcommit_percent: checkNumber(faults, field, percent, 100, 1000) };
  };
  const send = () => api.patch("pools", metadata.name, { overcommit_percent: check().overcommit_percent });
  return (
    <CreateDialog
      title={`What ${metadata.name} may promise`}
      action="Change"
      focus="#create-percent"
      check={() => check().faults}
      send={send}
      shows={(shown) => shown === field}
      onClose={onClose}
    >
      {(faults) => (
        <TextField
          id="create-percent"
          label="Percent of its size"
          required
          rule="100: every volume can be filled. More: guests that fill theirs are held when space runs out."
          fault={faults[field]}
          value={percent}
          onValue={setPercent}
          input={{ inputMode: "numeric", autoComplete: "off" }}
        />
      )}
    </CreateDialog>
  );
}

// Virtual machines or pods as a table; a row becomes a card where there is no room.

import { Button, Table, Tbody, Td, Th, Thead, Tr } from "../patternfly";
import type { Action } from "../api/client";
import { routeHref } from "../route";
import { type Workload, publishText } from "../workload";
import { StateLabel } from "./StateLabel";
import { type Question, WorkloadMenu } from "./WorkloadMenu";

interface Props {
  title: string;
  workloads: Workload[];
  mayChange: boolean;
  busy: ReadonlySet<string>;
  onAct: (workload: Workload, action: Action) => void;
  onAsk: (workload: Workload, question: Question) => void;
}

export function WorkloadTable({ title, workloads, mayChange, busy, onAct, onAsk }: Props) {
  return (
    <Table aria-label={title} variant="compact" gridBreakPoint="grid-lg">
      <Thead>
        <Tr>
          <Th>Name</Th>
          <Th>State</Th>
          <Th>Image</Th>
          <Th>Addresses</Th>
          <Th>Published</Th>
          <Th>Resources</Th>
          <Th screenReaderText="Actions" />
        </Tr>
      </Thead>
      <Tbody>
        {workloads.map((workload) => (
          <Tr key={workload.id} data-name={workload.name}>
            <Td dataLabel="Name">
              <a href={routeHref(workload.kind, workload.name)}>{workload.name}</a>
            </Td>
            <Td dataLabel="State">
              <State workload={workload} />
            </Td>
            <Td dataLabel="Image">{workload.image}</Td>
            <Td dataLabel="Addresses">
              <Lines lines={workload.addresses} />
            </Td>
            <Td dataLabel="Published">
              <Lines lines={workload.publish.map(publishText)} />
            </Td>
            <Td dataLabel="Resources">{workload.resources}</Td>
            <Td isActionCell className="sk-actions-cell">
              <div className="sk-actions">
                {mayChange ? (
                  <PowerButton
                    workload={workload}
                    busy={busy.has(workload.id)}
                    onAct={(action) => onAct(workload, action)}
                  />
                ) : null}
                <WorkloadMenu
                  workload={workload}
                  mayChange={mayChange}
                  onAct={(action) => onAct(workload, action)}
                  onAsk={(question) => onAsk(workload, question)}
                />
              </div>
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function State({ workload: { tone, label, reason } }: { workload: Workload }) {
  return (
    <div className="sk-state">
      <StateLabel tone={tone} label={label} />
      {reason ? <span className="sk-reason">{reason}</span> : null}
    </div>
  );
}

interface PowerProps {
  workload: Workload;
  busy: boolean;
  onAct: (action: Action) => void;
}

/** Start or stop, whichever the state asks for. */
export function PowerButton({ workload: { name, allowed }, busy, onAct }: PowerProps) {
  const action = allowed.stop ? "stop" : "start";
  const word = action === "stop" ? "Stop" : "Start";
  return (
    <Button
      variant="secondary"
      size="sm"
      isLoading={busy}
      isDisabled={busy || !(allowed.stop || allowed.start)}
      onClick={() => onAct(action)}
      aria-label={`${word} ${name}`}
    >
      {word}
    </Button>
  );
}

export function Lines({ lines }: { lines: string[] }) {
  if (lines.length === 0) return <span className="sk-none">–</span>;
  return (
    <ul className="sk-lines">
      {lines.map((line) => (
        <li key={line}>{line}</li>
      ))}
    </ul>
  );
}

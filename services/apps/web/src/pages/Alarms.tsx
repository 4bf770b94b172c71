// Alarms, the active ones first, the worst of them on top.

import { EmptyState, EmptyStateBody, Label, PageSection, Table, Tbody, Td, Th, Thead, Title, Tr } from "../patternfly";
import type { Alarm, Severity, Vm, Pod } from "../api/types";
import { Loading } from "../components/Loading";
import { momentText } from "../format";
import { useNode } from "../node";
import { routeHref } from "../route";

const order: Severity[] = ["critical", "major", "minor", "warning"];

export const severityLooks: Record<Severity, { color: "red" | "orange" | "yellow" | "grey"; label: string }> = {
  critical: { color: "red", label: "Critical" },
  major: { color: "orange", label: "Major" },
  minor: { color: "yellow", label: "Minor" },
  warning: { color: "grey", label: "Warning" },
};

export function sortedAlarms(alarms: Alarm[]): Alarm[] {
  const rank = ({ spec, status }: Alarm) => (status?.cleared ? order.length : 0) + order.indexOf(spec.severity);
  const moment = ({ status }: Alarm) => status?.changed ?? status?.raised ?? "";
  return [...alarms].sort((a, b) => rank(a) - rank(b) || moment(b).localeCompare(moment(a)));
}

export function Alarms() {
  const { alarms, vms, pods, loaded } = useNode();
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Alarms</Title>
      </PageSection>
      <PageSection isFilled>
        {!loaded ? (
          <Loading />
        ) : alarms.length === 0 ? (
          <EmptyState titleText="No alarms" headingLevel="h2">
            <EmptyStateBody>Nothing on this node wants an operator.</EmptyStateBody>
          </EmptyState>
        ) : (
          <Table aria-label="Alarms" variant="compact" gridBreakPoint="grid-lg">
            <Thead>
              <Tr>
                <Th>Severity</Th>
                <Th>Alarm</Th>
                <Th>About</Th>
                <Th>Raised</Th>
                <Th>Last change</Th>
                <Th>Seen</Th>
              </Tr>
            </Thead>
            <Tbody>
              {sortedAlarms(alarms).map((alarm) => (
                <AlarmRow key={alarm.metadata.id} alarm={alarm} workloads={[...vms, ...pods]} />
              ))}
            </Tbody>
          </Table>
        )}
      </PageSection>
    </>
  );
}

function AlarmRow({ alarm: { spec, status }, workloads }: { alarm: Alarm; workloads: (Vm | Pod)[] }) {
  const looks = severityLooks[spec.severity];
  return (
    <Tr>
      <Td dataLabel="Severity">
        <div>
          <Label
            isCompact
            color={status?.cleared ? "grey" : looks.color}
            variant={status?.cleared ? "outline" : "filled"}
          >
            {status?.cleared ? `${looks.label}, cleared` : looks.label}
          </Label>
        </div>
      </Td>
      <Td dataLabel="Alarm" width={40}>
        <div className="sk-state">
          <span>{status?.message || spec.definition}</span>
          <span className="sk-reason sk-mono">{spec.definition}</span>
        </div>
      </Td>
      <Td dataLabel="About">
        <About object={spec.object} workloads={workloads} />
      </Td>
      <Td dataLabel="Raised">{momentText(status?.raised)}</Td>
      <Td dataLabel="Last change">{momentText(status?.cleared ?? status?.changed)}</Td>
      <Td dataLabel="Seen">{status && status.count > 0 ? `${status.count} ×` : "–"}</Td>
    </Tr>
  );
}

function About({ object, workloads }: { object: Alarm["spec"]["object"]; workloads: (Vm | Pod)[] }) {
  if (!object) return "This node";
  const found = workloads.find((workload) => workload.metadata.id === object.id);
  if (!found) return `${object.kind} ${object.id.slice(0, 8)}`;
  const { name } = found.metadata;
  return <a href={routeHref(found.kind === "Vm" ? "vms" : "pods", name)}>{name}</a>;
}

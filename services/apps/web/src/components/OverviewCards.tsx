// The cards of the overview.

import { Card, CardBody, CardTitle, DescriptionList, Label, Progress, ProgressVariant } from "../patternfly";
import { type ReactNode, useMemo } from "react";
import type { Pod, Summary, Vm } from "../api/types";
import { bytesText, countText, fingerprintLines, spanText } from "../format";
import { severityLooks } from "../pages/Alarms";
import { routeHref } from "../route";
import { type Workload, podWorkload, vmWorkload } from "../workload";
import { StateLabel } from "./StateLabel";
import { Fact } from "./WorkloadDetails";
import { Lines } from "./WorkloadTable";

interface Props {
  summary: Summary;
}

function Box({ title, wide, children }: { title: string; wide?: boolean; children: ReactNode }) {
  return (
    <Card className={wide ? "sk-wide" : ""} component="section" aria-label={title}>
      <CardTitle component="h2">{title}</CardTitle>
      <CardBody>{children}</CardBody>
    </Card>
  );
}

export function NodeCard({ summary }: Props) {
  const { node_id, version, build, board, uptime_s, cpus, accelerator, store_healthy } = summary;
  return (
    <Box title="Node">
      <DescriptionList isHorizontal isCompact horizontalTermWidthModifier={{ default: "11ch" }}>
        <Fact term="Uptime">{spanText(uptime_s)}</Fact>
        <Fact term="Version">
          {version}
          {build ? <span className="sk-none"> build {build}</span> : null}
        </Fact>
        <Fact term="Node id">
          <span className="sk-mono">{node_id}</span>
        </Fact>
        {board ? <Fact term="Board">{board}</Fact> : null}
        <Fact term="Processors">{cpus}</Fact>
        <Fact term="Accelerator">{acceleratorText(accelerator)}</Fact>
        <Fact term="State store">{store_healthy ? "Healthy" : <Label status="danger">Not healthy</Label>}</Fact>
      </DescriptionList>
    </Box>
  );
}

function acceleratorText(accelerator: Summary["accelerator"]): ReactNode {
  if (accelerator === "kvm") return "KVM";
  if (accelerator === "emulation") return <Label status="warning">Emulation</Label>;
  return "Not known yet";
}

export function ReachCard({ summary: { urls, addresses, fingerprint } }: Props) {
  return (
    <Box title="Addresses">
      <DescriptionList isCompact>
        <Fact term="Page and API">
          {urls.length === 0 ? (
            <span className="sk-none">No network connection</span>
          ) : (
            <ul className="sk-lines">
              {urls.map((url) => (
                <li key={url}>
                  <a href={url}>{url}</a>
                </li>
              ))}
            </ul>
          )}
        </Fact>
        <Fact term="Network cards">
          <Lines
            lines={addresses.map(
              ({ device, address, prefix, origin }) => `${device}: ${address}/${prefix} (${origin})`,
            )}
          />
        </Fact>
        <Fact term="Certificate fingerprint (SHA-256)">
          <div className="sk-mono sk-fingerprint">
            {fingerprintLines(fingerprint).map((line) => (
              <div key={line}>{line}</div>
            ))}
          </div>
        </Fact>
      </DescriptionList>
    </Box>
  );
}

function fullness(share: number): ProgressVariant | undefined {
  if (share >= 0.95) return ProgressVariant.danger;
  return share >= 0.85 ? ProgressVariant.warning : undefined;
}

export function CapacityCard({ summary: { memory, load1, cpus } }: Props) {
  const used = Math.max(0, memory.total - memory.available);
  const share = memory.total > 0 ? used / memory.total : 0;
  const load = cpus > 0 ? load1 / cpus : 0;
  return (
    <Box title="Capacity">
      <div className="sk-meters">
        <Progress
          title="Memory"
          value={Math.round(share * 100)}
          label={`${bytesText(used)} of ${bytesText(memory.total)}`}
          valueText={`${bytesText(used)} of ${bytesText(memory.total)} in use`}
          variant={fullness(share)}
        />
        <Progress
          title="Processors, load of the last minute"
          value={Math.min(100, Math.round(load * 100))}
          label={`${load1.toFixed(2)} of ${cpus}`}
          valueText={`Load ${load1.toFixed(2)} on ${countText(cpus, "processor", "processors")}`}
          variant={load >= 1 ? ProgressVariant.warning : undefined}
        />
        <p>
          <span className="sk-strong">{bytesText(memory.available)}</span> of memory free for workloads and services
        </p>
      </div>
    </Box>
  );
}

export function AlarmCard({ summary: { alarms } }: Props) {
  const counts = (["critical", "major", "minor", "warning"] as const).filter((severity) => alarms[severity] > 0);
  return (
    <Box title="Alarms">
      {counts.length === 0 ? (
        <p>No active alarms</p>
      ) : (
        <ul className="sk-lines">
          {counts.map((severity) => (
            <li key={severity}>
              <Label color={severityLooks[severity].color} isCompact>
                {alarms[severity]} {severityLooks[severity].label.toLowerCase()}
              </Label>
            </li>
          ))}
        </ul>
      )}
      <p className="sk-more">
        <a href={routeHref("alarms")}>All alarms</a>
      </p>
    </Box>
  );
}

interface WorkloadCardProps extends Props {
  vms: Vm[];
  pods: Pod[];
}

export function WorkloadCard({ summary: { workloads }, vms, pods }: WorkloadCardProps) {
  const machines = useMemo(() => vms.map(vmWorkload), [vms]);
  const containers = useMemo(() => pods.map(podWorkload), [pods]);
  return (
    <Box title="Workloads" wide>
      <div className="sk-halves">
        <Group
          title="Virtual machines"
          place="vms"
          running={workloads.vms_running}
          all={workloads.vms}
          items={machines}
        />
        <Group
          title="Containers"
          place="pods"
          running={workloads.pods_running}
          all={workloads.pods}
          items={containers}
        />
      </div>
    </Box>
  );
}

interface GroupProps {
  title: string;
  place: "vms" | "pods";
  running: number;
  all: number;
  items: Workload[];
}

const most_shown = 8;

function Group({ title, place, running, all, items }: GroupProps) {
  return (
    <div>
      <h3 className="sk-group">
        <a href={routeHref(place)}>{title}</a>
        <span className="sk-none">
          {running} of {all} running
        </span>
      </h3>
      <ul className="sk-items">
        {items.slice(0, most_shown).map(({ id, kind, name, tone, label }) => (
          <li key={id}>
            <a href={routeHref(kind, name)}>{name}</a>
            <StateLabel tone={tone} label={label} />
          </li>
        ))}
      </ul>
      {items.length > most_shown ? <a href={routeHref(place)}>{items.length - most_shown} more</a> : null}
    </div>
  );
}

// The node at a glance: whether it is well, how to reach it, what it has and what it runs.

import { Alert, Button, Label, PageSection, Title } from "../patternfly";
import { useState } from "react";
import type { Summary } from "../api/types";
import { Loading } from "../components/Loading";
import { AlarmCard, CapacityCard, NodeCard, ReachCard, WorkloadCard } from "../components/OverviewCards";
import { type Power, PowerDialog } from "../components/PowerDialog";
import { useNode } from "../node";
import { mayPower, usePrincipal } from "../session";

export function Overview() {
  const { summary, vms, pods } = useNode();
  const { role } = usePrincipal();
  const [asked, setAsked] = useState<Power | null>(null);
  if (!summary) return <Loading />;
  return (
    <>
      <PageSection>
        <div className="sk-head">
          <Title headingLevel="h1" className="sk-head-title">
            {summary.hostname} <Health summary={summary} />
          </Title>
          {mayPower(role) ? (
            <div className="sk-head-actions">
              <Button variant="secondary" onClick={() => setAsked("restart")}>
                Restart
              </Button>
              <Button variant="secondary" isDanger onClick={() => setAsked("power_off")}>
                Power off
              </Button>
            </div>
          ) : null}
        </div>
        <Warnings summary={summary} />
      </PageSection>
      <PageSection isFilled>
        <div className="sk-grid">
          <WorkloadCard summary={summary} vms={vms} pods={pods} />
          <CapacityCard summary={summary} />
          <AlarmCard summary={summary} />
          <NodeCard summary={summary} />
          <ReachCard summary={summary} />
        </div>
      </PageSection>
      {asked ? <PowerDialog power={asked} summary={summary} onClose={() => setAsked(null)} /> : null}
    </>
  );
}

function Health({ summary: { ready, store_healthy, alarms } }: { summary: Summary }) {
  if (!store_healthy || alarms.critical > 0) return <Label status="danger">Needs attention</Label>;
  if (!ready) return <Label status="info">Starting</Label>;
  if (alarms.major > 0) return <Label status="warning">Degraded</Label>;
  return <Label status="success">Healthy</Label>;
}

function Warnings({ summary }: { summary: Summary }) {
  return (
    <div className="sk-warnings">
      {summary.store_healthy ? null : (
        <Alert variant="danger" isInline title="The state store is not healthy">
          Changes may not survive a power cut. See the alarms for what was found and what to do.
        </Alert>
      )}
      {summary.accelerator === "emulation" ? (
        <Alert variant="warning" isInline title="Virtual machines run under emulation">
          KVM is not usable on this machine, so virtual machines are ten times slower or worse. Containers are not
          affected. If the processor can virtualize, turn it on in the firmware setup (VT-x or AMD-V).
        </Alert>
      ) : null}
    </div>
  );
}

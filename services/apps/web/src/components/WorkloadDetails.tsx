// All about one workload, in a panel beside the list: facts, conditions, output.

import {
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  DrawerActions,
  DrawerCloseButton,
  DrawerHead,
  DrawerPanelBody,
  DrawerPanelContent,
  Tab,
  TabTitleText,
  Tabs,
  Title,
} from "../patternfly";
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from "react";
import type { Condition } from "../api/types";
import { momentText } from "../format";
import { useNode } from "../node";
import { type DetailTab, go, tabs } from "../route";
import { digestOf } from "../refs";
import { type Workload, publishText } from "../workload";
import { CopyText } from "./CopyText";
import { OutputView } from "./OutputView";
import { PodRevisions } from "./PodRevisions";
import { PodUse } from "./PodUse";
import { ScreenView } from "./ScreenView";
import { StateLabel } from "./StateLabel";
import { TerminalView } from "./TerminalView";
import { VmDisks } from "./VmDisks";
import { Lines } from "./WorkloadTable";

interface Props {
  workload: Workload;
  tab: DetailTab;
  /** Start, stop and the rest, for who may. */
  actions: ReactNode;
  /** Whether terminals are for this person. */
  mayEnter: boolean;
}

export function WorkloadDetails({ workload, tab, actions, mayEnter }: Props) {
  const { kind, name, tone, label, containers } = workload;
  const heading = useRef<HTMLHeadingElement>(null);
  // Who opened the panel by keyboard goes on inside it.
  useEffect(() => heading.current?.focus(), [name]);
  const closeOnEscape = (event: KeyboardEvent) => {
    // In a terminal or on a screen the key is the program's.
    const inTerminal = event.target instanceof Element && event.target.closest(".sk-terminal, .sk-screen") !== null;
    if (event.key === "Escape" && !inTerminal) go(kind);
  };
  const output = kind === "vms" ? "Serial output" : "Log";
  return (
    <DrawerPanelContent
      widths={{ default: "width_100", xl: "width_50" }}
      aria-label={`Details of ${name}`}
      onKeyDown={closeOnEscape}
    >
      <DrawerHead>
        <Title headingLevel="h2" size="lg" ref={heading} tabIndex={-1} className="sk-panel-title">
          {name} <StateLabel tone={tone} label={label} />
        </Title>
        <DrawerActions>
          {actions}
          <DrawerCloseButton onClose={() => go(kind)} aria-label={`Close details of ${name}`} />
        </DrawerActions>
      </DrawerHead>
      <DrawerPanelBody className="sk-panel-body">
        <Tabs
          activeKey={tab}
          onSelect={(_event, key) =>
            go(
              kind,
              name,
              tabs.find((known) => known === key),
            )
          }
          aria-label={`Views of ${name}`}
          mountOnEnter
          unmountOnExit
        >
          <Tab eventKey="details" title={<TabTitleText>Details</TabTitleText>}>
            <Facts workload={workload} />
            {kind === "pods" && workload.isUp ? <PodUse name={name} /> : null}
          </Tab>
          {kind === "vms" ? (
            <Tab eventKey="disks" title={<TabTitleText>Disks</TabTitleText>}>
              <Disks name={name} mayChange={mayEnter} />
            </Tab>
          ) : (
            <Tab eventKey="revisions" title={<TabTitleText>Revisions</TabTitleText>}>
              <Revisions name={name} mayChange={mayEnter} />
            </Tab>
          )}
          <Tab eventKey="output" title={<TabTitleText>{output}</TabTitleText>}>
            <OutputView kind={kind} name={name} containers={containers} initContainers={workload.initContainers} />
          </Tab>
          {mayEnter ? (
            <Tab eventKey="terminal" title={<TabTitleText>{kind === "vms" ? "Console" : "Terminal"}</TabTitleText>}>
              <TerminalView kind={kind} name={name} containers={containers} isUp={workload.isUp} />
            </Tab>
          ) : null}
          {mayEnter && workload.hasScreen ? (
            <Tab eventKey="screen" title={<TabTitleText>Screen</TabTitleText>}>
              <ScreenView name={name} isUp={workload.isUp} />
            </Tab>
          ) : null}
        </Tabs>
      </DrawerPanelBody>
    </DrawerPanelContent>
  );
}

function Disks({ name, mayChange }: { name: string; mayChange: boolean }) {
  const vm = useNode().vms.find(({ metadata }) => metadata.name === name);
  return vm ? <VmDisks vm={vm} mayChange={mayChange} /> : null;
}

function Revisions({ name, mayChange }: { name: string; mayChange: boolean }) {
  const pod = useNode().pods.find(({ metadata }) => metadata.name === name);
  return pod ? <PodRevisions pod={pod} mayChange={mayChange} /> : null;
}

function Facts({ workload }: { workload: Workload }) {
  return (
    <DescriptionList className="sk-facts" isHorizontal isCompact horizontalTermWidthModifier={{ default: "13ch" }}>
      {workload.reason ? <Fact term="Why">{workload.reason}</Fact> : null}
      {workload.nextTry ? <Fact term="Next try">{momentText(workload.nextTry)}</Fact> : null}
      <Fact term="Image">{workload.image}</Fact>
      <Digests images={workload.images} />
      <Fact term="Resources">{workload.resources}</Fact>
      <Fact term="Network">{workload.network}</Fact>
      <Fact term="Addresses">
        <Lines lines={workload.addresses} />
      </Fact>
      <Fact term="Published">
        <Lines lines={workload.publish.map(publishText)} />
      </Fact>
      {workload.extras.map(({ term, lines }) => (
        <Fact key={term} term={term}>
          <Lines lines={lines} />
        </Fact>
      ))}
      <Fact term="Started">{momentText(workload.startedAt)}</Fact>
      <Fact term={workload.starts.term}>{workload.starts.count}</Fact>
      {workload.emulated ? <Fact term="Runs on">Emulation, much slower than KVM</Fact> : null}
      <Fact term="Created">{momentText(workload.created)}</Fact>
      <Fact term="Owner">{workload.owner}</Fact>
      <Fact term="Id">
        <span className="sk-mono">{workload.id}</span>
      </Fact>
      <Conditions conditions={workload.conditions} />
    </DescriptionList>
  );
}

/** What the images of containers are by content, to be compared or pinned. */
function Digests({ images }: { images: string[] }) {
  const known = useNode().images;
  const digests = images.flatMap((name) => {
    const image = known.find(({ metadata }) => metadata.name === name);
    const digest = image ? digestOf(image) : "";
    return digest ? [{ name, digest }] : [];
  });
  if (digests.length === 0) return null;
  return (
    <Fact term={digests.length > 1 ? "Digests" : "Digest"}>
      <ul className="sk-lines">
        {digests.map(({ name, digest }) => (
          <li key={name}>
            {digests.length > 1 ? `${name} ` : ""}
            <CopyText what={`digest of ${name}`} text={digest} />
          </li>
        ))}
      </ul>
    </Fact>
  );
}

export function Conditions({ conditions }: { conditions: Condition[] }) {
  return conditions.map(({ type, state, reason, message, since }) => (
    <Fact key={type} term={type}>
      {state === "true" ? "yes" : state === "false" ? "no" : "not known"}, {reason}
      {message ? `: ${message}` : ""} <span className="sk-none">since {momentText(since)}</span>
    </Fact>
  ));
}

export function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

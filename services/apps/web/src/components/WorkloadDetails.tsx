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
import { momentText } from "../format";
import { type DetailTab, go, tabs } from "../route";
import { type Workload, publishText } from "../workload";
import { OutputView } from "./OutputView";
import { ScreenView } from "./ScreenView";
import { StateLabel } from "./StateLabel";
import { TerminalView } from "./TerminalView";
import { Lines } from "./WorkloadTable";

interface Props {
  workload: Workload;
  tab: DetailTab;
  /** Start or stop, for who may. */
  power: ReactNode;
  /** Whether terminals are for this person. */
  mayEnter: boolean;
}

export function WorkloadDetails({ workload, tab, power, mayEnter }: Props) {
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
          {power}
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
          </Tab>
          <Tab eventKey="output" title={<TabTitleText>{output}</TabTitleText>}>
            <OutputView kind={kind} name={name} containers={containers} />
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

function Facts({ workload }: { workload: Workload }) {
  return (
    <DescriptionList className="sk-facts" isHorizontal isCompact horizontalTermWidthModifier={{ default: "13ch" }}>
      {workload.reason ? <Fact term="Why">{workload.reason}</Fact> : null}
      {workload.nextTry ? <Fact term="Next try">{momentText(workload.nextTry)}</Fact> : null}
      <Fact term="Image">{workload.image}</Fact>
      <Fact term="Resources">{workload.resources}</Fact>
      <Fact term="Network">{workload.network}</Fact>
      <Fact term="Addresses">
        <Lines lines={workload.addresses} />
      </Fact>
      <Fact term="Published">
        <Lines lines={workload.publish.map(publishText)} />
      </Fact>
      <Fact term="Started">{momentText(workload.startedAt)}</Fact>
      <Fact term={workload.starts.term}>{workload.starts.count}</Fact>
      {workload.emulated ? <Fact term="Runs on">Emulation, much slower than KVM</Fact> : null}
      <Fact term="Created">{momentText(workload.created)}</Fact>
      <Fact term="Owner">{workload.owner}</Fact>
      <Fact term="Id">
        <span className="sk-mono">{workload.id}</span>
      </Fact>
      {workload.conditions.map(({ type, state, reason, message, since }) => (
        <Fact key={type} term={type}>
          {state === "true" ? "yes" : state === "false" ? "no" : "not known"}, {reason}
          {message ? `: ${message}` : ""} <span className="sk-none">since {momentText(since)}</span>
        </Fact>
      ))}
    </DescriptionList>
  );
}

export function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

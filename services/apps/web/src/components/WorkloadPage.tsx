// The page of one kind of workload: list, filter, details, actions. What differs by kind comes from outside.

import {
  Button,
  Drawer,
  DrawerContent,
  DrawerContentBody,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  PageSection,
  TextInput,
  Title,
} from "../patternfly";
import { type ReactNode, useState } from "react";
import { api } from "../api/client";
import { useNode } from "../node";
import { go, useRoute } from "../route";
import { mayChangeWorkloads, usePrincipal } from "../session";
import type { Workload } from "../workload";
import { ConfirmDialog } from "./ConfirmDialog";
import { Loading } from "./Loading";
import { RemoveVmDialog, VmDialog } from "./VmDialogs";
import { WorkloadDetails } from "./WorkloadDetails";
import { type Question, WorkloadMenu } from "./WorkloadMenu";
import { PowerButton, WorkloadTable } from "./WorkloadTable";
import { useWorkloadActions } from "./useWorkloadActions";

interface Props {
  title: string;
  one: string;
  empty: string;
  workloads: Workload[];
  createForm: (onClose: () => void) => ReactNode;
}

export function WorkloadPage({ title, one, empty, workloads, createForm }: Props) {
  const { loaded } = useNode();
  const route = useRoute();
  const { role } = usePrincipal();
  const [creating, setCreating] = useState(false);
  const [asked, setAsked] = useState<{ workload: Workload; question: Question } | null>(null);
  const [filter, setFilter] = useState("");
  const { act, remove, busy } = useWorkloadActions();
  const mayChange = mayChangeWorkloads(role);
  const opened = workloads.find((workload) => workload.name === route.name);
  const shown = workloads.filter((workload) => matches(workload, filter));

  const removed = (workload: Workload) => {
    if (route.name === workload.name) go(workload.kind);
  };
  const create = (
    <Button onClick={() => setCreating(true)} isDisabled={!loaded}>
      Create {one}
    </Button>
  );
  const power = (workload: Workload) => (
    <PowerButton workload={workload} busy={busy.has(workload.id)} onAct={(action) => void act(workload, action)} />
  );
  const actions = (workload: Workload) => (
    <>
      {power(workload)}
      <WorkloadMenu
        workload={workload}
        mayChange
        onAct={(action) => void act(workload, action)}
        onAsk={(question) => setAsked({ workload, question })}
      />
    </>
  );
  const panel = opened ? (
    <WorkloadDetails
      workload={opened}
      tab={route.tab}
      actions={mayChange ? actions(opened) : null}
      mayEnter={mayChange}
    />
  ) : null;
  return (
    <Drawer isExpanded={opened !== undefined} className="sk-drawer">
      <DrawerContent panelContent={panel}>
        <DrawerContentBody>
          <PageSection>
            <Title headingLevel="h1">{title}</Title>
          </PageSection>
          <PageSection isFilled>
            {!loaded ? (
              <Loading />
            ) : workloads.length === 0 ? (
              <EmptyState titleText={`No ${title.toLowerCase()}`} headingLevel="h2">
                <EmptyStateBody>{empty}</EmptyStateBody>
                {mayChange ? (
                  <EmptyStateFooter>
                    <EmptyStateActions>{create}</EmptyStateActions>
                  </EmptyStateFooter>
                ) : null}
              </EmptyState>
            ) : (
              <>
                <div className="sk-bar">
                  <TextInput
                    type="search"
                    className="sk-bar-filter"
                    aria-label={`Filter ${title.toLowerCase()}`}
                    placeholder="Filter by name, state, image"
                    value={filter}
                    onChange={(_event, text) => setFilter(text)}
                  />
                  {mayChange ? create : null}
                </div>
                <WorkloadTable
                  title={title}
                  workloads={shown}
                  mayChange={mayChange}
                  busy={busy}
                  onAct={(workload, action) => void act(workload, action)}
                  onAsk={(workload, question) => setAsked({ workload, question })}
                />
                {shown.length === 0 ? <p className="sk-none sk-pad">Nothing matches the filter.</p> : null}
              </>
            )}
          </PageSection>
        </DrawerContentBody>
      </DrawerContent>
      {creating ? createForm(() => setCreating(false)) : null}
      {asked ? (
        <Ask
          {...asked}
          one={one}
          onRemove={remove}
          onRemoved={() => removed(asked.workload)}
          onClose={() => setAsked(null)}
        />
      ) : null}
    </Drawer>
  );
}

interface AskProps {
  workload: Workload;
  question: Question;
  one: string;
  onRemove: (workload: Workload) => Promise<void>;
  onRemoved: () => void;
  onClose: () => void;
}

function Ask({ workload, question, one, onRemove, onRemoved, onClose }: AskProps) {
  const { kind, name } = workload;
  if (question === "remove" && kind === "vms") {
    return <RemoveVmDialog name={name} onRemoved={onRemoved} onClose={onClose} />;
  }
  if (question === "remove") {
    const removed = () => onRemove(workload).then(onRemoved);
    return (
      <ConfirmDialog title={`Delete ${name}?`} action="Delete" onConfirm={removed} onClose={onClose}>
        The {one} <strong>{name}</strong> is stopped and deleted. Volumes that it uses stay; whatever else it has stored
        is gone. This cannot be undone.
      </ConfirmDialog>
    );
  }
  if (question === "reset") {
    const reset = () => api.act(kind, name, "reset");
    return (
      <ConfirmDialog title={`Reset ${name}?`} action="Reset" onConfirm={reset} onClose={onClose}>
        The {one} <strong>{name}</strong> begins anew at once, as if its reset button were pressed. What it has not yet
        written is lost.
      </ConfirmDialog>
    );
  }
  if (question !== "force_stop") return <VmDialog question={question} name={name} onClose={onClose} />;
  const force = () => api.act(kind, name, "force_stop");
  return (
    <ConfirmDialog title={`Force ${name} off?`} action="Force off" onConfirm={force} onClose={onClose}>
      The {one} <strong>{name}</strong> ends at once, without a shutdown of its own. What it has not yet written is
      lost.
    </ConfirmDialog>
  );
}

function matches(workload: Workload, filter: string): boolean {
  const wanted = filter.trim().toLowerCase();
  return [workload.name, workload.label, workload.image].some((text) => text.toLowerCase().includes(wanted));
}

// What the node works on in the background, and what came of it.

import { EmptyState, EmptyStateBody, PageSection, Table, Tbody, Td, Th, Thead, Title, Tr } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import type { Job } from "../api/types";
import { ConfirmDialog } from "../components/ConfirmDialog";
import { JobProgress, isOver } from "../components/JobProgress";
import { Loading } from "../components/Loading";
import { useNotices } from "../components/Notices";
import { RowMenu } from "../components/RowMenu";
import { StateLabel } from "../components/StateLabel";
import { momentText } from "../format";
import { useNode } from "../node";
import { nameOf } from "../refs";
import { mayChangeWorkloads, usePrincipal } from "../session";
import type { Tone } from "../workload";

const states: Record<string, [string, Tone]> = {
  queued: ["Queued", "off"],
  running: ["Running", "busy"],
  waiting: ["Waiting to retry", "warning"],
  aborting: ["Being cancelled", "busy"],
  undoing: ["Being undone", "busy"],
  completed: ["Completed", "good"],
  failed: ["Failed", "bad"],
  aborted: ["Cancelled", "off"],
};

/** What operations do, for people; one of a newer node is shown as it is called. */
const operations: Record<string, string> = {
  "image.import": "Import image",
  "image.pull": "Pull image",
  "volume.export": "Make image",
};

export function operationText(operation: string): string {
  return operations[operation] ?? operation;
}

/** What is at work first, then the newest. */
export function inOrder(jobs: Job[]): Job[] {
  const newest = (one: Job, other: Job) => (one.metadata.created < other.metadata.created ? 1 : -1);
  return jobs.toSorted((one, other) => Number(isOver(one)) - Number(isOver(other)) || newest(one, other));
}

export function Jobs() {
  const { jobs, loaded } = useNode();
  const { role } = usePrincipal();
  const [cancelling, setCancelling] = useState<Job | null>(null);
  const mayChange = mayChangeWorkloads(role);
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Jobs</Title>
      </PageSection>
      <PageSection isFilled>
        {!loaded ? (
          <Loading />
        ) : jobs.length === 0 ? (
          <EmptyState titleText="No jobs" headingLevel="h2">
            <EmptyStateBody>What takes the node a while, such as bringing an image in, is shown here.</EmptyStateBody>
          </EmptyState>
        ) : (
          <Table aria-label="Jobs" variant="compact" gridBreakPoint="grid-lg">
            <Thead>
              <Tr>
                <Th>Job</Th>
                <Th>State</Th>
                <Th width={35}>Progress</Th>
                <Th>Started</Th>
                <Th>Ended</Th>
                {mayChange ? <Th screenReaderText="Actions" /> : null}
              </Tr>
            </Thead>
            <Tbody>
              {inOrder(jobs).map((job) => (
                <JobRow key={job.metadata.id} job={job} mayChange={mayChange} onCancel={() => setCancelling(job)} />
              ))}
            </Tbody>
          </Table>
        )}
      </PageSection>
      {cancelling ? (
        <ConfirmDialog
          title={`Cancel ${cancelling.metadata.name}?`}
          action="Cancel the job"
          onConfirm={() => api.actOnJob(cancelling.metadata.name, "abort")}
          onClose={() => setCancelling(null)}
        >
          The job <strong>{cancelling.metadata.name}</strong> ends, and what it has half done is undone.
        </ConfirmDialog>
      ) : null}
    </>
  );
}

function JobRow({ job, mayChange, onCancel }: { job: Job; mayChange: boolean; onCancel: () => void }) {
  const node = useNode();
  const notices = useNotices();
  const { metadata, spec, status } = job;
  const state = status?.state ?? "queued";
  const [label, tone] = states[state] ?? [state, "warning" as const];
  const retry = () =>
    api.actOnJob(metadata.name, "retry").catch((error: unknown) => {
      notices.failed(`${metadata.name} was not tried again`, error);
    });
  const actions = [
    {
      word: "Try again",
      why: status?.retryable ? "" : "Only a failed job can be tried again.",
      onDo: () => void retry(),
    },
    { word: "Cancel", why: isOver(job) ? "It has ended." : spec.abort ? "It is being cancelled." : "", onDo: onCancel },
  ];
  return (
    <Tr>
      <Td dataLabel="Job">
        <div className="sk-state">
          <strong>
            {[operationText(spec.operation), spec.subject ? nameOf(node, spec.subject) : ""].join(" ").trim()}
          </strong>
          <span className="sk-reason">{metadata.name}</span>
        </div>
      </Td>
      <Td dataLabel="State">
        <div className="sk-state">
          <StateLabel tone={tone} label={label} />
          {status?.message ? <span className="sk-reason">{status.message}</span> : null}
        </div>
      </Td>
      <Td dataLabel="Progress">
        <JobProgress job={job} name={metadata.name} />
      </Td>
      <Td dataLabel="Started">{momentText(status?.started)}</Td>
      <Td dataLabel="Ended">{momentText(status?.finished)}</Td>
      {mayChange ? (
        <Td isActionCell>
          <RowMenu name={metadata.name} actions={actions} />
        </Td>
      ) : null}
    </Tr>
  );
}

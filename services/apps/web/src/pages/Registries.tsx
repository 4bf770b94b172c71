// Registries that container images come from, and how each is reached.

import { Button, EmptyState, EmptyStateBody, PageSection, Table, Tbody, Td, Th, Thead, Title, Tr } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import type { Registry, SignatureRule } from "../api/types";
import { ConfirmDialog } from "../components/ConfirmDialog";
import { Loading } from "../components/Loading";
import { RegistryDialog } from "../components/RegistryDialog";
import { RowMenu } from "../components/RowMenu";
import { StateLabel } from "../components/StateLabel";
import { Lines } from "../components/WorkloadTable";
import { useLive, useNode } from "../node";
import { mayChangeNode, usePrincipal } from "../session";

type Asked = { question: "add" } | { question: "change" | "remove"; registry: Registry };

export function Registries() {
  const { registries, loaded } = useNode();
  const { role } = usePrincipal();
  const [asked, setAsked] = useState<Asked | null>(null);
  const mayChange = mayChangeNode(role);
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Registries</Title>
      </PageSection>
      <PageSection isFilled>
        {mayChange ? (
          <div className="sk-bar sk-bar-start">
            <Button onClick={() => setAsked({ question: "add" })} isDisabled={!loaded}>
              Add registry
            </Button>
          </div>
        ) : null}
        {!loaded ? (
          <Loading />
        ) : registries.length === 0 ? (
          <EmptyState titleText="No registries" headingLevel="h2">
            <EmptyStateBody>
              Any public registry can be pulled from without a record here. One is needed for a password, for mirrors,
              for certificates of its own, for signatures, or for plain HTTP.
            </EmptyStateBody>
          </EmptyState>
        ) : (
          <Table aria-label="Registries" variant="compact" gridBreakPoint="grid-lg">
            <Thead>
              <Tr>
                <Th>Name</Th>
                <Th>Host</Th>
                <Th>Mirrors</Th>
                <Th>Trust</Th>
                <Th>Signatures</Th>
                <Th>User name</Th>
                {mayChange ? <Th screenReaderText="Actions" /> : null}
              </Tr>
            </Thead>
            <Tbody>
              {registries.map((registry) => (
                <RegistryRow
                  key={registry.metadata.id}
                  registry={registry}
                  onAsk={mayChange ? (question) => setAsked({ question, registry }) : null}
                />
              ))}
            </Tbody>
          </Table>
        )}
      </PageSection>
      {asked ? <Ask asked={asked} onClose={() => setAsked(null)} /> : null}
    </>
  );
}

interface RowProps {
  registry: Registry;
  onAsk: ((question: "change" | "remove") => void) | null;
}

function ruleText({ prefix, require, keys }: SignatureRule): string {
  const want = require ? "required" : keys.length > 0 ? "looked for" : "not asked for";
  const count = keys.length === 1 ? "1 key" : `${keys.length} keys`;
  return `${prefix || "All images"}: ${want}${keys.length > 0 ? ` (${count})` : ""}`;
}

function RegistryRow({ registry: { metadata, spec }, onAsk }: RowProps) {
  const { name } = metadata;
  return (
    <Tr data-name={name}>
      <Td dataLabel="Name">
        <strong>{name}</strong>
      </Td>
      <Td dataLabel="Host">
        <span className="sk-mono">{spec.host}</span>
      </Td>
      <Td dataLabel="Mirrors">
        <Lines lines={spec.mirrors} />
      </Td>
      <Td dataLabel="Trust">
        {spec.plain_http ? (
          <StateLabel tone="warning" label="Plain HTTP" />
        ) : spec.ca_pem ? (
          "Certificates of its own"
        ) : (
          "Public authorities"
        )}
      </Td>
      <Td dataLabel="Signatures">
        <Lines lines={(spec.signatures ?? []).map(ruleText)} />
      </Td>
      <Td dataLabel="User name">{spec.username ?? <span className="sk-none">–</span>}</Td>
      {onAsk ? (
        <Td isActionCell>
          <RowMenu
            name={name}
            actions={[
              { word: "Change", onDo: () => onAsk("change") },
              { word: "Delete", danger: true, onDo: () => onAsk("remove") },
            ]}
          />
        </Td>
      ) : null}
    </Tr>
  );
}

function Ask({ asked, onClose }: { asked: Asked; onClose: () => void }) {
  const live = useLive();
  if (asked.question === "add") return <RegistryDialog onClose={onClose} />;
  if (asked.question === "change") return <RegistryDialog registry={asked.registry} onClose={onClose} />;
  const { name } = asked.registry.metadata;
  const remove = async () => {
    await api.remove("registries", name);
    live.refresh();
  };
  return (
    <ConfirmDialog title={`Delete ${name}?`} action="Delete" onConfirm={remove} onClose={onClose}>
      The node forgets how to reach this registry, with its password. Images that were pulled from it stay.
    </ConfirmDialog>
  );
}

// What the containers of a running pod take, asked for again while somebody looks.

import { Table, Tbody, Td, Th, Thead, Title, Tr } from "../patternfly";
import { useEffect, useState } from "react";
import { api } from "../api/client";
import type { PodStats } from "../api/types";
import { type Use, usesOf } from "../use";

const again_ms = 5_000;

export function PodUse({ name }: { name: string }) {
  const [readings, setReadings] = useState<{ now?: PodStats; before?: PodStats }>({});
  useEffect(() => {
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async () => {
      try {
        const now = await api.podStats(name);
        if (!over) setReadings(({ now: before }) => ({ now, ...(before ? { before } : {}) }));
      } catch {
        // What was told last is not true any more; the banner says if the node is away.
        if (!over) setReadings({});
      }
      if (!over) timer = setTimeout(() => void ask(), again_ms);
    };
    void ask();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [name]);
  const uses = readings.now ? usesOf(readings.now, readings.before) : [];
  if (uses.length === 0) return null;
  return (
    <section aria-label={`What ${name} takes`}>
      <Title headingLevel="h3" size="md">
        What it takes
      </Title>
      <Table aria-label={`What the containers of ${name} take`} variant="compact" gridBreakPoint="grid">
        <Thead>
          <Tr>
            <Th>Container</Th>
            <Th>Of a CPU</Th>
            <Th>Memory</Th>
            <Th>Tasks</Th>
            <Th>Disk</Th>
          </Tr>
        </Thead>
        <Tbody>
          {uses.map((use) => (
            <UseRow key={use.name} use={use} />
          ))}
        </Tbody>
      </Table>
    </section>
  );
}

function UseRow({ use }: { use: Use }) {
  const killed = use.kills > 0 ? `; ${use.kills} killed for want of it` : "";
  return (
    <Tr>
      <Td dataLabel="Container">{use.name}</Td>
      <Td dataLabel="Of a CPU">{use.processor}</Td>
      <Td dataLabel="Memory">{`${use.memory}${killed}`}</Td>
      <Td dataLabel="Tasks">{use.tasks}</Td>
      <Td dataLabel="Disk">{use.disk}</Td>
    </Tr>
  );
}

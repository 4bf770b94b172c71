// Volumes: what disks and folders there are, where they lie, and who has them.

import {
  Button,
  Drawer,
  DrawerContent,
  DrawerContentBody,
  EmptyState,
  EmptyStateBody,
  PageSection,
  Table,
  Tbody,
  Td,
  TextInput,
  Th,
  Thead,
  Title,
  Tr,
} from "../patternfly";
import { useState } from "react";
import type { Volume } from "../api/types";
import { Loading } from "../components/Loading";
import { PoolCard } from "../components/PoolCard";
import { StateLabel } from "../components/StateLabel";
import { VolumeActions } from "../components/VolumeActions";
import { Holders, VolumeDetails } from "../components/VolumeDetails";
import { VolumeDialog } from "../components/VolumeDialog";
import { bytesText } from "../format";
import { useNode } from "../node";
import { go, routeHref, useRoute } from "../route";
import { mayChangeNode, mayChangeWorkloads, usePrincipal } from "../session";
import { volumeSize, volumeState, volumeWork } from "../volume";

export function Volumes() {
  const { volumes, pools, loaded } = useNode();
  const route = useRoute();
  const { role } = usePrincipal();
  const [creating, setCreating] = useState(false);
  const [filter, setFilter] = useState("");
  const mayChange = mayChangeWorkloads(role);
  const opened = volumes.find(({ metadata }) => metadata.name === route.name);
  const wanted = filter.trim().toLowerCase();
  const shown = volumes.filter((volume) => volume.metadata.name.includes(wanted));
  const panel = opened ? <VolumeDetails volume={opened} mayChange={mayChange} /> : null;
  return (
    <Drawer isExpanded={opened !== undefined} className="sk-drawer">
      <DrawerContent panelContent={panel}>
        <DrawerContentBody>
          <PageSection>
            <Title headingLevel="h1">Volumes</Title>
          </PageSection>
          <PageSection isFilled>
            {!loaded ? (
              <Loading />
            ) : (
              <>
                <div className="sk-pools sk-gap-below">
                  {pools.map((pool) => (
                    <PoolCard key={pool.metadata.id} pool={pool} mayChange={mayChangeNode(role)} />
                  ))}
                </div>
                <div className="sk-bar">
                  <TextInput
                    type="search"
                    className="sk-bar-filter"
                    aria-label="Filter volumes"
                    placeholder="Filter by name"
                    value={filter}
                    onChange={(_event, text) => setFilter(text)}
                  />
                  {mayChange ? <Button onClick={() => setCreating(true)}>Create volume</Button> : null}
                </div>
                {volumes.length === 0 ? (
                  <EmptyState titleText="No volumes" headingLevel="h2">
                    <EmptyStateBody>
                      A volume is a disk of a virtual machine or a folder of containers, and outlives them.
                    </EmptyStateBody>
                  </EmptyState>
                ) : (
                  <VolumeTable volumes={shown} mayChange={mayChange} />
                )}
                {volumes.length > 0 && shown.length === 0 ? (
                  <p className="sk-none sk-pad">Nothing matches the filter.</p>
                ) : null}
              </>
            )}
          </PageSection>
        </DrawerContentBody>
      </DrawerContent>
      {creating ? <VolumeDialog onClose={() => setCreating(false)} /> : null}
    </Drawer>
  );
}

function VolumeTable({ volumes, mayChange }: { volumes: Volume[]; mayChange: boolean }) {
  const route = useRoute();
  return (
    <Table aria-label="Volumes" variant="compact" gridBreakPoint="grid-lg">
      <Thead>
        <Tr>
          <Th>Name</Th>
          <Th>State</Th>
          <Th modifier="nowrap">Size</Th>
          <Th modifier="nowrap">Takes</Th>
          <Th>Pool</Th>
          <Th>Attached to</Th>
          {mayChange ? <Th screenReaderText="Actions" /> : null}
        </Tr>
      </Thead>
      <Tbody>
        {volumes.map((volume) => {
          const { id, name } = volume.metadata;
          return (
            <Tr key={id} data-name={name}>
              <Td dataLabel="Name">
                <a href={routeHref("volumes", name)}>{name}</a>
              </Td>
              <Td dataLabel="State">
                <State volume={volume} />
              </Td>
              <Td dataLabel="Size">{bytesText(volumeSize(volume))}</Td>
              <Td dataLabel="Takes">{bytesText(volume.status?.used_bytes ?? 0)}</Td>
              <Td dataLabel="Pool">{volume.spec.pool}</Td>
              <Td dataLabel="Attached to">
                <Holders volume={volume} />
              </Td>
              {mayChange ? (
                <Td isActionCell>
                  <VolumeActions volume={volume} onRemoved={() => (route.name === name ? go("volumes") : undefined)} />
                </Td>
              ) : null}
            </Tr>
          );
        })}
      </Tbody>
    </Table>
  );
}

function State({ volume }: { volume: Volume }) {
  const [label, tone] = volumeState(volume);
  const work = volumeWork(volume);
  return (
    <div className="sk-state">
      <StateLabel tone={tone} label={label} />
      {volume.spec.form === "folder" ? <span className="sk-reason">Folder</span> : null}
      {volume.spec.locked ? <span className="sk-reason">Locked</span> : null}
      {work && work !== label ? <span className="sk-reason">{work}</span> : null}
      {volume.status?.reason ? <span className="sk-reason">{volume.status.reason}</span> : null}
    </div>
  );
}

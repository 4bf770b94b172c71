// The disks of a virtual machine, and the snapshots of them.

import { Button, Table, Tbody, Td, Th, Thead, Title, Tr } from "../patternfly";
import { useState } from "react";
import type { Vm, VmDisk } from "../api/types";
import { bytesText } from "../format";
import { useNode } from "../node";
import { routeHref } from "../route";
import { volumeSize } from "../volume";
import { AttachDialog, DetachDialog } from "./AttachDialog";
import { SnapshotTree } from "./SnapshotTree";
import { SnapshotDialog } from "./VolumeActions";

type Asked = { question: "attach" | "snapshot" } | { question: "detach"; volume: string };

export function VmDisks({ vm, mayChange }: { vm: Vm; mayChange: boolean }) {
  const { volumes } = useNode();
  const [asked, setAsked] = useState<Asked | null>(null);
  const { name } = vm.metadata;
  const { disks } = vm.spec;
  const mine = disks.flatMap((disk) => volumes.find(({ metadata }) => metadata.name === disk.volume) ?? []);
  const close = () => setAsked(null);
  return (
    <div className="sk-meters sk-facts">
      <section aria-label={`Disks of ${name}`}>
        <div className="sk-group">
          <Title headingLevel="h3" size="md">
            Disks
          </Title>
          {mayChange ? (
            <Button variant="secondary" size="sm" onClick={() => setAsked({ question: "attach" })}>
              Attach volume
            </Button>
          ) : null}
        </div>
        {disks.length === 0 ? (
          <p className="sk-none sk-more">It has no disk.</p>
        ) : (
          <DiskTable
            name={name}
            disks={disks}
            onDetach={mayChange ? (volume) => setAsked({ question: "detach", volume }) : null}
          />
        )}
      </section>
      <section aria-label={`Snapshots of ${name}`}>
        <div className="sk-group sk-gap-below">
          <Title headingLevel="h3" size="md">
            Snapshots
          </Title>
          {mayChange ? (
            <Button
              variant="secondary"
              size="sm"
              isDisabled={disks.length === 0}
              onClick={() => setAsked({ question: "snapshot" })}
            >
              Take snapshot
            </Button>
          ) : null}
        </div>
        <SnapshotTree volumes={mine} mayChange={mayChange} />
      </section>
      {asked?.question === "attach" ? <AttachDialog vm={name} onClose={close} /> : null}
      {asked?.question === "snapshot" ? <SnapshotDialog of={name} part={{ vm: name }} onClose={close} /> : null}
      {asked?.question === "detach" ? <DetachDialog volume={asked.volume} vms={[vm]} onClose={close} /> : null}
    </div>
  );
}

interface DiskProps {
  name: string;
  disks: VmDisk[];
  onDetach: ((volume: string) => void) | null;
}

function DiskTable({ name, disks, onDetach }: DiskProps) {
  const { volumes } = useNode();
  return (
    <Table aria-label={`Disks of ${name}`} variant="compact" gridBreakPoint="">
      <Thead>
        <Tr>
          <Th>Volume</Th>
          <Th>Size</Th>
          <Th>How</Th>
          {onDetach ? <Th screenReaderText="Actions" /> : null}
        </Tr>
      </Thead>
      <Tbody>
        {disks.map((disk) => {
          const volume = volumes.find(({ metadata }) => metadata.name === disk.volume);
          return (
            <Tr key={disk.volume}>
              <Td dataLabel="Volume">
                <a href={routeHref("volumes", disk.volume)}>{disk.volume}</a>
              </Td>
              <Td dataLabel="Size">{volume ? bytesText(volumeSize(volume)) : "–"}</Td>
              <Td dataLabel="How">{howText(disk)}</Td>
              {onDetach ? (
                <Td isActionCell>
                  <Button
                    variant="link"
                    isInline
                    isDisabled={volume?.spec.locked ?? false}
                    aria-label={`Detach ${disk.volume}`}
                    onClick={() => onDetach(disk.volume)}
                  >
                    Detach
                  </Button>
                </Td>
              ) : null}
            </Tr>
          );
        })}
      </Tbody>
    </Table>
  );
}

function howText({ bus, read_only, boot_index, keep_on_delete }: VmDisk): string {
  return [
    bus,
    read_only ? "read only" : "",
    boot_index ? `boot ${boot_index}` : "",
    keep_on_delete ? "" : "deleted with the machine",
  ]
    .filter(Boolean)
    .join(", ");
}

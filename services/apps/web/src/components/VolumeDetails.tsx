// All about one volume, in a panel beside the list: facts, who has it, snapshots.

import {
  Button,
  DescriptionList,
  DrawerActions,
  DrawerCloseButton,
  DrawerHead,
  DrawerPanelBody,
  DrawerPanelContent,
  Title,
} from "../patternfly";
import { useEffect, useRef, useState } from "react";
import type { Volume } from "../api/types";
import { bytesText, momentText } from "../format";
import { useNode } from "../node";
import { go, routeHref } from "../route";
import { podsWith, vmsWith, volumeSize, volumeState, volumeWork, whyNoSnapshot } from "../volume";
import { SnapshotTree } from "./SnapshotTree";
import { StateLabel } from "./StateLabel";
import { SnapshotDialog, VolumeActions } from "./VolumeActions";
import { Conditions, Fact } from "./WorkloadDetails";

interface Props {
  volume: Volume;
  mayChange: boolean;
}

export function VolumeDetails({ volume, mayChange }: Props) {
  const { name } = volume.metadata;
  const [label, tone] = volumeState(volume);
  const heading = useRef<HTMLHeadingElement>(null);
  // Who opened the panel by keyboard goes on inside it.
  useEffect(() => heading.current?.focus(), [name]);
  return (
    <DrawerPanelContent
      widths={{ default: "width_100", xl: "width_50" }}
      aria-label={`Details of ${name}`}
      onKeyDown={(event) => {
        if (event.key === "Escape") go("volumes");
      }}
    >
      <DrawerHead>
        <Title headingLevel="h2" size="lg" ref={heading} tabIndex={-1} className="sk-panel-title">
          {name} <StateLabel tone={tone} label={label} />
        </Title>
        <DrawerActions>
          {mayChange ? <VolumeActions volume={volume} onRemoved={() => go("volumes")} /> : null}
          <DrawerCloseButton onClose={() => go("volumes")} aria-label={`Close details of ${name}`} />
        </DrawerActions>
      </DrawerHead>
      <DrawerPanelBody>
        <Facts volume={volume} />
        {volume.spec.form === "disk" ? <Snapshots volume={volume} mayChange={mayChange} /> : null}
      </DrawerPanelBody>
    </DrawerPanelContent>
  );
}

function Snapshots({ volume, mayChange }: Props) {
  const [taking, setTaking] = useState(false);
  const { name } = volume.metadata;
  return (
    <section aria-label={`Snapshots of ${name}`}>
      <div className="sk-group sk-gap-below">
        <Title headingLevel="h3" size="md">
          Snapshots
        </Title>
        {mayChange ? (
          <Button
            variant="secondary"
            size="sm"
            isDisabled={whyNoSnapshot(volume) !== ""}
            onClick={() => setTaking(true)}
          >
            Take snapshot
          </Button>
        ) : null}
      </div>
      <SnapshotTree volumes={[volume]} mayChange={mayChange} />
      {taking ? <SnapshotDialog of={name} part={{ volumes: [name] }} onClose={() => setTaking(false)} /> : null}
    </section>
  );
}

/** Links to the workloads that have a volume. */
export function Holders({ volume }: { volume: Volume }) {
  const { vms, pods } = useNode();
  const { name } = volume.metadata;
  const places = [
    ...vmsWith(vms, name).map((vm) => ["vms", vm.metadata.name] as const),
    ...podsWith(pods, name).map((pod) => ["pods", pod.metadata.name] as const),
  ];
  if (places.length === 0) return <span className="sk-none">–</span>;
  return (
    <ul className="sk-lines">
      {places.map(([place, holder]) => (
        <li key={`${place}/${holder}`}>
          <a href={routeHref(place, holder)}>{holder}</a>
        </li>
      ))}
    </ul>
  );
}

export function sourceText({ spec: { source } }: Volume): string {
  if (source.image) return `Image ${source.image}`;
  if (source.snapshot) return `Snapshot ${source.snapshot}${source.volume ? `, volume ${source.volume}` : ""}`;
  return source.volume ? `Volume ${source.volume}` : "Nothing: it began empty";
}

function Facts({ volume }: { volume: Volume }) {
  const { metadata, spec, status } = volume;
  const work = volumeWork(volume);
  return (
    <DescriptionList className="sk-facts" isHorizontal isCompact horizontalTermWidthModifier={{ default: "13ch" }}>
      {status?.reason ? <Fact term="Why">{status.reason}</Fact> : null}
      {work ? <Fact term="At work">{work}</Fact> : null}
      <Fact term="What it is">{spec.form === "folder" ? "Folder for containers" : "Disk"}</Fact>
      <Fact term="Size">{bytesText(volumeSize(volume))}</Fact>
      <Fact term="Takes">{bytesText(status?.used_bytes ?? 0)}</Fact>
      <Fact term="Space">{spec.allocation === "preallocated" ? "Taken at once" : "Taken as it fills"}</Fact>
      <Fact term="Pool">{spec.pool}</Fact>
      <Fact term="Attached to">
        <Holders volume={volume} />
      </Fact>
      <Fact term="Began with">{sourceText(volume)}</Fact>
      {spec.locked ? <Fact term="Locked">Deleting and detaching it are refused</Fact> : null}
      {spec.erase_on_delete ? <Fact term="When deleted">Overwritten first</Fact> : null}
      {status?.serial ? (
        <Fact term="Serial">
          <span className="sk-mono">{status.serial}</span>
        </Fact>
      ) : null}
      <Fact term="Created">{momentText(metadata.created)}</Fact>
      <Fact term="Id">
        <span className="sk-mono">{metadata.id}</span>
      </Fact>
      <Conditions conditions={status?.conditions ?? []} />
    </DescriptionList>
  );
}

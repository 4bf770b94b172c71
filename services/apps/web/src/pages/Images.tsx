// Images that workloads can start from.

import { EmptyState, EmptyStateBody, PageSection, Table, Tbody, Td, Th, Thead, Title, Tr } from "../patternfly";
import type { Image } from "../api/types";
import { Loading } from "../components/Loading";
import { StateLabel } from "../components/StateLabel";
import { bytesText } from "../format";
import { useNode } from "../node";
import type { Tone } from "../workload";

const states: Record<string, [string, Tone]> = {
  pending: ["Being checked", "busy"],
  available: ["Available", "good"],
  receiving: ["Being brought in", "busy"],
  quarantined: ["Damaged", "bad"],
  failed: ["Not brought in", "bad"],
};

const formats: Record<string, string> = {
  oci_archive: "Container (OCI)",
  kernel_initrd: "Virtual machine (kernel)",
  qcow2: "Virtual machine (qcow2)",
  raw: "Virtual machine (raw)",
  vmdk: "Virtual machine (vmdk)",
  vdi: "Virtual machine (vdi)",
  iso: "CD for virtual machines",
};

export function Images() {
  const { images, loaded } = useNode();
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Images</Title>
      </PageSection>
      <PageSection isFilled>
        {!loaded ? (
          <Loading />
        ) : images.length === 0 ? (
          <EmptyState titleText="No images" headingLevel="h2">
            <EmptyStateBody>
              The images built into the node are registered when its services have started.
            </EmptyStateBody>
          </EmptyState>
        ) : (
          <Table aria-label="Images" variant="compact" gridBreakPoint="grid-lg">
            <Thead>
              <Tr>
                <Th>Name</Th>
                <Th>State</Th>
                <Th>For</Th>
                <Th>Size</Th>
                <Th>Architecture</Th>
                <Th>SHA-256</Th>
              </Tr>
            </Thead>
            <Tbody>
              {images.map((image) => (
                <ImageRow key={image.metadata.id} image={image} />
              ))}
            </Tbody>
          </Table>
        )}
      </PageSection>
    </>
  );
}

function ImageRow({ image: { metadata, spec, status } }: { image: Image }) {
  const state = status?.state ?? "pending";
  const [label, tone] = states[state] ?? [state, "warning" as const];
  const broken = status?.conditions.find((condition) => condition.state === "false");
  return (
    <Tr>
      <Td dataLabel="Name">
        <div className="sk-state">
          <strong>{metadata.name}</strong>
          {spec.description ? <span className="sk-reason">{spec.description}</span> : null}
        </div>
      </Td>
      <Td dataLabel="State">
        <div className="sk-state">
          <StateLabel tone={tone} label={label} />
          {tone === "bad" && broken ? <span className="sk-reason">{broken.message}</span> : null}
        </div>
      </Td>
      <Td dataLabel="For">{formats[spec.format] ?? spec.format}</Td>
      <Td dataLabel="Size">{bytesText(spec.files.reduce((sum, file) => sum + file.size, 0))}</Td>
      <Td dataLabel="Architecture">{spec.architecture}</Td>
      <Td dataLabel="SHA-256">
        <ul className="sk-lines">
          {spec.files.map((file, place) => (
            // An image from a registry has many layers, even the same one twice, so the place tells them apart.
            <li key={place}>
              {file.role}{" "}
              <span className="sk-mono" title={file.sha256}>
                {file.sha256.slice(0, 12)}…
              </span>
            </li>
          ))}
        </ul>
      </Td>
    </Tr>
  );
}

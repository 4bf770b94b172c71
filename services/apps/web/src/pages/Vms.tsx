// Virtual machines.

import { useMemo, useState } from "react";
import { api } from "../api/client";
import { CreateDialog } from "../components/CreateDialog";
import { TextField } from "../components/Field";
import { ImageSelect, usableImages } from "../components/ImageSelect";
import { PublishFields } from "../components/PublishFields";
import { WorkloadPage } from "../components/WorkloadPage";
import { hint, nameRule } from "../forms/fields";
import { type VmDraft, checkVm, formShows, newVm, vmFields } from "../forms/workload";
import { useNode } from "../node";
import { vmWorkload } from "../workload";

export function Vms() {
  const { vms } = useNode();
  const workloads = useMemo(() => vms.map(vmWorkload), [vms]);
  return (
    <WorkloadPage
      title="Virtual machines"
      one="virtual machine"
      empty="A virtual machine starts from an image of this node and has its own kernel, memory and network port."
      workloads={workloads}
      createForm={(onClose) => <VmForm onClose={onClose} />}
    />
  );
}

function VmForm({ onClose }: { onClose: () => void }) {
  const images = usableImages(useNode().images, "kernel_initrd", "qcow2", "raw");
  // One image leaves nothing to choose.
  const only = images.length === 1 ? images[0] : undefined;
  const [draft, setDraft] = useState<VmDraft>({ ...newVm, image: only?.metadata.name ?? "" });
  const change = (part: Partial<VmDraft>) => setDraft((present) => ({ ...present, ...part }));
  const send = () => api.createVm(checkVm(draft).input);
  return (
    <CreateDialog
      title="Create virtual machine"
      check={() => checkVm(draft).faults}
      send={send}
      shows={formShows(vmFields, draft.publish.length)}
      onClose={onClose}
    >
      {(faults) => (
        <>
          <TextField
            id="create-name"
            label="Name"
            required
            rule={hint(nameRule)}
            fault={faults["metadata.name"]}
            value={draft.name}
            onValue={(name) => change({ name })}
            input={{ autoComplete: "off", autoCapitalize: "none", spellCheck: false }}
          />
          <ImageSelect
            images={images}
            value={draft.image}
            fault={faults["spec.image"]}
            onValue={(image) => change({ image })}
          />
          <div className="sk-pair">
            <TextField
              id="create-vcpus"
              label="Virtual CPUs"
              required
              rule="1 to 64"
              fault={faults["spec.vcpus"]}
              value={draft.vcpus}
              onValue={(vcpus) => change({ vcpus })}
              input={{ inputMode: "numeric", autoComplete: "off" }}
            />
            <TextField
              id="create-memory"
              label="Memory in MiB"
              required
              rule="32 or more"
              fault={faults["spec.memory_mib"]}
              value={draft.memory_mib}
              onValue={(memory_mib) => change({ memory_mib })}
              input={{ inputMode: "numeric", autoComplete: "off" }}
            />
          </div>
          <PublishFields drafts={draft.publish} faults={faults} onDrafts={(publish) => change({ publish })} />
        </>
      )}
    </CreateDialog>
  );
}

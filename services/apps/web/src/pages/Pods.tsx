// Containers. The node's unit is the pod; the form makes pods of one container, the list shows all.

import { FormSelect, FormSelectOption } from "../patternfly";
import { useMemo, useState } from "react";
import { api } from "../api/client";
import type { RestartPolicy, UserNamespace } from "../api/types";
import { CreateDialog } from "../components/CreateDialog";
import { FieldFrame, TextField } from "../components/Field";
import { ImageSelect, usableImages } from "../components/ImageSelect";
import { PublishFields } from "../components/PublishFields";
import { WorkloadPage } from "../components/WorkloadPage";
import { hint, nameRule } from "../forms/fields";
import { type PodDraft, checkPod, formShows, newPod, pageSizes, podFields } from "../forms/workload";
import { useNode } from "../node";
import { podWorkload, sizeText } from "../workload";

const policies: [RestartPolicy, string][] = [
  ["always", "Always"],
  ["on_failure", "After a failure"],
  ["never", "Never"],
];

const owners: [UserNamespace, string][] = [
  ["pod", "Its own: root in it is nobody to the node"],
  ["host", "The node’s: for images with users above 65535"],
];

export function Pods() {
  const { pods } = useNode();
  const workloads = useMemo(() => pods.map(podWorkload), [pods]);
  return (
    <WorkloadPage
      title="Containers"
      one="container"
      empty="A container starts from an image of this node and has its own address; it shares the node's kernel."
      workloads={workloads}
      createForm={(onClose) => <PodForm onClose={onClose} />}
    />
  );
}

function PodForm({ onClose }: { onClose: () => void }) {
  const images = usableImages(useNode().images, "oci_archive");
  const only = images.length === 1 ? images[0] : undefined;
  const [draft, setDraft] = useState<PodDraft>({ ...newPod, image: only?.metadata.name ?? "" });
  const change = (part: Partial<PodDraft>) => setDraft((present) => ({ ...present, ...part }));
  const send = () => api.createPod(checkPod(draft).input);
  const at = "spec.containers[0]";
  return (
    <CreateDialog
      title="Create container"
      check={() => checkPod(draft).faults}
      send={send}
      shows={formShows(podFields, draft.publish.length)}
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
            fault={faults[`${at}.image`]}
            onValue={(image) => change({ image })}
          />
          <div className="sk-pair">
            <TextField
              id="create-memory"
              label="Memory limit in MiB"
              required
              rule="4 or more"
              fault={faults[`${at}.memory_mib`]}
              value={draft.memory_mib}
              onValue={(memory_mib) => change({ memory_mib })}
              input={{ inputMode: "numeric", autoComplete: "off" }}
            />
            <TextField
              id="create-cpu"
              label="CPU limit"
              rule="Such as 0.5; empty for no limit"
              fault={faults[`${at}.cpu_limit_m`]}
              value={draft.cpu}
              onValue={(cpu) => change({ cpu })}
              input={{ inputMode: "decimal", autoComplete: "off" }}
            />
          </div>
          <div className="sk-pair">
            {pageSizes.map(([size, page]) => (
              <TextField
                key={size}
                id={`create-pages-${size}`}
                label={`Huge pages of ${sizeText(page)}, in MiB`}
                rule="On top of the memory; empty for none"
                fault={faults[`${at}.huge_pages.${size}`]}
                value={draft.pages[size]}
                onValue={(mib) => change({ pages: { ...draft.pages, [size]: mib } })}
                input={{ inputMode: "numeric", autoComplete: "off" }}
              />
            ))}
          </div>
          <FieldFrame id="create-restart" label="Start again when it ends">
            <FormSelect
              id="create-restart"
              value={draft.restart}
              onChange={(_event, restart) => change({ restart: restart as RestartPolicy })}
            >
              {policies.map(([value, label]) => (
                <FormSelectOption key={value} value={value} label={label} />
              ))}
            </FormSelect>
          </FieldFrame>
          <FieldFrame id="create-users" label="Users" fault={faults["spec.user_namespace"]}>
            <FormSelect
              id="create-users"
              value={draft.users}
              onChange={(_event, users) => change({ users: users as UserNamespace })}
            >
              {owners.map(([value, label]) => (
                <FormSelectOption key={value} value={value} label={label} />
              ))}
            </FormSelect>
          </FieldFrame>
          <PublishFields drafts={draft.publish} faults={faults} onDrafts={(publish) => change({ publish })} />
        </>
      )}
    </CreateDialog>
  );
}

// The ports that a new workload publishes at the node's addresses.

import {
  Button,
  FormFieldGroup,
  FormFieldGroupHeader,
  FormSelect,
  FormSelectOption,
  HelperText,
  HelperTextItem,
} from "../patternfly";
import { type Faults, type PublishDraft, emptyPublish } from "../forms/fields";
import { FieldFrame, TextField } from "./Field";

interface Props {
  drafts: PublishDraft[];
  faults: Faults;
  onDrafts: (drafts: PublishDraft[]) => void;
}

export function PublishFields({ drafts, faults, onDrafts }: Props) {
  const change = (index: number, part: Partial<PublishDraft>) =>
    onDrafts(drafts.map((draft, at) => (at === index ? { ...draft, ...part } : draft)));
  const add = (
    <Button variant="secondary" size="sm" onClick={() => onDrafts([...drafts, emptyPublish])}>
      Add port
    </Button>
  );
  const whole = faults["spec.publish"];
  const title = { text: "Published ports", id: "publish-title" };
  return (
    <FormFieldGroup
      header={
        <FormFieldGroupHeader
          titleText={title}
          titleDescription="Makes a port of the workload reachable at the node's own addresses."
          actions={add}
        />
      }
    >
      {whole ? (
        <HelperText>
          <HelperTextItem variant="error" aria-live="polite">
            {whole}
          </HelperTextItem>
        </HelperText>
      ) : null}
      {drafts.map((draft, index) => {
        const at = `spec.publish[${index}]`;
        return (
          <div className="sk-publish" key={index} role="group" aria-label={`Published port ${index + 1}`}>
            <TextField
              id={`publish-${index}-host`}
              label="Node port"
              value={draft.host_port}
              fault={faults[`${at}.host_port`]}
              onValue={(host_port) => change(index, { host_port })}
              input={{ inputMode: "numeric", autoComplete: "off", placeholder: "8081" }}
            />
            <TextField
              id={`publish-${index}-workload`}
              label="Workload port"
              value={draft.workload_port}
              fault={faults[`${at}.workload_port`]}
              onValue={(workload_port) => change(index, { workload_port })}
              input={{ inputMode: "numeric", autoComplete: "off", placeholder: "8080" }}
            />
            <FieldFrame id={`publish-${index}-protocol`} label="Protocol">
              <FormSelect
                id={`publish-${index}-protocol`}
                value={draft.protocol}
                onChange={(_event, value) => change(index, { protocol: value === "udp" ? "udp" : "tcp" })}
              >
                <FormSelectOption value="tcp" label="TCP" />
                <FormSelectOption value="udp" label="UDP" />
              </FormSelect>
            </FieldFrame>
            <Button
              variant="plain"
              aria-label={`Remove published port ${index + 1}`}
              onClick={() => onDrafts(drafts.filter((_draft, other) => other !== index))}
            >
              Remove
            </Button>
          </div>
        );
      })}
    </FormFieldGroup>
  );
}

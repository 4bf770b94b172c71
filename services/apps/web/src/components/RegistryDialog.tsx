// How a registry is reached: made or changed.

import { Switch } from "../patternfly";
import { useState } from "react";
import { api } from "../api/client";
import type { Registry } from "../api/types";
import { type RegistryDraft, checkRegistry, draftOf, newRegistry, registryFields } from "../forms/registry";
import { AreaField } from "./AreaField";
import { CreateDialog } from "./CreateDialog";
import { TextField } from "./Field";
import { NameField, plain } from "./NameField";
import { SignatureFields } from "./SignatureFields";

export function RegistryDialog({ registry, onClose }: { registry?: Registry | undefined; onClose: () => void }) {
  const [draft, setDraft] = useState<RegistryDraft>(registry ? draftOf(registry) : newRegistry);
  const change = (part: Partial<RegistryDraft>) => setDraft((present) => ({ ...present, ...part }));
  const send = () => {
    const { input } = checkRegistry(draft);
    if (!registry) return api.createRegistry(input);
    const { name, revision } = registry.metadata;
    return api.patch("registries", name, input.spec, revision);
  };
  return (
    <CreateDialog
      title={registry ? `Change ${registry.metadata.name}` : "Add registry"}
      action={registry ? "Change" : "Add"}
      focus={registry ? "#create-host" : "#create-name"}
      check={() => checkRegistry(draft).faults}
      send={send}
      shows={(field) => registryFields.some((known) => field === known || field.startsWith(`${known}[`))}
      onClose={onClose}
    >
      {(faults) => (
        <>
          {registry ? null : (
            <NameField value={draft.name} fault={faults["metadata.name"]} onValue={(name) => change({ name })} />
          )}
          <TextField
            id="create-host"
            label="Host"
            required
            rule="As in references to images, such as docker.io or 10.0.0.5:5000"
            fault={faults["spec.host"]}
            value={draft.host}
            onValue={(host) => change({ host })}
            input={plain}
          />
          <AreaField
            id="create-mirrors"
            label="Mirrors"
            rows={2}
            rule="Hosts that are asked first, one a line. This password is not for them."
            fault={Object.entries(faults).find(([field]) => field.startsWith("spec.mirrors"))?.[1]}
            value={draft.mirrors}
            onValue={(mirrors) => change({ mirrors })}
          />
          <div className="sk-pair">
            <TextField
              id="create-username"
              label="User name"
              fault={faults["spec.username"]}
              value={draft.username}
              onValue={(username) => change({ username })}
              input={plain}
            />
            <TextField
              id="create-password"
              label="Password or token"
              rule={registry ? "Never shown. Empty: it stays, unless the host changes." : "Never shown again"}
              fault={faults["spec.password"]}
              value={draft.password}
              onValue={(password) => change({ password })}
              input={{ type: "password", autoComplete: "new-password" }}
            />
          </div>
          <AreaField
            id="create-ca"
            label="Certificates to trust (PEM)"
            rule="Instead of the public authorities, for a registry with certificates of its own"
            placeholder="-----BEGIN CERTIFICATE-----"
            fault={faults["spec.ca_pem"]}
            value={draft.ca_pem}
            onValue={(ca_pem) => change({ ca_pem })}
          />
          <Switch
            id="create-plain-http"
            label="Plain HTTP, without TLS: whoever sits on the way can read the password and choose what a tag means"
            isChecked={draft.plain_http}
            onChange={(_event, plain_http) => change({ plain_http })}
          />
          <SignatureFields rules={draft.signatures} faults={faults} onRules={(signatures) => change({ signatures })} />
        </>
      )}
    </CreateDialog>
  );
}

// First run: whoever reads the claim code at the machine becomes its first administrator.

import { ActionGroup, Alert, Button, Content, Form } from "../patternfly";
import { type SubmitEvent, useState } from "react";
import { api } from "../api/client";
import { Refused } from "../api/problem";
import type { Health } from "../api/types";
import { TextField } from "../components/Field";
import { Frame } from "../components/Frame";
import { type ClaimDraft, checkClaim, passwordRule, usernameRule } from "../forms/claim";
import { type Faults, type FormRefusal, refusalToForm } from "../forms/fields";
import { useSession } from "../session";
import { loginProblem } from "./Login";

const fields = ["code", "username", "password"];

/** What the node's refusal of a claim means for the form. */
export function claimRefusal(error: unknown): FormRefusal {
  if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
    return { faults: { code: "This is not the node's claim code. Compare it with the console." }, general: null };
  }
  if (error instanceof Refused && error.status === 429) return { faults: {}, general: loginProblem(error) };
  return refusalToForm(error, (field) => fields.includes(field));
}

export function Claim({ health }: { health: Health }) {
  const { entered, look } = useSession();
  const [draft, setDraft] = useState<ClaimDraft>({ code: "", username: "admin", password: "", again: "" });
  const [faults, setFaults] = useState<Faults>({});
  const [general, setGeneral] = useState<string | null>(null);
  const [taken, setTaken] = useState(false);
  const [busy, setBusy] = useState(false);
  const change = (part: Partial<ClaimDraft>) => setDraft((present) => ({ ...present, ...part }));

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setGeneral(null);
    const found = checkClaim(draft);
    setFaults(found);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    try {
      entered(await api.claim(draft.code.trim(), draft.username.trim(), draft.password));
    } catch (error) {
      const refusal = claimRefusal(error);
      setFaults(refusal.faults);
      setGeneral(refusal.general);
      setTaken(error instanceof Refused && error.status === 409);
      setBusy(false);
    }
  };
  return (
    <Frame title="Set up this node" node={health.hostname}>
      <Content component="p">
        This node has no administrator yet. Its console (screen or serial line) shows a claim code; with it you set the
        first account. This can be done once.
      </Content>
      <Form onSubmit={(event) => void submit(event)} noValidate>
        {general ? (
          <Alert
            variant="danger"
            isInline
            isLiveRegion
            title={general}
            actionLinks={
              taken ? (
                <Button variant="link" isInline onClick={look}>
                  Go to sign-in
                </Button>
              ) : undefined
            }
          />
        ) : null}
        <TextField
          id="code"
          label="Claim code"
          required
          rule="Twelve letters and digits; case and dashes do not matter."
          fault={faults["code"]}
          value={draft.code}
          onValue={(code) => change({ code })}
          input={{
            autoComplete: "off",
            autoCapitalize: "characters",
            spellCheck: false,
            autoFocus: true,
            className: "sk-mono",
          }}
        />
        <TextField
          id="username"
          label="User name"
          required
          rule={usernameRule}
          fault={faults["username"]}
          value={draft.username}
          onValue={(username) => change({ username })}
          input={{ autoComplete: "username", autoCapitalize: "none", spellCheck: false }}
        />
        <TextField
          id="password"
          label="Password"
          required
          rule={passwordRule}
          fault={faults["password"]}
          value={draft.password}
          onValue={(password) => change({ password })}
          input={{ type: "password", autoComplete: "new-password" }}
        />
        <TextField
          id="again"
          label="Password again"
          required
          fault={faults["again"]}
          value={draft.again}
          onValue={(again) => change({ again })}
          input={{ type: "password", autoComplete: "new-password" }}
        />
        <ActionGroup>
          <Button type="submit" isBlock isLoading={busy} isDisabled={busy}>
            Set up
          </Button>
        </ActionGroup>
      </Form>
    </Frame>
  );
}

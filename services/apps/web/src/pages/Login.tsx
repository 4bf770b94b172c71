// Sign-in of a local user.

import { ActionGroup, Alert, Button, Form } from "../patternfly";
import { type SubmitEvent, useState } from "react";
import { api } from "../api/client";
import { Refused, explain } from "../api/problem";
import type { Health } from "../api/types";
import { TextField } from "../components/Field";
import { Frame } from "../components/Frame";
import { useSession } from "../session";

export function loginProblem(error: unknown): string {
  if (!(error instanceof Refused)) return explain(error);
  if (error.status === 401) return "User name or password is wrong.";
  if (error.status === 429) {
    return error.retryAfter === null
      ? "Too many wrong tries. Wait a minute and try again."
      : `Too many wrong tries. Try again in ${error.retryAfter} s.`;
  }
  return explain(error);
}

export function Login({ health, notice }: { health: Health; notice: string | null }) {
  const { entered } = useSession();
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (!username.trim() || !password) {
      setProblem("Type user name and password.");
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      entered(await api.login(username.trim(), password));
    } catch (error) {
      setProblem(loginProblem(error));
      setPassword("");
      setBusy(false);
    }
  };
  return (
    <Frame title="Sign in" node={health.hostname}>
      <Form onSubmit={(event) => void submit(event)} noValidate>
        {problem ? (
          <Alert variant="danger" isInline isLiveRegion title={problem} />
        ) : notice ? (
          <Alert variant="info" isInline isLiveRegion title={notice} />
        ) : null}
        <TextField
          id="username"
          label="User name"
          required
          value={username}
          onValue={setUsername}
          input={{ autoComplete: "username", autoCapitalize: "none", spellCheck: false, autoFocus: true }}
        />
        <TextField
          id="password"
          label="Password"
          required
          value={password}
          onValue={setPassword}
          input={{ type: "password", autoComplete: "current-password" }}
        />
        <ActionGroup>
          <Button type="submit" isBlock isLoading={busy} isDisabled={busy}>
            Sign in
          </Button>
        </ActionGroup>
      </Form>
    </Frame>
  );
}

// The terminal of a workload: a program in a container, or the serial line of a virtual machine.

import { Button, FormSelect, FormSelectOption, TextInput } from "../patternfly";
import { Suspense, lazy, useCallback, useState } from "react";
import { type WorkloadKind, api } from "../api/client";
import type { Pairs } from "../api/socket";
import { Loading } from "./Loading";

const TerminalScreen = lazy(() => import("./TerminalScreen"));

interface Props {
  kind: WorkloadKind;
  name: string;
  containers: string[];
  isUp: boolean;
}

export function TerminalView({ kind, name, containers, isUp }: Props) {
  const [container, setContainer] = useState(containers[0]);
  const [command, setCommand] = useState("/bin/sh");
  // Counts connections, so that each gets a screen of its own.
  const [run, setRun] = useState(0);
  const [open, setOpen] = useState(false);
  const [note, setNote] = useState("");
  const isVm = kind === "vms";

  const connect = () => {
    setRun((count) => count + 1);
    setOpen(true);
    setNote("");
  };
  const onEnd = useCallback((why: string) => {
    setOpen(false);
    setNote(why);
  }, []);
  const words = command.trim().split(/\s+/);
  const query: Pairs = isVm ? [] : [["tty", "true"], ...words.map((word): [string, string] => ["command", word])];
  if (!isVm && containers.length > 1 && container) query.push(["container", container]);
  const label = isVm ? `Serial line of ${name}` : `Terminal in ${name}`;
  return (
    <div className="sk-output">
      <div className="sk-output-bar">
        {isVm ? null : (
          <TextInput
            className="sk-terminal-command"
            aria-label="Program"
            value={command}
            isDisabled={open}
            onChange={(_event, text) => setCommand(text)}
          />
        )}
        {containers.length > 1 ? (
          <FormSelect
            className="sk-terminal-command"
            aria-label="Container"
            value={container}
            isDisabled={open}
            onChange={(_event, value) => setContainer(value)}
          >
            {containers.map((each) => (
              <FormSelectOption key={each} value={each} label={each} />
            ))}
          </FormSelect>
        ) : null}
        {open ? (
          <Button variant="secondary" onClick={() => onEnd("Disconnected.")}>
            Disconnect
          </Button>
        ) : (
          <Button onClick={connect} isDisabled={!isUp || words[0] === ""}>
            Connect
          </Button>
        )}
      </div>
      {run > 0 ? (
        <div className={open ? undefined : "sk-terminal-over"}>
          <Suspense fallback={<Loading />}>
            <TerminalScreen
              key={run}
              label={label}
              path={api.terminalPath(kind, name)}
              query={query}
              sized={!isVm}
              onEnd={onEnd}
            />
          </Suspense>
        </div>
      ) : null}
      <p className="sk-output-note" role="status">
        {note || (isUp ? "" : isVm ? "The virtual machine does not run." : "The pod does not run.")}
      </p>
    </div>
  );
}

// The less usual actions on a workload, behind one button.

import { Divider, DropdownItem } from "../patternfly";
import type { Action } from "../api/client";
import { go } from "../route";
import type { VmQuestion, Workload } from "../workload";
import { MoreActions } from "./RowMenu";

interface Props {
  workload: Workload;
  mayChange: boolean;
  onAct: (action: Action) => void;
  onAsk: (question: Question) => void;
}

/** What is asked before it is done. */
export type Question = "force_stop" | "reset" | "remove" | VmQuestion;

export function WorkloadMenu({ workload, mayChange, onAct, onAsk }: Props) {
  const { kind, name, allowed, more, asks } = workload;
  return (
    <MoreActions name={name}>
      <DropdownItem onClick={() => go(kind, name)}>Details</DropdownItem>
      <DropdownItem onClick={() => go(kind, name, "output")}>{kind === "vms" ? "Serial output" : "Log"}</DropdownItem>
      {mayChange ? (
        <>
          <DropdownItem onClick={() => go(kind, name, "terminal")}>
            {kind === "vms" ? "Console" : "Terminal"}
          </DropdownItem>
          {workload.hasScreen ? <DropdownItem onClick={() => go(kind, name, "screen")}>Screen</DropdownItem> : null}
          <Divider component="li" />
          <DropdownItem isDisabled={!allowed.restart} onClick={() => onAct("restart")}>
            Restart
          </DropdownItem>
          {more.map(({ action, word, why }) => (
            <DropdownItem
              key={action}
              isDisabled={why !== ""}
              description={why || undefined}
              onClick={() => (action === "reset" ? onAsk(action) : onAct(action))}
            >
              {word}
            </DropdownItem>
          ))}
          <DropdownItem isDisabled={!allowed.forceStop} onClick={() => onAsk("force_stop")}>
            Force off
          </DropdownItem>
          {asks.length > 0 ? <Divider component="li" /> : null}
          {asks.map(({ question, word, why }) => (
            <DropdownItem
              key={question}
              isDisabled={why !== ""}
              description={why || undefined}
              onClick={() => onAsk(question)}
            >
              {word}
            </DropdownItem>
          ))}
          <DropdownItem isDanger isDisabled={!allowed.remove} onClick={() => onAsk("remove")}>
            Delete
          </DropdownItem>
        </>
      ) : null}
    </MoreActions>
  );
}

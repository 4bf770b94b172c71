// A workload's output: its last lines, and new ones as they come.

import { Button, FormSelect, FormSelectOption, Switch } from "../patternfly";
import { useEffect, useRef, useState } from "react";
import { type WorkloadKind, api, isUnauthenticated, pathOf } from "../api/client";
import { readOutput } from "../api/output";
import { explain } from "../api/problem";
import { endedNotice, useSession } from "../session";

const tail = 500;
const most_lines = 5_000;
const retry_ms = 2_000;

interface Props {
  kind: WorkloadKind;
  name: string;
  containers: string[];
}

export function OutputView({ kind, name, containers }: Props) {
  const [follow, setFollow] = useState(true);
  const [container, setContainer] = useState(containers[0]);
  const { text, note } = useOutput(kind, name, containers.length > 1 ? container : undefined, follow);
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);

  useEffect(() => {
    const element = box.current;
    // Who has scrolled up is reading: leave the place alone.
    if (element && atEnd.current) element.scrollTop = element.scrollHeight;
  }, [text]);

  const scrolled = () => {
    const element = box.current;
    if (element) atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 24;
  };
  const title = kind === "vms" ? "Serial output" : "Log";
  return (
    <div className="sk-output">
      <div className="sk-output-bar">
        <Switch id="output-follow" label="Follow" isChecked={follow} onChange={(_event, on) => setFollow(on)} />
        {containers.length > 1 ? (
          <FormSelect aria-label="Container" value={container} onChange={(_event, value) => setContainer(value)}>
            {containers.map((each) => (
              <FormSelectOption key={each} value={each} label={each} />
            ))}
          </FormSelect>
        ) : null}
        <Button
          variant="link"
          isInline
          component="a"
          href={pathOf(api.outputPath(kind, name), {
            tail: 10_000,
            container: containers.length > 1 ? container : undefined,
          })}
          download={`${name}.txt`}
        >
          Download
        </Button>
      </div>
      <pre
        ref={box}
        className="sk-output-text"
        role="log"
        aria-label={`${title} of ${name}`}
        tabIndex={0}
        onScroll={scrolled}
      >
        {text}
      </pre>
      <p className="sk-output-note" role="status">
        {note}
      </p>
    </div>
  );
}

function useOutput(kind: WorkloadKind, name: string, container: string | undefined, follow: boolean) {
  const [text, setText] = useState("");
  const [note, setNote] = useState("Loading");
  const { ended } = useSession();

  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let frame = 0;

    const read = async () => {
      let lines: string[] = [];
      let open = "";
      const draw = () => {
        frame = 0;
        setText(open ? [...lines, open].join("\n") : lines.join("\n"));
        setNote(lines.length >= most_lines ? `The last ${most_lines} lines.` : "");
      };
      try {
        await readOutput(
          api.outputPath(kind, name),
          { tail, follow: follow || undefined, container },
          {
            lines: (more, rest) => {
              lines = [...lines, ...more].slice(-most_lines);
              open = rest;
              // Many chunks may come between two pictures; the text is set once for all of them.
              frame ||= requestAnimationFrame(draw);
            },
          },
          stop.signal,
        );
        if (stop.signal.aborted) return;
        if (lines.length === 0 && !open) {
          setText("");
          setNote("No output yet.");
        }
        // A stream that was to go on and ended: the workload stopped, or a service restarted.
        if (follow) timer = setTimeout(() => void read(), retry_ms);
      } catch (error) {
        if (stop.signal.aborted) return;
        if (isUnauthenticated(error)) {
          ended(endedNotice);
          return;
        }
        setNote(explain(error));
        timer = setTimeout(() => void read(), retry_ms);
      }
    };
    void read();
    return () => {
      stop.abort();
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    };
  }, [kind, name, container, follow, ended]);

  return { text, note };
}

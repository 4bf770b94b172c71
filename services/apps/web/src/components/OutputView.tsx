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

/** How far back a pod's log is shown; a serial line's output has no times. */
const spans = [
  ["", "Last 500 lines"],
  ["5m", "Last 5 minutes"],
  ["1h", "Last hour"],
  ["24h", "Last day"],
] as const;

interface Props {
  kind: WorkloadKind;
  name: string;
  containers: string[];
  /** Those that run before the others. */
  initContainers: string[];
}

export function OutputView({ kind, name, containers, initContainers }: Props) {
  const [follow, setFollow] = useState(true);
  const [timestamps, setTimestamps] = useState(false);
  const [since, setSince] = useState("");
  const [container, setContainer] = useState(containers[0] ?? "");
  const choices = [...initContainers, ...containers];
  const part = {
    container: choices.length > 1 && container ? container : undefined,
    since: since || undefined,
    timestamps: timestamps || undefined,
  };
  const { text, note } = useOutput(kind, name, part, follow);
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
        {kind === "pods" ? (
          <Switch id="output-times" label="Times" isChecked={timestamps} onChange={(_event, on) => setTimestamps(on)} />
        ) : null}
        {kind === "pods" ? (
          <FormSelect aria-label="How far back" value={since} onChange={(_event, value) => setSince(value)}>
            {spans.map(([value, label]) => (
              <FormSelectOption key={value} value={value} label={label} />
            ))}
          </FormSelect>
        ) : null}
        {choices.length > 1 ? (
          <FormSelect aria-label="Container" value={container} onChange={(_event, value) => setContainer(value)}>
            <FormSelectOption value="" label="All containers" />
            {choices.map((each) => (
              <FormSelectOption
                key={each}
                value={each}
                label={initContainers.includes(each) ? `${each} (init)` : each}
              />
            ))}
          </FormSelect>
        ) : null}
        <Button
          variant="link"
          isInline
          component="a"
          href={pathOf(api.outputPath(kind, name), { tail: 10_000, ...part })}
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

/** Which part of the output is read. */
interface Part {
  container: string | undefined;
  since: string | undefined;
  timestamps: true | undefined;
}

function useOutput(kind: WorkloadKind, name: string, { container, since, timestamps }: Part, follow: boolean) {
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
          // As many as the node gives where only the time counts.
          { tail: since ? undefined : tail, follow: follow || undefined, container, since, timestamps },
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
  }, [kind, name, container, since, timestamps, follow, ended]);

  return { text, note };
}

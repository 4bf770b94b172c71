// A terminal: the screen of xterm.js, connected with a path of the API for as long as it is mounted. In a chunk of its
// own, loaded when the first terminal is opened.

import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { useEffect, useRef } from "react";
import { isUnauthenticated } from "../api/client";
import { explain } from "../api/problem";
import type { Pairs } from "../api/socket";
import { type TerminalLink, openTerminal } from "../api/terminal";
import { endedNotice, useSession } from "../session";
import { withSheets } from "../terminal/sheets";

interface Props {
  label: string;
  path: string;
  /** Does not change while it is mounted. */
  query: Pairs;
  /** Whether the other end has a terminal whose size follows. */
  sized: boolean;
  onEnd: (why: string) => void;
}

const colours = { background: "#10171d", foreground: "#dbe4ea", cursor: "#dbe4ea", selectionBackground: "#3d5a73" };

export default function TerminalScreen({ label, path, query, sized, onEnd }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const { ended } = useSession();
  const first = useRef({ query, onEnd });

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const style = getComputedStyle(element);
    const terminal = new Terminal({
      fontFamily: style.fontFamily,
      fontSize: 13,
      cursorBlink: true,
      scrollback: 5_000,
      theme: colours,
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    withSheets(() => terminal.open(element));
    fit.fit();
    terminal.textarea?.setAttribute("aria-label", label);
    terminal.focus();

    let link: TerminalLink | undefined;
    let gone = false;
    const end = (why: string) => {
      terminal.options.cursorBlink = false;
      if (!gone) first.current.onEnd(why);
    };
    const size: Pairs = sized
      ? [
          ["cols", String(terminal.cols)],
          ["rows", String(terminal.rows)],
        ]
      : [];
    openTerminal(path, [...first.current.query, ...size], { output: (bytes) => terminal.write(bytes), ended: end })
      .then((opened) => {
        link = opened;
        if (gone) link.close();
      })
      .catch((error: unknown) => {
        if (isUnauthenticated(error)) ended(endedNotice);
        else end(explain(error));
      });
    const typed = terminal.onData((text) => link?.type(text));
    const resized = terminal.onResize(({ cols, rows }) => {
      if (sized) link?.resize(cols, rows);
    });
    const observer = new ResizeObserver(() => fit.fit());
    observer.observe(element);
    return () => {
      gone = true;
      observer.disconnect();
      typed.dispose();
      resized.dispose();
      link?.close();
      terminal.dispose();
    };
  }, [path, label, sized, ended]);

  return <div ref={place} className="sk-terminal" />;
}

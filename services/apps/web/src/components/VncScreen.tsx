// The screen of a virtual machine, drawn by noVNC over a path of the API for as long as it is mounted. In a chunk of its
// own, loaded when the first screen is opened.

import RFB from "@novnc/novnc";
import { useEffect, useRef } from "react";
import { isUnauthenticated } from "../api/client";
import { explain } from "../api/problem";
import { closed, openSocket } from "../api/socket";
import { endedNotice, useSession } from "../session";

export interface ScreenControls {
  ctrlAltDel: () => void;
}

interface Props {
  label: string;
  path: string;
  /** What can be done once there is a picture. */
  onReady: (controls: ScreenControls) => void;
  onEnd: (why: string) => void;
}

export default function VncScreen({ label, path, onReady, onEnd }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const { ended } = useSession();
  const first = useRef({ onReady, onEnd });

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    let screen: RFB | undefined;
    let over = false;
    const end = (why: string) => {
      if (!over) first.current.onEnd(why);
      over = true;
    };
    openSocket(path, [], "binary")
      .then((socket) => {
        if (over) {
          socket.close();
          return;
        }
        // Tells the reason, which noVNC does not pass on.
        socket.addEventListener("close", ({ code, reason }) => end(closed(code, reason)));
        const opened = new RFB(element, socket, { shared: true });
        opened.scaleViewport = true;
        opened.background = "#10171d";
        opened.addEventListener("connect", () => {
          opened.focus();
          first.current.onReady({ ctrlAltDel: () => opened.sendCtrlAltDel() });
        });
        opened.addEventListener("disconnect", () => end("The screen said something that is no RFB."));
        screen = opened;
      })
      .catch((error: unknown) => {
        if (isUnauthenticated(error)) ended(endedNotice);
        else end(explain(error));
      });
    return () => {
      over = true;
      screen?.disconnect();
    };
  }, [path, ended]);

  return <div ref={place} className="sk-screen" role="application" aria-label={label} />;
}

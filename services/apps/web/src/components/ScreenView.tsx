// The screen of a virtual machine, with its buttons.

import { Button } from "../patternfly";
import { Suspense, lazy, useCallback, useState } from "react";
import { api } from "../api/client";
import { Loading } from "./Loading";
import type { ScreenControls } from "./VncScreen";

const VncScreen = lazy(() => import("./VncScreen"));

interface Props {
  name: string;
  isUp: boolean;
}

export function ScreenView({ name, isUp }: Props) {
  // Counts connections, so that each gets a screen of its own.
  const [run, setRun] = useState(0);
  const [open, setOpen] = useState(false);
  const [controls, setControls] = useState<ScreenControls | null>(null);
  const [note, setNote] = useState("");

  const connect = () => {
    setRun((count) => count + 1);
    setOpen(true);
    setNote("");
  };
  const onEnd = useCallback((why: string) => {
    setOpen(false);
    setControls(null);
    setNote(why);
  }, []);
  return (
    <div className="sk-output">
      <div className="sk-output-bar">
        {open ? (
          <>
            <Button variant="secondary" onClick={() => onEnd("Disconnected.")}>
              Disconnect
            </Button>
            <Button variant="secondary" isDisabled={!controls} onClick={() => controls?.ctrlAltDel()}>
              Send Ctrl+Alt+Del
            </Button>
          </>
        ) : (
          <Button onClick={connect} isDisabled={!isUp}>
            Connect
          </Button>
        )}
      </div>
      {open ? (
        <Suspense fallback={<Loading />}>
          <VncScreen
            key={run}
            label={`Screen of ${name}`}
            path={api.screenPath(name)}
            onReady={setControls}
            onEnd={onEnd}
          />
        </Suspense>
      ) : null}
      <p className="sk-output-note" role="status">
        {note || (isUp ? "" : "The virtual machine does not run.")}
      </p>
    </div>
  );
}

// Gives the pages the node's live state, for as long as somebody is signed in.

import { type ReactNode, createContext, useContext, useEffect, useMemo, useSyncExternalStore } from "react";
import { api } from "./api/client";
import { Live, type LiveState } from "./api/live";
import { openWatch } from "./api/watch";
import { endedNotice, useSession } from "./session";

const Context = createContext<Live | null>(null);

export function NodeProvider({ children }: { children: ReactNode }) {
  const { ended } = useSession();
  const live = useMemo(() => new Live(api, openWatch, () => ended(endedNotice)), [ended]);
  useEffect(() => {
    live.start();
    return () => live.stop();
  }, [live]);
  return <Context value={live}>{children}</Context>;
}

export function useLive(): Live {
  const live = useContext(Context);
  if (!live) throw new Error("outside of NodeProvider");
  return live;
}

export function useNode(): LiveState {
  const live = useLive();
  return useSyncExternalStore(live.subscribe, live.snapshot);
}

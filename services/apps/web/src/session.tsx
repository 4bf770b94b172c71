// Who is signed in, and which of the first screens is due: waiting for the node, claim, sign-in, or the page.

import { type ReactNode, createContext, useCallback, useContext, useEffect, useMemo, useState } from "react";
import { api, isUnauthenticated } from "./api/client";
import { explain } from "./api/problem";
import type { Health, Principal, Role } from "./api/types";

export type Phase =
  | { at: "waiting"; problem: string | null }
  | { at: "claim"; health: Health }
  | { at: "login"; health: Health; notice: string | null }
  | { at: "in"; principal: Principal };

export interface Session {
  phase: Phase;
  /** Claimed or signed in. */
  entered: (principal: Principal) => void;
  /** The node no longer knows the session. */
  ended: (notice: string | null) => void;
  /** Asks the node again which screen is due. */
  look: () => void;
}

const retry_ms = 2_000;
export const endedNotice = "Your session has ended. Sign in again to go on where you were.";

const Context = createContext<Session | null>(null);

async function find(notice: string | null): Promise<Phase> {
  const health = await api.health();
  if (!health.claimed) return { at: "claim", health };
  if (notice !== null) return { at: "login", health, notice };
  try {
    return { at: "in", principal: await api.session() };
  } catch (error) {
    if (isUnauthenticated(error)) return { at: "login", health, notice: null };
    throw error;
  }
}

export function SessionProvider({ children }: { children: ReactNode }) {
  const [phase, setPhase] = useState<Phase>({ at: "waiting", problem: null });
  // Every new number asks the node once more; `notice` is what the sign-in screen is to say.
  const [question, setQuestion] = useState<{ number: number; notice: string | null }>({ number: 0, notice: null });

  useEffect(() => {
    let stale = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    find(question.notice).then(
      (next) => {
        if (!stale) setPhase(next);
      },
      (error: unknown) => {
        if (stale) return;
        setPhase({ at: "waiting", problem: explain(error) });
        timer = setTimeout(() => setQuestion(({ number, notice }) => ({ number: number + 1, notice })), retry_ms);
      },
    );
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [question]);

  const entered = useCallback((principal: Principal) => {
    setPhase({ at: "in", principal: { username: principal.username, role: principal.role } });
  }, []);
  const ended = useCallback((notice: string | null) => {
    setPhase({ at: "waiting", problem: null });
    setQuestion(({ number }) => ({ number: number + 1, notice: notice ?? "" }));
  }, []);
  const look = useCallback(() => setQuestion(({ number }) => ({ number: number + 1, notice: null })), []);

  const session = useMemo(() => ({ phase, entered, ended, look }), [phase, entered, ended, look]);
  return <Context value={session}>{children}</Context>;
}

export function useSession(): Session {
  const session = useContext(Context);
  if (!session) throw new Error("outside of SessionProvider");
  return session;
}

/** What the page offers by role; the node checks for itself. */
export function mayChangeWorkloads(role: Role): boolean {
  return role === "operator" || role === "admin";
}

export function mayChangeNode(role: Role): boolean {
  return role === "admin";
}

export function mayPower(role: Role): boolean {
  return role === "admin";
}

/** The signed-in account; only below the pages that need one. */
export function usePrincipal(): Principal {
  const { phase } = useSession();
  return phase.at === "in" ? phase.principal : { username: "", role: "viewer" };
}

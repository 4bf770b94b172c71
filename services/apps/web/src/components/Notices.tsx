// Short messages on what an action came to, over the page.

import { Alert, AlertActionCloseButton, AlertGroup } from "../patternfly";
import { type ReactNode, createContext, useCallback, useContext, useMemo, useState } from "react";
import { isUnauthenticated } from "../api/client";
import { explain } from "../api/problem";
import { endedNotice, useSession } from "../session";

interface Notice {
  id: number;
  variant: "success" | "danger";
  title: string;
  detail: string | null;
}

interface Notices {
  done: (title: string) => void;
  failed: (title: string, error: unknown) => void;
}

const Context = createContext<Notices | null>(null);
const success_ms = 5_000;
let last = 0;

export function NoticesProvider({ children }: { children: ReactNode }) {
  const [notices, setNotices] = useState<Notice[]>([]);
  const { ended } = useSession();
  const add = useCallback((notice: Omit<Notice, "id">) => {
    last += 1;
    const id = last;
    setNotices((present) => [...present.slice(-3), { ...notice, id }]);
  }, []);
  const drop = (id: number) => setNotices((present) => present.filter((notice) => notice.id !== id));
  const value = useMemo<Notices>(
    () => ({
      done: (title) => add({ variant: "success", title, detail: null }),
      failed: (title, error) => {
        if (isUnauthenticated(error)) ended(endedNotice);
        else add({ variant: "danger", title, detail: explain(error) });
      },
    }),
    [add, ended],
  );
  return (
    <Context value={value}>
      {children}
      <AlertGroup isToast isLiveRegion aria-label="Messages">
        {notices.map(({ id, variant, title, detail }) => (
          <Alert
            key={id}
            variant={variant}
            title={title}
            timeout={variant === "success" ? success_ms : false}
            onTimeout={() => drop(id)}
            actionClose={<AlertActionCloseButton title={title} variantLabel={variant} onClose={() => drop(id)} />}
          >
            {detail}
          </Alert>
        ))}
      </AlertGroup>
    </Context>
  );
}

export function useNotices(): Notices {
  const notices = useContext(Context);
  if (!notices) throw new Error("outside of NoticesProvider");
  return notices;
}

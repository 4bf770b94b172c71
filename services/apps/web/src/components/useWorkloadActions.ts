// What can be done with a workload. Success shows in its state; only a refusal needs a message.

import { useCallback, useState } from "react";
import { type Action, api } from "../api/client";
import { useLive } from "../node";
import type { Workload } from "../workload";
import { useNotices } from "./Notices";

const refused: Record<Action, string> = {
  start: "not started",
  stop: "not stopped",
  force_stop: "not forced off",
  restart: "not restarted",
  pause: "not paused",
  resume: "not resumed",
  reset: "not reset",
  reboot: "not asked to reboot",
  suspend: "not suspended",
};

export function useWorkloadActions() {
  const notices = useNotices();
  const live = useLive();
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());

  const act = useCallback(
    async (workload: Workload, action: Action) => {
      const { id, kind, name } = workload;
      setBusy((present) => new Set(present).add(id));
      try {
        await api.act(kind, name, action);
      } catch (error) {
        notices.failed(`${name} was ${refused[action]}`, error);
      } finally {
        setBusy((present) => new Set([...present].filter((other) => other !== id)));
      }
    },
    [notices],
  );

  const remove = useCallback(
    async ({ kind, name }: Workload) => {
      await api.remove(kind, name);
      live.refresh();
    },
    [live],
  );

  return { act, remove, busy };
}

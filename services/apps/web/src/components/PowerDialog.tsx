// Restart or power off the machine, after a question.

import { api } from "../api/client";
import type { Summary } from "../api/types";
import { countText } from "../format";
import { ConfirmDialog } from "./ConfirmDialog";
import { useNotices } from "./Notices";

export type Power = "restart" | "power_off";

interface Props {
  power: Power;
  summary: Summary;
  onClose: () => void;
}

export function PowerDialog({ power, summary: { hostname, workloads }, onClose }: Props) {
  const notices = useNotices();
  const running = workloads.vms_running + workloads.pods_running;
  const affected =
    running > 0 ? `${countText(running, "running workload is", "running workloads are")} shut down first. ` : "";
  const off = power === "power_off";
  const confirm = async () => {
    await api.power(power);
    notices.done(off ? `${hostname} is powering off` : `${hostname} is restarting`);
  };
  return (
    <ConfirmDialog
      title={off ? `Power off ${hostname}?` : `Restart ${hostname}?`}
      action={off ? "Power off" : "Restart"}
      onConfirm={confirm}
      onClose={onClose}
    >
      {affected}
      {off
        ? "The node stays off until somebody switches it on at the machine or through its management controller."
        : "This page goes on by itself when the node is back; what was running is started again."}
    </ConfirmDialog>
  );
}

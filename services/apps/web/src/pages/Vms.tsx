// Virtual machines.

import { useMemo } from "react";
import { VmForm } from "../components/VmForm";
import { WorkloadPage } from "../components/WorkloadPage";
import { useNode } from "../node";
import { vmWorkload } from "../workload";

export function Vms() {
  const { vms } = useNode();
  const workloads = useMemo(() => vms.map(vmWorkload), [vms]);
  return (
    <WorkloadPage
      title="Virtual machines"
      one="virtual machine"
      empty="A virtual machine starts from an image of this node and has its own kernel, memory and network port."
      workloads={workloads}
      createForm={(onClose) => <VmForm onClose={onClose} />}
    />
  );
}

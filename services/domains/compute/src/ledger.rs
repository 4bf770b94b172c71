//! What workloads hold of the machine, virtual machines and pods in one list.
//!
//! Worked out from the records each time, so there is nothing that could drift from them.

use skerry_model::{
    Accelerator, Autostart, LocalRef, Phase, Pod, PodState, Power, Resource, Vm, VmSize, VmSpec,
    VmState,
};
use skerry_store::{Store, StoreError};

use crate::Charge;

/// Which workloads count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Those that are meant to run: for a request to make or change one.
    Wanted,
    /// Those that run or may start at any moment: for a start. A record that is not up to date holds
    /// on to what it last had, which errs on the safe side.
    Running,
}

/// What all workloads but one cost.
pub fn charges(
    store: &Store,
    accelerator: Accelerator,
    holding: Holding,
    except: Option<LocalRef>,
) -> Result<Vec<Charge>, StoreError> {
    let mut held = Vec::new();
    for vm in store.list::<Vm>()? {
        if Some(vm.local_ref()) != except && vm_holds(&vm, holding) {
            held.push(Charge::of_vm(&spec_held(vm, holding), accelerator));
        }
    }
    for pod in store.list::<Pod>()? {
        if Some(pod.local_ref()) != except && pod_holds(&pod, holding) {
            held.push(Charge::of_pod(&pod.spec));
        }
    }
    Ok(held)
}

/// What runs holds what it was started with, whatever is wanted of its next start.
fn spec_held(vm: Resource<Vm>, holding: Holding) -> VmSpec {
    match (holding, vm.status.running_size) {
        (Holding::Running, Some(VmSize { vcpus, memory_mib })) => {
            VmSpec { vcpus, memory_mib, ..vm.spec }
        }
        _ => vm.spec,
    }
}

fn vm_holds(vm: &Resource<Vm>, holding: Holding) -> bool {
    match holding {
        Holding::Wanted => vm.meta.phase == Phase::Present && vm.spec.power.is_on(),
        Holding::Running => matches!(
            vm.status.state,
            VmState::Starting
                | VmState::Running
                | VmState::Paused
                | VmState::Stopping
                | VmState::Backoff
        ),
    }
}

fn pod_holds(pod: &Resource<Pod>, holding: Holding) -> bool {
    match holding {
        // What a boot switches on must fit as well.
        Holding::Wanted => {
            let on = pod.spec.power == Power::Running || pod.spec.autostart == Autostart::Always;
            on && pod.meta.phase == Phase::Present
        }
        Holding::Running => matches!(
            pod.status.state,
            PodState::Starting | PodState::Running | PodState::Backoff | PodState::Stopping
        ),
    }
}

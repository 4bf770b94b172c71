//! What workloads hold of the machine, virtual machines and pods in one list.
//!
//! Worked out from the records each time, so there is nothing that could drift from them.

use skerry_model::{
    Accelerator, Autostart, LocalRef, Phase, Pod, PodState, Power, Resource, Vm, VmSize, VmSpec,
    VmState, are_as_many,
};
use skerry_store::{Store, StoreError};

use crate::{Charge, PciAsk, PciHeld, Taken, Topology, Wish, place, place_pages};

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
            let placement = vm.status.placement.clone();
            let spec = spec_held(vm, holding);
            let charge = Charge::of_vm(&spec, accelerator);
            held.push(match holding {
                Holding::Wanted => charge,
                Holding::Running => charge.placed(&spec, placement.as_ref()),
            });
        }
    }
    for pod in store.list::<Pod>()? {
        if Some(pod.local_ref()) != except && pod_holds(&pod, holding) {
            held.push(Charge::of_pod(&pod.spec));
        }
    }
    Ok(held)
}

/// What virtual machines and pods but one have for themselves. Of those that are meant to run and do not yet, it is worked out
/// where they would go; one that has no place takes none from others.
pub fn taken(
    store: &Store,
    topology: &Topology,
    holding: Holding,
    except: Option<LocalRef>,
) -> Result<Taken, StoreError> {
    let mut taken = Taken::nothing(holding == Holding::Running);
    let mut waiting = Vec::new();
    for vm in store.list::<Vm>()? {
        if Some(vm.local_ref()) == except {
            continue;
        }
        // Memory on disk goes on where it was.
        let there = vm_holds(&vm, Holding::Running) || vm.status.state == VmState::Suspended;
        match (&vm.status.placement, there) {
            (Some(placement), true) => {
                let memory = vm.status.running_size.unwrap_or(vm.spec.size()).memory_mib;
                taken.add(vm.meta.name.as_str(), placement, memory);
            }
            _ if holding == Holding::Wanted && vm_holds(&vm, holding) => waiting.push(vm),
            _ => {}
        }
    }
    let pods = pods_with_pages(store, &mut taken, holding, except)?;
    for vm in waiting {
        let former = vm.status.placement.as_ref().filter(|place| place.suits(&vm.spec));
        let found = Wish::of(&vm.spec).map(|wish| place(topology, &taken, &wish, former));
        if let Some(Ok(placement)) = found {
            taken.add(vm.meta.name.as_str(), &placement, vm.spec.memory_mib);
        }
    }
    for pod in pods {
        if let Ok(pages) = place_pages(topology, &taken, &pod.spec.huge_pages(), &[]) {
            taken.add_pages(&pages);
        }
    }
    Ok(taken)
}

/// Adds the huge pages that pods have; those pods that are meant to have some and do not yet.
fn pods_with_pages(
    store: &Store,
    taken: &mut Taken,
    holding: Holding,
    except: Option<LocalRef>,
) -> Result<Vec<Resource<Pod>>, StoreError> {
    let mut waiting = Vec::new();
    for pod in store.list::<Pod>()?.into_iter().filter(|pod| Some(pod.local_ref()) != except) {
        let held = &pod.status.huge_pages;
        let settled = are_as_many(held, &pod.spec.huge_pages());
        if holding == Holding::Wanted && !settled && pod_holds(&pod, holding) {
            // It is to have others than it has now, if it has any.
            waiting.push(pod);
        } else {
            taken.add_pages(held);
        }
    }
    Ok(waiting)
}

/// Notes the PCI functions that virtual machines but one have. Of those that are meant to run and do not yet, it is worked
/// out which they would get.
pub fn pci_taken(
    store: &Store,
    mut held: PciHeld,
    holding: Holding,
    except: Option<LocalRef>,
) -> Result<PciHeld, StoreError> {
    let vms = store.list::<Vm>()?.into_iter().filter(|vm| Some(vm.local_ref()) != except);
    let (there, waiting): (Vec<_>, Vec<_>) = vms.partition(|vm| vm_holds(vm, Holding::Running));
    let had = |vm: &Resource<Vm>| {
        vm.status.placement.as_ref().map(|place| place.pci.clone()).unwrap_or_default()
    };
    for vm in there {
        held.take(vm.meta.name.as_str(), &had(&vm));
    }
    let meant = |vm: &Resource<Vm>| holding == Holding::Wanted && vm_holds(vm, holding);
    for vm in waiting.into_iter().filter(meant) {
        let near = vm.status.placement.as_ref().map(|place| place.numa_nodes.as_slice());
        let (near, former) = (near.unwrap_or_default(), &had(&vm));
        let ask = PciAsk { former, near, vm: Some(vm.id()), ..PciAsk::new(&vm.spec.pci) };
        if let Ok(given) = held.choose(&ask) {
            held.take(vm.meta.name.as_str(), &given);
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

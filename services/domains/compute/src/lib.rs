//! Virtual machines: their life cycle, the plans that bring them about, and the port to the hypervisor.
//!
//! What is here is rules: which state follows which, which steps lead from what is to what is wanted,
//! and what the machine can hold. It knows nothing of libvirt, QEMU or Linux, and writes nothing but
//! the status of virtual machines (and their wanted power, when the guest turned itself off or what was held is gone).

mod actions;
mod admission;
mod after_boot;
mod agent;
#[cfg(test)]
mod agent_scenarios;
mod backoff;
mod cells;
mod cloud_init;
mod consoles;
mod controller;
mod decide;
mod definition;
#[cfg(test)]
mod device_scenarios;
mod devices;
mod disks;
mod drives;
mod functions;
mod hardware;
#[cfg(test)]
mod host_scenarios;
mod host_stop;
mod hypervisor;
mod ledger;
mod lifecycle;
mod memory;
#[cfg(test)]
mod memory_scenarios;
mod metadata;
#[cfg(test)]
mod model_hypervisor;
mod nics;
mod pass;
mod pci;
#[cfg(test)]
mod pci_scenarios;
mod placement;
#[cfg(test)]
mod placement_scenarios;
mod plan;
mod pod_pages;
#[cfg(test)]
mod policy_scenarios;
#[cfg(test)]
mod random_life;
mod report;
#[cfg(test)]
mod scenarios;
mod shortage;
mod sources;
#[cfg(test)]
mod space_scenarios;
#[cfg(test)]
mod testing;
mod topology;
mod turn;
mod unmanaged;
#[cfg(test)]
mod unmanaged_scenarios;
mod virtual_functions;

pub use actions::{actions, pending, possible, spec_after};
pub use admission::{
    Capacity, Charge, DISPLAY_MIB, DoesNotFit, Shortage, TPM_MIB, TRANSLATION_CACHE_MIB, admit,
    overhead_mib,
};
pub use agent::{
    AgentCommand, AgentLink, AnswerError, LONGEST_ANSWER, harmless_reason, read_count, read_done,
    read_report,
};
pub use cloud_init::{Seed, check_yaml};
pub use consoles::{GuestConnection, GuestConsoles};
pub use controller::{AdmissionError, FINALIZER, VmController};
pub use decide::{Situation, decide};
pub use definition::{DomainDefinition, Fingerprint};
pub use devices::plan_devices;
pub use disks::{DiskDefinition, DiskKind, plan_disks};
pub use drives::{DriveObserved, plan_drives};
pub use functions::FunctionSettings;
pub use hardware::{HardwareDefinition, unfit_cpu};
pub use host_stop::HostStop;
pub use hypervisor::{
    Acceleration, DomainObserved, DomainPower, GuestMemory, Hold, Hypervisor, HypervisorError,
    HypervisorEvent, HypervisorFacts, LogChunk, LogPosition, OffReason, VmStep,
};
pub use lifecycle::{Effect, Event, Refused, next};
pub use metadata::metadata;
pub use nics::{NicDefinition, plan_nics};
pub use pci::{PciAsk, PciFunction, PciGroups, PciHeld, PciMatch, PciMatchError, explain};
pub use placement::{Taken, Wish, keep, place};
pub use plan::{Target, plan, plan_size};
pub use pod_pages::place_pages;
pub use shortage::{NodeRoom, PlacementRefused, PlacementShortage};
pub use topology::{HostCpu, NumaNode, PagePool, Topology, TopologyHost};
pub use virtual_functions::{VirtualCard, VirtualError, VirtualPlan, VirtualReport, VirtualWish};

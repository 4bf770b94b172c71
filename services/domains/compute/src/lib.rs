//! Virtual machines: their life cycle, the plans that bring them about, and the port to the hypervisor.
//!
//! What is here is rules: which state follows which, which steps lead from what is to what is wanted,
//! and what the machine can hold. It knows nothing of libvirt, QEMU or Linux, and writes nothing but
//! the status of virtual machines (and their wanted power, when the guest turned itself off).

mod definition;
mod hypervisor;
mod lifecycle;

pub use definition::{DomainDefinition, Fingerprint, NicDefinition};
pub use hypervisor::{
    DomainObserved, DomainPower, Hypervisor, HypervisorError, HypervisorEvent, HypervisorFacts,
    LogChunk, LogPosition, OffReason, VmStep,
};
pub use lifecycle::{Effect, Event, Refused, next};

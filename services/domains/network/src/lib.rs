//! Networks, ports, uplinks and published ports: what is wanted, and the steps that bring it about.
//!
//! The thinking is in pure functions: [`desired()`] reads the store's resources, [`plan()`] compares
//! them with what the machine has, [`ruleset()`] and [`dnsmasq_files()`] write the texts for the
//! programs, and [`allocate_port()`] chooses what a new workload gets. [`NetworkHost`] is the door to the
//! machine. This crate must not touch Linux itself, and it never waits for a link, a lease or a name.

mod allocate;
mod apply;
mod controller;
mod desired;
mod dnsmasq;
mod guard;
mod host;
mod names;
mod owner;
mod plan;
mod rules;
mod status;
#[cfg(test)]
mod test_machine;

pub use allocate::{AllocateError, PortRequest, allocate_port, check_subnet, collides};
pub use controller::{FINALIZER, NetworkController, PASS};
pub use desired::{Desired, MTU, Problem, UplinkPolicy, UplinkRule, desired};
pub use dnsmasq::{
    DnsmasqInput, FOLDER as DNSMASQ_FOLDER, UPSTREAM as UPSTREAM_FILE, dnsmasq_files,
};
pub use guard::PortGuard;
pub use host::{
    AddressObserved, Attachment, Bridge, DnsmasqFiles, NetworkHost, NetworkObserved, NetworkStep,
    NicObserved, Origin, RuleSet, ServiceObserved,
};
pub use names::{
    BRIDGE_PREFIX, NAMESPACE_PREFIX, VETH_PREFIX, bridge_mac, bridge_name, namespace_name,
    resolv_path, tap_name, veth_name,
};
pub use owner::{NetnsOwner, NetnsOwners};
pub use plan::plan;
pub use rules::{MARK_PREFIX, RuleInput, ruleset};

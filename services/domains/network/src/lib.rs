//! Networks, ports, uplinks and published ports: what is wanted, and the steps that bring it about.
//!
//! The thinking is in pure functions.
//! never waits for a link, a lease or a name.

mod allocate;
mod host;
mod names;

pub use allocate::{AllocateError, PortRequest, allocate_port, collides};
pub use host::{
    AddressObserved, Attachment, Bridge, DnsmasqFiles, NetworkHost, NetworkObserved, NetworkStep,
    NicObserved, Origin, RuleSet, ServiceObserved,
};
pub use names::{bridge_mac, bridge_name, namespace_name, resolv_path, tap_name, veth_name};

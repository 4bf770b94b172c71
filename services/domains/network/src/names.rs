//! Names and addresses of the devices that the node makes.
//!
//! All are made from ids, never stored, and fit the kernel's limit of 15 characters. The prefixes mark a
//! device as ours: what carries another name is never touched.

use std::path::PathBuf;

use skerry_model::{Binding, Id, Network, Port};
use uuid::Uuid;

/// Starts the name of every bridge of ours.
pub const BRIDGE_PREFIX: &str = "skb";
/// Starts the name of the outer end of every pod's pair of devices.
pub const VETH_PREFIX: &str = "skv";
/// Starts the name of every pod's network namespace.
pub const NAMESPACE_PREFIX: &str = Binding::NAMESPACE_PREFIX;

/// The bridge of a network; also the name of its DHCP and DNS service.
pub fn bridge_name(network: Id<Network>) -> String {
    format!("{BRIDGE_PREFIX}{}", network.short())
}

/// The fixed Ethernet address of a network's bridge. Without one a bridge takes the lowest address of
/// its members and changes it as they come and go, which breaks the neighbours' ARP entries.
pub fn bridge_mac(network: Id<Network>) -> String {
    let [a, b, c, d, e, ..] = *network.uuid().as_bytes();
    format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")
}

/// The tap device of a virtual machine's port; the hypervisor makes it.
pub fn tap_name(port: Id<Port>) -> String {
    format!("skt{}", port.short())
}

/// The device outside the namespace of a pod's port.
pub fn veth_name(port: Id<Port>) -> String {
    format!("{VETH_PREFIX}{}", port.short())
}

/// The network namespace of a pod, below `/run/netns`.
pub fn namespace_name(pod: Uuid) -> String {
    Binding::namespace_of(Id::new(pod))
}

/// The file that a pod's containers see as `/etc/resolv.conf`.
pub fn resolv_path(namespace: &str) -> PathBuf {
    PathBuf::from(format!("/run/skerry/resolv/{namespace}.conf"))
}

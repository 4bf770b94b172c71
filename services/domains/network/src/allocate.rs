//! Choosing what a new port gets: address, Ethernet address, host name, published ports.
//!
//! Pure: the caller gives all ports there are and a random number. Everything chosen is stored with the
//! port and never changes, so a workload keeps its address over restarts and power cuts.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use skerry_model::{
    Id, LocalRef, Name, Network, NetworkMode, Port, PortSpec, Protocol, Publish, Resource, Subnet,
};

/// Ports of the node's own listeners, which cannot be published: page and API, DNS, DHCP.
const RESERVED: [(Protocol, u16, &str); 5] = [
    (Protocol::Tcp, 443, "the page and the API"),
    (Protocol::Tcp, 53, "the name service"),
    (Protocol::Udp, 53, "the name service"),
    (Protocol::Udp, 67, "the DHCP service"),
    (Protocol::Udp, 68, "the DHCP client"),
];

/// What a new workload asks of its network.
#[derive(Debug, Clone, Copy)]
pub struct PortRequest<'a> {
    /// The virtual machine or pod.
    pub workload: LocalRef,
    /// The network's name, if this is a further interface.
    pub further: Option<&'a Name>,
    /// Name under which it wants to answer.
    pub hostname: &'a str,
    /// What is to be reachable at the node's addresses.
    pub publish: &'a [Publish],
}

/// Why a port cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// No address is left.
    #[error(
        "network `{network}` is full: all {size} addresses are taken; remove workloads or use another network"
    )]
    Full {
        /// The network.
        network: String,
        /// How many addresses it has for workloads.
        size: usize,
    },
    /// The port of the node belongs to another workload.
    #[error(
        "{protocol} port {host_port} of the node is already published by `{by}`; choose another"
    )]
    Published {
        /// Transport in lower case.
        protocol: &'static str,
        /// The port of the node.
        host_port: u16,
        /// Name of the port resource that has it.
        by: String,
    },
    /// The port of the node serves the node itself.
    #[error("{protocol} port {host_port} of the node serves {by}; choose another")]
    Reserved {
        /// Transport in lower case.
        protocol: &'static str,
        /// The port of the node.
        host_port: u16,
        /// What listens there.
        by: &'static str,
    },
    /// An isolated network has no way in.
    #[error(
        "network `{network}` is isolated: nothing on it can be published; use a network with mode nat"
    )]
    Isolated {
        /// The network.
        network: String,
    },
    /// Two networks would share addresses.
    #[error("the subnet overlaps with that of network `{network}` ({subnet}); choose another")]
    Overlap {
        /// The other network.
        network: String,
        /// Its subnet.
        subnet: String,
    },
    /// Two workloads would answer to one name.
    #[error(
        "host name `{hostname}` is taken on network `{network}`; choose another name for the workload"
    )]
    HostnameTaken {
        /// The name.
        hostname: String,
        /// The network.
        network: String,
    },
}

impl AllocateError {
    /// The field of the workload's document that the refusal is about.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Full { .. } => "spec.network",
            Self::Overlap { .. } => "spec.subnet",
            Self::HostnameTaken { .. } => "metadata.name",
            Self::Published { .. } | Self::Reserved { .. } | Self::Isolated { .. } => {
                "spec.publish"
            }
        }
    }
}

/// Whether a new network's subnet is free. `existing` are all networks of the node.
pub fn check_subnet(subnet: Subnet, existing: &[Resource<Network>]) -> Result<(), AllocateError> {
    match existing.iter().find(|other| other.spec.subnet.overlaps(subnet)) {
        None => Ok(()),
        Some(other) => Err(AllocateError::Overlap {
            network: other.meta.name.to_string(),
            subnet: format!("{}/{}", other.spec.subnet.network, other.spec.subnet.prefix),
        }),
    }
}

/// The port of a new workload, or why it cannot have one. `existing` are all ports of the node.
pub fn allocate_port(
    network: &Resource<Network>,
    existing: &[Resource<Port>],
    request: PortRequest<'_>,
    random: u64,
) -> Result<PortSpec, AllocateError> {
    check_publish(network, existing, request.publish)?;
    let here: Vec<_> = existing.iter().filter(|p| p.spec.network == network.id()).collect();
    Ok(PortSpec {
        network: network.id(),
        workload: request.workload,
        further: request.further.cloned(),
        hostname: free_hostname(network, &here, request)?,
        mac: free_mac(existing, random),
        address: free_address(network, &here)?,
        publish: request.publish.to_vec(),
    })
}

fn check_publish(
    network: &Resource<Network>,
    existing: &[Resource<Port>],
    publish: &[Publish],
) -> Result<(), AllocateError> {
    if network.spec.mode == NetworkMode::Isolated && !publish.is_empty() {
        return Err(AllocateError::Isolated { network: network.meta.name.to_string() });
    }
    for wanted in publish {
        let same = |(protocol, port)| protocol == wanted.protocol && port == wanted.host_port;
        let protocol = word(wanted.protocol);
        if let Some((_, host_port, by)) = RESERVED.into_iter().find(|(p, n, _)| same((*p, *n))) {
            return Err(AllocateError::Reserved { protocol, host_port, by });
        }
        let holder = existing
            .iter()
            .find(|port| port.spec.publish.iter().any(|p| same((p.protocol, p.host_port))));
        if let Some(port) = holder {
            return Err(AllocateError::Published {
                protocol,
                host_port: wanted.host_port,
                by: port.meta.name.to_string(),
            });
        }
    }
    Ok(())
}

const fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The wanted name, or with the kind added: a pod and a virtual machine may have one name.
fn free_hostname(
    network: &Resource<Network>,
    here: &[&Resource<Port>],
    request: PortRequest<'_>,
) -> Result<String, AllocateError> {
    let taken: BTreeSet<_> = here.iter().map(|p| p.spec.hostname.as_str()).collect();
    let kind = request.workload.kind.name().to_ascii_lowercase();
    let cut: String =
        request.hostname.chars().take(63_usize.saturating_sub(kind.len() + 1)).collect();
    [request.hostname.to_owned(), format!("{}-{kind}", cut.trim_end_matches('-'))]
        .into_iter()
        .find(|name| !taken.contains(name.as_str()))
        .ok_or_else(|| AllocateError::HostnameTaken {
            hostname: request.hostname.to_owned(),
            network: network.meta.name.to_string(),
        })
}

/// A locally administered address from the random number; on a collision the next one.
fn free_mac(existing: &[Resource<Port>], random: u64) -> String {
    let taken: BTreeSet<_> = existing.iter().map(|p| p.spec.mac.to_ascii_lowercase()).collect();
    let mac = |number: u64| {
        let [_, _, _, a, b, c, d, e] = number.to_be_bytes();
        format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")
    };
    (0..=taken.len() as u64)
        .map(|step| mac(random.wrapping_add(step)))
        .find(|candidate| !taken.contains(candidate))
        .unwrap_or_else(|| mac(random))
}

fn free_address(
    network: &Resource<Network>,
    here: &[&Resource<Port>],
) -> Result<Ipv4Addr, AllocateError> {
    let subnet: Subnet = network.spec.subnet;
    let taken: BTreeSet<_> = here.iter().map(|p| p.spec.address).collect();
    subnet.hosts().find(|address| !taken.contains(address)).ok_or_else(|| AllocateError::Full {
        network: network.meta.name.to_string(),
        size: subnet.hosts().count(),
    })
}

/// A new id would name devices like an existing one of its kind: the caller draws another.
pub fn collides<K>(id: Id<K>, existing: impl IntoIterator<Item = Id<K>>) -> bool {
    existing.into_iter().any(|other| other.short() == id.short())
}

#[cfg(test)]
#[path = "allocate_tests.rs"]
mod tests;

//! Networks: layer-2 segments with one subnet, to which virtual machines and pods attach alike.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Conditions, Invalid, Kind, ResourceKind, Validate};

/// Where a guest asks for its own data, on every network; clouds have agreed on it, and cloud-init looks there.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Marks [`crate::Resource`]s that are networks.
#[derive(Debug, Clone, Copy)]
pub enum Network {}

impl ResourceKind for Network {
    const KIND: Kind = Kind::Network;
    type Spec = NetworkSpec;
    type Status = NetworkStatus;
}

/// How a network meets the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Behind the node: outgoing traffic takes the node's address, incoming needs a published port.
    Nat,
    /// No way out and no way in.
    Isolated,
}

/// An IPv4 subnet. The gateway, which is also the DHCP and DNS server, has the first usable address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The network address, host bits zero.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network: Ipv4Addr,
    /// Prefix length, 8 to 29.
    pub prefix: u8,
}

impl Subnet {
    fn size(self) -> u32 {
        1_u32.checked_shl(32_u32.saturating_sub(u32::from(self.prefix))).unwrap_or(0)
    }

    /// The gateway: the first usable address.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network).saturating_add(1))
    }

    /// The last address, to which broadcasts go.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network).saturating_add(self.size().saturating_sub(1)))
    }

    /// The addresses that workloads may have, in order.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = u32::from(self.network).saturating_add(2);
        let end = u32::from(self.network).saturating_add(self.size().saturating_sub(1));
        (first..end).map(Ipv4Addr::from)
    }

    /// Whether an address lies in this subnet.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        address >= u32::from(self.network) && address <= u32::from(self.broadcast())
    }

    /// Whether two subnets share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }
}

/// What is wanted of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// How it meets the outside.
    pub mode: NetworkMode,
    /// Its addresses.
    pub subnet: Subnet,
}

/// What a network is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct NetworkStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// The Linux bridge.
    pub bridge: Option<String>,
    /// `Ready`: bridge, rules, DHCP and DNS are in place.
    pub conditions: Conditions,
}

impl Validate for NetworkSpec {
    fn validate(&self, found: &mut Invalid) {
        let Subnet { network, prefix } = self.subnet;
        if !(8..=29).contains(&prefix) {
            found.add("spec.subnet.prefix", format!("{prefix} is not between 8 and 29"));
            return;
        }
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        found.require(
            u32::from(network) & !mask == 0,
            "spec.subnet.network",
            "host bits are set: give the network address itself, such as 10.88.0.0 with prefix 24",
        );
        found.require(
            network.is_private(),
            "spec.subnet.network",
            "must lie in a private range (RFC 1918): 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str, prefix: u8) -> Subnet {
        Subnet { network: text.parse().unwrap(), prefix }
    }

    fn check(text: &str, prefix: u8) -> bool {
        let spec = NetworkSpec { mode: NetworkMode::Nat, subnet: subnet(text, prefix) };
        let mut found = Invalid::default();
        spec.validate(&mut found);
        found.into_result().is_ok()
    }

    #[test]
    fn addresses_of_a_subnet() {
        let net = subnet("10.88.0.0", 29);
        assert_eq!(net.gateway().to_string(), "10.88.0.1");
        assert_eq!(net.broadcast().to_string(), "10.88.0.7");
        let hosts: Vec<_> = net.hosts().map(|a| a.to_string()).collect();
        assert_eq!(hosts.first().unwrap(), "10.88.0.2");
        assert_eq!(hosts.last().unwrap(), "10.88.0.6");
        assert!(net.overlaps(subnet("10.88.0.0", 16)));
        assert!(!net.overlaps(subnet("10.89.0.0", 16)));
    }

    #[test]
    fn only_private_aligned_networks_pass() {
        assert!(check("10.88.0.0", 24));
        for (text, prefix) in
            [("10.88.0.1", 24), ("8.8.8.0", 24), ("10.0.0.0", 30), ("10.0.0.0", 0)]
        {
            assert!(!check(text, prefix), "{text}/{prefix}");
        }
    }
}

//! What a guest tells of itself through its agent, a program that only the guest's owner can install.
//!
//! Every value comes from inside the guest and proves nothing: it is shown, and nothing is decided by it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A network interface as a guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuestInterface {
    /// Its name in the guest, such as `eth0`.
    pub name: String,
    /// Its Ethernet address; empty if it has none.
    pub mac: String,
    /// Its addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
}

/// What the agent in a guest has said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct GuestReport {
    /// Version of the agent.
    pub agent_version: String,
    /// The guest's interfaces, loopback left out.
    pub interfaces: Vec<GuestInterface>,
}

impl GuestReport {
    /// Whether the guest has an address that others could reach it by.
    pub fn has_address(&self) -> bool {
        let outward = |address: &IpAddr| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        };
        self.interfaces.iter().flat_map(|interface| &interface.addresses).any(outward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_link_alone_does_not_count() {
        let report = |address: &str| GuestReport {
            agent_version: String::new(),
            interfaces: vec![GuestInterface {
                name: "eth0".into(),
                mac: String::new(),
                addresses: vec![address.parse().unwrap()],
            }],
        };
        assert!(!GuestReport::default().has_address());
        for inward in ["fe80::1", "169.254.3.4", "127.0.0.1", "::1"] {
            assert!(!report(inward).has_address(), "{inward}");
        }
        assert!(report("10.88.0.2").has_address() && report("2001:db8::1").has_address());
    }
}

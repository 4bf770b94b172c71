//! Further network interfaces of a virtual machine: each is on a network of its own, by which it is known.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Id, Invalid, Name, Port, VmSpec};

/// The most interfaces beside the first.
const MOST: usize = 15;

/// What network interfaces are to a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NicModel {
    /// virtio-net: fastest; the guest needs a driver for it.
    #[default]
    Virtio,
    /// Intel's 82574L: every guest knows it. Has one queue.
    E1000e,
}

impl NicModel {
    /// Whether it is what a machine has that does not ask.
    pub const fn is_usual(&self) -> bool {
        matches!(self, Self::Virtio)
    }
}

/// A further network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmNic {
    /// Name of the network that it is on: one that no other interface of the machine is on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network: Name,
}

/// What a further network interface is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmNicStatus {
    /// Name of its network.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network: Name,
    /// Its port.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
    pub port: Id<Port>,
    /// Its Ethernet address, by which the guest finds it: the names that guests give to interfaces may change when others
    /// come and go.
    pub mac: String,
    /// Its IPv4 address, which the guest gets by DHCP.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: Ipv4Addr,
    /// Whether the running guest has it. One that was asked for while it runs comes at once, or else with its next start.
    pub plugged: bool,
}

impl VmSpec {
    /// Collects what is wrong with its further interfaces.
    pub(crate) fn validate_nics(&self, found: &mut Invalid) {
        found.require(
            self.nics.len() <= MOST,
            "spec.nics",
            "must be at most 15: a machine has up to 16 interfaces with its first",
        );
        let mut networks = BTreeSet::from([&self.network]);
        for (index, nic) in self.nics.iter().enumerate() {
            if !networks.insert(&nic.network) {
                let message = format!(
                    "the machine is on `{}` already: each interface needs another network",
                    nic.network
                );
                found.add(format!("spec.nics[{index}].network"), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Validate;

    fn faults(nics: Value) -> Vec<String> {
        let spec: VmSpec = serde_json::from_value(json!({"image": "tiny", "nics": nics})).unwrap();
        let mut found = Invalid::default();
        spec.validate(&mut found);
        found.violations().iter().map(|fault| fault.field.clone()).collect()
    }

    #[test]
    fn each_interface_is_on_a_network_of_its_own() {
        assert!(faults(json!([])).is_empty());
        assert!(faults(json!([{"network": "lab"}, {"network": "core"}])).is_empty());
        assert_eq!(faults(json!([{"network": "default"}])), ["spec.nics[0].network"]);
        let twice = json!([{"network": "lab"}, {"network": "lab"}]);
        assert_eq!(faults(twice), ["spec.nics[1].network"]);
        let many: Vec<_> = (0..=MOST).map(|n| json!({"network": format!("n{n}")})).collect();
        assert_eq!(faults(Value::Array(many)), ["spec.nics"]);
        let odd = json!({"image": "tiny", "nics": [{"network": "<x>"}]});
        assert!(serde_json::from_value::<VmSpec>(odd).is_err());
    }

    #[test]
    fn a_machine_without_them_is_written_as_before() {
        let spec: VmSpec = serde_json::from_value(json!({"image": "tiny"})).unwrap();
        assert_eq!(serde_json::to_value(spec).unwrap().get("nics"), None);
    }
}

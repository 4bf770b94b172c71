//! PCI functions of the machine that a virtual machine has for itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Invalid, MacAddress, Name, VmPlacement, VmSpec};

/// Most functions that one machine may ask for.
const MOST: usize = 8;

/// The address of a PCI function: domain, bus, device, function, such as `0000:01:00.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciAddress(String);

/// A text that is no address of a PCI function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no address of a PCI function: write domain, bus, device and function, such as 0000:01:00.0"
)]
pub struct PciAddressError;

impl PciAddress {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Domain, bus, device and function, in hex digits.
    pub fn parts(&self) -> Option<[&str; 4]> {
        let (domain, rest) = self.0.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        Some([domain, bus, device, function])
    }
}

impl FromStr for PciAddress {
    type Err = PciAddressError;

    /// Without a domain it is of the first.
    fn from_str(text: &str) -> Result<Self, PciAddressError> {
        let text = text.to_ascii_lowercase();
        let whole = match text.matches(':').count() {
            1 => format!("0000:{text}"),
            _ => text,
        };
        let address = Self(whole);
        let hex = |part: &str, from: usize, to: usize| {
            (from..=to).contains(&part.len()) && part.chars().all(|c| c.is_ascii_hexdigit())
        };
        let device = |part: &str| u8::from_str_radix(part, 16).is_ok_and(|device| device < 32);
        let good = address.parts().is_some_and(|[domain, bus, slot, function]| {
            let function = matches!(function.as_bytes(), [b'0'..=b'7']);
            hex(domain, 4, 8) && hex(bus, 2, 2) && hex(slot, 2, 2) && device(slot) && function
        });
        good.then_some(address).ok_or(PciAddressError)
    }
}

impl TryFrom<String> for PciAddress {
    type Error = PciAddressError;

    fn try_from(text: String) -> Result<Self, PciAddressError> {
        text.parse()
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.0
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A PCI function that a machine asks for: by address, or any free one of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmPci {
    /// Its address, such as `0000:01:00.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub address: Option<PciAddress>,
    /// Name of a group of functions that the node's settings list (`pci_groups`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub group: Option<Name>,
    /// Ethernet address of a virtual function of a network card, such as `02:00:00:00:00:01`. If absent, the node makes
    /// one from the machine's id and the place in this list, which so stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub mac: Option<MacAddress>,
    /// VLAN of a virtual function of a network card, 1 to 4094, which its guest neither sees nor chooses. If absent, the
    /// one that the node's settings (`virtual_functions`) name for its card, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
}

/// A PCI function that a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PciGiven {
    /// Its address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: PciAddress,
    /// The group that it was chosen from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub group: Option<Name>,
    /// Whether nobody asked for it: it is in one IOMMU group with another, and goes where that goes.
    #[serde(default)]
    pub along: bool,
    /// The function that it is a virtual one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub virtual_function_of: Option<PciAddress>,
    /// The Ethernet address that its card was told, if it is a virtual function of a network card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub mac: Option<MacAddress>,
    /// The VLAN that its card was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The NUMA node that it is attached to, if the machine says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
}

impl PciGiven {
    /// One that was asked for and of which nothing more is known.
    pub const fn new(address: PciAddress, group: Option<Name>) -> Self {
        Self {
            address,
            group,
            along: false,
            virtual_function_of: None,
            mac: None,
            vlan: None,
            numa_node: None,
        }
    }
}

impl VmPci {
    /// Whether this was given for it, as far as that can be told.
    fn is_met_by(&self, given: &PciGiven) -> bool {
        let one = match &self.address {
            Some(address) => given.group.is_none() && *address == given.address,
            None => self.group == given.group,
        };
        one && self.mac.is_none_or(|mac| given.mac == Some(mac))
            && self.vlan.is_none_or(|vlan| given.vlan == Some(vlan))
    }
}

impl VmPlacement {
    /// Whether its PCI functions are those that this spec asks for.
    pub(crate) fn pci_suits(&self, spec: &VmSpec) -> bool {
        let own: Vec<_> = self.pci.iter().filter(|given| !given.along).collect();
        own.len() == spec.pci.len()
            && spec.pci.iter().zip(own).all(|(wish, own)| wish.is_met_by(own))
    }
}

impl VmSpec {
    pub(crate) fn validate_pci(&self, found: &mut Invalid) {
        found.require(self.pci.len() <= MOST, "spec.pci", "must be at most 8 functions");
        for (index, wish) in self.pci.iter().enumerate() {
            let field = format!("spec.pci[{index}]");
            let before = || self.pci.iter().take(index);
            if wish.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
                found.add(format!("{field}.vlan"), "must be 1 to 4094");
            }
            if wish.mac.is_some() && before().any(|one| one.mac == wish.mac) {
                found.add(format!("{field}.mac"), "is given twice");
            }
            if wish.address.is_some() == wish.group.is_some() {
                found.add(field, "names either an address or a group");
            } else if wish.address.is_some() && before().any(|one| one.address == wish.address) {
                found.add(field, "is given twice");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Validate;
    use proptest::prelude::*;

    fn spec(pci: serde_json::Value) -> Result<VmSpec, serde_json::Error> {
        serde_json::from_value(serde_json::json!({"image": "tiny", "pci": pci}))
    }

    fn faults(pci: serde_json::Value) -> Vec<String> {
        let mut found = Invalid::default();
        spec(pci).unwrap().validate(&mut found);
        found.violations().iter().map(|one| format!("{} {}", one.field, one.message)).collect()
    }

    #[test]
    fn addresses_have_one_form() {
        for (text, form) in [
            ("0000:01:00.0", "0000:01:00.0"),
            ("3B:1f.7", "0000:3b:1f.7"),
            ("10000:e1:00.1", "10000:e1:00.1"),
        ] {
            assert_eq!(text.parse::<PciAddress>().unwrap().as_str(), form);
        }
        for bad in ["", "01", "0000:01:00", "0000:01:20.0", "0000:01:00.8", "00:01:00.0", "x:1:0.0"]
        {
            assert_eq!(bad.parse::<PciAddress>(), Err(PciAddressError), "{bad}");
        }
    }

    #[test]
    fn a_function_is_named_by_address_or_by_group() {
        let good = serde_json::json!([{"address": "01:00.0"}, {"group": "gpu"}, {"group": "gpu"}]);
        assert_eq!(faults(good), Vec::<String>::new());
        let both = serde_json::json!([{"address": "01:00.0", "group": "gpu"}, {}]);
        assert_eq!(faults(both).len(), 2);
        let twice = serde_json::json!([{"address": "01:00.0"}, {"address": "0000:01:00.0"}]);
        assert_eq!(faults(twice), ["spec.pci[1] is given twice"]);
        let twice = serde_json::json!([
            {"group": "a", "mac": "02:00:00:00:00:01", "vlan": 4095},
            {"group": "a", "mac": "02:00:00:00:00:01", "vlan": 4094},
        ]);
        let told = ["spec.pci[0].vlan must be 1 to 4094", "spec.pci[1].mac is given twice"];
        assert_eq!(faults(twice), told);
        assert_eq!(faults(serde_json::json!(vec![serde_json::json!({"group": "a"}); 9])).len(), 1);
        let told = spec(serde_json::json!([{"address": "/dev/sda"}])).unwrap_err().to_string();
        assert!(told.contains("no address of a PCI function"), "{told}");
    }

    #[test]
    fn what_was_given_suits_what_was_asked_for() {
        let asked = spec(serde_json::json!([{"address": "01:00.0"}, {"group": "gpu"}])).unwrap();
        let given = |address: &str, group: Option<&str>, along| PciGiven {
            along,
            ..PciGiven::new(address.parse().unwrap(), group.map(|name| Name::new(name).unwrap()))
        };
        let all = vec![
            given("01:00.0", None, false),
            given("01:00.1", None, true),
            given("02:00.0", Some("gpu"), false),
        ];
        let own = VmPlacement { pci: all, ..VmPlacement::default() };
        assert!(own.suits(&asked));
        assert!(!own.suits(&spec(serde_json::json!([{"address": "01:00.0"}])).unwrap()));
        assert!(!VmPlacement::default().suits(&asked));
        let pci = serde_json::json!([{"address": "01:00.0"}, {"group": "gpu", "vlan": 7}]);
        assert!(!own.suits(&spec(pci).unwrap()), "another VLAN");
        let pci = serde_json::json!([{"address": "01:00.0", "mac": "02:00:00:00:00:01"}, {"group": "gpu"}]);
        assert!(!own.suits(&spec(pci).unwrap()), "another Ethernet address");
        let plain = serde_json::to_string(&spec(serde_json::json!([])).unwrap()).unwrap();
        assert!(!plain.contains("pci"), "{plain}");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_harmless(text in "\\PC{0,16}") {
            if let Ok(address) = text.parse::<PciAddress>() {
                let plain = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
                prop_assert!(address.as_str().chars().all(plain));
                prop_assert!(address.parts().is_some());
            }
        }
    }
}

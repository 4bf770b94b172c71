//! PCI functions of the machine that a guest has, as libvirt is told of them.
//!
//! libvirt takes them from their drivers when the guest starts, and gives them back when it ends (`managed`).

use skerry_compute::DomainDefinition;
use skerry_model::PciAddress;

use crate::xml::Element;

/// One element for each function.
pub fn elements(definition: &DomainDefinition) -> Vec<Element> {
    definition.hardware.pci.iter().filter_map(element).collect()
}

fn element(address: &PciAddress) -> Option<Element> {
    let place = ["domain", "bus", "slot", "function"].into_iter().zip(address.parts()?);
    let place = place.fold(Element::new("address"), |place, (name, digits)| {
        place.attribute(name, format!("0x{digits}"))
    });
    let function = Element::new("hostdev").attribute("mode", "subsystem").attribute("type", "pci");
    let function = function.attribute("managed", "yes");
    Some(function.child(Element::new("source").child(place)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::xml::{Serial, domain, tests::definition};
    use skerry_model::Accelerator;

    #[test]
    fn functions_are_as_written_down() {
        let plain = definition(Accelerator::Kvm);
        let mut with = plain.clone();
        with.hardware.pci = ["0000:3b:00.0", "10000:e1:1f.7"].map(|a| a.parse().unwrap()).to_vec();
        let path = Path::new("/x");
        let xml = |definition: &DomainDefinition| {
            domain(definition, "kvm", Serial { log: path, socket: path }).to_string()
        };
        let elements: String = elements(&with).iter().map(ToString::to_string).collect();
        assert_eq!(elements, include_str!("golden/hostdev.xml"));
        let ports = |xml: &str| xml.matches("pcie-root-port").count();
        assert_eq!(ports(&xml(&with)), ports(&xml(&plain)) + 2);
        assert_eq!(xml(&with).matches("<hostdev").count(), 2);
        assert_ne!(with.fingerprint(), plain.fingerprint());
    }
}

//! Network interfaces of guests: as XML, which a running guest has, and how they come and go (libvirt: formatdomain).

use roxmltree::{Document, Node};
use skerry_compute::NicDefinition;
use skerry_model::{Id, NicModel, Vm};
use virt::connect::Connect;
use virt::sys;

use crate::calls::with_domain;
use crate::failure::CallError;
use crate::xml::Element;

/// An interface, as in a domain or alone for a guest that runs; one queue if not said.
pub fn element(nic: &NicDefinition, queues: Option<u32>) -> Element {
    let interface = Element::new("interface")
        .attribute("type", "bridge")
        .child(Element::new("mac").attribute("address", &nic.mac))
        .child(Element::new("source").attribute("bridge", &nic.bridge))
        .child(Element::new("target").attribute("dev", &nic.device))
        .child(Element::new("model").attribute("type", model(nic.model)));
    match queues.filter(|_| nic.model == NicModel::Virtio) {
        Some(queues) => interface.child(Element::new("driver").attribute("queues", queues)),
        None => interface,
    }
}

const fn model(model: NicModel) -> &'static str {
    match model {
        NicModel::Virtio => "virtio",
        NicModel::E1000e => "e1000e",
    }
}

/// Ethernet addresses of the interfaces in a domain's XML, in lower case.
pub fn of(xml: &str) -> Vec<String> {
    let Ok(document) = Document::parse(xml) else { return Vec::new() };
    document.descendants().filter_map(mac).collect()
}

fn mac(node: Node<'_, '_>) -> Option<String> {
    let own = |child: &Node<'_, '_>| node.has_tag_name("interface") && child.has_tag_name("mac");
    let mac = node.children().find(own)?;
    Some(mac.attribute("address")?.to_ascii_lowercase())
}

/// How many queues the interfaces of a domain have, if it is said.
fn queues(xml: &str) -> Option<u32> {
    let document = Document::parse(xml).ok()?;
    let interface = document.descendants().find(|node| node.has_tag_name("interface"))?;
    let driver = interface.children().find(|child| child.has_tag_name("driver"))?;
    driver.attribute("queues")?.parse().ok()
}

/// Gives a running guest an interface, with as many queues as the others have.
pub fn add(connection: &Connect, vm: Id<Vm>, wanted: &NicDefinition) -> Result<(), CallError> {
    with_domain(connection, vm, "attach interface", |domain| {
        let live = domain.get_xml_desc(0)?;
        if !of(&live).contains(&wanted.mac.to_ascii_lowercase()) {
            let xml = element(wanted, queues(&live)).to_string();
            domain.attach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE)?;
        }
        Ok(())
    })
}

/// Asks a running guest to let go of an interface. It is gone when it is no longer seen.
pub fn remove(connection: &Connect, vm: Id<Vm>, gone: &str) -> Result<(), CallError> {
    with_domain(connection, vm, "detach interface", |domain| {
        let xml = domain.get_xml_desc(0)?;
        if let Some(text) = element_of(&xml, gone) {
            domain.detach_device_flags(&text, sys::VIR_DOMAIN_AFFECT_LIVE)?;
        }
        Ok(())
    })
}

/// The interface's own element, as libvirt wrote it.
fn element_of(xml: &str, wanted: &str) -> Option<String> {
    let document = Document::parse(xml).ok()?;
    let has = |node: &Node<'_, '_>| mac(*node).is_some_and(|mac| mac.eq_ignore_ascii_case(wanted));
    let node = document.descendants().find(has)?;
    xml.get(node.range()).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use skerry_compute::DomainDefinition;
    use skerry_model::Accelerator;

    use super::*;
    use crate::xml::{Serial, domain, tests::definition};

    fn further(number: u8) -> NicDefinition {
        NicDefinition {
            device: format!("skt0000000{number}"),
            bridge: format!("skb0000000{number}"),
            mac: format!("02:00:00:00:0A:{number:02x}"),
            model: NicModel::Virtio,
        }
    }

    #[test]
    fn every_guest_knows_the_other_model_which_has_one_queue() {
        let other = NicDefinition { model: NicModel::E1000e, ..further(1) };
        let written = element(&other, Some(4)).to_string();
        assert!(written.contains("<model type=\"e1000e\"/>"), "{written}");
        assert!(!written.contains("queues"), "{written}");
        assert!(element(&further(1), Some(4)).to_string().contains("queues=\"4\""));
    }

    #[test]
    fn interfaces_are_as_written_down_and_come_back() {
        let plain = definition(Accelerator::Kvm);
        let with = DomainDefinition { nics: vec![further(1), further(2)], ..plain.clone() };
        let path = Path::new("/x");
        let xml = |definition: &DomainDefinition| {
            domain(definition, "kvm", Serial { log: path, socket: path }).to_string()
        };
        let written = xml(&with);
        let (_, from) = written.split_once("    <interface").unwrap();
        let (all, _) = from.rsplit_once("</interface>\n").unwrap();
        let golden = format!("    <interface{all}</interface>\n");
        assert_eq!(golden, include_str!("golden/nics.xml"));
        let macs = ["02:00:00:00:00:01", "02:00:00:00:0a:01", "02:00:00:00:0a:02"];
        assert_eq!(of(&written), macs);
        let ports = |xml: &str| xml.matches("pcie-root-port").count();
        assert_eq!(ports(&written), ports(&xml(&plain)) + 2, "room for others stays");
        assert_eq!(of("no xml"), Vec::<String>::new());
    }

    #[test]
    fn what_goes_is_found_as_libvirt_wrote_it() {
        let live = "<domain><devices>\
            <interface type='bridge'><mac address='02:00:00:00:00:01'/>\
            <driver queues='4'/><target dev='a'/></interface>\
            <interface type='bridge'><mac address='02:00:00:00:0a:02'/><target dev='b'/>\
            <alias name='net1'/></interface></devices></domain>";
        let found = element_of(live, "02:00:00:00:0A:02").unwrap();
        assert!(found.starts_with("<interface") && found.contains("net1"), "{found}");
        assert_eq!(element_of(live, "02:00:00:00:0a:03"), None);
        assert_eq!(queues(live), Some(4));
        assert_eq!(queues("<domain><interface/></domain>"), None);
    }
}

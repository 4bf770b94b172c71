//! Memory that comes while a guest runs, as libvirt is told of it: a virtio-mem device.
//!
//! Its guest has what it was started with in any case, and takes from the device as much as is asked of it, if it has a
//! driver for that; what it does not take costs nothing. Memory modules (DIMM) would need no driver, but can hardly be
//! taken back, and nothing tells whether their guest uses them.

use roxmltree::{Document, Node};
use skerry_compute::{DomainDefinition, GuestMemory, HypervisorError};
use skerry_model::{Id, Vm};
use virt::connect::Connect;
use virt::sys;

use crate::calls::with_domain;
use crate::failure::CallError;
use crate::xml::Element;

/// Size of the pieces that a guest may take, in MiB: that of a huge page, the least there can be.
const BLOCK_MIB: u64 = 2;

const MODEL: &str = "virtio-mem";

/// How much more than at its start it may be given.
pub fn spare_mib(definition: &DomainDefinition) -> u64 {
    let most = definition.hardware.max_memory_mib.unwrap_or(definition.memory_mib);
    most.saturating_sub(definition.memory_mib)
}

/// How much memory it has, devices included, and how much it may have.
pub fn sizes(definition: &DomainDefinition) -> Vec<Element> {
    let mib = |name| Element::new(name).attribute("unit", "MiB");
    let spare = spare_mib(definition);
    let all = definition.memory_mib.saturating_add(spare);
    // The device takes no slot; libvirt before 9.5 wants one all the same.
    let most = (spare > 0).then(|| mib("maxMemory").attribute("slots", 1).text(all));
    most.into_iter().chain([mib("memory").text(all)]).collect()
}

/// The guest's NUMA cell, which has what it is started with: without one there is no device.
pub fn cells(definition: &DomainDefinition) -> Option<Element> {
    if spare_mib(definition) == 0 {
        return None;
    }
    let last = definition.hardware.max_vcpus.unwrap_or(definition.vcpus).saturating_sub(1);
    let cell = Element::new("cell")
        .attribute("id", 0)
        .attribute("cpus", if last == 0 { "0".to_owned() } else { format!("0-{last}") })
        .attribute("memory", definition.memory_mib)
        .attribute("unit", "MiB");
    Some(Element::new("numa").child(cell))
}

/// The device, of which nothing is asked when the guest starts.
pub fn device(definition: &DomainDefinition) -> Option<Element> {
    let mib = |name, size: u64| Element::new(name).attribute("unit", "MiB").text(size);
    let spare = spare_mib(definition);
    let target = Element::new("target")
        .child(mib("size", spare))
        .child(Element::new("node").text(0))
        .child(mib("block", BLOCK_MIB))
        .child(mib("requested", 0));
    (spare > 0).then(|| Element::new("memory").attribute("model", MODEL).child(target))
}

/// What the XML of a running domain tells of its memory, if that can grow.
pub fn of(xml: &str) -> Option<GuestMemory> {
    let document = Document::parse(xml).ok()?;
    let (base, device) = (base_kib(&document)?, device_of(&document)?);
    let part = |name| {
        let part = device.descendants().find(|node| node.has_tag_name(name))?;
        kib(part.attribute("unit"), part.text()?)
    };
    let mib = |kib: u64| base.saturating_add(kib) / 1024;
    // A domain that has just started does not say yet what its guest has taken.
    let (asked, taken) = (part("requested")?, part("current").unwrap_or(0));
    Some(GuestMemory { given_mib: mib(asked), taken_mib: mib(taken) })
}

/// Gives a running guest so much memory in all.
pub fn set(connection: &Connect, vm: Id<Vm>, mib: u64) -> Result<(), CallError> {
    const CALL: &str = "add memory";
    with_domain(connection, vm, CALL, |domain| {
        let Some(device) = asking(&domain.get_xml_desc(0)?, mib) else {
            let message = "it was started without room for more".to_owned();
            return Err(HypervisorError::Failed { call: CALL, vm, message }.into());
        };
        domain.update_device_flags(&device, sys::VIR_DOMAIN_AFFECT_LIVE)?;
        Ok(())
    })
}

/// The device as libvirt wrote it, but asking for so much that the guest has this in all.
fn asking(xml: &str, mib: u64) -> Option<String> {
    let document = Document::parse(xml).ok()?;
    let (base, device) = (base_kib(&document)?, device_of(&document)?);
    let old = device.descendants().find(|node| node.has_tag_name("requested"))?.range();
    let asked = mib.checked_mul(1024)?.checked_sub(base)?;
    let new = Element::new("requested").attribute("unit", "KiB").text(asked);
    let before = xml.get(device.range().start..old.start)?;
    let after = xml.get(old.end..device.range().end)?;
    Some(format!("{before}{new}{after}"))
}

/// What it has without devices: that of its NUMA cells.
fn base_kib(document: &Document<'_>) -> Option<u64> {
    let cells = document.descendants().filter(|node| node.has_tag_name("cell"));
    let size = |cell: Node<'_, '_>| kib(cell.attribute("unit"), cell.attribute("memory")?);
    cells.map(size).try_fold(0_u64, |sum, size| sum.checked_add(size?)).filter(|sum| *sum > 0)
}

fn device_of<'a, 'd>(document: &'a Document<'d>) -> Option<Node<'a, 'd>> {
    let mut nodes = document.descendants().filter(|node| node.has_tag_name("memory"));
    nodes.find(|node| node.attribute("model") == Some(MODEL))
}

/// A size as libvirt writes it, which is in KiB.
fn kib(unit: Option<&str>, size: &str) -> Option<u64> {
    size.trim().parse().ok().filter(|_| unit == Some("KiB"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::xml::{Serial, domain, tests::definition};
    use skerry_model::Accelerator;

    fn growing(memory_mib: u64, most: u64) -> DomainDefinition {
        let mut definition = DomainDefinition { memory_mib, ..definition(Accelerator::Kvm) };
        definition.hardware.max_memory_mib = Some(most);
        definition
    }

    fn xml(definition: &DomainDefinition) -> String {
        let path = Path::new("/x");
        domain(definition, "kvm", Serial { log: path, socket: path }).to_string()
    }

    #[test]
    fn room_for_memory_is_as_written_down() {
        let xml = xml(&growing(256, 1024));
        let part = |from: &str, to: &str| {
            let (_, rest) = xml.split_once(from).unwrap();
            format!("{from}{}{to}", rest.split_once(to).unwrap().0)
        };
        let all = [
            part("  <maxMemory", "</vcpu>\n"),
            part("  <cpu", "</cpu>\n"),
            part("    <memory model", "</memory>\n"),
        ];
        assert_eq!(all.concat(), include_str!("golden/memory.xml"));
    }

    #[test]
    fn without_room_there_is_no_device() {
        let plain = xml(&definition(Accelerator::Kvm));
        let full = xml(&growing(256, 256));
        for xml in [&plain, &full] {
            assert!(!xml.contains("virtio-mem") && !xml.contains("maxMemory"), "{xml}");
            assert!(!xml.contains("<numa>") && xml.contains("<memory unit=\"MiB\">256</memory>"));
        }
        let ports = |xml: &str| xml.matches("pcie-root-port").count();
        assert_eq!(ports(&xml(&growing(256, 384))), ports(&plain) + 1);
    }

    const LIVE: &str = "<domain><memory unit='KiB'>1048576</memory><cpu><numa>\
        <cell id='0' cpus='0' memory='262144' unit='KiB'/></numa></cpu><devices>\
        <memory model='virtio-mem'><target><size unit='KiB'>786432</size><node>0</node>\
        <block unit='KiB'>2048</block><requested unit='KiB'>262144</requested>\
        <current unit='KiB'>131072</current></target><alias name='virtiomem0'/></memory>\
        </devices></domain>";

    #[test]
    fn what_a_guest_was_given_and_what_it_took_are_read() {
        assert_eq!(of(LIVE), Some(GuestMemory { given_mib: 512, taken_mib: 384 }));
        let young = LIVE.replace("<current unit='KiB'>131072</current>", "");
        assert_eq!(of(&young), Some(GuestMemory { given_mib: 512, taken_mib: 256 }));
        for odd in ["", "<domain/>", &LIVE.replace("virtio-mem", "dimm"), &LIVE.replace("KiB", "b")]
        {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    #[test]
    fn more_is_asked_of_the_device_that_is_there() {
        let asked = asking(LIVE, 1024).unwrap();
        assert!(asked.starts_with("<memory model='virtio-mem'>"), "{asked}");
        assert!(asked.contains("<requested unit=\"KiB\">786432</requested>"), "{asked}");
        assert!(asked.contains("<alias name='virtiomem0'/>") && asked.ends_with("</memory>"));
        assert!(Document::parse(&asked).is_ok(), "{asked}");
        assert_eq!(asking(LIVE, 128), None, "less than it was started with");
        assert_eq!(asking("<domain/>", 512), None);
    }
}

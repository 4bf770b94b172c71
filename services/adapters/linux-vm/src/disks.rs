//! Disks of guests that run: which there are, and how they come and go.

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};
use skerry_compute::DiskDefinition;
use skerry_model::{Id, Vm};
use virt::connect::Connect;
use virt::sys;

use crate::calls::with_domain;
use crate::failure::CallError;
use crate::xml::disk_element;

/// A disk that a domain has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDisk {
    /// Its file.
    pub path: PathBuf,
    /// Name of its device.
    pub device: String,
    /// Whether it can be taken away while the guest runs.
    pub hot: bool,
}

/// The disks in a domain's XML.
pub fn of(xml: &str) -> Vec<LiveDisk> {
    let Ok(document) = Document::parse(xml) else { return Vec::new() };
    document.descendants().filter(|node| node.has_tag_name("disk")).filter_map(disk).collect()
}

fn disk(node: Node<'_, '_>) -> Option<LiveDisk> {
    // Discs are no disks: see `crate::drives`.
    if node.attribute("device") == Some("cdrom") {
        return None;
    }
    // Not deeper: what the disk is based on is listed inside it.
    let child = |name| node.children().find(|child| child.has_tag_name(name));
    let path = child("source")?.attribute("file")?.into();
    let target = child("target")?;
    let hot = node.attribute("device") == Some("disk") && target.attribute("bus") == Some("virtio");
    Some(LiveDisk { path, device: target.attribute("dev")?.to_owned(), hot })
}

/// Gives a running guest a disk. Its device gets another name if the wanted one is taken: disks that
/// came and went may have left theirs in another order.
pub fn attach(connection: &Connect, vm: Id<Vm>, wanted: &DiskDefinition) -> Result<(), CallError> {
    with_domain(connection, vm, "attach", |domain| {
        let live = domain.get_xml_desc(0)?;
        let there = of(&live);
        if there.iter().any(|disk| disk.path == wanted.path) {
            return Ok(());
        }
        let device = free_device(&wanted.device, &there);
        // Threads that it was not started with come with its next start, and so does the disk's.
        let io_thread = wanted.io_thread.filter(|thread| *thread <= io_threads(&live));
        let disk = DiskDefinition { device, io_thread, ..wanted.clone() };
        let xml = disk_element(&disk).to_string();
        domain.attach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE)?;
        Ok(())
    })
}

/// How many threads for disks a domain has.
fn io_threads(xml: &str) -> u32 {
    let count = |document: &Document<'_>| {
        let node = document.descendants().find(|node| node.has_tag_name("iothreads"))?;
        node.text()?.trim().parse().ok()
    };
    Document::parse(xml).ok().and_then(|document| count(&document)).unwrap_or(0)
}

/// Asks a running guest to let go of a disk. It is gone when it is no longer seen.
pub fn detach(connection: &Connect, vm: Id<Vm>, path: &Path) -> Result<(), CallError> {
    with_domain(connection, vm, "detach", |domain| {
        let xml = domain.get_xml_desc(0)?;
        let Some(text) = element_of(&xml, path) else { return Ok(()) };
        domain.detach_device_flags(&text, sys::VIR_DOMAIN_AFFECT_LIVE)?;
        Ok(())
    })
}

/// The disk's own element, as libvirt wrote it.
fn element_of(xml: &str, path: &Path) -> Option<String> {
    let document = Document::parse(xml).ok()?;
    let mut disks = document.descendants().filter(|node| node.has_tag_name("disk"));
    let node = disks.find(|node| disk(*node).is_some_and(|disk| disk.path == path))?;
    xml.get(node.range()).map(ToOwned::to_owned)
}

fn free_device(wanted: &str, there: &[LiveDisk]) -> String {
    let taken = |name: &str| there.iter().any(|disk| disk.device == name);
    if !taken(wanted) {
        return wanted.to_owned();
    }
    let prefix: String = wanted.chars().take(2).collect();
    let names = ('a'..='z').map(|letter| format!("{prefix}{letter}"));
    names.into_iter().find(|name| !taken(name)).unwrap_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<domain><devices>\
        <disk type='file' device='disk'><source file='/a'/><backingStore type='file'>\
        <source file='/base'/></backingStore><target dev='vda' bus='virtio'/></disk>\
        <disk type='file' device='disk'><source file='/b'/><target dev='sda' bus='sata'/></disk>\
        <disk type='file' device='cdrom'><source file='/c'/><target dev='sdb' bus='sata'/></disk>\
        </devices></domain>";

    #[test]
    fn disks_are_found_with_their_files_and_not_with_what_these_are_based_on() {
        let disks = of(XML);
        let short: Vec<_> = disks.iter().map(|d| (d.device.as_str(), d.hot)).collect();
        assert_eq!(short, [("vda", true), ("sda", false)]);
        assert_eq!(disks[0].path, Path::new("/a"));
        assert!(element_of(XML, Path::new("/a")).unwrap().starts_with("<disk type='file'"));
        assert_eq!(element_of(XML, Path::new("/base")), None);
        assert_eq!(of("no xml"), []);
        assert_eq!(io_threads(&XML.replace("<devices>", "<iothreads>3</iothreads><devices>")), 3);
        assert_eq!((io_threads(XML), io_threads("no xml")), (0, 0));
    }

    #[test]
    fn a_taken_name_is_not_given_again() {
        let disks = of(XML);
        assert_eq!(free_device("vda", &disks), "vdb");
        assert_eq!(free_device("vdc", &disks), "vdc");
    }
}

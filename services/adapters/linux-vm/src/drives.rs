//! CD drives of guests that run: what lies in them, and how that is changed.

use std::path::Path;

use roxmltree::{Document, Node};
use skerry_compute::DriveObserved;
use skerry_model::{Id, Vm};
use virt::connect::Connect;
use virt::sys;

use crate::calls::with_domain;
use crate::failure::CallError;
use crate::xml::Element;

/// The CD drives in a domain's XML, in libvirt's order, which is that of their devices' names.
pub fn of(xml: &str) -> Vec<DriveObserved> {
    let Ok(document) = Document::parse(xml) else { return Vec::new() };
    drives(&document).filter_map(observed).collect()
}

fn drives<'a, 'input>(
    document: &'a Document<'input>,
) -> impl Iterator<Item = Node<'a, 'input>> + 'a {
    let disks = document.descendants().filter(|node| node.has_tag_name("disk"));
    disks.filter(|node| node.attribute("device") == Some("cdrom"))
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn observed(node: Node<'_, '_>) -> Option<DriveObserved> {
    let device = child(node, "target")?.attribute("dev")?.to_owned();
    let disc = child(node, "source").and_then(|source| source.attribute("file"));
    Some(DriveObserved { device, disc: disc.map(Into::into) })
}

/// Puts another disc into a drive, or leaves it empty. The drive is not forced open: a guest that has the disc in use would
/// lose its file system under its feet.
pub fn change(
    connection: &Connect,
    vm: Id<Vm>,
    device: &str,
    disc: Option<&Path>,
) -> Result<(), CallError> {
    with_domain(connection, vm, "change disc", |domain| {
        let xml = domain.get_xml_desc(0)?;
        let Some(text) = changed(&xml, device, disc) else { return Ok(()) };
        domain.update_device_flags(&text, sys::VIR_DOMAIN_AFFECT_LIVE)?;
        Ok(())
    })
}

/// The drive's own element as libvirt wrote it, with another disc: libvirt takes no other change. Nothing if there is no
/// such drive, or the disc is there already.
fn changed(xml: &str, device: &str, disc: Option<&Path>) -> Option<String> {
    let document = Document::parse(xml).ok()?;
    let is_it = |node: &Node<'_, '_>| observed(*node).is_some_and(|drive| drive.device == device);
    let node = drives(&document).find(is_it)?;
    if observed(node)?.disc.as_deref() == disc {
        return None;
    }
    let target = child(node, "target")?.range().start;
    let source = disc.map(|disc| Element::new("source").attribute("file", disc.display()));
    let mut text = xml.get(node.range())?.to_owned();
    let start = node.range().start;
    // From the end, so that what stands before keeps its place.
    let mut cuts: Vec<_> = ["source", "backingStore"]
        .into_iter()
        .filter_map(|name| child(node, name))
        .map(|part| (part.range(), String::new()))
        .collect();
    cuts.push((target..target, source.map(|source| source.to_string()).unwrap_or_default()));
    cuts.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    for (range, new) in cuts {
        let range = range.start.checked_sub(start)?..range.end.checked_sub(start)?;
        text.replace_range(range, &new);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<domain><devices>\
        <disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/></disk>\
        <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>\
        <source file='/images/1' index='2'/><backingStore/><target dev='sda' bus='sata'/>\
        <readonly/><alias name='sata0-0-0'/></disk>\
        <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>\
        </devices></domain>";

    fn found(xml: &str) -> Vec<(String, Option<String>)> {
        let path = |disc: std::path::PathBuf| disc.display().to_string();
        of(xml).into_iter().map(|drive| (drive.device, drive.disc.map(path))).collect()
    }

    #[test]
    fn drives_are_found_with_what_lies_in_them() {
        let disc = Some("/images/1".to_owned());
        assert_eq!(found(XML), [("sda".to_owned(), disc), ("sdb".to_owned(), None)]);
        assert_eq!(of("no xml"), []);
    }

    #[test]
    fn nothing_but_the_disc_changes() {
        let text = |device, disc: Option<&str>| changed(XML, device, disc.map(Path::new));
        let whole = |text: Option<String>| format!("<domain>{}</domain>", text.unwrap());
        let put = whole(text("sda", Some("/images/<2>")));
        assert_eq!(found(&put), [("sda".to_owned(), Some("/images/<2>".to_owned()))]);
        assert!(put.contains("<alias name='sata0-0-0'/>") && put.contains("<driver "));
        assert!(!put.contains("backingStore") && !put.contains("index="));
        assert_eq!(found(&whole(text("sda", None))), [("sda".to_owned(), None)]);
        let put = whole(text("sdb", Some("/images/1")));
        assert_eq!(found(&put), [("sdb".to_owned(), Some("/images/1".to_owned()))]);
        assert_eq!(text("sda", Some("/images/1")), None, "it lies there already");
        assert_eq!(text("sdb", None), None);
        assert_eq!(text("vda", None), None, "no drive");
        assert_eq!(text("sdc", None), None);
    }
}

//! Devices of the node in guests: as XML, and how they come and go while a guest runs (libvirt: formatdomain, hostdev).
//! libvirt takes a device from the node's own driver, and gives it back. It makes nobody the owner of anything
//! (`dynamic_ownership`), so that is done here.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};
use skerry_compute::{DomainDefinition, HypervisorError};
use skerry_model::{Id, UsbPlace, Vm};
use virt::connect::Connect;
use virt::sys;

use crate::calls::with_domain;
use crate::failure::CallError;
use crate::xml::Element;

/// What is plugged into the node at this place. The numbers of maker and product are said too, so that nothing else is
/// given that took the place meanwhile.
pub fn usb_element(place: UsbPlace) -> Element {
    let id = |name, number: u16| Element::new(name).attribute("id", format!("0x{number:04x}"));
    let address = Element::new("address").attribute("bus", place.bus);
    let source = Element::new("source")
        .child(id("vendor", place.vendor))
        .child(id("product", place.product))
        .child(address.attribute("device", place.device));
    let device = Element::new("hostdev").attribute("mode", "subsystem").attribute("type", "usb");
    device.attribute("managed", "yes").child(source)
}

/// Serial lines of the node, after the guest's own.
pub fn lines(definition: &DomainDefinition) -> impl Iterator<Item = Element> {
    definition.lines.iter().zip(1_u32..).map(|(line, port)| {
        let target = Element::new("target").attribute("type", "isa-serial");
        Element::new("serial")
            .attribute("type", "dev")
            .child(Element::new("source").attribute("path", line.display()))
            .child(target.attribute("port", port))
    })
}

/// What of the node's USB is in a domain's XML.
pub fn of(xml: &str) -> Vec<UsbPlace> {
    let Ok(document) = Document::parse(xml) else { return Vec::new() };
    document.descendants().filter_map(place).collect()
}

fn place(node: Node<'_, '_>) -> Option<UsbPlace> {
    let is_usb = node.has_tag_name("hostdev") && node.attribute("type") == Some("usb");
    let source = node.children().find(|child| is_usb && child.has_tag_name("source"))?;
    let child = |name| source.children().find(|child| child.has_tag_name(name));
    let hex =
        |name| u16::from_str_radix(child(name)?.attribute("id")?.strip_prefix("0x")?, 16).ok();
    let number = |name| child("address")?.attribute(name)?.parse().ok();
    Some(UsbPlace {
        bus: number("bus")?,
        device: number("device")?,
        vendor: hex("vendor")?,
        product: hex("product")?,
    })
}

/// The files of what a domain has of the node.
fn files(xml: &str) -> Vec<PathBuf> {
    let Ok(document) = Document::parse(xml) else { return Vec::new() };
    let line = |node: Node<'_, '_>| {
        let is_line = node.has_tag_name("serial") && node.attribute("type") == Some("dev");
        let source = node.children().find(|child| is_line && child.has_tag_name("source"))?;
        source.attribute("path").map(PathBuf::from)
    };
    let lines = document.descendants().filter_map(line);
    lines.chain(document.descendants().filter_map(place).map(file)).collect()
}

fn file(place: UsbPlace) -> PathBuf {
    format!("/dev/bus/usb/{:03}/{:03}", place.bus, place.device).into()
}

/// Lets the group of guests' account open a device. That all guests are in it gives none of them more: each sees only the
/// devices in its own list.
fn open_to(guests: Option<u32>, file: &Path) -> io::Result<()> {
    let Some(group) = guests else { return Ok(()) };
    match chown(file, None, Some(group)) {
        // It was pulled out; whoever starts the guest says so.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::set_permissions(file, Permissions::from_mode(0o660)),
    }
}

fn not_open(vm: Id<Vm>) -> impl Fn(io::Error) -> HypervisorError {
    move |source| HypervisorError::Files { what: "handing over a device", vm, source }
}

/// Makes what a machine is started with ready for it.
pub fn hand_over(connection: &Connect, vm: Id<Vm>, guests: Option<u32>) -> Result<(), CallError> {
    with_domain(connection, vm, "start", |domain| {
        for file in files(&domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?) {
            open_to(guests, &file).map_err(not_open(vm))?;
        }
        Ok(())
    })
}

/// Gives a running guest what is plugged in.
pub fn plug(
    connection: &Connect,
    vm: Id<Vm>,
    wanted: UsbPlace,
    guests: Option<u32>,
) -> Result<(), CallError> {
    with_domain(connection, vm, "plug in", |domain| {
        if !of(&domain.get_xml_desc(0)?).contains(&wanted) {
            open_to(guests, &file(wanted)).map_err(not_open(vm))?;
            let xml = usb_element(wanted).to_string();
            domain.attach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE)?;
        }
        Ok(())
    })
}

/// Takes it from a running guest, which is not asked: a plug that is pulled asks nobody either.
pub fn unplug(connection: &Connect, vm: Id<Vm>, gone: UsbPlace) -> Result<(), CallError> {
    with_domain(connection, vm, "unplug", |domain| {
        if of(&domain.get_xml_desc(0)?).contains(&gone) {
            let xml = usb_element(gone).to_string();
            domain.detach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use skerry_model::Accelerator;

    use super::*;
    use crate::xml::tests::definition;
    use crate::xml::{Serial, domain};

    const PLACE: UsbPlace = UsbPlace { bus: 1, device: 12, vendor: 0x0403, product: 0x6001 };

    fn xml(definition: &DomainDefinition) -> String {
        let path = Path::new("/x");
        domain(definition, "kvm", Serial { log: path, socket: path }).to_string()
    }

    #[test]
    fn devices_are_as_written_down() {
        let with = DomainDefinition {
            usb: true,
            usb_devices: vec![PLACE],
            lines: vec!["/dev/serial/by-id/usb-A9&B".into(), "/dev/ttyS1".into()],
            ..definition(Accelerator::Kvm)
        };
        let written = xml(&with);
        let part = |from: &str, to: &str| -> String {
            let parts = written.split_inclusive(to);
            parts.filter_map(|part| Some(format!("{from}{}", part.split_once(from)?.1))).collect()
        };
        let controller = part("<controller type=\"usb\"", "/>\n");
        let golden = format!(
            "{controller}{}{}",
            part("<serial type=\"dev\"", "</serial>\n"),
            part("<hostdev", "</hostdev>\n")
        );
        assert_eq!(golden, include_str!("golden/devices.xml"));
        let ports = |xml: &str| xml.matches("pcie-root-port").count();
        let plain = definition(Accelerator::Kvm);
        assert_eq!(ports(&written), ports(&xml(&plain)) + 1);
        assert_eq!(of(&written), [PLACE]);
        let expected = ["/dev/serial/by-id/usb-A9&B", "/dev/ttyS1", "/dev/bus/usb/001/012"];
        assert_eq!(files(&written), expected.map(PathBuf::from));
        assert_eq!(of(&xml(&plain)), []);
    }

    #[test]
    fn what_is_plugged_in_while_it_runs_needs_a_controller_that_is_there() {
        let with = DomainDefinition { usb: true, ..definition(Accelerator::Kvm) };
        assert!(xml(&with).contains("model=\"qemu-xhci\" ports=\"15\""));
        assert_eq!(
            xml(&DomainDefinition { display: true, ..with }).matches("qemu-xhci").count(),
            1
        );
    }

    #[test]
    fn a_device_is_opened_to_guests_and_one_that_is_gone_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("ttyS1");
        fs::write(&device, "").unwrap();
        fs::set_permissions(&device, Permissions::from_mode(0o600)).unwrap();
        let mode = || fs::metadata(&device).unwrap().permissions().mode() & 0o777;
        open_to(None, &device).unwrap();
        assert_eq!(mode(), 0o600);
        let own = std::os::unix::fs::MetadataExt::gid(&fs::metadata(&device).unwrap());
        open_to(Some(own), &device).unwrap();
        assert_eq!(mode(), 0o660);
        open_to(Some(own), &folder.path().join("gone")).unwrap();
    }

    #[test]
    fn as_libvirt_writes_it_down() {
        let live = "<domain><devices><hostdev mode='subsystem' type='usb' managed='yes'><source>\
            <vendor id='0x0403'/><product id='0x6001'/><address bus='1' device='12'/></source>\
            <alias name='hostdev0'/><address type='usb' bus='0' port='2'/></hostdev>\
            <hostdev mode='subsystem' type='pci'><source><address bus='0x1'/></source></hostdev>\
            </devices></domain>";
        assert_eq!(of(live), [PLACE]);
        assert_eq!(of("no xml"), []);
    }
}

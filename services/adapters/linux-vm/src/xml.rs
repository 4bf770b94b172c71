//! Domain XML from a definition (libvirt: formatdomain).
//!
//! Pure: equal definitions give equal text. Every value passes through one place that escapes it. When
//! the text for an equal definition changes here, `DomainDefinition::FORM` has to be increased.

use std::fmt::{Display, Write};
use std::path::Path;

use skerry_compute::{
    DISPLAY_MIB, DiskDefinition, DiskKind, DomainDefinition, TRANSLATION_CACHE_MIB,
};
use skerry_model::{Accelerator, DiskBus, VmFirmware};

use crate::files::{NVRAM, SEED, TPM};
use crate::{agent, devices, firmware, hardware, hostdev, label, memory, nics};

/// Ports for devices beside disks, some of them for disks that come later.
const PORTS: usize = 8;

/// An element with attributes and either text or children.
#[derive(Debug, Clone)]
pub struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    text: String,
    children: Vec<Self>,
}

impl Element {
    /// An empty element. Names are literals of this crate and never need escaping.
    pub fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), text: String::new(), children: Vec::new() }
    }

    /// Adds an attribute.
    pub fn attribute(mut self, name: &'static str, value: impl Display) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    /// Sets the text.
    pub fn text(mut self, value: impl Display) -> Self {
        self.text = value.to_string();
        self
    }

    /// Adds a child.
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        out.push_str(&indent);
        out.push('<');
        out.push_str(self.name);
        for (name, value) in &self.attributes {
            // Writing into a text cannot fail.
            let _ = write!(out, " {name}=\"{}\"", escaped(value));
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>\n");
            return;
        }
        out.push('>');
        out.push_str(&escaped(&self.text));
        if !self.children.is_empty() {
            out.push('\n');
            for child in &self.children {
                child.write(out, depth + 1);
            }
            out.push_str(&indent);
        }
        out.push_str("</");
        out.push_str(self.name);
        out.push_str(">\n");
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out, 0);
        f.write_str(&out)
    }
}

/// Text that means itself, in an element as in an attribute. Characters that XML 1.0 (2.2) cannot hold
/// become spaces; line ends and tabs too, since attributes do not keep them.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            char if char.is_control() => out.push(' '),
            char => out.push(char),
        }
    }
    out
}

/// Where the serial line is kept and reached.
#[derive(Debug, Clone, Copy)]
pub struct Serial<'p> {
    /// What the guest writes.
    pub log: &'p Path,
    /// QEMU listens here for one who types and watches.
    pub socket: &'p Path,
}

/// The domain as libvirt is to have it. `kind` is `qemu` or `kvm`, or `test` for libvirt's test driver,
/// which knows fewer devices.
pub fn domain(definition: &DomainDefinition, kind: &str, serial: Serial<'_>) -> Element {
    let mut root = Element::new("domain")
        .attribute("type", kind)
        .child(Element::new("name").text(DomainDefinition::domain_name(definition.vm)))
        .child(Element::new("uuid").text(definition.vm))
        .child(Element::new("title").text(&definition.title))
        .child(Element::new("metadata").child(label::element(definition)));
    root = memory::sizes(definition).into_iter().fold(root, Element::child);
    root = hardware::backing(&definition.hardware).into_iter().fold(root, Element::child);
    root = root.child(hardware::vcpus(definition));
    root = hardware::io_threads(&definition.hardware).into_iter().fold(root, Element::child);
    root = hardware::pinning(&definition.hardware).into_iter().fold(root, Element::child);
    root = root.child(boot(definition, serial.log)).child(features(definition, kind));
    root = hardware::cpu(definition, kind).into_iter().fold(root, Element::child);
    root.child(Element::new("clock").attribute("offset", "utc"))
        // What is off stays defined, so that its end can be judged by its reason.
        .child(Element::new("on_poweroff").text("destroy"))
        .child(Element::new("on_reboot").text(if definition.off_on_reboot {
            "destroy"
        } else {
            "restart"
        }))
        .child(Element::new("on_crash").text("destroy"))
        .child(devices(definition, kind, serial))
}

/// The domain type for what runs guests.
pub fn kind_of(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Emulation => "qemu",
    }
}

fn boot(definition: &DomainDefinition, beside: &Path) -> Element {
    let os = Element::new("os").child(
        Element::new("type")
            .attribute("arch", "x86_64")
            .attribute("machine", &definition.machine)
            .text("hvm"),
    );
    match definition.firmware {
        // QEMU's own firmware is SeaBIOS, which tries the disks in the order that they carry.
        Some(VmFirmware::Bios) => os,
        Some(firmware) => firmware::add_uefi(os, firmware, &beside.with_file_name(NVRAM)),
        None => os
            .child(Element::new("kernel").text(definition.kernel.display()))
            .child(Element::new("initrd").text(definition.initrd.display()))
            .child(Element::new("cmdline").text(&definition.arguments)),
    }
}

fn features(definition: &DomainDefinition, kind: &str) -> Element {
    let mut features =
        Element::new("features").child(Element::new("acpi")).child(Element::new("apic"));
    if definition.firmware == Some(VmFirmware::UefiSecure) {
        // Only code in this mode may write what the firmware trusts.
        features = features.child(Element::new("smm").attribute("state", "on"));
    }
    match kind {
        // Otherwise QEMU takes up to 1 GiB for translated code.
        "qemu" => {
            features.child(Element::new("tcg").child(
                Element::new("tb-cache").attribute("unit", "MiB").text(TRANSLATION_CACHE_MIB),
            ))
        }
        _ => features,
    }
}

fn devices(definition: &DomainDefinition, kind: &str, serial: Serial<'_>) -> Element {
    let Serial { log, socket } = serial;
    let source = Element::new("source").attribute("mode", "bind");
    let serial = Element::new("serial")
        .attribute("type", "unix")
        .child(source.attribute("path", socket.display()))
        .child(Element::new("log").attribute("file", log.display()).attribute("append", "on"))
        .child(Element::new("target").attribute("type", "isa-serial").attribute("port", 0));
    let rng = Element::new("rng")
        .attribute("model", "virtio")
        .child(Element::new("backend").attribute("model", "random").text("/dev/urandom"));
    let usb = Element::new("controller").attribute("type", "usb");
    let has_usb = definition.display || definition.usb;
    let mut usb = usb.attribute("model", if has_usb { "qemu-xhci" } else { "none" });
    if definition.usb {
        // Places for what comes later; there are four otherwise.
        usb = usb.attribute("ports", 15);
    }
    let mut devices = Element::new("devices").child(usb);
    for nic in [&definition.nic].into_iter().chain(&definition.nics) {
        devices = devices.child(nics::element(nic, definition.hardware.nic_queues));
    }
    let devices = devices.child(serial);
    let mut devices = devices::lines(definition)
        .fold(devices, Element::child)
        .child(rng)
        .child(Element::new("memballoon").attribute("model", "none"))
        .child(Element::new("panic").attribute("model", "isa"));
    if definition.display {
        devices = display().into_iter().fold(devices, Element::child);
    }
    if definition.tpm {
        devices = devices.child(tpm(log));
    }
    if definition.guest_agent {
        devices = devices.child(agent::channel());
    }
    for place in &definition.usb_devices {
        devices = devices.child(devices::usb_element(*place));
    }
    for disk in &definition.disks {
        devices = devices.child(disk_element(disk));
    }
    for drive in &definition.drives {
        devices = devices.child(disk_element(drive));
    }
    if definition.seed.is_some() {
        devices = devices.child(disk_element(&seed_disk(definition, log)));
    }
    if definition.disks.iter().any(|disk| disk.bus == DiskBus::Scsi) {
        devices = devices.child(hardware::scsi(definition));
    }
    devices = hostdev::elements(definition).into_iter().fold(devices, Element::child);
    devices = memory::device(definition).into_iter().fold(devices, Element::child);
    if kind != "test" {
        // A device that comes while the guest runs needs a free port, and libvirt adds none by itself. Numbers are
        // needed: of controllers without any it takes the first for the root.
        let root = Element::new("controller").attribute("type", "pci").attribute("index", 0);
        devices = devices.child(root.attribute("model", "pcie-root"));
        let more = usize::from(has_usb) + usize::from(definition.guest_agent);
        let more = more.saturating_add(usize::from(memory::spare_mib(definition) > 0));
        let more = more.saturating_add(definition.nics.len());
        let ports = PORTS.saturating_add(more).saturating_add(definition.hardware.pci.len());
        for index in 1..=definition.disks.len().saturating_add(ports) {
            let port = Element::new("controller").attribute("type", "pci");
            let port = port.attribute("index", index).attribute("model", "pcie-root-port");
            devices = devices.child(port);
        }
        // q35 has this watchdog in any case; a guest that arms it must not be reset unasked.
        let watchdog = Element::new("watchdog").attribute("model", "itco");
        devices = devices.child(watchdog.attribute("action", "none"));
    }
    devices
}

/// A TPM, emulated by a program of its own. It keeps its state in the machine's folder, since libvirt's own folder for that
/// is empty after a boot of the node. What is kept goes with the machine's folder, so libvirt is told not to remove it
/// when the domain is undefined.
fn tpm(beside: &Path) -> Element {
    let place = beside.with_file_name(TPM);
    let source = Element::new("source").attribute("type", "dir");
    let backend = Element::new("backend").attribute("type", "emulator").attribute("version", "2.0");
    let backend = backend.attribute("persistent_state", "yes");
    let backend = backend.child(source.attribute("path", place.display()));
    Element::new("tpm").attribute("model", "tpm-crb").child(backend)
}

/// The disk for cloud-init: last, and wired as the first is, which the guest has a driver for.
fn seed_disk(definition: &DomainDefinition, beside: &Path) -> DiskDefinition {
    let bus = definition.disks.first().map_or(DiskBus::Virtio, |disk| disk.bus);
    let device = match bus {
        DiskBus::Virtio => "vdz",
        DiskBus::Scsi | DiskBus::Sata => "sdz",
    };
    DiskDefinition {
        kind: DiskKind::Disk,
        path: beside.with_file_name(SEED),
        format: "raw",
        device: device.to_owned(),
        bus,
        serial: "cidata".to_owned(),
        boot: None,
        read_only: true,
        iops: None,
        bytes_per_s: None,
        queues: None,
        io_thread: None,
    }
}

/// A screen that every guest can write on, shown on a socket that libvirt makes in a folder of its own, since QEMU itself
/// listens there and may not into ours; never on a port of the node. Everybody who looks sees the same and may type. The
/// mouse is one that tells places, not movements, so that it is where the viewer's is.
fn display() -> [Element; 3] {
    let listen = Element::new("listen").attribute("type", "socket");
    let graphics = Element::new("graphics").attribute("type", "vnc");
    let graphics = graphics.attribute("sharePolicy", "ignore").child(listen);
    let model = Element::new("model").attribute("type", "vga");
    let model = model.attribute("vram", DISPLAY_MIB * 1024).attribute("heads", 1);
    let video = Element::new("video").child(model.attribute("primary", "yes"));
    let tablet = Element::new("input").attribute("type", "tablet").attribute("bus", "usb");
    [tablet, graphics, video]
}

/// A disk, as in a domain or alone for a guest that runs.
pub fn disk_element(disk: &DiskDefinition) -> Element {
    let device = match disk.kind {
        DiskKind::Disk => "disk",
        DiskKind::Cdrom => "cdrom",
    };
    let bus = match disk.bus {
        DiskBus::Virtio => "virtio",
        DiskBus::Scsi => "scsi",
        DiskBus::Sata => "sata",
    };
    // A guest's flush reaches the disk. A write that finds no space holds the guest until there is some;
    // other errors are the guest's to deal with.
    let driver = Element::new("driver")
        .attribute("name", "qemu")
        .attribute("type", disk.format)
        .attribute("cache", "none")
        .attribute("discard", "unmap")
        .attribute("error_policy", "enospace")
        .attribute("rerror_policy", "report");
    let driver = match disk.queues {
        Some(queues) => driver.attribute("queues", queues),
        None => driver,
    };
    let driver = match disk.io_thread {
        Some(thread) => driver.attribute("iothread", thread),
        None => driver,
    };
    let mut element =
        Element::new("disk").attribute("type", "file").attribute("device", device).child(driver);
    // An empty drive has none.
    if !disk.path.as_os_str().is_empty() {
        element = element.child(Element::new("source").attribute("file", disk.path.display()));
    }
    element =
        element.child(Element::new("target").attribute("dev", &disk.device).attribute("bus", bus));
    if disk.iops.is_some() || disk.bytes_per_s.is_some() {
        let mut tune = Element::new("iotune");
        if let Some(bytes) = disk.bytes_per_s {
            tune = tune.child(Element::new("total_bytes_sec").text(bytes));
        }
        if let Some(iops) = disk.iops {
            tune = tune.child(Element::new("total_iops_sec").text(iops));
        }
        element = element.child(tune);
    }
    if disk.read_only || disk.kind == DiskKind::Cdrom {
        element = element.child(Element::new("readonly"));
    }
    if !disk.serial.is_empty() {
        element = element.child(Element::new("serial").text(&disk.serial));
    }
    match disk.boot {
        Some(place) => element.child(Element::new("boot").attribute("order", place)),
        None => element,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use roxmltree::Document;
    use skerry_compute::{HardwareDefinition, NicDefinition, Seed};
    use skerry_model::Hidden;

    pub(crate) fn definition(accelerator: Accelerator) -> DomainDefinition {
        DomainDefinition {
            vm: "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap(),
            title: "web-1".into(),
            accelerator,
            machine: "pc-q35-10.0".into(),
            vcpus: 2,
            memory_mib: 256,
            firmware: None,
            kernel: "/usr/share/skerry/images/tiny-vm/kernel".into(),
            initrd: "/usr/share/skerry/images/tiny-vm/initrd".into(),
            arguments: "console=ttyS0 quiet".into(),
            nic: NicDefinition {
                device: "skt0b6d1a52".into(),
                bridge: "skb11223344".into(),
                mac: "02:00:00:00:00:01".into(),
                model: skerry_model::NicModel::Virtio,
            },
            nics: Vec::new(),
            disks: Vec::new(),
            drives: Vec::new(),
            seed: None,
            off_on_reboot: false,
            display: false,
            guest_agent: false,
            tpm: false,
            usb: false,
            usb_devices: Vec::new(),
            lines: Vec::new(),
            hardware: HardwareDefinition::default(),
            generation: 3,
        }
    }

    fn text(accelerator: Accelerator) -> String {
        let log =
            Path::new("/var/lib/skerry/data/vm/0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c/serial.log");
        let serial = Serial { log, socket: &log.with_extension("sock") };
        domain(&definition(accelerator), kind_of(accelerator), serial).to_string()
    }

    #[test]
    fn an_emulated_machine_is_as_written_down() {
        assert_eq!(text(Accelerator::Emulation), include_str!("golden/emulation.xml"));
    }

    #[test]
    fn a_machine_under_kvm_is_as_written_down() {
        assert_eq!(text(Accelerator::Kvm), include_str!("golden/kvm.xml"));
    }

    pub(crate) fn disk(device: &str, bus: DiskBus) -> DiskDefinition {
        DiskDefinition {
            kind: DiskKind::Disk,
            path: format!("/pools/default/volumes/{device}.qcow2").into(),
            format: "qcow2",
            device: device.to_owned(),
            bus,
            serial: "0b6d1a524a3c4c1e9b42".to_owned(),
            boot: None,
            read_only: false,
            iops: None,
            bytes_per_s: None,
            queues: None,
            io_thread: None,
        }
    }

    #[test]
    fn firmware_is_as_written_down() {
        let boot = |firmware| {
            let mut definition = definition(Accelerator::Emulation);
            definition.firmware = Some(firmware);
            definition.disks =
                vec![DiskDefinition { boot: Some(1), ..disk("vda", DiskBus::Virtio) }];
            let log = Path::new("/vm/1/serial.log");
            let xml = domain(&definition, "qemu", Serial { log, socket: log }).to_string();
            assert!(xml.contains("<boot order=\"1\"/>"), "{xml}");
            let (_, os) = xml.split_once("  <os>\n").unwrap();
            let (os, rest) = os.split_once("  </os>\n").unwrap();
            let (features, _) = rest.split_once("  </features>\n").unwrap();
            format!("{firmware:?}\n{os}{features}")
        };
        let all = [VmFirmware::Bios, VmFirmware::Uefi, VmFirmware::UefiSecure].map(boot);
        assert_eq!(all.concat(), include_str!("golden/firmware.xml"));
    }

    #[test]
    fn disks_are_as_written_down() {
        let mut definition = definition(Accelerator::Emulation);
        let (boot, iops, bytes_per_s) = (Some(1), Some(500), Some(1_048_576));
        definition.disks = vec![
            DiskDefinition {
                boot,
                iops,
                bytes_per_s,
                queues: Some(4),
                io_thread: Some(2),
                ..disk("vda", DiskBus::Virtio)
            },
            DiskDefinition { read_only: true, ..disk("sda", DiskBus::Scsi) },
            DiskDefinition { kind: DiskKind::Cdrom, format: "raw", ..disk("sdb", DiskBus::Sata) },
        ];
        let xml = domain(
            &definition,
            "qemu",
            Serial { log: Path::new("/log"), socket: Path::new("/sock") },
        )
        .to_string();
        let elements: String = xml
            .split_inclusive("</disk>\n")
            .filter_map(|part| part.split_once("<disk ").map(|(_, disk)| format!("<disk {disk}")))
            .collect();
        assert_eq!(elements, include_str!("golden/disks.xml"));
        assert!(xml.contains("virtio-scsi"));
        assert_eq!(xml.matches("pcie-root-port").count(), PORTS + 3);
    }

    #[test]
    fn drives_come_after_disks_and_may_be_empty() {
        let drive = |device: &str, path: &str, boot| DiskDefinition {
            kind: DiskKind::Cdrom,
            format: "raw",
            path: path.into(),
            boot,
            read_only: true,
            serial: String::new(),
            ..disk(device, DiskBus::Sata)
        };
        let with = DomainDefinition {
            disks: vec![disk("vda", DiskBus::Virtio)],
            drives: vec![drive("sda", "/images/0a", Some(2)), drive("sdb", "", None)],
            ..definition(Accelerator::Kvm)
        };
        let path = Path::new("/x");
        let xml = domain(&with, "kvm", Serial { log: path, socket: path }).to_string();
        let elements: String = xml
            .split_inclusive("</disk>\n")
            .filter_map(|part| part.split_once("<disk ").map(|(_, disk)| format!("<disk {disk}")))
            .skip(1)
            .collect();
        assert_eq!(elements, include_str!("golden/drives.xml"));
        assert_eq!(crate::drives::of(&xml).len(), 2);
        assert_eq!(crate::disks::of(&xml).len(), 1, "a drive is no disk");
        // The first disk says how that for cloud-init is wired, not a drive.
        let seeded =
            DomainDefinition { disks: Vec::new(), seed: Some(Seed { files: Vec::new() }), ..with };
        let xml = domain(&seeded, "kvm", Serial { log: path, socket: path }).to_string();
        assert!(xml.contains("vdz"), "{xml}");
    }

    #[test]
    fn the_disk_for_cloud_init_is_as_written_down() {
        let mut definition = definition(Accelerator::Emulation);
        definition.disks = vec![disk("vda", DiskBus::Virtio)];
        definition.seed = Some(Seed { files: vec![("user-data".into(), Hidden::new("secret"))] });
        let log = Path::new("/vm/1/serial.log");
        let xml = domain(&definition, "qemu", Serial { log, socket: log }).to_string();
        let (_, last) = xml.rsplit_once("<disk ").unwrap();
        let (seed, _) = last.split_once("    </disk>\n").unwrap();
        assert_eq!(seed, include_str!("golden/seed.xml"));
        assert!(!xml.contains("secret"));
    }

    #[test]
    fn a_display_is_reached_by_a_socket_only() {
        let with = DomainDefinition { display: true, ..definition(Accelerator::Kvm) };
        let path = Path::new("/x");
        let xml = domain(&with, "kvm", Serial { log: path, socket: path }).to_string();
        let document = Document::parse(&xml).unwrap();
        let one = |name: &str| document.descendants().find(|n| n.has_tag_name(name)).unwrap();
        let listens: Vec<_> = one("graphics").children().filter(|n| n.is_element()).collect();
        assert_eq!(listens.len(), 1);
        assert_eq!(listens[0].attribute("type"), Some("socket"));
        for attribute in ["port", "listen", "autoport", "websocket"] {
            assert_eq!(one("graphics").attribute(attribute), None);
        }
        assert_eq!(one("input").attribute("type"), Some("tablet"));
        assert!(xml.contains("qemu-xhci") && !text(Accelerator::Kvm).contains("graphics"));
        assert_ne!(with.fingerprint(), definition(Accelerator::Kvm).fingerprint());
    }

    #[test]
    fn the_line_to_an_agent_is_as_written_down() {
        let with = DomainDefinition { guest_agent: true, ..definition(Accelerator::Kvm) };
        let path = Path::new("/x");
        let xml = domain(&with, "kvm", Serial { log: path, socket: path }).to_string();
        let (_, channel) = xml.split_once("    <channel").unwrap();
        let (channel, _) = channel.split_once("</channel>\n").unwrap();
        let written = format!("    <channel{channel}</channel>\n");
        assert_eq!(written, include_str!("golden/agent.xml"));
        assert_eq!(xml.matches("pcie-root-port").count(), PORTS + 1);
        assert_ne!(with.fingerprint(), definition(Accelerator::Kvm).fingerprint());
    }

    #[test]
    fn a_tpm_is_as_written_down() {
        let with = DomainDefinition { tpm: true, ..definition(Accelerator::Kvm) };
        let log = Path::new("/vm/1/serial.log");
        let xml = domain(&with, "kvm", Serial { log, socket: log }).to_string();
        let (_, tpm) = xml.split_once("    <tpm").unwrap();
        let (tpm, _) = tpm.split_once("</tpm>\n").unwrap();
        assert_eq!(format!("    <tpm{tpm}</tpm>\n"), include_str!("golden/tpm.xml"));
        assert_ne!(with.fingerprint(), definition(Accelerator::Kvm).fingerprint());
    }

    #[test]
    fn no_value_can_become_markup() {
        let mut definition = definition(Accelerator::Emulation);
        definition.arguments = "a='1' </cmdline><devices/> & \"x\" \u{0}\u{1}".into();
        let path = Path::new("/a&b/<c>");
        let xml = domain(&definition, "qemu", Serial { log: path, socket: path }).to_string();
        let document = Document::parse(&xml).unwrap();
        let cmdline = document.descendants().find(|n| n.has_tag_name("cmdline")).unwrap();
        assert_eq!(cmdline.text().unwrap(), "a='1' </cmdline><devices/> & \"x\"   ");
        let log = document.descendants().find(|n| n.has_tag_name("log")).unwrap();
        assert_eq!(log.attribute("file"), Some("/a&b/<c>"));
        assert_eq!(document.descendants().filter(|n| n.has_tag_name("devices")).count(), 1);
    }

    #[test]
    fn the_label_comes_back() {
        let definition = definition(Accelerator::Emulation);
        let label = label::read(&label::element(&definition).to_string()).unwrap();
        assert_eq!((label.vm, label.fingerprint), (definition.vm, definition.fingerprint()));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_or_loses_only_what_xml_cannot_hold(value in any::<String>()) {
            let xml = Element::new("a").attribute("b", &value).text(&value).to_string();
            let document = Document::parse(&xml).unwrap();
            let expected: String = value
                .chars()
                .map(|c| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c })
                .collect();
            prop_assert_eq!(document.root_element().attribute("b").unwrap(), &expected);
            prop_assert_eq!(document.root_element().text().unwrap_or_default(), &expected);
        }
    }
}

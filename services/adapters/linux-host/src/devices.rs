//! What virtual machines may have of the machine: devices on USB from `/sys/bus/usb`, and serial lines from
//! `/sys/class/tty`. What the node itself lives by is listed with the reason why nobody gets it. Hubs are no devices.

use std::path::{Path, PathBuf};

use skerry_model::{HostDevice, UsbPlace, is_device_name};

use crate::block::{busy, partitions};
use crate::roots::{Roots, link_name, names, number, text};

/// Class of hubs, those in the machine itself included.
const HUB: &str = "09";
/// Longest text that a device says of itself.
const LONGEST: usize = 100;

/// All devices, serial lines last.
pub(crate) fn devices(roots: &Roots) -> Vec<HostDevice> {
    let usb = roots.sys.join("bus/usb/devices");
    let all = names(&usb).into_iter().filter(|name| !name.contains(':'));
    let mut found: Vec<_> = all.filter_map(|name| on_usb(roots, &usb.join(&name), &name)).collect();
    let lines = roots.sys.join("class/tty");
    found
        .extend(names(&lines).into_iter().filter_map(|name| line(roots, &lines.join(&name), name)));
    found
}

fn on_usb(roots: &Roots, folder: &Path, name: &str) -> Option<HostDevice> {
    let real = folder.canonicalize().ok()?;
    if text(real.join("bDeviceClass"))? == HUB {
        return None;
    }
    let place = place(&real)?;
    let plain = format!("usb:{:04x}:{:04x}", place.vendor, place.product);
    let serial = text(real.join("serial")).map(|serial| format!("{plain}:{serial}"));
    let port = controller(&real).zip(name.split_once('-'));
    let port = port.map(|(controller, (_, port))| format!("usb-port:{controller}/{port}"));
    let all = serial.into_iter().chain(port).chain([plain]);
    Some(HostDevice {
        names: all.filter(|name| is_device_name(name)).collect(),
        description: description(&real),
        usb: Some(place),
        line: None,
        refused: needed(roots, &real),
    })
}

fn place(real: &Path) -> Option<UsbPlace> {
    let decimal = |file: &str| u16::try_from(number(real.join(file))?).ok();
    let hex = |file: &str| u16::from_str_radix(&text(real.join(file))?, 16).ok();
    Some(UsbPlace {
        bus: decimal("busnum")?,
        device: decimal("devnum")?,
        vendor: hex("idVendor")?,
        product: hex("idProduct")?,
    })
}

/// What the device's bus hangs on: its number among buses may be another after the next boot.
fn controller(real: &Path) -> Option<String> {
    let is_root = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix("usb").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let root = real.ancestors().find(is_root)?;
    Some(root.parent()?.file_name()?.to_str()?.to_owned())
}

/// A stranger's text: what a device says of itself.
fn description(real: &Path) -> String {
    let words = ["manufacturer", "product"].iter().filter_map(|file| text(real.join(file)));
    let words: Vec<String> = words.collect();
    words.join(" ").replace(['\n', '\t'], " ").chars().take(LONGEST).collect()
}

/// Why the node cannot do without a device on USB.
fn needed(roots: &Roots, real: &Path) -> Option<String> {
    let below = |class: &str| -> Vec<PathBuf> {
        let folder = roots.sys.join(class);
        let all = names(&folder).into_iter().map(|name| folder.join(name));
        all.filter(|path| path.canonicalize().is_ok_and(|path| path.starts_with(real))).collect()
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    for disk in below("block") {
        let parts = partitions(&disk);
        if let Some(why) =
            [&disk].into_iter().chain(&parts).find_map(|part| busy(roots, part, None))
        {
            return Some(format!("holds the disk {}, which {why}", name(&disk)));
        }
    }
    if let Some(card) = below("class/net").first() {
        return Some(format!("is the node's network card {}", name(card)));
    }
    let mut lines = below("class/tty").into_iter().map(|path| name(&path));
    let line = lines.find(|line| is_console(roots, line))?;
    Some(format!("is the node's console {line}"))
}

fn is_console(roots: &Roots, line: &str) -> bool {
    let active = text(roots.sys.join("class/tty/console/active")).unwrap_or_default();
    active.split_whitespace().any(|console| console == line)
}

fn line(roots: &Roots, folder: &Path, name: String) -> Option<HostDevice> {
    let real = folder.canonicalize().ok()?;
    let parent = real.ancestors().find(|path| path.join("idVendor").exists());
    let mut all = Vec::new();
    if name.starts_with("ttyS") {
        // The kernel keeps places for lines that are not there; they are of no type.
        if number(real.join("type")).unwrap_or(0) == 0 {
            return None;
        }
        all.push(format!("serial:{name}"));
    } else if name.starts_with("ttyUSB") || name.starts_with("ttyACM") {
        for kind in ["by-id", "by-path"] {
            let links = roots.dev.join("serial").join(kind);
            let own = names(&links).into_iter();
            let own = own.filter(|link| link_name(links.join(link)).as_deref() == Some(&name));
            all.extend(own.map(|link| format!("serial:{kind}/{link}")));
        }
    } else {
        return None;
    }
    Some(HostDevice {
        names: all.into_iter().filter(|name| is_device_name(name)).collect(),
        description: parent.map_or_else(|| "serial line of the machine".to_owned(), description),
        usb: parent.and_then(place),
        line: Some(format!("/dev/{name}")),
        refused: is_console(roots, &name).then(|| "is the node's console".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    struct Ground(TempDir);

    impl Ground {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn roots(&self) -> Roots {
            Roots::below(self.0.path())
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn link(&self, link: &str, to: &str) {
            let link = self.0.path().join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(self.0.path().join(to), link).unwrap();
        }

        /// A device at a port of the second controller. Gives its folder.
        fn plug(&self, name: &str, device: u16, class: &str, serial: &str) -> String {
            let real = format!("sys/devices/pci0000:00/0000:00:14.0/usb2/{name}");
            let files = [
                ("bDeviceClass", class),
                ("idVendor", "0403"),
                ("idProduct", "6001"),
                ("busnum", "2"),
                ("devnum", &device.to_string()),
                ("manufacturer", "FTDI"),
                ("product", "USB\u{7} UART"),
                ("serial", serial),
            ];
            for (file, text) in files {
                self.write(&format!("{real}/{file}"), &format!("{text}\n"));
            }
            self.link(&format!("sys/bus/usb/devices/{name}"), &real);
            real
        }

        fn line(&self, name: &str, real: &str) {
            self.write(&format!("{real}/tty/{name}/type"), "4\n");
            self.link(&format!("sys/class/tty/{name}"), &format!("{real}/tty/{name}"));
        }
    }

    #[test]
    fn a_device_has_names_that_stay_when_it_is_plugged_in_again() {
        let ground = Ground::new();
        ground.plug("2-0", 1, "09", "hub");
        let real = ground.plug("2-1.2", 5, "00", "A9");
        ground.plug("2-3", 6, "00", "no serial number, but words");
        ground.link("sys/bus/usb/devices/2-1.2:1.0", &real);
        let found = devices(&ground.roots());
        assert_eq!(found.len(), 2, "{found:?}");
        let expected = ["usb:0403:6001:A9", "usb-port:0000:00:14.0/1.2", "usb:0403:6001"];
        assert_eq!(found[0].names, expected);
        assert_eq!(found[0].description, "FTDI USB UART");
        let place = UsbPlace { bus: 2, device: 5, vendor: 0x0403, product: 0x6001 };
        assert_eq!((found[0].usb, found[0].refused.as_ref()), (Some(place), None));
        assert_eq!(found[1].names, ["usb-port:0000:00:14.0/3", "usb:0403:6001"]);
    }

    #[test]
    fn serial_lines_are_those_that_are_there_and_the_console_is_refused() {
        let ground = Ground::new();
        ground.write("sys/class/tty/console/active", "tty0 ttyS0\n");
        ground.line("ttyS0", "sys/devices/pnp0");
        ground.line("ttyS1", "sys/devices/pnp1");
        ground.write("sys/class/tty/ttyS2/type", "0\n");
        ground.write("sys/class/tty/tty1/dev", "4:1\n");
        let real = ground.plug("2-1", 5, "00", "A9");
        ground.line("ttyUSB0", &format!("{real}/2-1:1.0/ttyUSB0"));
        ground.link("dev/serial/by-id/usb-FTDI_A9-if00-port0", "dev/ttyUSB0");
        ground.link("dev/serial/by-path/pci-0-usb-0:1:1.0-port0", "dev/ttyUSB0");
        let found = devices(&ground.roots());
        let lines: Vec<_> = found.iter().filter_map(|d| d.line.as_deref()).collect();
        assert_eq!(lines, ["/dev/ttyS0", "/dev/ttyS1", "/dev/ttyUSB0"]);
        let refused: Vec<_> = found.iter().map(|d| d.refused.is_some()).collect();
        assert_eq!(refused, [false, true, false, false]);
        let usb = found.last().unwrap();
        assert_eq!(usb.names[0], "serial:by-id/usb-FTDI_A9-if00-port0");
        assert_eq!(usb.names.len(), 2);
        assert!(usb.is_same(&found[0]), "it hangs on the device of the same number");
    }

    #[test]
    fn what_the_node_lives_by_is_refused() {
        let ground = Ground::new();
        let disk = ground.plug("2-1", 5, "00", "A");
        ground.write(&format!("{disk}/block/sdb/sdb1/partition"), "1\n");
        ground.write(&format!("{disk}/block/sdb/sdb1/dev"), "8:17\n");
        ground.link("sys/block/sdb", &format!("{disk}/block/sdb"));
        let card = ground.plug("2-2", 6, "00", "B");
        ground.link("sys/class/net/enx1", &card);
        let line = ground.plug("2-3", 7, "00", "C");
        ground.line("ttyUSB0", &line);
        ground.write("sys/class/tty/console/active", "ttyUSB0\n");
        let refused = || -> Vec<String> {
            let found = devices(&ground.roots()).into_iter().filter(|device| device.line.is_none());
            found.map(|device| device.refused.unwrap_or_default()).collect()
        };
        let (card, line) = ("is the node's network card enx1", "is the node's console ttyUSB0");
        assert_eq!(refused(), ["", card, line]);
        ground.write("proc/self/mountinfo", "30 1 8:17 / /boot rw - vfat /dev/sdb1 rw\n");
        assert_eq!(refused(), ["holds the disk sdb, which is mounted at /boot", card, line]);
    }
}

//! Devices of the node that a virtual machine may have for itself: what is plugged in by USB, and serial lines.
//!
//! A machine names a device by what stays the same when it is plugged in again. Whether the node has it now is for others
//! to find out.

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Most devices of one machine.
const MOST: usize = 8;
/// Serial lines beside the console that a machine has room for.
const MOST_LINES: usize = 3;
/// Longest name of a device.
const LONGEST: usize = 160;

/// What a device's name begins with, if it names a serial line.
const SERIAL: &str = "serial:";
const USB: &str = "usb:";
const PORT: &str = "usb-port:";

/// How names are written, for whoever wrote one differently.
const FORMS: &str = "must be usb:VENDOR:PRODUCT or usb:VENDOR:PRODUCT:SERIAL with four hex digits each, \
    usb-port:CONTROLLER/PORT such as usb-port:0000:00:14.0/1.2, or serial:by-id/NAME, serial:by-path/NAME or \
    serial:ttySN, as `skerry node devices` shows it";

/// Where something plugged in by USB stands now. Its number on the bus changes each time that it is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsbPlace {
    /// Number of the bus.
    pub bus: u16,
    /// Number on the bus.
    pub device: u16,
    /// The maker's number.
    pub vendor: u16,
    /// The product's number.
    pub product: u16,
}

/// A device that the node has now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct HostDevice {
    /// Names by which a machine can ask for it in `host_devices`; the one that says most comes first. A name that several
    /// devices have stands for none of them.
    pub names: Vec<String>,
    /// What it says of itself.
    pub description: String,
    /// Where it stands, or what its serial line hangs on, if that is USB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usb: Option<UsbPlace>,
    /// Its file, if it is a serial line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Why no machine can have it, as the rest of a sentence that begins with the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl HostDevice {
    /// Whether both are the same thing, or one hangs on the other.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self.usb, other.usb) {
            (Some(one), Some(two)) => one == two,
            _ => self.line.is_some() && self.line == other.line,
        }
    }

    /// Whether it goes by this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }
}

/// The file of the serial line that a device's name stands for, which stays the same; `None` if it names no line.
pub fn serial_line(name: &str) -> Option<String> {
    let line = name.strip_prefix(SERIAL)?;
    let numbered = |line: &str| line.strip_prefix("ttyS").is_some_and(|rest| is_number(rest, 3));
    let linked = |line: &str| {
        let name = ["by-id/", "by-path/"].iter().find_map(|folder| line.strip_prefix(folder));
        name.is_some_and(is_link)
    };
    match line {
        line if numbered(line) => Some(format!("/dev/{line}")),
        line if linked(line) => Some(format!("/dev/serial/{line}")),
        _ => None,
    }
}

/// What udev makes of names: nothing that leads elsewhere.
fn is_link(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

fn is_number(text: &str, digits: usize) -> bool {
    (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text can be the name of a device.
pub fn is_device_name(name: &str) -> bool {
    if name.len() > LONGEST {
        return false;
    }
    if let Some(rest) = name.strip_prefix(USB) {
        let mut parts = rest.splitn(3, ':');
        let numbers = [parts.next(), parts.next()];
        let serial =
            |serial: &str| !serial.is_empty() && serial.bytes().all(|b| b.is_ascii_graphic());
        return numbers.iter().all(|part| part.is_some_and(|part| is_hex(part, 4)))
            && parts.next().is_none_or(serial);
    }
    if let Some(rest) = name.strip_prefix(PORT) {
        let Some((controller, port)) = rest.split_once('/') else { return false };
        return is_link(controller) && port.split('.').all(|part| is_number(part, 3));
    }
    serial_line(name).is_some()
}

/// Judges the devices of a machine.
pub(crate) fn validate_devices(names: &[String], found: &mut Invalid) {
    let field = "spec.host_devices";
    found.require(names.len() <= MOST, field, "must be at most 8 devices");
    let lines = names.iter().filter(|name| name.starts_with(SERIAL)).count();
    found.require(lines <= MOST_LINES, field, "must be at most 3 serial lines");
    for (index, name) in names.iter().enumerate() {
        let at = format!("{field}[{index}]");
        found.require(is_device_name(name), &at, FORMS);
        let twice = names.iter().take(index).any(|other| other == name);
        found.require(!twice, &at, "is given twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut found = Invalid::default();
        validate_devices(&names, &mut found);
        found.violations().iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn names_that_stay_the_same_are_taken() {
        for good in [
            "usb:0403:6001",
            "usb:0403:6001:A9:01/x",
            "usb-port:0000:00:14.0/1",
            "usb-port:0000:00:14.0/1.2.10",
            "serial:ttyS1",
            "serial:by-id/usb-FTDI_FT232R_USB_UART_A9-if00-port0",
            "serial:by-path/pci-0000:00:14.0-usb-0:1:1.0-port0",
        ] {
            assert!(faults(&[good]).is_empty(), "{good}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for bad in [
            "",
            "0403:6001",
            "usb:0403",
            "usb:403:6001",
            "usb:0403:600G",
            "usb:0403:600A",
            "usb:0403:6001:",
            "usb:0403:6001:a b",
            "usb-port:1-1",
            "usb-port:/1",
            "usb-port:0000:00:14.0/",
            "usb-port:0000:00:14.0/1..2",
            "serial:ttyUSB0",
            "serial:ttyS",
            "serial:/dev/sda",
            "serial:by-id/",
            "serial:by-id/../../sda",
            "serial:by-id/a/b",
            "serial:by-id/..",
            "usb:0403:6001:\u{e9}",
        ] {
            assert_eq!(faults(&[bad]), ["spec.host_devices[0]"], "{bad}");
        }
        assert_eq!(faults(&["serial:ttyS1", "serial:ttyS1"]), ["spec.host_devices[1]"]);
        let lines = ["serial:ttyS1", "serial:ttyS2", "serial:ttyS3", "serial:ttyS4"];
        assert_eq!(faults(&lines), ["spec.host_devices"]);
    }

    #[test]
    fn a_line_that_hangs_on_a_device_is_that_device() {
        let usb = Some(UsbPlace { bus: 1, device: 2, vendor: 3, product: 4 });
        let device = HostDevice { usb, ..HostDevice::default() };
        let line = Some("/dev/ttyUSB0".to_owned());
        let on_it = HostDevice { usb, line, ..HostDevice::default() };
        assert!(device.is_same(&on_it) && on_it.is_same(&device));
        let line = Some("/dev/ttyS1".to_owned());
        let other = HostDevice { line, ..HostDevice::default() };
        assert!(!other.is_same(&device) && !other.is_same(&on_it) && other.is_same(&other));
        assert!(!HostDevice::default().is_same(&HostDevice::default()));
    }

    proptest! {
        #[test]
        fn no_name_leads_to_another_file(name in "serial:[a-zA-Z0-9./-]{0,16}") {
            if let Some(line) = serial_line(&name) {
                prop_assert!(line.starts_with("/dev/") && !line.contains("/."), "{line}");
            }
        }
    }
}

//! PCI: addresses, names of makers and models, and the functions that compute.

use std::path::Path;

use skerry_upkeep::PciAccelerator;

use crate::roots::{Roots, Udev, link_name, names, text};

/// The PCI address that a device hangs on: the last part of its path that looks like one.
pub(crate) fn address_of(device: &Path) -> Option<String> {
    let real = device.canonicalize().ok()?;
    let parts = real.components().rev();
    let mut names = parts.filter_map(|part| part.as_os_str().to_str());
    names.find(|name| is_address(name)).map(str::to_owned)
}

/// `0000:01:00.0`: domain, bus, device, function.
fn is_address(text: &str) -> bool {
    let Some((domain, rest)) = text.split_once(':') else { return false };
    let Some((bus, rest)) = rest.split_once(':') else { return false };
    let Some((device, function)) = rest.split_once('.') else { return false };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.chars().all(|c| c.is_ascii_hexdigit())
    };
    (4..=8).contains(&domain.len())
        && domain.chars().all(|c| c.is_ascii_hexdigit())
        && hex(bus, 2)
        && hex(device, 2)
        && hex(function, 1)
}

/// Maker and model of a PCI function: by name from the udev hardware database, else by number.
pub(crate) fn names_of(roots: &Roots, address: &str) -> (Option<String>, Option<String>) {
    let udev = Udev::read(roots, &format!("+pci:{address}"));
    let folder = roots.sys.join("bus/pci/devices").join(address);
    let vendor_id = id(&folder.join("vendor"));
    let device_id = id(&folder.join("device"));
    let vendor = udev
        .get("ID_VENDOR_FROM_DATABASE")
        .or_else(|| vendor_id.as_ref().map(|vendor| format!("pci:{vendor}")));
    let model = udev
        .get("ID_MODEL_FROM_DATABASE")
        .or_else(|| Some(format!("pci:{}:{}", vendor_id?, device_id?)));
    (vendor, model)
}

/// A vendor or device id without its `0x`.
pub(crate) fn id(path: &Path) -> Option<String> {
    Some(text(path)?.trim_start_matches("0x").to_lowercase())
}

/// Functions that compute, without virtual functions: those belong to a card that is listed already.
pub(crate) fn accelerators(roots: &Roots) -> Vec<PciAccelerator> {
    let folder = roots.sys.join("bus/pci/devices");
    names(&folder).into_iter().filter_map(|address| accelerator(roots, &folder, address)).collect()
}

fn accelerator(roots: &Roots, folder: &Path, address: String) -> Option<PciAccelerator> {
    let function = folder.join(&address);
    let class = id(&function.join("class"))?;
    let vendor_id = id(&function.join("vendor"))?;
    if !computes(&class, &vendor_id) || function.join("physfn").exists() {
        return None;
    }
    let device_id = id(&function.join("device"))?;
    let (vendor, model) = names_of(roots, &address);
    let driver = link_name(function.join("driver"));
    Some(PciAccelerator {
        pci_address: address,
        class,
        vendor_id,
        device_id,
        vendor,
        model,
        driver,
    })
}

/// PCI classes: 0302 3D controller, 0b40 co-processor, 10 encryption, 12 processing accelerator. A VGA
/// controller (0300) counts only from makers of graphics processors: most others are the board's management chip.
fn computes(class: &str, vendor_id: &str) -> bool {
    let graphics = class.starts_with("0300") && matches!(vendor_id, "10de" | "1002" | "8086");
    graphics || ["0302", "0b40", "10", "12"].iter().any(|prefix| class.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_names() {
        for good in ["0000:01:00.0", "10000:e1:1f.7"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "virtio0", "0000:01:00", "0000:01:00.x", "usb1", "1-1:1.0", "00:00:00.0"] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn a_management_chip_is_no_accelerator() {
        assert!(!computes("030000", "1a03"));
        assert!(computes("030000", "10de"));
        assert!(computes("120000", "8086"));
        assert!(!computes("020000", "8086"));
    }
}

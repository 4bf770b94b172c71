//! UEFI for guests: which of Debian's firmware files, and where a machine keeps what it writes there.

use std::path::Path;

use skerry_model::VmFirmware;

use crate::xml::Element;

/// Debian's folder of the firmware (package `ovmf`).
const FOLDER: &str = "/usr/share/OVMF";

/// Adds the firmware and the machine's own variables to `<os>`. libvirt makes the variables from the
/// template when they are not there, for the account that guests run as.
pub fn add_uefi(os: Element, firmware: VmFirmware, variables: &Path) -> Element {
    let (code, template) = match firmware {
        // The keys of Microsoft, which most systems' boot loaders are signed with, are in the template.
        VmFirmware::UefiSecure => ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
        VmFirmware::Uefi | VmFirmware::Bios => ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    };
    let secure = if firmware == VmFirmware::UefiSecure { "yes" } else { "no" };
    let loader = Element::new("loader")
        .attribute("readonly", "yes")
        .attribute("secure", secure)
        .attribute("type", "pflash")
        .text(format!("{FOLDER}/{code}"));
    let nvram = Element::new("nvram")
        .attribute("template", format!("{FOLDER}/{template}"))
        .text(variables.display());
    os.child(loader).child(nvram)
}

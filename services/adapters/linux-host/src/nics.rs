//! Network cards from `/sys/class/net`.

use std::path::Path;

use skerry_upkeep::Nic;

use crate::pci;
use crate::roots::{Roots, link_name, names, number, text};

/// Cards that are hardware: what has a device behind it, without virtual functions.
pub(crate) fn nics(roots: &Roots) -> Vec<Nic> {
    let class = roots.sys.join("class/net");
    let is_card = |name: &String| {
        let device = class.join(name).join("device");
        device.exists() && !device.join("physfn").exists()
    };
    let found = names(&class).into_iter().filter(is_card);
    found.map(|name| nic(roots, &class.join(&name), name)).collect()
}

fn nic(roots: &Roots, folder: &Path, name: String) -> Nic {
    let device = folder.join("device");
    let pci_address = pci::address_of(&device);
    let (vendor, model) =
        pci_address.as_deref().map(|address| pci::names_of(roots, address)).unwrap_or_default();
    let driver = link_name(device.join("driver"));
    let of_driver = |name: &String| text(roots.sys.join("module").join(name).join("version"));
    let small = |file: &str| number(folder.join(file)).and_then(|n| u32::try_from(n).ok());
    let functions =
        |file: &str| number(device.join(file)).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    Nic {
        mac: permanent_mac(folder),
        driver_version: driver.as_ref().and_then(of_driver),
        driver,
        firmware: None,
        pci_address,
        vendor,
        model,
        // Without a link the kernel gives an error, -1 or 0, by driver.
        speed_mbps: small("speed").filter(|speed| *speed > 0),
        carrier: number(folder.join("carrier")) == Some(1),
        mtu: small("mtu").unwrap_or(0),
        sriov_total: functions("sriov_totalvfs"),
        sriov_configured: functions("sriov_numvfs"),
        ptp: !names(device.join("ptp")).is_empty(),
        name,
    }
}

/// The card's address as far as files tell. A member of a bond shows the bond's; its own is then kept beside.
fn permanent_mac(folder: &Path) -> String {
    let own = text(folder.join("bonding_slave/perm_hwaddr"));
    own.or_else(|| text(folder.join("address"))).unwrap_or_default().to_lowercase()
}

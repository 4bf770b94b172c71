//! Network cards: which devices are cards, and where they sit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use skerry_network::{AddressObserved, NicObserved, Origin};

use crate::netlink::{Address, Link};

/// Which devices count as network cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cards {
    /// Those that have a device on a bus, by `/sys`.
    Hardware,
    /// Those named: for tests and for machines without buses.
    Named(BTreeSet<String>),
}

impl Cards {
    fn includes(&self, link: &Link) -> bool {
        match self {
            Self::Hardware => !link.loopback && folder(&link.name).exists(),
            Self::Named(names) => names.contains(&link.name),
        }
    }
}

/// The cards with their addresses; the caller fills in what it manages.
pub fn observe(
    cards: &Cards,
    links: &[Link],
    addresses: &[Address],
) -> BTreeMap<String, NicObserved> {
    let found = links.iter().filter(|link| cards.includes(link));
    found.map(|link| (link.name.clone(), card(link, addresses))).collect()
}

fn card(link: &Link, addresses: &[Address]) -> NicObserved {
    let mut own: Vec<_> = addresses
        .iter()
        .filter(|a| a.index == link.index)
        .map(|a| AddressObserved { address: a.address, prefix: a.prefix, origin: origin(a) })
        .collect();
    own.sort_unstable();
    let place = std::fs::canonicalize(folder(&link.name)).ok();
    NicObserved {
        mac: link.mac.clone(),
        path: place.as_deref().and_then(bus_path),
        driver: place.as_deref().and_then(driver),
        up: link.up,
        carrier: link.carrier,
        managed: false,
        addresses: own,
        gateway: None,
        dns: Vec::new(),
    }
}

/// An address that ends by itself came from a server or router; nobody else sets such ones.
fn origin(address: &Address) -> Origin {
    let local = match address.address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match (local, address.permanent) {
        (true, _) => Origin::LinkLocal,
        (false, false) => Origin::Dhcp,
        (false, true) => Origin::Static,
    }
}

fn folder(device: &str) -> PathBuf {
    Path::new("/sys/class/net").join(device).join("device")
}

/// The innermost part of the path that is an address on the PCI bus; a virtio card sits one level below it.
fn bus_path(place: &Path) -> Option<String> {
    let is_pci = |part: &&str| {
        part.len() == 12 && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
    };
    let mut parts: Vec<_> = place.iter().filter_map(|part| part.to_str()).filter(is_pci).collect();
    parts.pop().map(str::to_owned)
}

fn driver(place: &Path) -> Option<String> {
    let target = std::fs::canonicalize(place.join("driver")).ok()?;
    target.file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_found_on_its_bus() {
        let virtio = Path::new("/sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio0");
        assert_eq!(bus_path(virtio).as_deref(), Some("0000:01:00.0"));
        assert_eq!(bus_path(Path::new("/sys/devices/virtual/net/lo")), None);
    }

    #[test]
    fn addresses_tell_where_they_come_from() {
        let of = |text: &str, permanent| {
            origin(&Address { index: 1, address: text.parse().unwrap(), prefix: 24, permanent })
        };
        assert_eq!(of("192.168.1.7", false), Origin::Dhcp);
        assert_eq!(of("192.168.1.7", true), Origin::Static);
        assert_eq!(of("169.254.7.7", true), Origin::LinkLocal);
        assert_eq!(of("fe80::1", true), Origin::LinkLocal);
        assert_eq!(of("2001:db8::1", false), Origin::Dhcp);
    }
}

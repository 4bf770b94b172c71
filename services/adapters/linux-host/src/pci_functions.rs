//! All PCI functions from `/sys/bus/pci/devices`: what each is, which IOMMU group it is in, and what the node needs it for.
//!
//! The node needs what something is mounted from, what carries its own traffic, its watchdog and its screen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use skerry_compute::PciFunction;
use skerry_model::PciAddress;

use crate::roots::{Roots, link_name, names, number, text};
use crate::{disks, pci};

/// Every function, by address.
pub(crate) fn functions(roots: &Roots) -> Vec<PciFunction> {
    let needed = needed(roots);
    let addresses = names(roots.sys.join("bus/pci/devices")).into_iter();
    addresses.filter_map(|address| function(roots, &address, &needed)).collect()
}

fn function(roots: &Roots, name: &str, needed: &BTreeMap<String, String>) -> Option<PciFunction> {
    let address: PciAddress = name.parse().ok()?;
    let folder = roots.sys.join("bus/pci/devices").join(name);
    let (vendor, model) = pci::names_of(roots, name);
    let screen =
        || (number(folder.join("boot_vga")) == Some(1)).then(|| "is the node's screen".to_owned());
    let small = |file: &str| number(folder.join(file)).and_then(|count| u32::try_from(count).ok());
    Some(PciFunction {
        class: pci::id(&folder.join("class"))?,
        vendor_id: pci::id(&folder.join("vendor"))?,
        device_id: pci::id(&folder.join("device"))?,
        vendor,
        model,
        driver: link_name(folder.join("driver")),
        iommu_group: link_name(folder.join("iommu_group")).and_then(|group| group.parse().ok()),
        parent: link_name(folder.join("physfn")).and_then(|parent| parent.parse().ok()),
        number: position(&folder.join("physfn"), name),
        virtual_functions: small("sriov_numvfs").unwrap_or(0),
        most_virtual: small("sriov_totalvfs").unwrap_or(0),
        // -1, which is no number here, if the machine does not say.
        numa_node: small("numa_node"),
        nic: names(folder.join("net")).into_iter().next(),
        needed: needed.get(name).cloned().or_else(screen),
        address,
    })
}

/// Which of its parent's virtual functions one is.
fn position(parent: &Path, name: &str) -> Option<u32> {
    let mut parts = names(parent).into_iter().filter(|part| part.starts_with("virtfn"));
    let own = parts.find(|part| link_name(parent.join(part)).as_deref() == Some(name))?;
    own.strip_prefix("virtfn")?.parse().ok()
}

/// What the node needs functions for, by address.
fn needed(roots: &Roots) -> BTreeMap<String, String> {
    let mut needed = BTreeMap::new();
    let block = roots.sys.join("block");
    for disk in disks::used_disks(roots) {
        if let Some(address) = pci::address_of(&block.join(&disk).join("device")) {
            needed.insert(address, format!("holds the disk {disk}, which the node uses"));
        }
    }
    needed.extend(watchdogs(roots));
    let class = roots.sys.join("class/net");
    let routed = routed(roots);
    for nic in names(&class) {
        let folder = class.join(&nic);
        // Part of a bridge or a bond, or of something that lies on it.
        let above =
            names(&folder).iter().any(|name| name == "master" || name.starts_with("upper_"));
        if (above || routed.contains(&nic))
            && let Some(address) = pci::address_of(&folder.join("device"))
        {
            let why = format!("is the network card {nic}, which carries the node's own traffic");
            needed.insert(address, why);
        }
    }
    needed
}

/// Watchdogs that run. Some drivers do not say what theirs hangs on, but call it as they call themselves.
fn watchdogs(roots: &Roots) -> Vec<(String, String)> {
    let class = roots.sys.join("class/watchdog");
    let functions = roots.sys.join("bus/pci/devices");
    let all = names(&class).into_iter().map(|name| class.join(name));
    let runs = |folder: &PathBuf| text(folder.join("state")).as_deref() == Some("active");
    let place = |folder: PathBuf| {
        let own = text(folder.join("identity"));
        let called = |name: &String| link_name(functions.join(name).join("driver")) == own;
        let named = || names(&functions).into_iter().find(|name| own.is_some() && called(name));
        pci::address_of(&folder.join("device")).or_else(named)
    };
    let found = all.filter(runs).filter_map(place);
    found.map(|address| (address, "is the watchdog that the node runs under".to_owned())).collect()
}

/// Network devices over which the kernel has a way to somewhere.
fn routed(roots: &Roots) -> BTreeSet<String> {
    let table = |file: &str| text(roots.proc.join("net").join(file)).unwrap_or_default();
    let (four, six) = (table("route"), table("ipv6_route"));
    let first = four.lines().filter_map(|line| line.split_whitespace().next());
    let last = six.lines().filter_map(|line| line.split_whitespace().last());
    first.chain(last).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, path: &str, content: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{content}\n")).unwrap();
        }

        fn link(&self, path: &str, target: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }

        /// A function below the root bridge, as the kernel lays it out.
        fn function(&self, address: &str, class: &str, group: Option<u32>) -> String {
            let folder = format!("sys/devices/pci0000:00/{address}");
            self.file(&format!("{folder}/class"), &format!("0x{class}"));
            self.file(&format!("{folder}/vendor"), "0x8086");
            self.file(&format!("{folder}/device"), "0x10FB");
            self.link(
                &format!("sys/bus/pci/devices/{address}"),
                &format!("../../../devices/pci0000:00/{address}"),
            );
            if let Some(group) = group {
                let target = format!("../../../kernel/iommu_groups/{group}");
                self.link(&format!("{folder}/iommu_group"), &target);
            }
            folder
        }

        fn read(&self) -> Vec<PciFunction> {
            functions(&Roots::below(self.0.path()))
        }
    }

    fn needs(functions: &[PciFunction]) -> Vec<(&str, &str)> {
        let needed = |one: &'_ PciFunction| one.needed.is_some();
        let shown = functions.iter().filter(|one| needed(one));
        shown.map(|one| (one.address.as_str(), one.needed.as_deref().unwrap())).collect()
    }

    #[test]
    fn a_function_is_read_with_its_group_driver_and_parent() {
        let tree = Tree::new();
        let card = tree.function("0000:01:00.0", "020000", Some(12));
        tree.link(&format!("{card}/driver"), "../../../bus/pci/drivers/ixgbe");
        tree.file(&format!("{card}/sriov_numvfs"), "2");
        tree.file(&format!("{card}/sriov_totalvfs"), "63");
        tree.file(&format!("{card}/numa_node"), "1");
        tree.file(&format!("{card}/net/eth1/mtu"), "1500");
        tree.link(&format!("{card}/virtfn0"), "../0000:01:0f.7");
        tree.link(&format!("{card}/virtfn1"), "../0000:01:10.0");
        let part = tree.function("0000:01:10.0", "020000", Some(13));
        tree.link(&format!("{part}/physfn"), "../0000:01:00.0");
        tree.file(&format!("{part}/numa_node"), "-1");
        tree.function("0000:02:00.0", "120000", None);
        tree.file("sys/bus/pci/devices/odd/class", "0x000000");
        let seen = tree.read();
        let short: Vec<_> = seen
            .iter()
            .map(|one| (one.address.as_str(), one.iommu_group, one.virtual_functions))
            .collect();
        assert_eq!(
            short,
            [
                ("0000:01:00.0", Some(12), 2),
                ("0000:01:10.0", Some(13), 0),
                ("0000:02:00.0", None, 0)
            ]
        );
        assert_eq!(seen[0].driver.as_deref(), Some("ixgbe"));
        assert_eq!((seen[0].class.as_str(), seen[0].device_id.as_str()), ("020000", "10fb"));
        assert_eq!(seen[1].parent.as_ref(), Some(&seen[0].address));
        assert_eq!((seen[0].most_virtual, seen[0].numa_node, seen[0].number), (63, Some(1), None));
        assert_eq!(seen[0].nic.as_deref(), Some("eth1"));
        assert_eq!((seen[1].most_virtual, seen[1].numa_node, seen[1].number), (0, None, Some(1)));
        assert_eq!(needs(&seen), []);
    }

    #[test]
    fn what_the_node_needs_is_known() {
        let tree = Tree::new();
        let disk = tree.function("0000:03:00.0", "010802", Some(1));
        tree.file(&format!("{disk}/nvme/nvme0/nvme0n1/dev"), "259:0");
        tree.file(&format!("{disk}/nvme/nvme0/nvme0n1/nvme0n1p1/dev"), "259:1");
        tree.link(&format!("{disk}/nvme/nvme0/nvme0n1/device"), "../../nvme0");
        tree.link("sys/block/nvme0n1", &format!("../../{disk}/nvme/nvme0/nvme0n1"));
        tree.file("proc/self/mountinfo", "30 1 259:1 / /pool rw - xfs /dev/nvme0n1p1 rw");
        for (address, nic) in [("04:00.0", "eth0"), ("04:00.1", "eth1"), ("04:00.2", "eth2")] {
            let card = tree.function(&format!("0000:{address}"), "020000", Some(2));
            tree.file(&format!("{card}/net/{nic}/mtu"), "1500");
            tree.link(&format!("{card}/net/{nic}/device"), "../..");
            tree.link(&format!("sys/class/net/{nic}"), &format!("../../../{card}/net/{nic}"));
        }
        let second = "sys/devices/pci0000:00/0000:04:00.1/net/eth1/master";
        tree.link(second, "../../../../virtual/net/bond0");
        tree.file("proc/net/route", "Iface\tDestination\neth0\t00000000\t0102A8C0");
        tree.file("proc/net/ipv6_route", "00 00 00 00 lo");
        let timer = tree.function("0000:06:00.0", "088000", Some(4));
        tree.link(&format!("{timer}/driver"), "../../../bus/pci/drivers/i6300ESB timer");
        for (name, identity, state) in
            [("0", "i6300ESB timer", "active"), ("1", "iTCO_wdt", "inactive")]
        {
            let folder = format!("sys/class/watchdog/watchdog{name}");
            tree.file(&format!("{folder}/identity"), identity);
            tree.file(&format!("{folder}/state"), state);
        }
        let screen = tree.function("0000:05:00.0", "030000", Some(3));
        tree.file(&format!("{screen}/boot_vga"), "1");
        let seen = tree.read();
        let needs = needs(&seen);
        let addresses: Vec<&str> = needs.iter().map(|(address, _)| *address).collect();
        let all = ["03:00.0", "04:00.0", "04:00.1", "05:00.0", "06:00.0"];
        assert_eq!(addresses, all.map(|address| format!("0000:{address}")));
        let reasons = ["the disk nvme0n1", "eth0", "eth1", "screen", "the watchdog"];
        for ((_, why), says) in needs.iter().zip(reasons) {
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn a_machine_without_pci_has_none() {
        assert_eq!(functions(&Roots::below(Path::new("/nonexistent"))), []);
    }
}

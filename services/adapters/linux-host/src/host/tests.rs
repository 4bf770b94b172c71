//! Whole machines made of files.

use std::os::unix::fs::symlink;

use super::*;

/// Writes files below a folder, making the folders on the way.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Files of one folder, `name=content`.
    fn files(&self, folder: &str, files: &[&str]) -> &Self {
        for file in files {
            let (name, content) = file.split_once('=').unwrap();
            self.file(&format!("{folder}/{name}"), format!("{content}\n"));
        }
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let target = self.0.path().join(target);
        std::fs::create_dir_all(&target).unwrap();
        symlink(target, path).unwrap();
        self
    }

    fn host(&self) -> LinuxHost {
        LinuxHost::new(Roots::below(self.0.path()))
    }
}

const CPUINFO: &str = "\
processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Made Up 5000\nmicrocode\t: 0x11\n\
physical id\t: 0\ncore id\t\t: 0\nflags\t\t: vmx fpu avx fpu\n\n\
processor\t: 1\nvendor_id\t: GenuineIntel\nphysical id\t: 0\ncore id\t\t: 0\nflags\t\t: vmx fpu avx\n\n\
processor\t: 2\nvendor_id\t: GenuineIntel\nphysical id\t: 1\ncore id\t\t: 0\nflags\t\t: vmx fpu avx\n\n";

fn server() -> Tree {
    let tree = Tree::new();
    let pci = "sys/devices/pci0000:00/0000:00:01.0";
    tree.file("proc/cpuinfo", CPUINFO)
        .file("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n")
        .file("proc/uptime", "93.25 100.00\n")
        .file("proc/sys/kernel/random/boot_id", "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c\n")
        .file("proc/self/mountinfo", "20 1 254:0 / / ro - erofs /dev/mapper/root ro\n21 20 259:3 / /var/lib/skerry/state rw - ext4 x rw\n")
        .file("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3100000\n")
        .files("sys/class/dmi/id", &["sys_vendor=Acme", "product_name=Rack 1", "product_serial=To Be Filled By O.E.M.", "board_name=B1"])
        .files("sys/kernel/mm/hugepages/hugepages-2048kB", &["nr_hugepages=4", "free_hugepages=3"])
        .file("dev/kvm", "");
    // A network card with SR-IOV and a clock, one of its virtual functions, and a bridge.
    let nic = format!("{pci}/0000:01:00.0");
    tree.files(
        &nic,
        &["vendor=0x8086", "device=0x1533", "class=0x020000", "sriov_totalvfs=7", "sriov_numvfs=1"],
    )
    .file(&format!("{nic}/ptp/ptp0/dev"), "")
    .link("sys/bus/pci/devices/0000:01:00.0", &nic)
    .link("sys/class/net/enp1s0/device", &nic)
    .link(&format!("{nic}/driver"), "sys/bus/pci/drivers/igb")
    .files(
        "sys/class/net/enp1s0",
        &["address=AA:BB:CC:00:00:01", "speed=1000", "carrier=1", "mtu=1500"],
    )
    .file(&format!("{pci}/0000:01:10.0/vendor"), "0x8086")
    .link(&format!("{pci}/0000:01:10.0/physfn"), &nic)
    .link("sys/class/net/enp1s0v0/device", &format!("{pci}/0000:01:10.0"))
    .file("sys/class/net/skb1/address", "02:00:00:00:00:01");
    // A disk with the verity root and the state partition, a stick, a loop device and an optical drive.
    tree.files(
        "sys/block/nvme0n1",
        &[
            "dev=259:0",
            "size=2048",
            "wwid=eui.01",
            "queue/rotational=0",
            "removable=0",
            "device/model=Fast One ",
            "device/serial=S1",
            "device/firmware_rev=F2",
        ],
    )
    .files("sys/block/nvme0n1/nvme0n1p3", &["dev=259:3"])
    .files(
        "sys/block/sda",
        &[
            "dev=8:0",
            "size=10",
            "queue/rotational=1",
            "removable=1",
            "device/vendor=ATA",
            "device/rev=1.0",
        ],
    )
    .file("run/udev/data/b8:0", "S:disk/by-id/x\nE:ID_SERIAL_SHORT=ABC\nE:ID_MODEL=Stick\n")
    .files("sys/block/dm-0", &["dev=254:0", "size=5"])
    .link("sys/block/dm-0/slaves/nvme0n1p3", "sys/block/nvme0n1/nvme0n1p3")
    .files("sys/block/loop0", &["dev=7:0", "size=9"])
    .files("sys/block/sr0", &["dev=11:0", "size=9", "device/model=DVD"]);
    tree
}

#[tokio::test]
async fn a_server_is_described() {
    let tree = server();
    let found = tree.host().inventory().await;
    assert_eq!(found.system.vendor.as_deref(), Some("Acme"));
    assert_eq!(found.system.serial, None);
    assert_eq!(found.board.product.as_deref(), Some("B1"));
    let sockets: Vec<_> = found.processors.iter().map(|p| (p.socket, p.cores, p.threads)).collect();
    assert_eq!(sockets, [(0, 1, 2), (1, 1, 1)]);
    assert_eq!(found.processors[0].max_mhz, Some(3100));
    assert_eq!(found.processors[0].flags, ["avx", "fpu", "vmx"]);
    assert_eq!(found.memory.total_bytes, 16 << 20);
    assert_eq!(found.memory.huge_pages[0].free, 3);
}

#[tokio::test]
async fn only_hardware_network_cards_are_listed() {
    let found = server().host().inventory().await.nics;
    assert_eq!(found.len(), 1, "no virtual function, no bridge: {found:?}");
    let card = &found[0];
    assert_eq!(card.mac, "aa:bb:cc:00:00:01");
    assert_eq!(card.driver.as_deref(), Some("igb"));
    assert_eq!(card.pci_address.as_deref(), Some("0000:01:00.0"));
    assert_eq!(card.model.as_deref(), Some("pci:8086:1533"));
    assert_eq!((card.speed_mbps, card.carrier, card.mtu), (Some(1000), true, 1500));
    assert_eq!((card.sriov_total, card.sriov_configured, card.ptp), (7, 1, true));
}

#[tokio::test]
async fn disks_are_listed_and_the_system_disk_is_known() {
    let found = server().host().inventory().await.disks;
    let names: Vec<_> = found.iter().map(|d| (d.name.as_str(), d.holds_system)).collect();
    assert_eq!(names, [("nvme0n1", true), ("sda", false)]);
    assert_eq!(found[0].size_bytes, 1 << 20);
    assert_eq!(found[0].stable_id.as_deref(), Some("eui.01"));
    assert_eq!(found[0].model.as_deref(), Some("Fast One"));
    assert_eq!(found[0].firmware.as_deref(), Some("F2"));
    assert_eq!(found[1].vendor, None);
    assert_eq!(found[1].stable_id.as_deref(), Some("ABC"));
    assert_eq!(found[1].model.as_deref(), Some("Stick"));
    assert!(found[1].rotational && found[1].removable);
}

#[tokio::test]
async fn a_machine_that_tells_nothing_gives_an_empty_inventory() {
    let tree = Tree::new();
    assert_eq!(tree.host().inventory().await, Inventory::default());
    let facts = tree.host().facts().await;
    assert_eq!((facts.uptime_s, facts.boot_id.as_str()), (0, ""));
}

#[tokio::test]
async fn odd_values_are_left_out() {
    let tree = Tree::new();
    tree.file("proc/cpuinfo", "processor : x\nphysical id : -1\nflags\n\u{1}:\n")
        .file("proc/meminfo", "MemTotal: 99999999999999999999 kB")
        .file("proc/uptime", "soon")
        .file("proc/self/mountinfo", "1\n\n2 3 4\n")
        .files("sys/class/dmi/id", &["sys_vendor=\u{1b}[2Jevil"])
        .file("sys/firmware/dmi/tables/DMI", [17, 200, 0, 0])
        .files("sys/class/net/eth0", &["device/x=", "speed=-1", "carrier=", "mtu=many", "address="])
        .files("sys/block/sdx", &["size=18446744073709551615", "device/model=\u{fffd}", "dev="])
        .file("sys/kernel/mm/hugepages/hugepages-xkB/nr_hugepages", "")
        .link("sys/block/dm-1/slaves/dm-1", "sys/block/dm-1")
        .files("sys/block/dm-1", &["dev=1:1"]);
    let found = tree.host().inventory().await;
    assert_eq!(found.memory.total_bytes, 0);
    assert_eq!(found.system.vendor.as_deref(), Some("[2Jevil"), "no escape byte is left");
    assert_eq!((found.nics[0].speed_mbps, found.nics[0].mtu), (None, 0));
    assert_eq!(found.disks[0].size_bytes, u64::MAX);
    assert_eq!(found.processors.len(), 1);
    assert_eq!(tree.host().facts().await.uptime_s, 0);
}

#[tokio::test]
async fn the_running_machine_has_memory_and_a_boot_id() {
    let facts = LinuxHost::default().facts().await;
    assert!(facts.memory.total > 0 && facts.memory.total >= facts.memory.available);
    assert!(facts.cpus > 0 && facts.uptime_s > 0);
    assert_eq!(facts.boot_id.len(), 36);
    let inventory = LinuxHost::default().inventory().await;
    assert!(inventory.memory.total_bytes > 0 && !inventory.processors.is_empty());
}

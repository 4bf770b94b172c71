//! Disks from `/sys/block`.

use std::collections::BTreeSet;
use std::path::Path;

use skerry_upkeep::{Disk, DiskFileSystem};

use crate::block::file_systems_on;
use crate::roots::{Roots, Udev, link_name, names, number, text};

/// `/sys/block/*/size` counts in these, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// Mount points whose disk the node's own system lies on.
const SYSTEM_MOUNTS: [&str; 3] = ["/", "/var/lib/skerry/state", "/var/lib/skerry/data"];

/// Disks that are hardware: what has a device behind it, without optical and floppy drives.
pub(crate) fn disks(roots: &Roots) -> Vec<Disk> {
    let system = system_disks(roots);
    let block = roots.sys.join("block");
    let is_disk = |name: &String| {
        block.join(name).join("device").exists()
            && !["sr", "fd"].iter().any(|prefix| name.starts_with(prefix))
    };
    let found = names(&block).into_iter().filter(is_disk);
    found.map(|name| disk(roots, &block.join(&name), name, &system)).collect()
}

fn disk(roots: &Roots, folder: &Path, name: String, system: &BTreeSet<String>) -> Disk {
    let device = folder.join("device");
    let of_device = |file: &str| text(device.join(file));
    let udev = text(folder.join("dev")).map(|dev| Udev::read(roots, &format!("b{dev}")));
    let property = |key: &str| udev.as_ref()?.get(key);
    let transport = transport(&name, folder);
    let serial = of_device("serial")
        .or_else(|| text(folder.join("serial")))
        .or_else(|| property("ID_SERIAL_SHORT"));
    let wwid = text(folder.join("wwid")).or_else(|| of_device("wwid"));
    Disk {
        by_id: by_id(roots, &name),
        stable_id: wwid.or_else(|| property("ID_WWN")).or_else(|| serial.clone()),
        // Paravirtual disks give a PCI vendor number here, and ATA disks behind SCSI the word `ATA`.
        vendor: of_device("vendor").filter(|v| !v.starts_with("0x") && v != "ATA"),
        model: of_device("model").or_else(|| property("ID_MODEL")),
        serial,
        firmware: of_device("firmware_rev").or_else(|| of_device("rev")),
        size_bytes: number(folder.join("size")).unwrap_or(0).saturating_mul(SECTOR),
        transport: transport.map(str::to_owned),
        rotational: number(folder.join("queue/rotational")) == Some(1),
        removable: number(folder.join("removable")) == Some(1),
        holds_system: system.contains(&name),
        file_systems: file_systems_on(roots, folder).into_iter().map(listed).collect(),
        name,
    }
}

fn listed(found: crate::block::FileSystem) -> DiskFileSystem {
    let crate::block::FileSystem { name, kind, uuid, label, size_bytes, .. } = found;
    DiskFileSystem { name, kind, uuid, label, size_bytes }
}

/// Of the names that udev gives a disk, the one that says least of the way to it.
fn by_id(roots: &Roots, name: &str) -> Option<String> {
    let folder = roots.dev.join("disk/by-id");
    let own = |id: &String| link_name(folder.join(id)).as_deref() == Some(name);
    let rank = |id: &String| {
        let best = ["wwn-", "nvme-eui.", "nvme-uuid."].iter().any(|prefix| id.starts_with(prefix));
        (!best, id.len())
    };
    names(&folder).into_iter().filter(own).min_by_key(rank)
}

fn transport(name: &str, folder: &Path) -> Option<&'static str> {
    for (prefix, transport) in
        [("nvme", "nvme"), ("vd", "virtio"), ("mmcblk", "mmc"), ("pmem", "pmem")]
    {
        if name.starts_with(prefix) {
            return Some(transport);
        }
    }
    let real = folder.canonicalize().ok()?;
    let below = |prefix: &str| {
        let mut parts = real.components().filter_map(|part| part.as_os_str().to_str());
        parts.any(|part| {
            part.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    match () {
        () if below("usb") => Some("usb"),
        () if below("ata") => Some("sata"),
        () if name.starts_with("sd") => Some("scsi"),
        () => None,
    }
}

/// The disks that hold the system's mount points, through partitions, device mapper and RAID.
fn system_disks(roots: &Roots) -> BTreeSet<String> {
    mounted_disks(roots, |point| SYSTEM_MOUNTS.contains(&point))
}

/// The disks that something is mounted from, such as the node's own system and pools.
pub(crate) fn used_disks(roots: &Roots) -> BTreeSet<String> {
    mounted_disks(roots, |_| true)
}

fn mounted_disks(roots: &Roots, counts: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mounts = text(roots.proc.join("self/mountinfo")).unwrap_or_default();
    let device = |line: &str| {
        // Fields: id, parent, major:minor, root, mount point, … (proc_pid_mountinfo(5)).
        let mut fields = line.split(' ').skip(2);
        let (dev, point) = (fields.next()?, fields.nth(1)?);
        counts(point).then(|| dev.to_owned())
    };
    let wanted: BTreeSet<String> = mounts.lines().filter_map(device).collect();
    let block = roots.sys.join("block");
    let mut found = BTreeSet::new();
    for disk in names(&block) {
        let folder = block.join(&disk);
        let partitions = names(&folder).into_iter().map(|name| folder.join(name));
        let mut devices = partitions.chain([folder.clone()]).filter_map(|f| text(f.join("dev")));
        if devices.any(|dev| wanted.contains(&dev)) {
            add_with_parents(&block, &disk, &mut found, 0);
        }
    }
    found
}

/// Adds a block device and those it is made of.
fn add_with_parents(block: &Path, name: &str, found: &mut BTreeSet<String>, depth: u8) {
    // Verity on RAID on partitions is three deep; the limit only guards against a tree that bites its tail.
    if depth > 8 || !found.insert(name.to_owned()) {
        return;
    }
    for part in names(block.join(name).join("slaves")) {
        let whole = if block.join(&part).exists() {
            Some(part)
        } else {
            names(block).into_iter().find(|disk| block.join(disk).join(&part).exists())
        };
        if let Some(whole) = whole {
            add_with_parents(block, &whole, found, depth.saturating_add(1));
        }
    }
}

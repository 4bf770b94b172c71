//! Disks and discs of virtual machines.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Name};

/// Most disks of one virtual machine.
const MOST_DISKS: usize = 24;

/// How a disk is wired to the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DiskBus {
    /// virtio-blk: fastest; the guest needs a driver for it.
    #[default]
    Virtio,
    /// virtio-scsi.
    Scsi,
    /// SATA: every guest knows it. Can only be attached and detached while the machine is off.
    Sata,
}

/// What a guest may do with a disk per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DiskLimits {
    /// Operations, 10 to 10000000; no limit if absent.
    pub iops: Option<u64>,
    /// Bytes, 65536 to 1099511627776; no limit if absent.
    pub bytes_per_s: Option<u64>,
}

/// A volume attached to a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmDisk {
    /// Name of the volume. Attached and detached while the machine runs.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub volume: Name,
    /// How it is wired.
    #[serde(default)]
    pub bus: DiskBus,
    /// Place in the order in which the firmware tries disks, from 1; not tried if absent.
    #[serde(default)]
    pub boot_index: Option<u32>,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub read_only: bool,
    /// Limits.
    #[serde(default)]
    pub limits: DiskLimits,
    /// Whether the volume stays when the machine is deleted. Deleting a machine with
    /// `delete_volumes` removes its volumes all the same.
    #[serde(default = "VmDisk::kept")]
    pub keep_on_delete: bool,
}

impl VmDisk {
    const fn kept() -> bool {
        true
    }

    /// A volume, wired as is usual.
    pub const fn of(volume: Name) -> Self {
        Self {
            volume,
            bus: DiskBus::Virtio,
            boot_index: None,
            read_only: false,
            limits: DiskLimits { iops: None, bytes_per_s: None },
            keep_on_delete: true,
        }
    }

    /// Collects what is wrong with a machine's disks.
    pub(crate) fn validate_all(list: &[Self], found: &mut Invalid) {
        found.require(list.len() <= MOST_DISKS, "spec.disks", "at most 24");
        for (index, disk) in list.iter().enumerate() {
            let field = |name: &str| format!("spec.disks[{index}].{name}");
            let before = list.iter().take(index);
            if before.clone().any(|other| other.volume == disk.volume) {
                found.add(field("volume"), format!("`{}` is given twice", disk.volume));
            }
            if let Some(place) = disk.boot_index {
                if !(1..=99).contains(&place) {
                    found.add(field("boot_index"), "must be 1 to 99");
                }
                if before.clone().any(|other| other.boot_index == Some(place)) {
                    found.add(field("boot_index"), format!("{place} is given twice"));
                }
            }
            if disk.limits.iops.is_some_and(|iops| !(10..=10_000_000).contains(&iops)) {
                found.add(field("limits.iops"), "must be 10 to 10000000");
            }
            if disk.limits.bytes_per_s.is_some_and(|b| !(65_536..=1 << 40).contains(&b)) {
                found.add(field("limits.bytes_per_s"), "must be 65536 to 1099511627776");
            }
        }
    }
}

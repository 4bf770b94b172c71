//! The words for volumes and snapshots.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use skerry_model::Name;

use crate::args::{ReadVerb, Selection, Target, Wait};
use crate::workload_words::pair;

/// How a disk is wired.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Bus {
    /// The fastest, which needs a driver in the guest
    Virtio,
    /// SCSI; counts from the next start
    Scsi,
    /// SATA, which every guest knows; counts from the next start
    Sata,
}

/// How a virtual machine has a volume.
#[derive(Debug, Args)]
pub struct DiskWords {
    /// The guest may only read it
    #[arg(long)]
    pub read_only: bool,
    /// How it is wired
    #[arg(long, value_enum)]
    pub bus: Option<Bus>,
    /// Place in the order in which the firmware tries disks
    #[arg(long, value_name = "1-99")]
    pub boot_index: Option<u32>,
    /// Most operations per second
    #[arg(long, value_name = "NUMBER")]
    pub iops: Option<u64>,
    /// Most bytes per second
    #[arg(long, value_name = "BYTES")]
    pub bytes_per_second: Option<u64>,
    /// The volume goes when the machine is deleted
    #[arg(long)]
    pub delete_with_vm: bool,
}

impl DiskWords {
    /// The disk as the node is told; its defaults hold for what was not given.
    pub fn disk(&self, volume: &Name) -> Value {
        let mut disk = Map::new();
        disk.insert("volume".to_owned(), json!(volume));
        disk.insert("read_only".to_owned(), json!(self.read_only));
        if let Some(bus) = self.bus {
            let bus = match bus {
                Bus::Virtio => "virtio",
                Bus::Scsi => "scsi",
                Bus::Sata => "sata",
            };
            disk.insert("bus".to_owned(), json!(bus));
        }
        if let Some(place) = self.boot_index {
            disk.insert("boot_index".to_owned(), json!(place));
        }
        if self.iops.is_some() || self.bytes_per_second.is_some() {
            let limits = json!({ "iops": self.iops, "bytes_per_s": self.bytes_per_second });
            disk.insert("limits".to_owned(), limits);
        }
        if self.delete_with_vm {
            disk.insert("keep_on_delete".to_owned(), json!(false));
        }
        Value::Object(disk)
    }
}

/// Verbs for volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeVerb {
    /// List volumes
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        selection: Selection,
    },
    /// Show one
    Show {
        /// Name or id
        name: String,
    },
    /// Make a volume
    Create(NewVolume),
    /// Make a volume from another one, which no virtual machine may be running with
    Clone {
        /// The volume to copy
        from: Name,
        /// Name of the new volume
        name: Name,
        #[command(flatten)]
        wait: Wait,
    },
    /// Make a volume larger; a guest that runs with it sees that at once
    Grow {
        /// Name or id
        name: String,
        /// New size, such as 20G
        #[arg(long, value_name = "SIZE", value_parser = size)]
        size: u64,
        #[command(flatten)]
        wait: Wait,
    },
    /// Give a volume to a virtual machine as a disk, also while it runs
    Attach {
        /// The volume
        volume: Name,
        /// The virtual machine
        vm: Name,
        #[command(flatten)]
        how: Box<DiskWords>,
    },
    /// Take a volume from the virtual machine that has it, also while it runs
    Detach {
        /// The volume
        volume: Name,
    },
    /// Make an image of a volume, which no virtual machine may be running with, or of a snapshot
    Export {
        /// The volume
        volume: Name,
        /// Name of the new image
        #[arg(long, value_name = "NAME")]
        image: Name,
        /// The volume as this snapshot has it
        #[arg(long, value_name = "SNAPSHOT")]
        snapshot: Option<Name>,
        /// A line for people
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove a volume and its data for good
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
    },
}

/// A new volume.
#[derive(Debug, Args)]
pub struct NewVolume {
    /// Name
    pub name: Name,
    /// Size, such as 512M, 20G or 1T; may be left out with --image, --from or --snapshot
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<u64>,
    /// Begin with a disk image
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["from", "snapshot"])]
    pub image: Option<Name>,
    /// Begin with another volume; with --snapshot, the volume in the snapshot
    #[arg(long, value_name = "VOLUME")]
    pub from: Option<Name>,
    /// Begin with a volume as a snapshot has it
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<Name>,
    /// Make a folder that pods mount, not a disk
    #[arg(long, conflicts_with_all = ["image", "from", "snapshot", "preallocate"])]
    pub folder: bool,
    /// Pool to lie in
    #[arg(long, default_value = "default")]
    pub pool: Name,
    /// Take all its space at once
    #[arg(long)]
    pub preallocate: bool,
    /// Overwrite its data when it is deleted
    #[arg(long)]
    pub erase_on_delete: bool,
    /// Refuse to delete it until it is unlocked
    #[arg(long)]
    pub locked: bool,
    /// Mark; may be repeated
    #[arg(long = "label", short = 'l', value_name = "KEY=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    #[command(flatten)]
    pub wait: Wait,
}

/// Verbs for pools.
#[derive(Debug, Subcommand)]
pub enum PoolVerb {
    #[command(flatten)]
    Read(ReadVerb),
    /// Make a pool of a whole disk, which is formatted, or in a folder on a file system, which is kept
    Create {
        /// Name
        name: Name,
        /// The disk's name below /dev/disk/by-id, as `skerry inventory` lists it
        #[arg(long, value_name = "ID", required_unless_present = "file_system")]
        disk: Option<String>,
        /// Overwrite what is on the disk; without this only an empty disk is taken
        #[arg(long, requires = "disk")]
        erase: bool,
        /// UUID of a file system (xfs or ext4), as `skerry inventory` lists it; other files on it stay
        #[arg(long, value_name = "UUID", conflicts_with = "disk")]
        file_system: Option<String>,
        /// Folder on the file system in which the pool lies, new or empty; `skerry` if not given
        #[arg(long, value_name = "PATH", requires = "file_system")]
        folder: Option<String>,
        /// How much may be promised to volumes, in percent of its size
        #[arg(long, value_name = "PERCENT")]
        overcommit: Option<u32>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Give back the disk or file system of a pool in which nothing lies; other files on it stay
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
    },
}

/// Verbs for snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotVerb {
    /// List snapshots
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        selection: Selection,
    },
    /// Show one
    Show {
        /// Name or id
        name: String,
    },
    /// Keep volumes as they are now; a guest that runs with them is held for a moment
    Create {
        /// Name of the snapshot
        name: Name,
        /// A volume; may be repeated
        #[arg(long, value_name = "VOLUME")]
        volume: Vec<Name>,
        /// A line for people
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Set its volumes back to it; what they hold now is kept in another snapshot first
    Revert {
        #[command(flatten)]
        target: Target,
    },
    /// Remove a snapshot; the others stay as they are
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
    },
}

/// `512M`, `20G`, `1T`, or a number of MiB; gives MiB.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "write a size such as 512M, 20G or 1T".to_owned();
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        None => (text, 1),
        Some(at) => {
            let (digits, unit) = text.split_at(at);
            let unit = match unit {
                "M" | "MiB" => 1,
                "G" | "GiB" => 1024,
                "T" | "TiB" => 1024 * 1024,
                _ => return Err(wrong()),
            };
            (digits, unit)
        }
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(unit).filter(|size| *size > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(
            (size("64"), size("512M"), size("20GiB"), size("1T")),
            (Ok(64), Ok(512), Ok(20 * 1024), Ok(1024 * 1024))
        );
        for bad in ["", "0", "G", "5k", "-1", "1.5G", "99999999999999999999"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}

//! Storage pools: where the data of volumes and snapshots lies.

use serde::{Deserialize, Serialize};

use crate::{Conditions, Invalid, Kind, ResourceKind, Validate};

/// Marks [`crate::Resource`]s that are storage pools.
#[derive(Debug, Clone, Copy)]
pub enum Pool {}

impl ResourceKind for Pool {
    const KIND: Kind = Kind::Pool;
    type Spec = PoolSpec;
    type Status = PoolStatus;
}

/// What a pool is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PoolSource {
    /// The node's data partition, shared with images, containers and logs.
    DataPartition,
    /// A whole disk of the machine, for volumes alone. The node makes a file system on it.
    Disk(PoolDisk),
    /// A folder on a file system that is there already and is kept, with all that is on it.
    FileSystem(PoolFileSystem),
}

/// A disk that a pool is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PoolDisk {
    /// The disk's name below `/dev/disk/by-id`, which stays from boot to boot, such as `wwn-0x5000c500a1b2c3d4`. A whole
    /// disk, no partition.
    pub id: String,
    /// Whether what is on the disk may be overwritten. Without it only a disk is taken on which nothing is found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erase: bool,
}

impl PoolDisk {
    /// Longest name of a disk.
    pub const LONGEST_ID: usize = 200;

    /// Whether a name can be that of a whole disk below `/dev/disk/by-id`.
    pub fn is_id(text: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:+=@-".contains(c);
        let partition = text.rsplit_once("-part").is_some_and(|(_, number)| {
            !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
        });
        (1..=Self::LONGEST_ID).contains(&text.len())
            && text.chars().all(plain)
            && !text.starts_with(['.', '-'])
            && !partition
    }
}

/// A file system that a pool lies on without having it for itself. It is never formatted; other files on it are left
/// alone, and take room too. Programs on it do not run. On `xfs` snapshots and clones share blocks and guests are held to
/// the reserve; on `ext4` they are copies that need their room, and nothing but its free space ends what guests write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PoolFileSystem {
    /// The file system's UUID, as the inventory lists it, such as `0a1b2c3d-0000-4000-8000-000000000001`. It stays with
    /// the file system wherever its disk is plugged in. Of the kind `xfs` or `ext4`.
    pub uuid: String,
    /// The folder on it in which the pool lies: new or empty, below folders that are there. Names of letters, digits,
    /// `.`, `_` and `-`, with `/` between them; at most 200 characters. Cannot be changed.
    #[serde(default = "PoolFileSystem::default_folder")]
    pub folder: String,
}

impl PoolFileSystem {
    /// Longest path of a folder.
    pub const LONGEST_FOLDER: usize = 200;
    /// Longest UUID; those of some kinds are shorter.
    const LONGEST_UUID: usize = 36;

    fn default_folder() -> String {
        "skerry".to_owned()
    }

    /// Whether a text can be the UUID of a file system of any kind. That it is of a fit kind is seen when it is there.
    pub fn is_uuid(text: &str) -> bool {
        (4..=Self::LONGEST_UUID).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
            && !text.starts_with('-')
    }

    /// Whether a path stays below the folder that it is joined to, and is plain. Links on the file system are another
    /// matter, which is looked at there.
    pub fn is_folder(text: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let good = |part: &str| {
            !part.is_empty() && part.chars().all(plain) && !part.starts_with(['.', '-'])
        };
        text.len() <= Self::LONGEST_FOLDER && text.split('/').all(good)
    }
}

/// What is wanted of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// What it is made of.
    pub source: PoolSource,
    /// How much may be promised to volumes, in percent of the pool's size, 100 to 1000. With 100
    /// every volume can be filled; with more, guests that fill theirs are held when space runs out.
    #[serde(default = "PoolSpec::default_overcommit")]
    pub overcommit_percent: u32,
}

impl PoolSpec {
    const fn default_overcommit() -> u32 {
        200
    }

    /// A pool on the data partition as the node makes it.
    pub const fn data_partition() -> Self {
        Self { source: PoolSource::DataPartition, overcommit_percent: Self::default_overcommit() }
    }
}

/// Whether a pool can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PoolState {
    /// Not yet looked at.
    #[default]
    Creating,
    /// In use.
    Ready,
    /// Its place cannot be read or written; volumes on it wait, the rest of the node works.
    Failed,
}

/// A file that lies in a pool though no record speaks of it. It is reported, never removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnmanagedFile {
    /// Path inside the pool.
    pub path: String,
    /// The name that the volume or snapshot had, if a note beside the file tells.
    pub name: Option<String>,
    /// Space that it takes, in bytes.
    pub used_bytes: u64,
}

/// What a pool is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PoolStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// Whether it can be used.
    pub state: PoolState,
    /// A sentence on why it is in this state, if there is something to say.
    pub reason: String,
    /// Size of its file system, in bytes.
    pub size_bytes: u64,
    /// Space in use, by whatever lies on the file system, in bytes.
    pub used_bytes: u64,
    /// Free space, in bytes.
    pub free_bytes: u64,
    /// Whether the node has made the file system on the pool's disk, or the pool's folder. From then on it is never made
    /// again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prepared: bool,
    /// Space that new data may not take, so that the node itself keeps working, in bytes.
    pub reserve_bytes: u64,
    /// What guests may write yet before they are held, in bytes; absent where the file system cannot hold them to
    /// that, and only the space of the whole ends what they write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_room_bytes: Option<u64>,
    /// Sum of the sizes that volumes show to their guests, in bytes.
    pub committed_bytes: u64,
    /// How much may be committed in all, in bytes.
    pub limit_bytes: u64,
    /// Volumes in it.
    pub volumes: u32,
    /// Snapshots in it.
    pub snapshots: u32,
    /// Files without a record, at most 100.
    pub unmanaged: Vec<UnmanagedFile>,
    /// Details: `Ready`, `SpaceLow`, `ReserveHeld`, `Unmanaged`.
    pub conditions: Conditions,
}

impl Validate for PoolSpec {
    fn validate(&self, found: &mut Invalid) {
        found.require(
            (100..=1000).contains(&self.overcommit_percent),
            "spec.overcommit_percent",
            "must be 100 to 1000",
        );
        match &self.source {
            PoolSource::DataPartition => {}
            PoolSource::Disk(disk) => found.require(
                PoolDisk::is_id(&disk.id),
                "spec.source.disk.id",
                "must be the name of a whole disk below /dev/disk/by-id, such as wwn-0x5000c500a1b2c3d4",
            ),
            PoolSource::FileSystem(kept) => {
                found.require(
                    PoolFileSystem::is_uuid(&kept.uuid),
                    "spec.source.file_system.uuid",
                    "must be the UUID of a file system, as the inventory lists it",
                );
                found.require(
                    PoolFileSystem::is_folder(&kept.folder),
                    "spec.source.file_system.folder",
                    "must be a path on the file system, such as skerry or vms/skerry: at most 200 letters, digits, \
                     `.`, `_` and `-`, no part of it empty or beginning with `.` or `-`",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_whole_disks_are_taken_and_others_are_not() {
        for id in
            ["wwn-0x5000c500a1b2c3d4", "virtio-pool", "nvme-eui.0025385b61b0a2c5", "usb-A_B_1-0:0"]
        {
            assert!(PoolDisk::is_id(id), "{id}");
        }
        let long = "a".repeat(201);
        for id in ["", "../../sda", "a/b", "ata-DISK-part1", "a b", "-rf", ".", long.as_str()] {
            assert!(!PoolDisk::is_id(id), "{id}");
        }
    }

    #[test]
    fn file_systems_are_named_by_uuid_and_folders_stay_below_them() {
        for uuid in ["0a1b2c3d-0000-4000-8000-000000000001", "1A2B-3C4D", "2026-01-31-08-00-00-00"]
        {
            assert!(PoolFileSystem::is_uuid(uuid), "{uuid}");
        }
        let long = "a".repeat(37);
        for uuid in ["", "sdb1", "../x", "-abc", "/dev/sdb1", "1a2 ", "LABEL", long.as_str()] {
            assert!(!PoolFileSystem::is_uuid(uuid), "{uuid}");
        }
        for folder in ["skerry", "vms/skerry-1", "a/b/c/d.e_f"] {
            assert!(PoolFileSystem::is_folder(folder), "{folder}");
        }
        let long = "a".repeat(201);
        for folder in [
            "",
            "/",
            "/skerry",
            "skerry/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a/.",
            ".hidden",
            "-rf",
            "a b",
            "a\nb",
            "a\0b",
            "ä",
            "lost+found",
            "a\\b",
            long.as_str(),
        ] {
            assert!(!PoolFileSystem::is_folder(folder), "{folder:?}");
        }
    }

    #[test]
    fn a_kept_file_system_is_checked_and_its_folder_has_a_usual_name() {
        let spec = |kept: &str| -> PoolSpec {
            serde_json::from_str(&format!(r#"{{"source":{{"file_system":{kept}}}}}"#)).unwrap()
        };
        let faults = |spec: &PoolSpec| {
            let mut found = Invalid::default();
            spec.validate(&mut found);
            found.into_result().map_err(|invalid| invalid.to_string())
        };
        let usual = spec(r#"{"uuid":"1a2b-3c4d"}"#);
        let PoolSource::FileSystem(kept) = &usual.source else { panic!("{usual:?}") };
        assert_eq!(kept.folder, "skerry");
        assert_eq!(faults(&usual), Ok(()));
        let wrong = faults(&spec(r#"{"uuid":"/dev/sdb1","folder":"../x"}"#)).unwrap_err();
        assert!(
            wrong.contains("file_system.uuid") && wrong.contains("file_system.folder"),
            "{wrong}"
        );
        assert!(
            serde_json::from_str::<PoolSpec>(
                r#"{"source":{"file_system":{"uuid":"1a2b","erase":true}}}"#
            )
            .is_err()
        );
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        let spec: PoolSpec =
            serde_json::from_str(r#"{"source":{"disk":{"id":"wwn-1"}},"overcommit_percent":100}"#)
                .unwrap();
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(text, r#"{"source":{"disk":{"id":"wwn-1"}},"overcommit_percent":100}"#);
        let status = serde_json::to_value(PoolStatus::default()).unwrap();
        assert!(status.get("prepared").is_none() && status.get("guest_room_bytes").is_none());
    }
}

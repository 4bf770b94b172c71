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
    /// Whether the node has made its file system on the pool's disk. From then on it is never made again.
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
        if let PoolSource::Disk(disk) = &self.source {
            found.require(
                PoolDisk::is_id(&disk.id),
                "spec.source.disk.id",
                "must be the name of a whole disk below /dev/disk/by-id, such as wwn-0x5000c500a1b2c3d4",
            );
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

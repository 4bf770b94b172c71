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
    }
}

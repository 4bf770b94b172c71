//! What the containers of a pod take of the machine, as the kernel counts it. It is read when somebody asks, and kept nowhere.

use serde::{Deserialize, Serialize};

use crate::{Name, Timestamp};

/// What a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PodStats {
    /// When it was read. Two readings tell how much was taken in between.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Its running containers.
    pub containers: Vec<ContainerStats>,
}

/// What a container has taken since its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContainerStats {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// Processor time in microseconds.
    pub cpu_us: u64,
    /// Time in microseconds in which it had to wait because its share of the processors was used up; null without a limit of
    /// them.
    pub throttled_us: Option<u64>,
    /// Memory in bytes that it has now, files in memory included.
    pub memory_bytes: u64,
    /// The most that it ever had, in bytes.
    pub memory_peak_bytes: u64,
    /// The most that it may have, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Processes of it that were killed because there was no memory left.
    pub oom_kills: u64,
    /// Processes and threads now.
    pub tasks: u64,
    /// Bytes read from disks; null where the kernel does not count them.
    pub read_bytes: Option<u64>,
    /// Bytes written to disks; null where the kernel does not count them.
    pub written_bytes: Option<u64>,
}

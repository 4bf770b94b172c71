//! NUMA nodes inside a guest.

use serde::{Deserialize, Serialize};

use crate::CpuSet;

/// A NUMA node that a guest sees, which is a part of one of the machine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuestCell {
    /// The machine's NUMA node.
    pub node: u32,
    /// Virtual processors that run there, from 0.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub vcpus: CpuSet,
    /// Memory that lies there, in MiB.
    pub memory_mib: u64,
}

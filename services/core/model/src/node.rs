//! The machine itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    Accelerator, Conditions, Id, Invalid, Kind, Name, ResourceKind, Timestamp, Validate, Vm,
};

/// Marks the one [`crate::Resource`] that is the node.
#[derive(Debug, Clone, Copy)]
pub enum Node {}

impl ResourceKind for Node {
    const KIND: Kind = Kind::Node;
    type Spec = NodeSpec;
    type Status = NodeStatus;
}

/// What is wanted of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Host name, a DNS label.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub hostname: Name,
}

/// An address of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NicAddress {
    /// The network card's device name.
    pub device: String,
    /// The address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: IpAddr,
    /// Prefix length.
    pub prefix: u8,
    /// How it came: `dhcp`, `link-local` or `static`.
    pub origin: String,
}

/// What is there of a virtual machine of which no record speaks, as after a recovery of the store from an older checkpoint.
/// It is shown, and what it takes is counted; it is left alone until an admin removes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnmanagedVm {
    /// Its id, by which it can be deleted as any machine.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
    pub id: Id<Vm>,
    /// Whether its guest has a process; if not, files are left, and perhaps its definition.
    pub running: bool,
    /// Memory that it takes while it runs, with what QEMU takes beside it, in MiB.
    pub memory_mib: u64,
    /// Files of the disks that it has while it runs. They stay when it is deleted.
    pub disks: Vec<String>,
}

/// What the node is. Values that change all the time, such as load, are not kept here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct NodeStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// Whether the first admin has been set.
    pub claimed: bool,
    /// When that was.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub claimed_at: Option<Timestamp>,
    /// Version of the software.
    pub version: String,
    /// How often this installation was booted.
    pub boots: u64,
    /// Addresses at which the page and the API answer.
    pub addresses: Vec<NicAddress>,
    /// What virtual machines run on.
    pub accelerator: Option<Accelerator>,
    /// Virtual machines of which no record speaks.
    pub unmanaged_vms: Vec<UnmanagedVm>,
    /// `Ready`, `StoreHealthy`, `KvmUsable`, `NetworkConnected`, `UnmanagedVms`, and so on.
    pub conditions: Conditions,
}

impl Validate for NodeSpec {
    fn validate(&self, _found: &mut Invalid) {}
}

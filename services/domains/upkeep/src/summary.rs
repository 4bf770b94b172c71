//! Live facts for the first screen of every face: page, consoles, command line, O2.
//!
//! Plain data, filled in afresh for each request and never stored. The claim code is a secret until the node
//! is claimed: whoever builds a summary for the network must leave it out.

use serde::{Deserialize, Serialize};
use skerry_model::{Accelerator, NicAddress};

/// How the node stands right now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Summary {
    /// Identity of this installation, a UUID.
    pub node_id: String,
    /// Host name.
    pub hostname: String,
    /// Version of the software.
    pub version: String,
    /// Build id of the software.
    pub build: String,
    /// Board description that the image was built for.
    pub board: String,
    /// Whether the first admin has been set.
    pub claimed: bool,
    /// The code that sets the first admin; only for those at the machine, and only until it was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_code: Option<String>,
    /// Where the page answers.
    pub urls: Vec<String>,
    /// SHA-256 of the server certificate, to compare with what a browser shows.
    pub fingerprint: String,
    /// Addresses of the machine.
    pub addresses: Vec<NicAddress>,
    /// Seconds since the kernel started.
    pub uptime_s: u64,
    /// Main memory.
    pub memory: MemoryUse,
    /// Load average over one minute.
    pub load1: f64,
    /// Hardware threads online.
    pub cpus: u32,
    /// What virtual machines run on.
    pub accelerator: Option<Accelerator>,
    /// Workloads.
    pub workloads: WorkloadCounts,
    /// Active alarms.
    pub alarms: AlarmCounts,
    /// Whether changes can be kept on disk.
    pub store_healthy: bool,
    /// Whether all parts of the node are up.
    pub ready: bool,
}

/// Main memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct MemoryUse {
    /// What the kernel can use.
    pub total: u64,
    /// What could be given to new programs.
    pub available: u64,
}

/// How many workloads there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct WorkloadCounts {
    /// Virtual machines.
    pub vms: u32,
    /// Virtual machines that run.
    pub vms_running: u32,
    /// Pods.
    pub pods: u32,
    /// Pods that run.
    pub pods_running: u32,
}

/// Active alarms by severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct AlarmCounts {
    /// Service is gone.
    pub critical: u32,
    /// Service is badly hurt.
    pub major: u32,
    /// Something needs attention.
    pub minor: u32,
    /// Nothing is hurt yet.
    pub warning: u32,
}

//! The life of a virtual machine as its record tells it: what is wanted, asked, and possible.

use serde::{Deserialize, Serialize};

/// The wanted power state of a virtual machine. What was last wanted is what returns after a power cut,
/// except that a paused guest, whose memory is gone then, is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VmPower {
    /// On.
    #[default]
    Running,
    /// On, but held: it keeps its memory and gets no processor time.
    Paused,
    /// Off, with its memory on disk. The next start goes on where it was.
    Suspended,
    /// Off.
    Stopped,
}

impl VmPower {
    /// Whether it is to have a process, and so holds memory of the machine.
    pub const fn is_on(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What is asked of a virtual machine beside its wanted power, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VmRequestKind {
    /// Try to start now, without waiting for the next try to be due.
    Start,
    /// Off at once.
    ForceStop,
    /// Off, by the guest's own shutdown, and on again with a new process.
    Restart,
    /// The guest's reset button: its process stays.
    Reset,
    /// The guest's own reboot: its process stays.
    Reboot,
    /// Go on, also if it was the hypervisor that held the guest.
    Resume,
}

/// A request with its number. It stands in the record before anything is done about it, so it is not
/// forgotten when a service or the machine ends; `status.request_done` tells how far things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmRequest {
    /// Counts requests of this machine, from 1.
    pub number: u64,
    /// What is asked.
    pub what: VmRequestKind,
}

/// What a person or program can do with a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VmAction {
    /// Wanted on.
    Start,
    /// Wanted off, by the guest's own shutdown.
    Stop,
    /// Off at once.
    ForceStop,
    /// Off and on again.
    Restart,
    /// Held.
    Pause,
    /// Let go on.
    Resume,
    /// The reset button.
    Reset,
    /// The guest's own reboot.
    Reboot,
    /// Off, with its memory on disk.
    Suspend,
}

impl VmAction {
    /// Every action.
    pub const ALL: [Self; 9] = [
        Self::Start,
        Self::Stop,
        Self::ForceStop,
        Self::Restart,
        Self::Pause,
        Self::Resume,
        Self::Reset,
        Self::Reboot,
        Self::Suspend,
    ];
}

/// Whether an action is possible now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmActionState {
    /// The action.
    pub action: VmAction,
    /// Whether it is possible.
    pub possible: bool,
    /// Why not, as a sentence; empty if it is.
    pub why: String,
}

//! The life of a virtual machine as its record tells it: what is wanted, asked, and possible.

use serde::{Deserialize, Serialize};

use crate::Invalid;

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

/// What happens to a virtual machine that crashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CrashAction {
    /// It is started again, after ever longer waits.
    #[default]
    Restart,
    /// It stays as it is until somebody starts it.
    Alarm,
    /// It counts as switched off.
    Stop,
}

/// What is done about crashes: the end of its process that nobody asked for, a panic of its guest, a start
/// that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CrashPolicy {
    /// What happens.
    pub action: CrashAction,
    /// So many crashes in a row are borne, 1 to 100; one more is a crash loop.
    pub max: u32,
    /// Seconds of running after which crashes are forgotten, 10 to 86400.
    pub window_s: u32,
    /// Whether a crash loop ends the tries. If not, it is tried every five minutes for ever: nobody may be
    /// there to start it by hand.
    pub give_up: bool,
}

impl Default for CrashPolicy {
    fn default() -> Self {
        Self { action: CrashAction::Restart, max: 5, window_s: 600, give_up: false }
    }
}

impl CrashPolicy {
    pub(crate) fn validate(&self, found: &mut Invalid) {
        let Self { max, window_s, .. } = self;
        found.require((1..=100).contains(max), "spec.crash_policy.max", "must be 1 to 100");
        found.require(
            (10..=86_400).contains(window_s),
            "spec.crash_policy.window_s",
            "must be 10 to 86400",
        );
    }
}

/// What it means when a guest turns itself off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GuestOff {
    /// It is wanted off from now on.
    #[default]
    StayOff,
    /// It is started again, with the waits of a crash.
    Restart,
}

/// What it means when a guest reboots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GuestReboot {
    /// It reboots; its process stays.
    #[default]
    Restart,
    /// It goes off, as if it had turned itself off.
    Stop,
}

/// What becomes of a virtual machine when the node has been booted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Autostart {
    /// What was last wanted.
    #[default]
    LastState,
    /// It is started, even if it was off.
    Always,
    /// It stays off, even if it ran.
    Never,
}

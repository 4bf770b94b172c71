//! What a pass tells the world: conditions for people and programs, and when to look again.

use std::time::Duration;

use skerry_engine::{Failure, Outcome};
use skerry_model::{
    ConditionState, LocalRef, Timestamp, VmPower, VmSize, VmSpec, VmState, VmStatus,
};
use tokio::time::Instant;

use crate::memory::{ASK_EVERY, Memory, SETTLE};
use crate::pass::{LOOK_FOR_DEVICES, NoPlace};
use crate::sources::Missing;
use crate::{Event, HypervisorError};

/// How often a machine that did not fit, or of which something is missing, is tried again though
/// nothing was heard.
pub const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What a pass found worth saying beyond the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// Whether the state is known at all.
    pub known: bool,
    /// Whose change would help.
    pub on: Option<LocalRef>,
    /// When to look again, if sooner than the state asks for.
    pub again: Option<Duration>,
}

impl Note {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), known: true, on: None, again: None }
    }

    /// Whether it says why a start just failed.
    pub fn of_start(&self) -> bool {
        matches!(self.reason, "StartFailed" | "FunctionNotSet")
    }

    /// Something the hypervisor said.
    pub fn of(reason: &'static str, error: &HypervisorError) -> Self {
        Self::new(reason, error.to_string())
    }

    /// Something that has to come first.
    pub fn missing(missing: &Missing) -> Self {
        Self { on: missing.on, ..Self::new(missing.reason, missing.message.clone()) }
    }

    /// Its memory is on its way to disk.
    pub fn saving() -> Self {
        Self::new("Suspending", "its memory is being put on disk")
    }

    /// A write of its guest found no space.
    pub fn io_paused(pools: &[String], again: Duration) -> Self {
        let place = match pools {
            [] => "its storage pool".to_owned(),
            pools => format!("the storage pool {}", pools.join(", ")),
        };
        let message = format!(
            "held since a write to its disk found no space: make room in {place}, for example by deleting \
             snapshots, volumes or images; it then goes on by itself"
        );
        Self { again: Some(again), ..Self::new("IoPaused", message) }
    }

    /// Others are started first, or its own delay is not over.
    pub fn turn(message: String, again: Duration) -> Self {
        Self { again: Some(again), ..Self::new("WaitsForTurn", message) }
    }

    /// The machine cannot be held now.
    pub fn refused(message: String) -> Self {
        Self::new("DoesNotFit", message)
    }

    /// The machine has no place for it.
    pub fn no_place(none: &NoPlace) -> Self {
        Self::new(none.reason, none.message.clone())
    }

    /// A pass that did not get to its end.
    pub fn broken_off(failure: &Failure) -> Self {
        let hypervisor = failure.source.as_ref().is_some_and(|s| s.is::<HypervisorError>());
        let reason = if hypervisor { "HypervisorUnavailable" } else { "StateUnavailable" };
        Self { known: false, ..Self::new(reason, failure.message.clone()) }
    }

    /// What an event means for people, where the state does not say it.
    pub fn after(from: VmState, event: Event, wanted: VmPower) -> Option<Self> {
        match event {
            Event::GuestOff if from != VmState::Stopping && wanted == VmPower::Running => {
                Some(Self::new("StoppedByGuest", "the guest powered itself off, and stays off"))
            }
            Event::GuestOffAgain => Some(Self::new(
                "StoppedByGuest",
                "the guest powered itself off, and is started again",
            )),
            Event::Crash | Event::CrashForGood | Event::CrashOff => Some(Self::new(
                "Crashed",
                "its process ended though nobody asked for it, or the guest panicked: read its \
                 serial log",
            )),
            // Whatever ended it before is over with the wish for it to be off.
            Event::Withdrawn => Some(Self::new("Stopped", "")),
            Event::ForceOff => Some(Self::new("ForcedOff", "it was forced off")),
            Event::MemoryGone => Some(Self::new(
                "MemoryGone",
                "its memory is no longer on disk; it begins anew when it is started",
            )),
            _ => None,
        }
    }
}

/// Sets the conditions and the sentence that follow from the state.
pub fn ready(
    status: &mut VmStatus,
    spec: &VmSpec,
    note: Option<&Note>,
    pending: bool,
    now: Timestamp,
) {
    let (reason, message) = match note {
        Some(note) => (note.reason, note.message.clone()),
        None => standing(status, spec.power),
    };
    let state = match (note, status.state) {
        (Some(note), _) if !note.known => ConditionState::Unknown,
        (_, VmState::Running) => ConditionState::True,
        _ => ConditionState::False,
    };
    let size = status.running_size;
    let conditions = &mut status.conditions;
    conditions.set("Ready", state, reason, message.clone(), now);
    status.reason = message;
    if pending {
        let message = pending_changes(size, spec);
        conditions.set("Pending", ConditionState::True, "ChangedWhileRunning", message, now);
    } else {
        conditions.clear("Pending");
    }
    if status.crashes > spec.crash_policy.max {
        let message = format!("{} crashes in a row: read its serial log", status.crashes);
        conditions.set("CrashLoop", ConditionState::True, "CrashedAgain", message, now);
    } else {
        conditions.clear("CrashLoop");
    }
}

/// What will be different after the next start.
fn pending_changes(runs_with: Option<VmSize>, spec: &VmSpec) -> String {
    let now = runs_with.unwrap_or(spec.size());
    let sizes = [
        ("vcpus", u64::from(now.vcpus), u64::from(spec.vcpus)),
        ("memory_mib", now.memory_mib, spec.memory_mib),
    ];
    let changes: Vec<_> = sizes
        .into_iter()
        .filter(|(_, now, wanted)| now != wanted)
        .map(|(field, now, wanted)| format!("{field} {now} -> {wanted}"))
        .collect();
    let what = if changes.is_empty() { "its definition".to_owned() } else { changes.join(", ") };
    format!("changed while it runs, and takes effect at its next start: {what}")
}

/// What the state itself says. The cause of a failure stays as it was told when it happened.
fn standing(status: &VmStatus, wanted: VmPower) -> (&'static str, String) {
    let kept = |reason: &'static str| {
        let told = status.conditions.get("Ready").filter(|ready| ready.reason == reason);
        told.map(|ready| (reason, ready.message.clone()))
    };
    let plain = match status.state {
        VmState::Creating => "Creating",
        VmState::Stopped if wanted == VmPower::Stopped => {
            return kept("StoppedByGuest")
                .or_else(|| kept("ForcedOff"))
                .or_else(|| kept("Crashed"))
                .or_else(|| kept("StartFailed"))
                .or_else(|| kept("FunctionNotSet"))
                .unwrap_or(("Stopped", String::new()));
        }
        VmState::Stopped if wanted == VmPower::Suspended => {
            return ("MemoryGone", "it is off, and its memory is not on disk: start it".into());
        }
        VmState::Stopped => "Stopped",
        VmState::Starting => "Starting",
        VmState::Running => "Running",
        VmState::Paused if wanted == VmPower::Paused => {
            return ("Paused", "it is held as asked for".into());
        }
        VmState::Paused => {
            return (
                "Held",
                "the hypervisor holds the guest, for example since a disk failed: mend the cause, \
                 then resume it"
                    .into(),
            );
        }
        VmState::Suspended => {
            return ("Suspended", "its memory is on disk; the next start goes on with it".into());
        }
        VmState::Stopping => return ("Stopping", "the guest was asked to shut down".into()),
        VmState::Crashed | VmState::Backoff => {
            return kept("Crashed")
                .or_else(|| kept("StartFailed"))
                .or_else(|| kept("StoppedByGuest"))
                .unwrap_or(("Crashed", status.reason.clone()));
        }
        VmState::Failed => {
            return kept("StartFailed").unwrap_or(("StartFailed", status.reason.clone()));
        }
        VmState::Deleting => "Removing",
    };
    (plain, String::new())
}

/// When to look again.
pub fn outcome(
    status: &VmStatus,
    memory: &Memory,
    spec: &VmSpec,
    note: Option<&Note>,
) -> Result<Outcome, Failure> {
    if let Some(wait) = note.and_then(|note| note.again) {
        return Ok(Outcome::Again(wait));
    }
    let wanted = spec.power;
    let window = Duration::from_secs(spec.crash_policy.window_s.into());
    let left = |until: Option<Instant>| until.map(|at| at.duration_since(Instant::now()));
    let again = |wait: Option<Duration>| Ok(wait.map_or(Outcome::Done, Outcome::Again));
    match status.state {
        VmState::Creating | VmState::Starting => waiting(note),
        VmState::Stopped if wanted == VmPower::Running => waiting(note),
        VmState::Stopped | VmState::Suspended | VmState::Deleting => Ok(Outcome::Done),
        VmState::Running | VmState::Paused if memory.running_since.is_none() => {
            Ok(Outcome::Again(SETTLE))
        }
        VmState::Paused => Ok(Outcome::Done),
        VmState::Running => {
            let forgiven = memory.running_since.map(|at| at + window);
            let forgiven = left(forgiven).filter(|_| status.crashes > 0);
            let devices = (!spec.host_devices.is_empty()).then_some(LOOK_FOR_DEVICES);
            again(forgiven.into_iter().chain(left(memory.hear_at)).chain(devices).min())
        }
        VmState::Stopping => {
            let ask = memory.asked_at.map(|at| at + ASK_EVERY);
            again(left(memory.stop_by.into_iter().chain(ask).min()))
        }
        VmState::Failed => Err(Failure::needs_operator(status.reason.clone())),
        VmState::Crashed => Ok(Outcome::Done),
        VmState::Backoff => again(left(memory.next_try)),
    }
}

fn waiting(note: Option<&Note>) -> Result<Outcome, Failure> {
    Ok(match note.and_then(|note| note.on) {
        Some(on) => Outcome::Blocked(on),
        None => Outcome::Again(TRY_AGAIN),
    })
}

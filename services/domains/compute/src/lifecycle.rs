//! The life cycle of a virtual machine: which state follows which.
//!
//! [`next`] is the only place that says so. It must not look at clocks, the store or the hypervisor:
//! its caller has found out what happened, and does what the effects say. An event that a state does
//! not know is refused and changes nothing.
//!
//! | from | event | to | effects |
//! |---|---|---|---|
//! | creating | made | stopped | |
//! | creating | up | running | |
//! | creating | held | paused | |
//! | creating | delete | deleting | force off |
//! | stopped | start | starting | |
//! | stopped | up | running | |
//! | stopped | held | paused | |
//! | stopped | memory kept | suspended | |
//! | stopped | hold lost | stopped | want running |
//! | stopped | force off | stopped | |
//! | stopped | boot on | stopped | want running |
//! | stopped | boot off | stopped | want stopped |
//! | stopped | withdrawn | stopped | force off |
//! | stopped | delete | deleting | force off |
//! | starting | up | running | count start |
//! | starting | held | paused | |
//! | starting | memory kept | suspended | |
//! | starting | start failed | backoff | count crash |
//! | starting | start rejected | failed | count crash |
//! | starting | force off | stopped | force off |
//! | starting | crash | backoff | count crash |
//! | starting | crash for good | crashed | count crash |
//! | starting | crash off | stopped | count crash, want stopped |
//! | starting | withdrawn | stopped | force off |
//! | starting | delete | deleting | force off |
//! | running | held | paused | |
//! | running | pause | paused | hold |
//! | running | reset | running | reset |
//! | running | reboot | running | ask to reboot |
//! | running | suspend | suspended | keep memory |
//! | running | memory kept | suspended | |
//! | running | shutdown | stopping | ask guest |
//! | running | force off | stopped | force off |
//! | running | guest off | stopped | want stopped |
//! | running | guest off again | backoff | count crash |
//! | running | crash | backoff | count crash |
//! | running | crash for good | crashed | count crash |
//! | running | crash off | stopped | count crash, want stopped |
//! | running | host booted | stopped | |
//! | running | delete | deleting | force off |
//! | paused | up | running | |
//! | paused | resume | running | let go |
//! | paused | suspend | suspended | keep memory |
//! | paused | memory kept | suspended | |
//! | paused | shutdown | stopping | ask guest |
//! | paused | force off | stopped | force off |
//! | paused | guest off | stopped | want stopped |
//! | paused | guest off again | backoff | count crash |
//! | paused | crash | backoff | count crash |
//! | paused | crash for good | crashed | count crash |
//! | paused | crash off | stopped | count crash, want stopped |
//! | paused | host booted | stopped | |
//! | paused | delete | deleting | force off |
//! | suspended | start | starting | |
//! | suspended | up | running | |
//! | suspended | held | paused | |
//! | suspended | memory gone | stopped | |
//! | suspended | hold lost | suspended | want running |
//! | suspended | force off | stopped | force off |
//! | suspended | boot on | suspended | want running |
//! | suspended | boot off | suspended | want stopped |
//! | suspended | withdrawn | stopped | force off |
//! | suspended | delete | deleting | force off |
//! | stopping | stop timeout | stopping | force off |
//! | stopping | force off | stopped | force off |
//! | stopping | guest off | stopped | |
//! | stopping | crash | stopped | |
//! | stopping | host booted | stopped | |
//! | stopping | delete | deleting | force off |
//! | crashed | start | starting | |
//! | crashed | up | running | |
//! | crashed | held | paused | |
//! | crashed | memory kept | suspended | |
//! | crashed | hold lost | crashed | want running |
//! | crashed | force off | stopped | |
//! | crashed | boot on | crashed | want running |
//! | crashed | boot off | crashed | want stopped |
//! | crashed | withdrawn | stopped | force off |
//! | crashed | delete | deleting | force off |
//! | backoff | start | starting | |
//! | backoff | up | running | |
//! | backoff | held | paused | |
//! | backoff | memory kept | suspended | |
//! | backoff | hold lost | backoff | want running |
//! | backoff | force off | stopped | |
//! | backoff | boot on | backoff | want running |
//! | backoff | boot off | backoff | want stopped |
//! | backoff | withdrawn | stopped | force off |
//! | backoff | delete | deleting | force off |
//! | failed | start | starting | |
//! | failed | up | running | |
//! | failed | held | paused | |
//! | failed | memory kept | suspended | |
//! | failed | hold lost | failed | want running |
//! | failed | force off | stopped | |
//! | failed | boot on | failed | want running |
//! | failed | boot off | failed | want stopped |
//! | failed | withdrawn | stopped | force off |
//! | failed | delete | deleting | force off |

use std::fmt;

use skerry_model::VmState;

/// Something that happened to a virtual machine, or is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Image and port are there, and it is defined.
    Made,
    /// It is to run, and the machine can hold it.
    Start,
    /// It was seen running.
    Up,
    /// It was seen held.
    Held,
    /// It is to be held.
    Pause,
    /// It is to go on.
    Resume,
    /// Its reset button is to be pressed.
    Reset,
    /// Its guest is to reboot.
    Reboot,
    /// Its memory is to be put on disk, and it off.
    Suspend,
    /// It is off and its memory was found on disk.
    MemoryKept,
    /// The memory that was on disk is gone.
    MemoryGone,
    /// It is wanted held but is off, so there is nothing to hold any more.
    HoldLost,
    /// The start failed in a way that may heal.
    StartFailed,
    /// The start failed in a way that will not heal by itself.
    StartRejected,
    /// It is to stop by the guest's own shutdown.
    Shutdown,
    /// The guest's own shutdown took too long.
    StopTimeout,
    /// It is to be off at once.
    ForceOff,
    /// The guest powered itself off.
    GuestOff,
    /// The guest powered itself off and is to be on.
    GuestOffAgain,
    /// Its process ended though nobody asked for it, or the guest panicked; it is to be started again.
    Crash,
    /// The same, and somebody has to look first.
    CrashForGood,
    /// The same, and it is to be off.
    CrashOff,
    /// The node was booted, and it is to be on after each boot.
    BootOn,
    /// The node was booted, and it is to be off after each boot.
    BootOff,
    /// It is off because the host was off.
    HostBooted,
    /// It was to be started, or to go on with its memory, but is not wanted any more and does not run.
    Withdrawn,
    /// It is to be taken down.
    Delete,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 27] = [
        Self::Made,
        Self::Start,
        Self::Up,
        Self::Held,
        Self::Pause,
        Self::Resume,
        Self::Reset,
        Self::Reboot,
        Self::Suspend,
        Self::MemoryKept,
        Self::MemoryGone,
        Self::HoldLost,
        Self::StartFailed,
        Self::StartRejected,
        Self::Shutdown,
        Self::StopTimeout,
        Self::ForceOff,
        Self::GuestOff,
        Self::GuestOffAgain,
        Self::Crash,
        Self::CrashForGood,
        Self::CrashOff,
        Self::BootOn,
        Self::BootOff,
        Self::HostBooted,
        Self::Withdrawn,
        Self::Delete,
    ];
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Made => "made",
            Self::Start => "start",
            Self::Up => "up",
            Self::Held => "held",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reset => "reset",
            Self::Reboot => "reboot",
            Self::Suspend => "suspend",
            Self::MemoryKept => "memory kept",
            Self::MemoryGone => "memory gone",
            Self::HoldLost => "hold lost",
            Self::StartFailed => "start failed",
            Self::StartRejected => "start rejected",
            Self::Shutdown => "shutdown",
            Self::StopTimeout => "stop timeout",
            Self::ForceOff => "force off",
            Self::GuestOff => "guest off",
            Self::GuestOffAgain => "guest off again",
            Self::Crash => "crash",
            Self::CrashForGood => "crash for good",
            Self::CrashOff => "crash off",
            Self::BootOn => "boot on",
            Self::BootOff => "boot off",
            Self::HostBooted => "host booted",
            Self::Withdrawn => "withdrawn",
            Self::Delete => "delete",
        })
    }
}

/// What goes with a change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A start has succeeded: count it and note the time.
    CountStart,
    /// A crash or failed start: count it and wait longer before the next try.
    CountCrash,
    /// Press the power button and begin to wait for the guest.
    AskGuest,
    /// End the process, and discard memory on disk.
    ForceOff,
    /// Hold the guest.
    Hold,
    /// Let the guest go on.
    LetGo,
    /// Press the reset button.
    Reset,
    /// Ask the guest to reboot.
    AskReboot,
    /// Put its memory on disk and end the process.
    KeepMemory,
    /// The wanted power becomes `running`: what has to be started is not held.
    WantRunning,
    /// The guest decided to be off: the wanted power becomes `stopped`, so that it stays off.
    WantStopped,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CountStart => "count start",
            Self::CountCrash => "count crash",
            Self::AskGuest => "ask guest",
            Self::ForceOff => "force off",
            Self::Hold => "hold",
            Self::LetGo => "let go",
            Self::Reset => "reset",
            Self::AskReboot => "ask to reboot",
            Self::KeepMemory => "keep memory",
            Self::WantRunning => "want running",
            Self::WantStopped => "want stopped",
        })
    }
}

/// An event that means nothing in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a virtual machine that is {state:?} knows no `{event}`")]
pub struct Refused {
    /// The state, which stays.
    pub state: VmState,
    /// The event.
    pub event: Event,
}

/// The state after an event, and what goes with it.
pub fn next(state: VmState, event: Event) -> Result<(VmState, Vec<Effect>), Refused> {
    use Effect as Do;
    use Event as On;
    use VmState as S;
    let to = match (state, event) {
        (S::Deleting, _) => return Err(Refused { state, event }),
        (_, On::Delete) => (S::Deleting, vec![Do::ForceOff]),

        (S::Creating, On::Made) => (S::Stopped, vec![]),

        (S::Stopped | S::Crashed | S::Backoff | S::Failed | S::Suspended, On::Start) => {
            (S::Starting, vec![])
        }
        (
            S::Stopped | S::Suspended | S::Starting | S::Crashed | S::Backoff | S::Failed,
            On::Withdrawn,
        ) => (S::Stopped, vec![Do::ForceOff]),
        (S::Stopped | S::Crashed | S::Backoff | S::Failed | S::Suspended, On::HoldLost) => {
            (state, vec![Do::WantRunning])
        }

        // Seen running in a state that expects nothing to run: adopted as it is.
        (S::Starting, On::Up) => (S::Running, vec![Do::CountStart]),
        (
            S::Creating
            | S::Stopped
            | S::Paused
            | S::Suspended
            | S::Crashed
            | S::Backoff
            | S::Failed,
            On::Up,
        ) => (S::Running, vec![]),
        (
            S::Creating
            | S::Stopped
            | S::Starting
            | S::Running
            | S::Suspended
            | S::Crashed
            | S::Backoff
            | S::Failed,
            On::Held,
        ) => (S::Paused, vec![]),

        (S::Starting, On::StartFailed) => (S::Backoff, vec![Do::CountCrash]),
        (S::Starting, On::StartRejected) => (S::Failed, vec![Do::CountCrash]),

        (S::Running, On::Pause) => (S::Paused, vec![Do::Hold]),
        (S::Paused, On::Resume) => (S::Running, vec![Do::LetGo]),
        (S::Running, On::Reset) => (S::Running, vec![Do::Reset]),
        (S::Running, On::Reboot) => (S::Running, vec![Do::AskReboot]),

        (S::Running | S::Paused, On::Suspend) => (S::Suspended, vec![Do::KeepMemory]),
        (
            S::Stopped | S::Starting | S::Running | S::Paused | S::Crashed | S::Backoff | S::Failed,
            On::MemoryKept,
        ) => (S::Suspended, vec![]),
        (S::Suspended, On::MemoryGone) => (S::Stopped, vec![]),

        (S::Running | S::Paused, On::Shutdown) => (S::Stopping, vec![Do::AskGuest]),
        (S::Stopping, On::StopTimeout) => (S::Stopping, vec![Do::ForceOff]),
        (S::Starting | S::Running | S::Paused | S::Stopping | S::Suspended, On::ForceOff) => {
            (S::Stopped, vec![Do::ForceOff])
        }
        (S::Stopped | S::Crashed | S::Backoff | S::Failed, On::ForceOff) => (S::Stopped, vec![]),

        (S::Stopping, On::GuestOff | On::Crash) => (S::Stopped, vec![]),
        (S::Running | S::Paused, On::GuestOff) => (S::Stopped, vec![Do::WantStopped]),
        (S::Running | S::Paused, On::GuestOffAgain) => (S::Backoff, vec![Do::CountCrash]),
        (S::Starting | S::Running | S::Paused, On::Crash) => (S::Backoff, vec![Do::CountCrash]),
        (S::Starting | S::Running | S::Paused, On::CrashForGood) => {
            (S::Crashed, vec![Do::CountCrash])
        }
        (S::Starting | S::Running | S::Paused, On::CrashOff) => {
            (S::Stopped, vec![Do::CountCrash, Do::WantStopped])
        }
        (S::Stopped | S::Crashed | S::Backoff | S::Failed | S::Suspended, On::BootOn) => {
            (state, vec![Do::WantRunning])
        }
        (S::Stopped | S::Crashed | S::Backoff | S::Failed | S::Suspended, On::BootOff) => {
            (state, vec![Do::WantStopped])
        }
        (S::Running | S::Paused | S::Stopping, On::HostBooted) => (S::Stopped, vec![]),

        _ => return Err(Refused { state, event }),
    };
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const STATES: [VmState; 11] = [
        VmState::Creating,
        VmState::Stopped,
        VmState::Starting,
        VmState::Running,
        VmState::Paused,
        VmState::Suspended,
        VmState::Stopping,
        VmState::Crashed,
        VmState::Backoff,
        VmState::Failed,
        VmState::Deleting,
    ];

    fn word(state: VmState) -> String {
        serde_json::to_value(state).unwrap().as_str().unwrap().to_owned()
    }

    fn table() -> Vec<String> {
        let mut rows =
            vec!["| from | event | to | effects |".to_owned(), "|---|---|---|---|".to_owned()];
        for state in STATES {
            for event in Event::ALL {
                if let Ok((to, effects)) = next(state, event) {
                    let effects: Vec<_> = effects.iter().map(ToString::to_string).collect();
                    let (from, to) = (word(state), word(to));
                    let row = format!("| {from} | {event} | {to} | {} |", effects.join(", "));
                    rows.push(row.replace("|  |", "| |"));
                }
            }
        }
        rows
    }

    #[test]
    fn the_table_above_is_what_the_function_does() {
        let written: Vec<_> = include_str!("lifecycle.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! |"))
            .map(|row| format!("|{row}"))
            .collect();
        let generated = table();
        assert_eq!(written, generated, "the table should be:\n//! {}", generated.join("\n//! "));
    }

    #[test]
    fn whatever_may_have_a_process_can_be_forced_off_and_deleted() {
        use VmState as S;
        for state in [S::Starting, S::Running, S::Paused, S::Stopping] {
            let (to, effects) = next(state, Event::ForceOff).unwrap();
            assert_eq!((to, effects), (S::Stopped, vec![Effect::ForceOff]), "{state:?}");
        }
        for state in STATES.into_iter().filter(|state| *state != S::Deleting) {
            assert!(next(state, Event::Delete).is_ok(), "{state:?}");
        }
    }

    #[test]
    fn every_state_can_be_reached_from_creating() {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut todo = vec![VmState::Creating];
        while let Some(state) = todo.pop() {
            if seen.insert(word(state)) {
                todo.extend(Event::ALL.iter().filter_map(|e| next(state, *e).ok()).map(|n| n.0));
            }
        }
        let all: BTreeSet<_> = STATES.into_iter().map(word).collect();
        let missing: Vec<_> = all.difference(&seen).cloned().collect();
        assert_eq!(missing, [""; 0]);
    }
}

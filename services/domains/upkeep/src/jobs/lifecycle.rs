//! The life of a job: which state follows which.
//!
//! [`next`] is the only place that says so. An event that a state does not know is refused and changes nothing.
//! Every state is written down before its effects begin, so that after a power cut the `restarted` event finds
//! the job where it stood.
//!
//! | from | event | to | effects |
//! |---|---|---|---|
//! | queued | start | running | run |
//! | queued | abort | aborting | undo |
//! | running | done | completed | |
//! | running | failed | undoing | undo |
//! | running | stumbled | waiting | wait |
//! | running | abort | aborting | stop, undo |
//! | running | expired | undoing | stop, undo |
//! | running | restarted | queued | |
//! | waiting | due | queued | |
//! | waiting | abort | aborting | undo |
//! | waiting | expired | undoing | undo |
//! | waiting | restarted | queued | |
//! | aborting | undone | aborted | |
//! | aborting | restarted | aborting | undo |
//! | undoing | undone | failed | |
//! | undoing | restarted | undoing | undo |
//! | failed | retry | queued | |

use std::fmt;

use skerry_model::JobState;

/// Something that happened to a job, or is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEvent {
    /// It is its turn.
    Start,
    /// The operation has succeeded.
    Done,
    /// The operation has failed and would fail again.
    Failed,
    /// The operation has failed in a way that may heal, and there are tries left.
    Stumbled,
    /// The pause before the next try is over.
    Due,
    /// A user wants it ended.
    Abort,
    /// Its deadline is over.
    Expired,
    /// What was half done has been undone, or cannot be.
    Undone,
    /// A user wants a failed one tried again.
    Retry,
    /// The node's service has started again and finds it so.
    Restarted,
}

impl JobEvent {
    /// Every event.
    pub const ALL: [Self; 10] = [
        Self::Start,
        Self::Done,
        Self::Failed,
        Self::Stumbled,
        Self::Due,
        Self::Abort,
        Self::Expired,
        Self::Undone,
        Self::Retry,
        Self::Restarted,
    ];
}

impl fmt::Display for JobEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stumbled => "stumbled",
            Self::Due => "due",
            Self::Abort => "abort",
            Self::Expired => "expired",
            Self::Undone => "undone",
            Self::Retry => "retry",
            Self::Restarted => "restarted",
        })
    }
}

/// What goes with a change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEffect {
    /// Begin the operation, from its start.
    Run,
    /// Break the operation off.
    Stop,
    /// Undo what it has half done.
    Undo,
    /// Wait before the next try.
    Wait,
}

impl fmt::Display for JobEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Stop => "stop",
            Self::Undo => "undo",
            Self::Wait => "wait",
        })
    }
}

/// An event that means nothing in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {state:?} knows no `{event}`")]
pub struct JobRefused {
    /// The state, which stays.
    pub state: JobState,
    /// The event.
    pub event: JobEvent,
}

/// The state after an event, and what goes with it.
pub fn next(
    state: JobState,
    event: JobEvent,
) -> Result<(JobState, &'static [JobEffect]), JobRefused> {
    use JobEffect as Do;
    use JobEvent as On;
    use JobState as S;
    Ok(match (state, event) {
        (S::Queued, On::Start) => (S::Running, &[Do::Run]),
        (S::Running, On::Done) => (S::Completed, &[]),
        (S::Running, On::Failed) => (S::Undoing, &[Do::Undo]),
        (S::Running, On::Stumbled) => (S::Waiting, &[Do::Wait]),
        (S::Running, On::Abort) => (S::Aborting, &[Do::Stop, Do::Undo]),
        (S::Running, On::Expired) => (S::Undoing, &[Do::Stop, Do::Undo]),
        (S::Running | S::Waiting, On::Restarted) => (S::Queued, &[]),
        (S::Waiting, On::Due) => (S::Queued, &[]),
        (S::Queued | S::Waiting, On::Abort) => (S::Aborting, &[Do::Undo]),
        (S::Waiting, On::Expired) => (S::Undoing, &[Do::Undo]),
        (S::Aborting, On::Undone) => (S::Aborted, &[]),
        (S::Undoing, On::Undone) => (S::Failed, &[]),
        (S::Aborting | S::Undoing, On::Restarted) => (state, &[Do::Undo]),
        (S::Failed, On::Retry) => (S::Queued, &[]),
        _ => return Err(JobRefused { state, event }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(state: JobState) -> String {
        serde_json::to_value(state).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn the_table_above_is_what_the_function_does() {
        let mut rows =
            vec!["| from | event | to | effects |".to_owned(), "|---|---|---|---|".to_owned()];
        for state in JobState::ALL {
            for event in JobEvent::ALL {
                if let Ok((to, effects)) = next(state, event) {
                    let effects: Vec<_> = effects.iter().map(ToString::to_string).collect();
                    let (from, to) = (word(state), word(to));
                    let row = format!("| {from} | {event} | {to} | {} |", effects.join(", "));
                    rows.push(row.replace("|  |", "| |"));
                }
            }
        }
        let written: Vec<_> = include_str!("lifecycle.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! |"))
            .map(|row| format!("|{row}"))
            .collect();
        assert_eq!(written, rows, "the table should be:\n//! {}", rows.join("\n//! "));
    }

    #[test]
    fn what_is_not_final_can_be_ended_and_survives_a_restart() {
        for state in JobState::ALL.into_iter().filter(|state| !state.is_final()) {
            let ending = matches!(state, JobState::Aborting | JobState::Undoing);
            assert_eq!(next(state, JobEvent::Abort).is_ok(), !ending, "{state:?}");
            let kept = state == JobState::Queued || next(state, JobEvent::Restarted).is_ok();
            assert!(kept, "{state:?} would be stuck after a restart");
        }
    }

    #[test]
    fn a_final_state_is_left_only_by_a_retry() {
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            for event in JobEvent::ALL {
                let leaves = (state, event) == (JobState::Failed, JobEvent::Retry);
                assert_eq!(next(state, event).is_ok(), leaves, "{state:?} {event}");
            }
        }
    }
}

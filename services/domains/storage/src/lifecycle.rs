//! The life cycle of a volume: which state follows which.
//!
//! [`next`] is the only place that says so. It looks at nothing: its caller has found out what happened.
//! An event that a state does not know is refused and changes nothing.
//!
//! | from | event | to |
//! |---|---|---|
//! | creating | made | available |
//! | creating | refused | error |
//! | creating | damaged | error |
//! | creating | delete | deleting |
//! | available | attached | in_use |
//! | available | damaged | error |
//! | available | vanished | lost |
//! | available | delete | deleting |
//! | in_use | detached | available |
//! | in_use | damaged | error |
//! | in_use | vanished | lost |
//! | in_use | delete | deleting |
//! | error | made | available |
//! | error | vanished | lost |
//! | error | delete | deleting |
//! | lost | made | available |
//! | lost | delete | deleting |

use std::fmt;

use skerry_model::VolumeState;

/// Something that happened to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its file is there and sound.
    Made,
    /// It cannot be made until something is changed.
    Refused,
    /// A virtual machine names it.
    Attached,
    /// No virtual machine names it any more.
    Detached,
    /// Its file is damaged.
    Damaged,
    /// Its file is gone.
    Vanished,
    /// It is to be removed.
    Delete,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 7] = [
        Self::Made,
        Self::Refused,
        Self::Attached,
        Self::Detached,
        Self::Damaged,
        Self::Vanished,
        Self::Delete,
    ];
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Made => "made",
            Self::Refused => "refused",
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Damaged => "damaged",
            Self::Vanished => "vanished",
            Self::Delete => "delete",
        })
    }
}

/// An event that means nothing in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a volume that is {state:?} knows no `{event}`")]
pub struct Unknown {
    /// The state, which stays.
    pub state: VolumeState,
    /// The event.
    pub event: Event,
}

/// The state after an event.
pub fn next(state: VolumeState, event: Event) -> Result<VolumeState, Unknown> {
    use Event as On;
    use VolumeState as S;
    Ok(match (state, event) {
        (S::Deleting, _) => return Err(Unknown { state, event }),
        (_, On::Delete) => S::Deleting,
        (S::Creating | S::Error | S::Lost, On::Made) => S::Available,
        (S::Creating, On::Refused) => S::Error,
        (S::Creating | S::Available | S::InUse, On::Damaged) => S::Error,
        (S::Available, On::Attached) => S::InUse,
        (S::InUse, On::Detached) => S::Available,
        (S::Available | S::InUse | S::Error, On::Vanished) => S::Lost,
        _ => return Err(Unknown { state, event }),
    })
}

/// Whether a virtual machine can use the volume.
pub const fn is_usable(state: VolumeState) -> bool {
    matches!(state, VolumeState::Available | VolumeState::InUse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const STATES: [VolumeState; 6] = [
        VolumeState::Creating,
        VolumeState::Available,
        VolumeState::InUse,
        VolumeState::Error,
        VolumeState::Lost,
        VolumeState::Deleting,
    ];

    fn word(state: VolumeState) -> String {
        serde_json::to_value(state).unwrap().as_str().unwrap().to_owned()
    }

    fn table() -> Vec<String> {
        let mut rows = vec!["| from | event | to |".to_owned(), "|---|---|---|".to_owned()];
        for state in STATES {
            for event in Event::ALL {
                if let Ok(to) = next(state, event) {
                    rows.push(format!("| {} | {event} | {} |", word(state), word(to)));
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
    fn every_state_can_be_reached_and_deleted() {
        let mut seen = BTreeSet::new();
        let mut todo = vec![VolumeState::Creating];
        while let Some(state) = todo.pop() {
            if seen.insert(word(state)) {
                todo.extend(Event::ALL.iter().filter_map(|e| next(state, *e).ok()));
            }
        }
        assert_eq!(seen.len(), STATES.len());
        for state in STATES.into_iter().filter(|state| *state != VolumeState::Deleting) {
            assert_eq!(next(state, Event::Delete), Ok(VolumeState::Deleting));
        }
    }
}

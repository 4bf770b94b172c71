//! The life of a pod as a table: what is, what happened, what it is then.
//!
//! Events say what one look at the pod came to, so almost every event can meet every state: after a power
//! cut, a restored store or a restart of noded the recorded state is only where things stood last. Only
//! removal has no way back. The table that [`transition_table`] gives is:
//!
//! ```text
//! event \ from    pending    starting   running    backoff    stopping   stopped    succeeded  failed     deleting
//! waits           pending    pending    pending    pending    pending    pending    pending    pending    -
//! begin           starting   starting   starting   starting   starting   starting   starting   starting   -
//! up              running    running    running    running    running    running    running    running    -
//! ended           backoff    backoff    backoff    backoff    backoff    backoff    backoff    backoff    -
//! ended_well      succeeded  succeeded  succeeded  succeeded  succeeded  succeeded  succeeded  succeeded  -
//! ended_badly     failed     failed     failed     failed     failed     failed     failed     failed     -
//! broken          failed     failed     failed     failed     failed     failed     failed     failed     -
//! stop            stopping   stopping   stopping   stopping   stopping   stopping   stopping   stopping   -
//! down            stopped    stopped    stopped    stopped    stopped    stopped    stopped    stopped    -
//! remove          deleting   deleting   deleting   deleting   deleting   deleting   deleting   deleting   deleting
//! ```
//!
//! Effects hang on the way taken: entering `stopping` or `deleting` arms the stop deadline, leaving
//! `stopping` drops it, and going from rest (`stopped`, `succeeded`, `failed`) to `starting` forgets earlier
//! failures.

use skerry_model::PodState;

/// What one look at a pod came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodEvent {
    /// Something that it needs is not there yet.
    Waits,
    /// Everything is there and at least one container is to be started now.
    Begin,
    /// Every container that is not finished runs.
    Up,
    /// At least one container ended and waits for its next start.
    Ended,
    /// All containers ended, all well, and none is to be started again.
    EndedWell,
    /// All containers ended, some badly, and none is to be started again.
    EndedBadly,
    /// It cannot work as it is.
    Broken,
    /// It is to be down and something still runs.
    Stop,
    /// It is to be down and is.
    Down,
    /// Its record is to go.
    Remove,
}

/// What has to happen on the way from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// From now on the containers have their stop time, then they are killed.
    ArmStopDeadline,
    /// The stop deadline means nothing any more.
    DropStopDeadline,
    /// Waits between starts begin at zero again.
    ForgetFailures,
}

/// An event that cannot happen in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pod that is {state:?} cannot meet {event:?}")]
pub struct Refused {
    /// The state.
    pub state: PodState,
    /// The event.
    pub event: PodEvent,
}

/// The state after an event, and what has to happen on the way.
pub fn next(state: PodState, event: PodEvent) -> Result<(PodState, Vec<Effect>), Refused> {
    if state == PodState::Deleting && event != PodEvent::Remove {
        return Err(Refused { state, event });
    }
    let to = match event {
        PodEvent::Waits => PodState::Pending,
        PodEvent::Begin => PodState::Starting,
        PodEvent::Up => PodState::Running,
        PodEvent::Ended => PodState::Backoff,
        PodEvent::EndedWell => PodState::Succeeded,
        PodEvent::EndedBadly | PodEvent::Broken => PodState::Failed,
        PodEvent::Stop => PodState::Stopping,
        PodEvent::Down => PodState::Stopped,
        PodEvent::Remove => PodState::Deleting,
    };
    Ok((to, effects(state, to)))
}

fn effects(from: PodState, to: PodState) -> Vec<Effect> {
    let mut effects = Vec::new();
    let stops = |state| matches!(state, PodState::Stopping | PodState::Deleting);
    if stops(to) && !stops(from) {
        effects.push(Effect::ArmStopDeadline);
    }
    if stops(from) && !stops(to) {
        effects.push(Effect::DropStopDeadline);
    }
    let rests = matches!(from, PodState::Stopped | PodState::Succeeded | PodState::Failed);
    if rests && to == PodState::Starting {
        effects.push(Effect::ForgetFailures);
    }
    effects
}

const STATES: [(PodState, &str); 9] = [
    (PodState::Pending, "pending"),
    (PodState::Starting, "starting"),
    (PodState::Running, "running"),
    (PodState::Backoff, "backoff"),
    (PodState::Stopping, "stopping"),
    (PodState::Stopped, "stopped"),
    (PodState::Succeeded, "succeeded"),
    (PodState::Failed, "failed"),
    (PodState::Deleting, "deleting"),
];

const EVENTS: [(PodEvent, &str); 10] = [
    (PodEvent::Waits, "waits"),
    (PodEvent::Begin, "begin"),
    (PodEvent::Up, "up"),
    (PodEvent::Ended, "ended"),
    (PodEvent::EndedWell, "ended_well"),
    (PodEvent::EndedBadly, "ended_badly"),
    (PodEvent::Broken, "broken"),
    (PodEvent::Stop, "stop"),
    (PodEvent::Down, "down"),
    (PodEvent::Remove, "remove"),
];

/// The table above, made from [`next`].
pub fn transition_table() -> String {
    let word = |state| STATES.iter().find(|(other, _)| *other == state).map_or("?", |row| row.1);
    let line = |first: &str, cells: Vec<&str>| {
        let mut line = format!("{first:<16}");
        for cell in cells {
            line.push_str(&format!("{cell:<11}"));
        }
        line.trim_end().to_owned()
    };
    let mut table = vec![line("event \\ from", STATES.iter().map(|row| row.1).collect())];
    for (event, text) in EVENTS {
        let cells =
            STATES.iter().map(|(state, _)| next(*state, event).map_or("-", |to| word(to.0)));
        table.push(line(text, cells.collect()));
    }
    table.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_the_real_one() {
        let source = include_str!("lifecycle.rs");
        let documented: Vec<&str> = source
            .lines()
            .skip_while(|line| !line.contains("```text"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//! ").trim_end())
            .collect();
        assert_eq!(documented.join("\n"), transition_table());
    }

    #[test]
    fn stopping_arms_the_deadline_once() {
        let (state, effects) = next(PodState::Running, PodEvent::Stop).unwrap();
        assert_eq!(effects, [Effect::ArmStopDeadline]);
        assert_eq!(next(state, PodEvent::Stop).unwrap().1, []);
        assert_eq!(next(state, PodEvent::Remove).unwrap(), (PodState::Deleting, vec![]));
        assert_eq!(next(state, PodEvent::Begin).unwrap().1, [Effect::DropStopDeadline]);
    }

    #[test]
    fn a_start_from_rest_forgets_failures_and_a_restart_does_not() {
        for rest in [PodState::Stopped, PodState::Failed, PodState::Succeeded] {
            assert_eq!(next(rest, PodEvent::Begin).unwrap().1, [Effect::ForgetFailures]);
        }
        assert_eq!(next(PodState::Backoff, PodEvent::Begin).unwrap().1, []);
    }

    #[test]
    fn removal_is_always_possible_and_final() {
        for (state, _) in STATES {
            assert_eq!(next(state, PodEvent::Remove).unwrap().0, PodState::Deleting);
        }
        for (event, _) in EVENTS.into_iter().filter(|(event, _)| *event != PodEvent::Remove) {
            assert!(next(PodState::Deleting, event).is_err());
        }
    }
}

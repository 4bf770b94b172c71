//! What has happened to a virtual machine, or has to happen next, judged from what can be seen.
//!
//! [`decide`] turns one look at the machine into at most one [`Event`] of its life cycle. It is pure:
//! whether a time has come is told to it. Called again after each event until it has nothing to say, it
//! leads from any state and any observation to where the machine should be.

use skerry_model::{Power, VmState};

use crate::{DomainPower, Event, OffReason};

/// Something that a person asks of a machine beyond a change of the wanted power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VmRequest {
    /// Try to start now, without waiting for the next try to be due.
    StartNow,
    /// Off at once. Goes with a wanted power of `stopped`.
    ForceStop,
    /// Off, by the guest's own shutdown, and on again. Goes with a wanted power of `running`.
    Restart,
}

/// All that counts for the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// The state as written down.
    pub state: VmState,
    /// What the record wants.
    pub wanted: Power,
    /// Whether the domain is defined.
    pub defined: bool,
    /// Whether the domain runs; [`OffReason::Unknown`] if there is none.
    pub power: DomainPower,
    /// What somebody asks.
    pub request: Option<VmRequest>,
    /// Whether it has run, or was started, since this service began to look at it. If not, and it is
    /// off, then the host was off.
    pub seen_up: bool,
    /// Whether the wait before the next start is over.
    pub due: bool,
    /// Whether the guest's time for its own shutdown is over.
    pub stop_expired: bool,
    /// Whether it has been off for long enough to believe that the guest wanted it, rather than the
    /// host being on its way down.
    pub settled: bool,
}

/// The next event, if there is any.
pub fn decide(now: &Situation) -> Option<Event> {
    match now.state {
        VmState::Deleting => None,
        VmState::Creating => when_up(now.power).or(now.defined.then_some(Event::Made)),
        VmState::Stopped | VmState::Crashed | VmState::Backoff | VmState::Failed => {
            when_up(now.power).or_else(|| while_off(now))
        }
        VmState::Starting => {
            if now.request == Some(VmRequest::ForceStop) {
                return Some(Event::ForceOff);
            }
            when_up(now.power).or_else(|| start_without_process(now))
        }
        VmState::Running | VmState::Paused => match now.power {
            DomainPower::Off(reason) => ended(now, reason),
            up => while_up(now, up),
        },
        VmState::Stopping => match now.power {
            DomainPower::Off(_) => Some(Event::GuestOff),
            _ if now.request == Some(VmRequest::ForceStop) => Some(Event::ForceOff),
            _ => now.stop_expired.then_some(Event::StopTimeout),
        },
    }
}

/// A machine that runs, whatever was thought of it, is taken as it is.
fn when_up(power: DomainPower) -> Option<Event> {
    match power {
        DomainPower::Running => Some(Event::Up),
        DomainPower::Paused => Some(Event::Held),
        DomainPower::Off(_) => None,
    }
}

fn while_off(now: &Situation) -> Option<Event> {
    match (now.wanted, now.state) {
        (Power::Stopped, VmState::Stopped) => None,
        (Power::Stopped, _) => Some(Event::Withdrawn),
        (Power::Running, VmState::Stopped) => Some(Event::Start),
        (Power::Running, _) => {
            (now.due || now.request == Some(VmRequest::StartNow)).then_some(Event::Start)
        }
    }
}

fn while_up(now: &Situation, power: DomainPower) -> Option<Event> {
    if now.request == Some(VmRequest::ForceStop) {
        return Some(Event::ForceOff);
    }
    if now.wanted == Power::Stopped || now.request == Some(VmRequest::Restart) {
        return Some(Event::Shutdown);
    }
    match (now.state, power) {
        (VmState::Running, DomainPower::Paused) => Some(Event::Held),
        (VmState::Paused, DomainPower::Running) => Some(Event::Up),
        _ => None,
    }
}

/// On its way up, but no process: not yet started, or already ended.
fn start_without_process(now: &Situation) -> Option<Event> {
    let DomainPower::Off(reason) = now.power else { return None };
    if now.seen_up {
        return Some(match reason {
            // It was up for less time than one look takes; the next event is its end.
            OffReason::Shutdown => Event::Up,
            OffReason::Failed => Event::StartFailed,
            OffReason::Unknown | OffReason::Destroyed | OffReason::Crashed => Event::Crash,
        });
    }
    (now.wanted == Power::Stopped).then_some(Event::Withdrawn)
}

/// It ran when it was last looked at, and is off now.
fn ended(now: &Situation, reason: OffReason) -> Option<Event> {
    if now.wanted == Power::Stopped || now.request == Some(VmRequest::ForceStop) {
        return Some(Event::GuestOff);
    }
    match reason {
        OffReason::Shutdown => now.settled.then_some(Event::GuestOff),
        OffReason::Unknown if !now.seen_up => Some(Event::HostBooted),
        _ => Some(Event::Crash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::next;
    use proptest::prelude::*;

    fn situation() -> Situation {
        Situation {
            state: VmState::Running,
            wanted: Power::Running,
            defined: true,
            power: DomainPower::Running,
            request: None,
            seen_up: true,
            due: false,
            stop_expired: false,
            settled: false,
        }
    }

    fn off(reason: OffReason) -> Situation {
        Situation { power: DomainPower::Off(reason), ..situation() }
    }

    #[test]
    fn a_running_machine_that_should_run_is_left_alone() {
        assert_eq!(decide(&situation()), None);
        assert_eq!(decide(&Situation { seen_up: false, ..situation() }), None, "adopted");
    }

    #[test]
    fn an_end_is_judged_by_its_reason() {
        assert_eq!(decide(&off(OffReason::Crashed)), Some(Event::Crash));
        assert_eq!(decide(&off(OffReason::Destroyed)), Some(Event::Crash));
        assert_eq!(decide(&off(OffReason::Shutdown)), None, "first seen: wait");
        let settled = Situation { settled: true, ..off(OffReason::Shutdown) };
        assert_eq!(decide(&settled), Some(Event::GuestOff));
        let booted = Situation { seen_up: false, ..off(OffReason::Unknown) };
        assert_eq!(decide(&booted), Some(Event::HostBooted));
        assert_eq!(decide(&off(OffReason::Unknown)), Some(Event::Crash), "it was seen running");
        let unwanted = Situation { wanted: Power::Stopped, ..off(OffReason::Crashed) };
        assert_eq!(decide(&unwanted), Some(Event::GuestOff));
    }

    #[test]
    fn a_restart_is_a_shutdown_that_leaves_the_wish_to_run() {
        let restart = Situation { request: Some(VmRequest::Restart), ..situation() };
        assert_eq!(decide(&restart), Some(Event::Shutdown));
        let off = Situation { state: VmState::Stopping, ..off(OffReason::Shutdown) };
        assert_eq!(decide(&off), Some(Event::GuestOff));
        let stopped = Situation { state: VmState::Stopped, ..off };
        assert_eq!(decide(&stopped), Some(Event::Start));
    }

    #[test]
    fn a_crashed_machine_waits_until_due_or_asked() {
        let waiting = Situation { state: VmState::Backoff, ..off(OffReason::Crashed) };
        assert_eq!(decide(&waiting), None);
        assert_eq!(decide(&Situation { due: true, ..waiting }), Some(Event::Start));
        let asked = Situation { request: Some(VmRequest::StartNow), ..waiting };
        assert_eq!(decide(&asked), Some(Event::Start));
        let withdrawn = Situation { wanted: Power::Stopped, ..waiting };
        assert_eq!(decide(&withdrawn), Some(Event::Withdrawn));
    }

    #[test]
    fn what_ended_before_it_was_seen_running_still_counts() {
        let starting = |reason| Situation { state: VmState::Starting, ..off(reason) };
        assert_eq!(decide(&starting(OffReason::Shutdown)), Some(Event::Up));
        assert_eq!(decide(&starting(OffReason::Crashed)), Some(Event::Crash));
        let not_started = Situation { seen_up: false, ..starting(OffReason::Crashed) };
        assert_eq!(decide(&not_started), None, "an old end; the start is still to come");
    }

    prop_compose! {
        fn any_situation()(
            state in prop::sample::select(vec![
                VmState::Creating, VmState::Stopped, VmState::Starting, VmState::Running,
                VmState::Paused, VmState::Stopping, VmState::Crashed, VmState::Backoff,
                VmState::Failed, VmState::Deleting,
            ]),
            power in prop::sample::select(vec![
                DomainPower::Running, DomainPower::Paused,
                DomainPower::Off(OffReason::Unknown), DomainPower::Off(OffReason::Shutdown),
                DomainPower::Off(OffReason::Destroyed), DomainPower::Off(OffReason::Crashed),
                DomainPower::Off(OffReason::Failed),
            ]),
            request in prop::sample::select(vec![
                None, Some(VmRequest::StartNow), Some(VmRequest::ForceStop),
                Some(VmRequest::Restart),
            ]),
            stopped in any::<bool>(), defined in any::<bool>(), seen_up in any::<bool>(),
            due in any::<bool>(), stop_expired in any::<bool>(), settled in any::<bool>(),
        ) -> Situation {
            let wanted = if stopped { Power::Stopped } else { Power::Running };
            Situation { state, wanted, defined, power, request, seen_up, due, stop_expired, settled }
        }
    }

    proptest! {
        #[test]
        fn the_life_cycle_knows_every_event_that_is_decided(now in any_situation()) {
            if let Some(event) = decide(&now) {
                prop_assert!(next(now.state, event).is_ok(), "{:?} in {:?}", event, now);
            }
        }

        #[test]
        fn a_process_is_never_the_reason_for_a_start(now in any_situation()) {
            prop_assume!(now.power.is_up());
            prop_assert_ne!(decide(&now), Some(Event::Start));
        }

        #[test]
        fn force_stop_ends_what_runs(now in any_situation()) {
            prop_assume!(now.power.is_up() && now.state != VmState::Deleting);
            let mut now = Situation { request: Some(VmRequest::ForceStop), ..now };
            // At most: taken as running, then forced off.
            for _ in 0..2 {
                let (state, effects) = next(now.state, decide(&now).unwrap()).unwrap();
                if effects.contains(&crate::Effect::ForceOff) {
                    return Ok(());
                }
                now.state = state;
            }
            prop_assert!(false, "never forced off");
        }
    }
}

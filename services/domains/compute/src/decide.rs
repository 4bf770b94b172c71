//! What has happened to a virtual machine, or has to happen next, judged from what can be seen.
//!
//! [`decide`] turns one look at the machine into at most one [`Event`] of its life cycle. It is pure:
//! whether a time has come is told to it. Called again after each event until it has nothing to say, it
//! leads from any state and any observation to where the machine should be.

use skerry_model::{Autostart, CrashAction, GuestOff, VmPower, VmRequestKind, VmState};

use crate::{DomainPower, Event, Hold, OffReason};

/// All that counts for the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// The state as written down.
    pub state: VmState,
    /// What the record wants.
    pub wanted: VmPower,
    /// Whether the domain is defined.
    pub defined: bool,
    /// Whether the domain runs; [`OffReason::Unknown`] if there is none.
    pub power: DomainPower,
    /// Whether its memory is on disk.
    pub saved: bool,
    /// What somebody asks.
    pub request: Option<VmRequestKind>,
    /// Whether it has run, or was started, since this service began to look at it. If not, and it is
    /// off, then the host was off.
    pub seen_up: bool,
    /// What is done about a crash that comes now: [`CrashAction::Alarm`] also if it would be one too many.
    pub on_crash: CrashAction,
    /// What it means when the guest turns itself off.
    pub on_off: GuestOff,
    /// What becomes of it after a boot of the node, if this is the first look since then.
    pub boot: Option<Autostart>,
    /// Whether the wait before the next start is over.
    pub due: bool,
    /// Whether the guest's time for its own shutdown is over.
    pub stop_expired: bool,
    /// Whether it has been held for a full pool for a while, and the pool has room again.
    pub room: bool,
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
        VmState::Suspended => when_up(now.power).or_else(|| while_suspended(now)),
        VmState::Starting => {
            if now.request == Some(VmRequestKind::ForceStop) {
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
            _ if now.request == Some(VmRequestKind::ForceStop) => Some(Event::ForceOff),
            _ => now.stop_expired.then_some(Event::StopTimeout),
        },
    }
}

/// A machine that runs, whatever was thought of it, is taken as it is.
fn when_up(power: DomainPower) -> Option<Event> {
    match power {
        DomainPower::Running => Some(Event::Up),
        DomainPower::Paused(_) => Some(Event::Held),
        DomainPower::Off(_) => None,
    }
}

fn while_off(now: &Situation) -> Option<Event> {
    if let Some(event) = after_boot(now) {
        return Some(event);
    }
    match (now.wanted, now.state) {
        (VmPower::Suspended, _) if now.saved => Some(Event::MemoryKept),
        (VmPower::Stopped, VmState::Stopped) => now.saved.then_some(Event::Withdrawn),
        (VmPower::Suspended, VmState::Stopped) => None,
        (VmPower::Stopped | VmPower::Suspended, _) => Some(Event::Withdrawn),
        (VmPower::Paused, _) => Some(Event::HoldLost),
        (VmPower::Running, VmState::Stopped) => Some(Event::Start),
        (VmPower::Running, _) => {
            let told = now.request == Some(VmRequestKind::Start) || now.boot.is_some();
            let due = match now.state {
                VmState::Crashed => now.on_crash == CrashAction::Restart,
                _ => now.due,
            };
            (due || told).then_some(Event::Start)
        }
    }
}

/// What was set for the time after a boot, if it is not what is wanted already.
fn after_boot(now: &Situation) -> Option<Event> {
    match (now.boot?, now.wanted) {
        (Autostart::Always, VmPower::Stopped | VmPower::Suspended) => Some(Event::BootOn),
        (Autostart::Never, VmPower::Running | VmPower::Paused) => Some(Event::BootOff),
        _ => None,
    }
}

fn while_suspended(now: &Situation) -> Option<Event> {
    if !now.saved {
        return Some(Event::MemoryGone);
    }
    if let Some(event) = after_boot(now) {
        return Some(event);
    }
    match now.wanted {
        _ if now.request == Some(VmRequestKind::ForceStop) => Some(Event::ForceOff),
        VmPower::Suspended => None,
        VmPower::Stopped => Some(Event::Withdrawn),
        VmPower::Paused => Some(Event::HoldLost),
        VmPower::Running => Some(Event::Start),
    }
}

fn while_up(now: &Situation, power: DomainPower) -> Option<Event> {
    match (now.wanted, now.request) {
        (_, Some(VmRequestKind::ForceStop)) => return Some(Event::ForceOff),
        (VmPower::Stopped, _) | (_, Some(VmRequestKind::Restart)) => return Some(Event::Shutdown),
        (VmPower::Suspended, _) => return Some(Event::Suspend),
        (VmPower::Running | VmPower::Paused, _) => {}
    }
    match (now.state, power) {
        (VmState::Running, DomainPower::Paused(_)) => Some(Event::Held),
        (VmState::Paused, DomainPower::Running) => Some(Event::Up),
        (VmState::Paused, DomainPower::Paused(hold)) => while_held(now, hold),
        _ => match (now.wanted, now.request) {
            (VmPower::Paused, _) => Some(Event::Pause),
            (_, Some(VmRequestKind::Reset)) => Some(Event::Reset),
            (_, Some(VmRequestKind::Reboot)) => Some(Event::Reboot),
            _ => None,
        },
    }
}

/// What the hypervisor holds for a reason of its own goes on only when somebody says so, or when the reason was a
/// full pool that is not full any more.
fn while_held(now: &Situation, hold: Hold) -> Option<Event> {
    let told = matches!(now.request, Some(VmRequestKind::Resume | VmRequestKind::Start));
    let over = match hold {
        Hold::Asked => true,
        Hold::DiskFault => now.room,
        Hold::Other => false,
    };
    (now.wanted == VmPower::Running && (over || told)).then_some(Event::Resume)
}

/// On its way up, but no process: not yet started, or already ended.
fn start_without_process(now: &Situation) -> Option<Event> {
    let DomainPower::Off(reason) = now.power else { return None };
    if now.seen_up {
        return Some(match reason {
            // It was up for less time than one look takes; the next event is its end.
            OffReason::Shutdown => Event::Up,
            OffReason::Failed if now.on_crash == CrashAction::Restart => Event::StartFailed,
            OffReason::Failed | OffReason::Unknown | OffReason::Destroyed | OffReason::Crashed => {
                crash(now)
            }
        });
    }
    match now.wanted {
        VmPower::Running | VmPower::Paused => None,
        VmPower::Suspended if now.saved => Some(Event::MemoryKept),
        VmPower::Suspended | VmPower::Stopped => Some(Event::Withdrawn),
    }
}

/// It ran when it was last looked at, and is off now.
fn ended(now: &Situation, reason: OffReason) -> Option<Event> {
    if now.saved && now.wanted != VmPower::Stopped {
        return Some(Event::MemoryKept);
    }
    if now.request == Some(VmRequestKind::ForceStop) {
        return Some(Event::GuestOff);
    }
    match (reason, now.wanted) {
        (OffReason::Unknown, VmPower::Suspended) if !now.seen_up => Some(Event::HostBooted),
        (_, VmPower::Stopped | VmPower::Suspended) => Some(Event::GuestOff),
        (OffReason::Shutdown, _) => now.settled.then_some(match now.on_off {
            GuestOff::StayOff => Event::GuestOff,
            GuestOff::Restart => Event::GuestOffAgain,
        }),
        (OffReason::Unknown, _) if !now.seen_up => Some(Event::HostBooted),
        _ => Some(crash(now)),
    }
}

fn crash(now: &Situation) -> Event {
    match now.on_crash {
        CrashAction::Restart => Event::Crash,
        CrashAction::Alarm => Event::CrashForGood,
        CrashAction::Stop => Event::CrashOff,
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
            wanted: VmPower::Running,
            defined: true,
            power: DomainPower::Running,
            saved: false,
            request: None,
            seen_up: true,
            on_crash: CrashAction::Restart,
            on_off: GuestOff::StayOff,
            boot: None,
            due: false,
            room: false,
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
        let unwanted = Situation { wanted: VmPower::Stopped, ..off(OffReason::Crashed) };
        assert_eq!(decide(&unwanted), Some(Event::GuestOff));
    }

    #[test]
    fn a_crash_and_a_power_off_lead_to_what_was_set() {
        let crashed = off(OffReason::Crashed);
        let alarm = Situation { on_crash: CrashAction::Alarm, ..crashed };
        assert_eq!(decide(&alarm), Some(Event::CrashForGood));
        let stop = Situation { on_crash: CrashAction::Stop, ..crashed };
        assert_eq!(decide(&stop), Some(Event::CrashOff));
        let waiting = Situation { state: VmState::Crashed, ..alarm };
        assert_eq!(decide(&waiting), None, "until somebody starts it");
        assert_eq!(
            decide(&Situation { boot: Some(Autostart::LastState), ..waiting }),
            Some(Event::Start),
            "or the node is booted"
        );
        let again =
            Situation { on_off: GuestOff::Restart, settled: true, ..off(OffReason::Shutdown) };
        assert_eq!(decide(&again), Some(Event::GuestOffAgain));
    }

    #[test]
    fn a_boot_changes_what_is_wanted_only_if_that_was_set() {
        let stopped = Situation {
            state: VmState::Stopped,
            wanted: VmPower::Stopped,
            boot: Some(Autostart::LastState),
            ..off(OffReason::Unknown)
        };
        assert_eq!(decide(&stopped), None, "what its user stopped stays stopped");
        let always = Situation { boot: Some(Autostart::Always), ..stopped };
        assert_eq!(decide(&always), Some(Event::BootOn));
        let never = Situation { wanted: VmPower::Running, boot: Some(Autostart::Never), ..stopped };
        assert_eq!(decide(&never), Some(Event::BootOff));
    }

    #[test]
    fn a_restart_is_a_shutdown_that_leaves_the_wish_to_run() {
        let restart = Situation { request: Some(VmRequestKind::Restart), ..situation() };
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
        let asked = Situation { request: Some(VmRequestKind::Start), ..waiting };
        assert_eq!(decide(&asked), Some(Event::Start));
        let withdrawn = Situation { wanted: VmPower::Stopped, ..waiting };
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

    #[test]
    fn what_is_wanted_held_is_held_and_let_go_again() {
        let paused = Situation { wanted: VmPower::Paused, ..situation() };
        assert_eq!(decide(&paused), Some(Event::Pause));
        let held = |hold| Situation {
            state: VmState::Paused,
            power: DomainPower::Paused(hold),
            ..situation()
        };
        assert_eq!(decide(&Situation { wanted: VmPower::Paused, ..held(Hold::Asked) }), None);
        assert_eq!(decide(&held(Hold::Asked)), Some(Event::Resume));
        assert_eq!(decide(&held(Hold::DiskFault)), None, "its disk still fails");
        let room = |hold| decide(&Situation { room: true, ..held(hold) });
        assert_eq!((room(Hold::DiskFault), room(Hold::Other)), (Some(Event::Resume), None));
        let told = Situation { request: Some(VmRequestKind::Resume), ..held(Hold::DiskFault) };
        assert_eq!(decide(&told), Some(Event::Resume));
        let booted = Situation { state: VmState::Stopped, ..off(OffReason::Unknown) };
        let booted = Situation { wanted: VmPower::Paused, seen_up: false, ..booted };
        assert_eq!(decide(&booted), Some(Event::HoldLost), "its memory went with the power");
    }

    #[test]
    fn memory_on_disk_is_kept_for_the_next_start_and_dropped_by_a_stop() {
        let suspend = Situation { wanted: VmPower::Suspended, ..situation() };
        assert_eq!(decide(&suspend), Some(Event::Suspend));
        let cut = Situation { wanted: VmPower::Suspended, saved: true, ..off(OffReason::Unknown) };
        assert_eq!(decide(&cut), Some(Event::MemoryKept), "power went before it was noted");
        let kept = Situation { state: VmState::Suspended, ..cut };
        assert_eq!(decide(&kept), None);
        assert_eq!(decide(&Situation { wanted: VmPower::Running, ..kept }), Some(Event::Start));
        assert_eq!(decide(&Situation { wanted: VmPower::Stopped, ..kept }), Some(Event::Withdrawn));
        assert_eq!(decide(&Situation { saved: false, ..kept }), Some(Event::MemoryGone));
    }

    prop_compose! {
        fn any_situation()(
            state in prop::sample::select(vec![
                VmState::Creating, VmState::Stopped, VmState::Starting, VmState::Running,
                VmState::Paused, VmState::Suspended, VmState::Stopping, VmState::Crashed, VmState::Backoff,
                VmState::Failed, VmState::Deleting,
            ]),
            power in prop::sample::select(vec![
                DomainPower::Running, DomainPower::Paused(Hold::Asked),
                DomainPower::Paused(Hold::DiskFault),
                DomainPower::Off(OffReason::Unknown), DomainPower::Off(OffReason::Shutdown),
                DomainPower::Off(OffReason::Destroyed), DomainPower::Off(OffReason::Crashed),
                DomainPower::Off(OffReason::Failed),
            ]),
            request in prop::sample::select(vec![
                None, Some(VmRequestKind::Start), Some(VmRequestKind::ForceStop),
                Some(VmRequestKind::Restart), Some(VmRequestKind::Reset),
                Some(VmRequestKind::Reboot), Some(VmRequestKind::Resume),
            ]),
            wanted in prop::sample::select(vec![
                VmPower::Running, VmPower::Paused, VmPower::Suspended, VmPower::Stopped,
            ]),
            on_crash in prop::sample::select(vec![
                CrashAction::Restart, CrashAction::Alarm, CrashAction::Stop,
            ]),
            again in any::<bool>(),
            boot in prop::sample::select(vec![
                None, Some(Autostart::LastState), Some(Autostart::Always), Some(Autostart::Never),
            ]),
            (saved, settled, room) in any::<(bool, bool, bool)>(), defined in any::<bool>(), seen_up in any::<bool>(),
            due in any::<bool>(), stop_expired in any::<bool>(),
        ) -> Situation {
            Situation {
                state, wanted, defined, power, saved: saved && !power.is_up(), request, seen_up,
                on_crash, boot, due, stop_expired, settled, room,
                on_off: if again { GuestOff::Restart } else { GuestOff::StayOff },
            }
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
            let mut now = Situation { request: Some(VmRequestKind::ForceStop), ..now };
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

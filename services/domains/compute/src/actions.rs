//! What can be done with a virtual machine now, and why the rest cannot.
//!
//! Pure. Every face draws its buttons from it, and the API refuses by it.

use skerry_model::{
    Phase, VmAction, VmActionState, VmPower, VmRequest, VmRequestKind, VmSpec, VmState, VmStatus,
};

/// Whether an action is possible, or a sentence on why it is not.
pub fn possible(
    action: VmAction,
    phase: Phase,
    wanted: VmPower,
    state: VmState,
) -> Result<(), &'static str> {
    use VmAction as A;
    use VmState as S;
    if phase == Phase::Removing || state == S::Deleting {
        return Err("it is being deleted");
    }
    let up = matches!(state, S::Starting | S::Running | S::Paused | S::Stopping);
    match action {
        A::Start => match (state, wanted.is_on()) {
            (S::Running, true) => Err("it runs already"),
            (S::Paused, true) => Err("it is paused: resume it"),
            (S::Creating | S::Starting, true) => Err("it is on its way up already"),
            _ => Ok(()),
        },
        A::Stop => match (state, wanted) {
            (S::Stopped, VmPower::Stopped | VmPower::Suspended) => Err("it is off"),
            (_, VmPower::Stopped) => Err("it is on its way down already: force it off if need be"),
            _ => Ok(()),
        },
        A::ForceStop if up || state == S::Suspended => Ok(()),
        A::ForceStop => Err("it has no process"),
        A::Restart => match (state, wanted.is_on()) {
            (S::Running | S::Paused | S::Backoff | S::Failed | S::Crashed, true) => Ok(()),
            (S::Creating | S::Starting, true) => Err("it is on its way up already"),
            _ => Err("it does not run: start it"),
        },
        A::Resume => match state {
            S::Paused => Ok(()),
            S::Suspended => Err("its memory is on disk: start it"),
            _ => Err("it is not paused"),
        },
        A::Suspend if state == S::Paused && wanted.is_on() => Ok(()),
        A::Pause | A::Reset | A::Reboot | A::Suspend => running(state, wanted),
    }
}

fn running(state: VmState, wanted: VmPower) -> Result<(), &'static str> {
    match (state, wanted) {
        (VmState::Running, VmPower::Running) => Ok(()),
        (VmState::Running, VmPower::Stopped) => Err("it is to stop"),
        (VmState::Running, VmPower::Suspended) => Err("it is to be suspended"),
        (VmState::Paused, _) | (VmState::Running, VmPower::Paused) => {
            Err("it is paused: resume it first")
        }
        (VmState::Starting | VmState::Creating, _) => Err("it does not run yet"),
        _ => Err("it does not run"),
    }
}

/// The whole list, for the status.
pub fn actions(phase: Phase, wanted: VmPower, state: VmState) -> Vec<VmActionState> {
    let verdict = |action| {
        let why = possible(action, phase, wanted, state).err();
        VmActionState { action, possible: why.is_none(), why: why.unwrap_or_default().to_owned() }
    };
    VmAction::ALL.into_iter().map(verdict).collect()
}

/// The spec that stands for an action: its wanted power, and its request if it needs one. A forced stop
/// that has not been done yet is not weakened by what is asked after it.
pub fn spec_after(spec: &VmSpec, status: &VmStatus, action: VmAction) -> VmSpec {
    use VmAction as A;
    use VmRequestKind as R;
    let (power, what) = match action {
        A::Start => (VmPower::Running, Some(R::Start)),
        A::Stop => (VmPower::Stopped, None),
        A::ForceStop => (VmPower::Stopped, Some(R::ForceStop)),
        A::Restart => (VmPower::Running, Some(R::Restart)),
        A::Pause => (VmPower::Paused, None),
        A::Resume => (VmPower::Running, Some(R::Resume)),
        A::Reset => (spec.power, Some(R::Reset)),
        A::Reboot => (spec.power, Some(R::Reboot)),
        A::Suspend => (VmPower::Suspended, None),
    };
    let open = pending(spec, status);
    let request = match (what, open) {
        (Some(_), Some(R::ForceStop)) | (None, _) => spec.request,
        (Some(what), _) => {
            let last = spec.request.map_or(0, |request| request.number).max(status.request_done);
            Some(VmRequest { number: last.saturating_add(1), what })
        }
    };
    VmSpec { power, request, ..spec.clone() }
}

/// The request that has not been dealt with yet.
pub fn pending(spec: &VmSpec, status: &VmStatus) -> Option<VmRequestKind> {
    spec.request.filter(|request| request.number > status.request_done).map(|request| request.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(state: VmState, wanted: VmPower) -> Vec<VmAction> {
        let all = actions(Phase::Present, wanted, state);
        assert!(all.iter().all(|one| one.possible == one.why.is_empty()));
        all.into_iter().filter(|one| one.possible).map(|one| one.action).collect()
    }

    #[test]
    fn each_state_offers_what_makes_sense_in_it() {
        use VmAction::{ForceStop, Pause, Reboot, Reset, Restart, Resume, Start, Stop, Suspend};
        let on = VmPower::Running;
        let running = [Stop, ForceStop, Restart, Pause, Reset, Reboot, Suspend];
        assert_eq!(list(VmState::Running, on), running);
        let paused = [Stop, ForceStop, Restart, Resume, Suspend];
        assert_eq!(list(VmState::Paused, VmPower::Paused), paused);
        assert_eq!(list(VmState::Paused, on), paused, "held by the hypervisor");
        assert_eq!(list(VmState::Suspended, VmPower::Suspended), [Start, Stop, ForceStop]);
        assert_eq!(list(VmState::Stopped, VmPower::Stopped), [Start]);
        assert_eq!(list(VmState::Stopping, VmPower::Stopped), [Start, ForceStop]);
        assert_eq!(list(VmState::Backoff, on), [Start, Stop, Restart]);
        assert_eq!(list(VmState::Creating, on), [Stop]);
        let going = actions(Phase::Removing, on, VmState::Running);
        assert!(going.iter().all(|one| !one.possible));
    }

    #[test]
    fn requests_are_counted_and_a_forced_stop_stays() {
        let spec: VmSpec = serde_json::from_str(r#"{"image":"tiny"}"#).unwrap();
        let mut status = VmStatus { request_done: 4, ..VmStatus::default() };
        let forced = spec_after(&spec, &status, VmAction::ForceStop);
        assert_eq!(forced.request, Some(VmRequest { number: 5, what: VmRequestKind::ForceStop }));
        let again = spec_after(&forced, &status, VmAction::Restart);
        assert_eq!((again.power, again.request), (VmPower::Running, forced.request));
        status.request_done = 5;
        let again = spec_after(&forced, &status, VmAction::Restart);
        assert_eq!(again.request, Some(VmRequest { number: 6, what: VmRequestKind::Restart }));
        let paused = spec_after(&again, &status, VmAction::Pause);
        assert_eq!((paused.power, paused.request), (VmPower::Paused, again.request));
    }
}

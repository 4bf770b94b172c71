//! The alarms that follow from the status of virtual machines.

use skerry_model::{ConditionState, Resource, Vm, VmState, VmStatus};

use crate::alarm_watch::Verdict;

/// What stands for a machine; nothing does for one that is gone.
pub fn of_vm(vm: Option<Resource<Vm>>) -> Vec<Verdict> {
    let Some(vm) = vm else {
        let keys = ["VM_CRASHED", "VM_CRASH_LOOP", "VM_IO_PAUSED", "WORKLOAD_REFUSED"];
        return keys.map(|key| (key, None)).into();
    };
    let name = &vm.meta.name;
    let status = &vm.status;
    let looping = status.conditions.holds("CrashLoop");
    // One alarm for one trouble: the loop stands for the crashes it is made of.
    let crashed = !looping && is_crashed(status, vm.spec.power.is_on());
    let why = match status.reason.as_str() {
        "" => "crashed, and was started again".to_owned(),
        reason => reason.to_owned(),
    };
    let text = |stands: bool, message: String| stands.then(|| format!("`{name}`: {message}"));
    vec![
        ("VM_CRASHED", text(crashed, why)),
        ("VM_CRASH_LOOP", text(looping, format!("crashed {} times in a row", status.crashes))),
        ("VM_IO_PAUSED", text(is_io_paused(status), status.reason.clone())),
        ("WORKLOAD_REFUSED", text(is_refused(status), status.reason.clone())),
    ]
}

/// Until it has run for long enough that its crashes are forgotten, or is off by a person's wish.
fn is_crashed(status: &VmStatus, wanted_on: bool) -> bool {
    let reason = status.conditions.get("Ready").map(|ready| ready.reason.as_str());
    let ended_by_it = status.state == VmState::Stopped && reason == Some("Crashed");
    status.state == VmState::Crashed || ended_by_it || (wanted_on && status.crashes > 0)
}

fn is_io_paused(status: &VmStatus) -> bool {
    let ready = status.conditions.get("Ready");
    status.state == VmState::Paused && ready.is_some_and(|ready| ready.reason == "IoPaused")
}

fn is_refused(status: &VmStatus) -> bool {
    status
        .conditions
        .get("Ready")
        .is_some_and(|ready| ready.state == ConditionState::False && ready.reason == "DoesNotFit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_model::{Id, Meta, Name, Owner, Phase, Timestamp, VmPower, VmSpec};

    fn raised(state: VmState, power: VmPower, change: impl FnOnce(&mut VmStatus)) -> Vec<String> {
        let mut spec: VmSpec = serde_json::from_str(r#"{"image":"tiny"}"#).unwrap();
        spec.power = power;
        let mut status = VmStatus { state, ..VmStatus::default() };
        change(&mut status);
        let now = Timestamp::from_second(1).unwrap();
        let meta = Meta {
            id: Id::<Vm>::new(uuid::Uuid::from_u128(1)).uuid(),
            name: Name::new("web").unwrap(),
            labels: Default::default(),
            generation: 1,
            revision: 1,
            owner: Owner::Local,
            phase: Phase::Present,
            finalizers: Vec::new(),
            created: now,
            updated: now,
        };
        let stands = of_vm(Some(Resource { meta, spec, status }));
        assert_eq!(stands.len(), of_vm(None).len(), "what can be raised is cleared in the end");
        stands.into_iter().filter(|(_, text)| text.is_some()).map(|(key, _)| key.into()).collect()
    }

    fn ready(status: &mut VmStatus, reason: &str) {
        let now = Timestamp::from_second(1).unwrap();
        status.conditions.set("Ready", ConditionState::False, reason, "why", now);
    }

    #[test]
    fn each_trouble_has_its_alarm_and_a_wish_to_be_off_ends_it() {
        let on = VmPower::Running;
        assert_eq!(raised(VmState::Running, on, |_| {}), [""; 0]);
        assert_eq!(raised(VmState::Running, on, |s| s.crashes = 1), ["VM_CRASHED"]);
        assert_eq!(raised(VmState::Crashed, on, |_| {}), ["VM_CRASHED"]);
        let off = VmPower::Stopped;
        assert_eq!(raised(VmState::Stopped, off, |s| ready(s, "Crashed")), ["VM_CRASHED"]);
        assert_eq!(raised(VmState::Stopped, off, |s| ready(s, "Stopped")), [""; 0]);
        assert_eq!(raised(VmState::Stopped, on, |s| ready(s, "DoesNotFit")), ["WORKLOAD_REFUSED"]);
        assert_eq!(raised(VmState::Paused, on, |s| ready(s, "IoPaused")), ["VM_IO_PAUSED"]);
        assert_eq!(raised(VmState::Running, on, |s| ready(s, "IoPaused")), [""; 0]);
        let looping = |s: &mut VmStatus| {
            s.crashes = 9;
            let now = Timestamp::from_second(1).unwrap();
            s.conditions.set("CrashLoop", ConditionState::True, "CrashedAgain", "", now);
        };
        assert_eq!(raised(VmState::Backoff, on, looping), ["VM_CRASH_LOOP"]);
    }
}

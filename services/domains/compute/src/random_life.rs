//! Random sequences of wishes, events and faults: whatever happens, things end as they are wanted, no guest is
//! ever started twice, and nothing is left behind.

use std::time::Duration;

use proptest::prelude::*;
use skerry_engine::ErrorClass;
use skerry_model::{
    Autostart, CrashAction, CrashPolicy, GuestOff, Id, Vm, VmAction, VmPower, VmState,
};

use crate::testing::{Mood, Node};
use crate::{OffReason, pending};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Something that happens to a node with one machine.
#[derive(Debug, Clone)]
enum Happening {
    Want(VmPower),
    Act(VmAction),
    End(OffReason),
    Boot(bool),
    Set(CrashPolicy, GuestOff, Autostart),
    RestartService,
    Mood(Mood),
    Port(bool),
    Pass,
    Time(u64),
}

fn any_happening() -> impl Strategy<Value = Happening> {
    use prop::sample::select;
    prop_oneof![
        select(vec![VmPower::Running, VmPower::Paused, VmPower::Suspended, VmPower::Stopped])
            .prop_map(Happening::Want),
        select(VmAction::ALL.to_vec()).prop_map(Happening::Act),
        select(vec![
            OffReason::Crashed,
            OffReason::Shutdown,
            OffReason::Destroyed,
            OffReason::Unknown,
        ])
        .prop_map(Happening::End),
        any::<bool>().prop_map(Happening::Boot),
        any_setting(),
        Just(Happening::RestartService),
        select(vec![Mood::Good, Mood::Deaf, Mood::StartFails, Mood::DefineRefused, Mood::Away])
            .prop_map(Happening::Mood),
        any::<bool>().prop_map(Happening::Port),
        Just(Happening::Pass),
        Just(Happening::Pass),
        (0_u64..700).prop_map(Happening::Time),
    ]
}

fn any_setting() -> impl Strategy<Value = Happening> {
    use prop::sample::select;
    let action = select(vec![CrashAction::Restart, CrashAction::Alarm, CrashAction::Stop]);
    let off = select(vec![GuestOff::StayOff, GuestOff::Restart]);
    let boot = select(vec![Autostart::LastState, Autostart::Always, Autostart::Never]);
    (action, any::<bool>(), off, boot).prop_map(|(action, give_up, off, boot)| {
        let policy = CrashPolicy { action, give_up, max: 2, ..CrashPolicy::default() };
        Happening::Set(policy, off, boot)
    })
}

async fn happen(node: &mut Node, vm: Id<Vm>, happening: Happening) {
    match happening {
        Happening::Want(power) => node.want(vm, power).await,
        Happening::Act(action) => node.act(vm, action).await,
        Happening::End(reason) => node.fake.with(vm, |domain| domain.end(reason)),
        Happening::Boot(forget) => {
            node.reboot(forget);
        }
        Happening::Set(policy, off, autostart) => {
            node.edit(vm, |spec| {
                spec.crash_policy = policy;
                spec.on_guest_off = off;
                spec.autostart = autostart;
            })
            .await;
        }
        Happening::RestartService => node.restart(),
        Happening::Mood(mood) => node.fake.set(mood),
        Happening::Port(ready) => node.set_port_ready(1, ready).await,
        Happening::Pass => {
            if let Err(failure) = node.pass(vm).await {
                assert_ne!(failure.class, ErrorClass::Bug, "{failure}");
            }
        }
        Happening::Time(time) => node.settle(vm, seconds(time)).await,
    }
}

async fn after_everything(happenings: Vec<Happening>, delete: bool) -> Result<(), TestCaseError> {
    let mut node = Node::new(2048).await;
    let vm = node.create(1, 128).await;
    for happening in happenings {
        happen(&mut node, vm, happening).await;
    }
    // Peace returns; then things must be as they are wanted.
    node.fake.set(Mood::Good);
    node.set_port_ready(1, true).await;
    if delete {
        node.delete(vm).await;
    }
    node.settle(vm, seconds(1200)).await;
    let (wrong, seen) = node.fake.with(vm, |domain| (domain.wrong.clone(), domain.look()));
    prop_assert!(wrong.is_empty(), "{:?}", wrong);
    if delete {
        prop_assert!(node.store.get(vm).unwrap().is_none());
        prop_assert_eq!(seen, None);
        return Ok(());
    }
    let record = node.vm(vm);
    let saved = seen.as_ref().is_some_and(|domain| domain.saved);
    let up = seen.is_some_and(|domain| domain.power.is_up());
    let waits_for_a_person = record.status.state == VmState::Crashed;
    if waits_for_a_person {
        let policy = record.spec.crash_policy;
        prop_assert!(policy.action != CrashAction::Restart || policy.give_up);
    }
    let on = record.spec.power.is_on() && !waits_for_a_person;
    prop_assert_eq!(up, on, "{:?}", record.status);
    let expected = match record.spec.power {
        _ if waits_for_a_person => VmState::Crashed,
        VmPower::Running => VmState::Running,
        VmPower::Paused => VmState::Paused,
        VmPower::Suspended if saved => VmState::Suspended,
        VmPower::Suspended | VmPower::Stopped => VmState::Stopped,
    };
    prop_assert_eq!(record.status.state, expected);
    if !waits_for_a_person {
        let suspended = record.status.state == VmState::Suspended;
        prop_assert_eq!(saved, suspended, "no memory is left behind");
    }
    let open = pending(&record.spec, &record.status);
    prop_assert_eq!(open, None, "every request has been dealt with");
    node.fake.steps();
    node.settle(vm, seconds(1200)).await;
    prop_assert_eq!(node.fake.steps(), [""; 0], "at rest");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_happens_it_ends_as_wanted_and_is_never_started_twice(
        happenings in prop::collection::vec(any_happening(), 0..25), delete in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(after_everything(happenings, delete))?;
    }
}

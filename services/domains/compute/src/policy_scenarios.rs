//! What was set for crashes, for guests that turn themselves off, and for boots of the node.

use skerry_engine::Outcome;
use skerry_model::{Autostart, CrashAction, CrashPolicy, GuestOff, VmAction, VmPower, VmState};
use tokio::time::advance;

use crate::OffReason;
use crate::scenarios::{MINUTE, reason, running, seconds};
use crate::testing::{Mood, Node};

#[tokio::test(start_paused = true)]
async fn a_crash_leads_to_what_was_set() {
    let mut node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.edit(vm, |spec| spec.crash_policy.action = CrashAction::Alarm).await;
    node.settle(vm, MINUTE).await;
    node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
    node.settle(vm, MINUTE).await;
    assert_eq!(
        (node.vm(vm).status.state, reason(&node, vm).as_str()),
        (VmState::Crashed, "Crashed")
    );
    node.restart();
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), [""; 0], "it waits for a person");
    node.act(vm, VmAction::Start).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["start"]);

    node.edit(vm, |spec| spec.crash_policy.action = CrashAction::Stop).await;
    node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).spec.power, VmPower::Stopped);
    assert_eq!(
        (node.vm(vm).status.state, reason(&node, vm).as_str()),
        (VmState::Stopped, "Crashed")
    );
}

#[tokio::test(start_paused = true)]
async fn one_crash_too_many_ends_the_tries_if_that_was_set() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.edit(vm, |spec| {
        spec.crash_policy = CrashPolicy { max: 2, give_up: true, ..CrashPolicy::default() };
    })
    .await;
    for _ in 0..2 {
        node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
        node.settle(vm, seconds(15)).await;
        assert_eq!(node.vm(vm).status.state, VmState::Running);
    }
    node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Crashed);
    assert!(node.vm(vm).status.conditions.holds("CrashLoop"));
}

#[tokio::test(start_paused = true)]
async fn memory_that_no_start_took_up_is_there_for_a_person() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.edit(vm, |spec| {
        spec.crash_policy = CrashPolicy { max: 2, give_up: true, ..CrashPolicy::default() };
    })
    .await;
    node.want(vm, VmPower::Suspended).await;
    node.settle(vm, MINUTE).await;
    node.fake.set(Mood::StartFails);
    node.want(vm, VmPower::Running).await;
    node.settle(vm, 20 * MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Crashed);
    let saved = || node.fake.with(vm, |domain| domain.look().is_some_and(|seen| seen.saved));
    assert!(saved(), "what the guest had in its memory is not thrown away");
    node.fake.set(Mood::Good);
    node.act(vm, VmAction::Start).await;
    node.settle(vm, MINUTE).await;
    assert_eq!((node.vm(vm).status.state, saved()), (VmState::Running, false));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_powers_off_is_started_again_if_that_was_set() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.edit(vm, |spec| spec.on_guest_off = GuestOff::Restart).await;
    for wait in [3, 13] {
        node.fake.with(vm, |domain| domain.end(OffReason::Shutdown));
        node.settle(vm, seconds(wait)).await;
        assert_eq!(node.fake.steps(), ["start"]);
        assert_eq!(node.vm(vm).spec.power, VmPower::Running);
    }
}

#[tokio::test(start_paused = true)]
async fn a_boot_starts_what_was_set_in_its_order() {
    let mut node = Node::new(4096).await;
    let late = running(&node, 1).await;
    let first = running(&node, 2).await;
    let never = running(&node, 3).await;
    let always = running(&node, 4).await;
    node.edit(late, |spec| (spec.start_order, spec.start_delay_s) = (900, 30)).await;
    node.edit(first, |spec| spec.start_order = 100).await;
    node.edit(never, |spec| spec.autostart = Autostart::Never).await;
    node.edit(always, |spec| spec.autostart = Autostart::Always).await;
    node.act(always, VmAction::Stop).await;
    for vm in [late, first, never, always] {
        node.settle(vm, MINUTE).await;
    }
    node.reboot(true);
    node.fake.steps();
    assert_eq!(node.pass(late).await.unwrap(), Outcome::Again(seconds(1)));
    assert_eq!(reason(&node, late), "WaitsForTurn");
    for vm in [first, never, always] {
        node.settle(vm, MINUTE).await;
    }
    assert_eq!(node.vm(first).status.state, VmState::Running);
    assert_eq!(node.vm(always).status.state, VmState::Running);
    assert_eq!(
        (node.vm(never).status.state, node.vm(never).spec.power),
        (VmState::Stopped, VmPower::Stopped)
    );
    assert_eq!(node.pass(late).await.unwrap(), Outcome::Again(seconds(30)), "its delay");
    advance(seconds(30)).await;
    node.settle(late, MINUTE).await;
    assert_eq!(node.vm(late).status.state, VmState::Running);
    // A restart of the service alone is no boot.
    node.act(always, VmAction::Stop).await;
    node.settle(always, MINUTE).await;
    node.restart();
    node.settle(always, MINUTE).await;
    assert_eq!(node.vm(always).status.state, VmState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_leads_to_what_was_set_for_crashes() {
    for (action, state) in
        [(CrashAction::Alarm, VmState::Crashed), (CrashAction::Stop, VmState::Stopped)]
    {
        let node = Node::new(2048).await;
        let vm = node.create(1, 128).await;
        node.edit(vm, |spec| spec.crash_policy.action = action).await;
        node.fake.set(Mood::StartFails);
        node.settle(vm, MINUTE * 20).await;
        let status = node.vm(vm).status;
        assert_eq!((status.state, status.crashes.max(1)), (state, 1), "{action:?}");
        assert_eq!(node.fake.log().iter().filter(|(_, step)| *step == "start").count(), 1);
        assert_eq!(reason(&node, vm), "StartFailed", "what the start said is kept");
        assert!(node.vm(vm).status.reason.contains("no luck"));
        // It starts once the cause is mended and somebody says so.
        node.fake.set(Mood::Good);
        node.act(vm, VmAction::Start).await;
        node.settle(vm, MINUTE).await;
        assert_eq!(node.vm(vm).status.state, VmState::Running);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_starts_are_given_up_if_that_was_set() {
    let node = Node::new(2048).await;
    let vm = node.create(1, 128).await;
    node.edit(vm, |spec| {
        spec.crash_policy = CrashPolicy { max: 2, give_up: true, ..CrashPolicy::default() };
    })
    .await;
    node.fake.set(Mood::StartFails);
    node.settle(vm, MINUTE * 60).await;
    assert_eq!(node.vm(vm).status.state, VmState::Crashed);
    assert_eq!(node.fake.log().iter().filter(|(_, step)| *step == "start").count(), 3);
    assert!(node.vm(vm).status.conditions.holds("CrashLoop"));
}

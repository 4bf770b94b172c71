//! The controller against a hypervisor in memory, with time that only moves when it is told to.

use std::time::Duration;

use skerry_engine::{Controller, ErrorClass, Outcome};
use skerry_model::{ConditionState, Id, Kind, LocalRef, Vm, VmAction, VmPower, VmState};
use tokio::time::advance;

use crate::testing::{Mood, Node};
use crate::{Hold, HostStop, OffReason};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) async fn running(node: &Node, number: u128) -> Id<Vm> {
    let vm = node.create(number, 128).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    node.fake.steps();
    vm
}

pub(crate) fn reason(node: &Node, vm: Id<Vm>) -> String {
    node.vm(vm).status.conditions.get("Ready").unwrap().reason.clone()
}

#[tokio::test(start_paused = true)]
async fn a_new_machine_waits_for_its_port_and_then_runs() {
    let node = Node::new(2048).await;
    let vm = node.create(1, 128).await;
    node.set_port_ready(1, false).await;
    let port = LocalRef { kind: Kind::Port, id: uuid::Uuid::from_u128(10_001) };
    assert_eq!(node.pass(vm).await.unwrap(), Outcome::Blocked(port));
    assert_eq!(node.vm(vm).status.state, VmState::Creating);
    assert_eq!(reason(&node, vm), "WaitingForPort");

    node.set_port_ready(1, true).await;
    assert_eq!(node.pass(vm).await.unwrap(), Outcome::Done);
    let status = node.vm(vm).status;
    assert_eq!(node.fake.steps(), ["define", "start"]);
    assert_eq!(status.state, VmState::Running);
    assert!(status.conditions.holds("Ready"));
    assert_eq!((status.starts, status.crashes, status.pid), (1, 0, Some(1001)));
    assert_eq!(status.addresses.first().unwrap().to_string(), "10.88.0.2");
    assert_eq!(status.machine.as_deref(), Some("pc-q35-10.0"));
    assert_eq!(status.observed_generation, 1);

    let revision = node.store.revision();
    assert_eq!(node.pass(vm).await.unwrap(), Outcome::Done);
    assert_eq!(node.fake.steps(), [""; 0]);
    assert_eq!(node.store.revision(), revision, "nothing to do is nothing written");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_machine_stays_stopped_and_starts_again_when_wanted() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.want(vm, VmPower::Stopped).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["shutdown"]);
    assert_eq!(
        (node.vm(vm).status.state, reason(&node, vm).as_str()),
        (VmState::Stopped, "Stopped")
    );
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), [""; 0]);
    node.want(vm, VmPower::Running).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["start"]);
    assert_eq!(node.vm(vm).status.starts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_hear_is_asked_again_and_then_forced() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.set(Mood::Deaf);
    node.want(vm, VmPower::Stopped).await;
    node.settle(vm, seconds(85)).await;
    assert_eq!(node.fake.steps(), ["shutdown"; 9]);
    assert_eq!(node.vm(vm).status.state, VmState::Stopping);
    node.settle(vm, seconds(10)).await;
    assert_eq!(node.fake.steps().last(), Some(&"destroy"));
    assert_eq!(node.vm(vm).status.state, VmState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_powers_off_stays_off() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.with(vm, |domain| domain.end(OffReason::Shutdown));
    assert_eq!(node.pass(vm).await.unwrap(), Outcome::Again(seconds(2)));
    assert_eq!(node.vm(vm).spec.power, VmPower::Running, "not believed yet");
    advance(seconds(2)).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).spec.power, VmPower::Stopped);
    assert_eq!(reason(&node, vm), "StoppedByGuest");
    node.settle(vm, MINUTE).await;
    assert_eq!(reason(&node, vm), "StoppedByGuest", "a later pass keeps the reason");
    assert_eq!(node.fake.steps(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn guests_that_end_while_the_host_goes_down_are_not_believed() {
    let mut node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.with(vm, |domain| domain.end(OffReason::Shutdown));
    node.pass(vm).await.unwrap();
    node.controller.hold();
    advance(seconds(5)).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).spec.power, VmPower::Running);
    // The host is back, with the definitions forgotten.
    node.fake.with(vm, |domain| domain.reboot(true));
    node.restart();
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["define", "start"]);
    assert_eq!((node.vm(vm).status.state, node.vm(vm).status.crashes), (VmState::Running, 0));
}

#[tokio::test(start_paused = true)]
async fn the_host_can_stop_all_guests_and_forces_the_deaf() {
    let node = Node::new(4096).await;
    let first = running(&node, 1).await;
    let second = running(&node, 2).await;
    assert_eq!(node.controller.stop_all_for_host(MINUTE).await, HostStop::default());
    assert_eq!(node.fake.steps(), ["shutdown", "shutdown"]);
    for vm in [first, second] {
        assert_eq!(node.vm(vm).spec.power, VmPower::Running);
    }
    // The machine refused to go down after all.
    node.controller.release();
    for vm in [first, second] {
        node.settle(vm, MINUTE).await;
        assert_eq!(node.vm(vm).status.state, VmState::Running);
    }
    assert_eq!(node.fake.steps(), ["start", "start"]);

    let node = Node::new(4096).await;
    running(&node, 1).await;
    node.fake.set(Mood::Deaf);
    let stopped = node.controller.stop_all_for_host(seconds(25)).await;
    assert_eq!(stopped, HostStop { forced: 1, left: 0 });
    assert_eq!(node.fake.steps(), ["shutdown", "shutdown", "shutdown", "destroy"]);
}

#[tokio::test(start_paused = true)]
async fn a_crashed_machine_comes_back_with_growing_waits() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    for (crash, wait) in [(1, 0), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300)]
    {
        node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
        let outcome = node.pass(vm).await.unwrap();
        assert_eq!(node.vm(vm).status.crashes, crash);
        if wait > 0 {
            assert_eq!(outcome, Outcome::Again(seconds(wait)));
            assert_eq!(
                (node.vm(vm).status.state, reason(&node, vm).as_str()),
                (VmState::Backoff, "Crashed")
            );
            advance(seconds(wait - 1)).await;
            node.pass(vm).await.unwrap();
            assert_eq!(node.fake.steps(), [""; 0], "too early");
            assert_eq!(reason(&node, vm), "Crashed");
            advance(seconds(1)).await;
            node.pass(vm).await.unwrap();
        }
        assert_eq!(node.fake.steps(), ["start"]);
        assert_eq!(node.vm(vm).status.state, VmState::Running);
        assert_eq!(node.vm(vm).status.conditions.holds("CrashLoop"), crash >= 6);
    }
    assert_eq!(node.pass(vm).await.unwrap(), Outcome::Again(seconds(600)));
    advance(seconds(600)).await;
    assert_eq!(node.pass(vm).await.unwrap(), Outcome::Done);
    assert_eq!(node.vm(vm).status.crashes, 0);
    assert!(node.vm(vm).status.conditions.get("CrashLoop").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_what_should_be_off_is_no_crash_and_no_wish_of_the_guest() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
    node.want(vm, VmPower::Stopped).await;
    node.settle(vm, MINUTE).await;
    assert_eq!((node.vm(vm).status.crashes, reason(&node, vm).as_str()), (0, "Stopped"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_a_user_asks_for_a_start_or_wants_it_off() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    for _ in 0..3 {
        node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
        node.pass(vm).await.unwrap();
    }
    assert_eq!(node.vm(vm).status.state, VmState::Backoff);
    node.fake.steps();
    node.act(vm, VmAction::Start).await;
    node.pass(vm).await.unwrap();
    assert_eq!(node.fake.steps(), ["start"]);
    node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
    node.pass(vm).await.unwrap();
    node.want(vm, VmPower::Stopped).await;
    assert_eq!(node.pass(vm).await.unwrap(), Outcome::Done);
    assert_eq!((node.vm(vm).status.state, node.vm(vm).status.next_try), (VmState::Stopped, None));
    assert_eq!(node.fake.steps(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_service_adopts_what_runs() {
    let mut node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    let before = node.vm(vm);
    node.restart();
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), [""; 0]);
    assert_eq!(node.vm(vm), before);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_service_sees_what_happened_meanwhile() {
    let mut node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.with(vm, |domain| domain.end(OffReason::Crashed));
    node.restart();
    node.settle(vm, MINUTE).await;
    assert_eq!((node.vm(vm).status.crashes, node.vm(vm).status.starts), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn after_a_host_boot_only_what_should_run_is_started() {
    let mut node = Node::new(4096).await;
    let on = running(&node, 1).await;
    let off = running(&node, 2).await;
    node.want(off, VmPower::Stopped).await;
    node.settle(off, MINUTE).await;
    node.fake.steps();
    for (vm, forget) in [(on, true), (off, false)] {
        node.fake.with(vm, |domain| domain.reboot(forget));
    }
    node.restart();
    node.settle(on, MINUTE).await;
    node.settle(off, MINUTE).await;
    assert_eq!(node.fake.steps(), ["define", "start"]);
    assert_eq!(node.vm(on).status.state, VmState::Running);
    assert_eq!(node.vm(off).status.state, VmState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn after_a_host_boot_no_record_says_that_a_machine_runs_before_it_does() {
    let mut node = Node::new(4096).await;
    let (on, held) = (running(&node, 1).await, running(&node, 2).await);
    node.want(held, VmPower::Paused).await;
    node.settle(held, MINUTE).await;
    node.restart();
    node.controller.prepare().await.unwrap();
    assert_eq!(node.vm(on).status.state, VmState::Running, "it is the same boot");
    assert!(node.vm(on).status.pid.is_some());
    node.reboot(true);
    for vm in [on, held] {
        let status = node.vm(vm).status;
        assert_eq!((status.state, status.pid), (VmState::Stopped, None));
        assert_eq!(status.conditions.get("Ready").map(|it| it.state), Some(ConditionState::False));
    }
    for vm in [on, held] {
        node.settle(vm, MINUTE).await;
        assert_eq!((node.vm(vm).status.state, node.vm(vm).status.starts), (VmState::Running, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn restart_and_force_stop_do_what_they_say() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.act(vm, VmAction::Restart).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["shutdown", "start"]);
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), [""; 0], "once");

    node.fake.set(Mood::Deaf);
    node.act(vm, VmAction::ForceStop).await;
    node.pass(vm).await.unwrap();
    assert_eq!(node.fake.steps(), ["destroy"]);
    assert_eq!(
        (node.vm(vm).status.state, reason(&node, vm).as_str()),
        (VmState::Stopped, "ForcedOff")
    );
}

#[tokio::test(start_paused = true)]
async fn a_forced_stop_cuts_a_shutdown_short() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.set(Mood::Deaf);
    node.want(vm, VmPower::Stopped).await;
    node.pass(vm).await.unwrap();
    assert_eq!(node.vm(vm).status.state, VmState::Stopping);
    node.act(vm, VmAction::ForceStop).await;
    node.act(vm, VmAction::Restart).await;
    node.pass(vm).await.unwrap();
    assert_eq!(node.fake.steps(), ["shutdown", "destroy", "start"], "off at once, and on again");
    assert_eq!(node.vm(vm).status.state, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_paused_machine_stays_paused_until_it_is_resumed_or_its_memory_is_lost() {
    let mut node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.act(vm, VmAction::Pause).await;
    node.settle(vm, MINUTE).await;
    assert_eq!((node.vm(vm).status.state, reason(&node, vm).as_str()), (VmState::Paused, "Paused"));
    node.restart();
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["pause"], "a restart of the service changes nothing");
    node.act(vm, VmAction::Resume).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["resume"]);
    assert_eq!(node.vm(vm).status.state, VmState::Running);

    node.act(vm, VmAction::Pause).await;
    node.settle(vm, MINUTE).await;
    node.fake.with(vm, |domain| domain.reboot(true));
    node.restart();
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["pause", "define", "start"]);
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    assert_eq!(node.vm(vm).spec.power, VmPower::Running);
}

#[tokio::test(start_paused = true)]
async fn what_the_hypervisor_holds_goes_on_only_when_told() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.with(vm, |domain| domain.hold(Hold::DiskFault));
    node.settle(vm, MINUTE).await;
    assert_eq!(
        (node.vm(vm).status.state, reason(&node, vm).as_str()),
        (VmState::Paused, "IoPaused")
    );
    assert_eq!(node.fake.steps(), [""; 0]);
    node.act(vm, VmAction::Resume).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["resume"]);
    assert_eq!(node.vm(vm).status.state, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn reset_and_reboot_press_a_button_once_and_keep_the_process() {
    let mut node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    let before = node.vm(vm).status;
    for (action, step) in [(VmAction::Reset, "reset"), (VmAction::Reboot, "reboot")] {
        node.act(vm, action).await;
        node.settle(vm, MINUTE).await;
        node.restart();
        node.settle(vm, MINUTE).await;
        assert_eq!(node.fake.steps(), [step]);
        let now = node.vm(vm).status;
        assert_eq!((now.state, now.pid, now.starts), (VmState::Running, before.pid, before.starts));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_outlives_the_service() {
    let mut node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    for (action, steps) in [
        (VmAction::Restart, vec!["shutdown", "start"]),
        (VmAction::Reset, vec!["reset"]),
        (VmAction::ForceStop, vec!["destroy"]),
    ] {
        node.fake.set(Mood::Away);
        node.act(vm, action).await;
        node.pass(vm).await.unwrap_err();
        node.restart();
        node.fake.set(Mood::Good);
        node.settle(vm, MINUTE).await;
        assert_eq!(node.fake.steps(), steps);
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_holds_nothing_and_goes_on_where_it_was() {
    let mut node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.act(vm, VmAction::Suspend).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["save"]);
    assert_eq!(node.vm(vm).status.state, VmState::Suspended);
    let other = node.create(2, 1024).await;
    node.settle(other, MINUTE).await;
    assert_eq!(node.vm(other).status.state, VmState::Running, "there is room");
    node.want(other, VmPower::Stopped).await;
    node.settle(other, MINUTE).await;
    node.fake.with(vm, |domain| domain.reboot(true));
    node.restart();
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Suspended, "a power cut does not start it");
    node.act(vm, VmAction::Start).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    assert_eq!(node.fake.with(vm, |domain| domain.restores), 1);

    node.act(vm, VmAction::Suspend).await;
    node.settle(vm, MINUTE).await;
    node.act(vm, VmAction::Stop).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Stopped);
    node.act(vm, VmAction::Start).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.with(vm, |domain| domain.restores), 1, "a stop dropped its memory");
}

#[tokio::test(start_paused = true)]
async fn a_forced_stop_does_not_wait_for_memory_to_be_written() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.set(Mood::SlowDisk);
    node.act(vm, VmAction::Suspend).await;
    let meanwhile = async {
        tokio::time::sleep(seconds(30)).await;
        assert_eq!(reason(&node, vm), "Suspending");
        node.act(vm, VmAction::ForceStop).await;
    };
    let (done, ()) = tokio::join!(node.pass(vm), meanwhile);
    done.unwrap();
    assert_eq!(node.fake.steps(), ["destroy"]);
    assert_eq!(node.vm(vm).status.state, VmState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_waits_until_it_does() {
    // 1536 MiB for workloads.
    let node = Node::new(2048).await;
    let first = node.create(1, 512).await;
    let second = node.create(2, 1024).await;
    node.settle(first, MINUTE).await;
    assert_eq!(node.pass(second).await.unwrap(), Outcome::Again(seconds(30)));
    assert_eq!(
        (node.vm(second).status.state, reason(&node, second).as_str()),
        (VmState::Stopped, "DoesNotFit")
    );
    assert!(
        node.vm(second).status.reason.contains("MiB free"),
        "{}",
        node.vm(second).status.reason
    );
    assert!(node.controller.admit_vm(&node.vm(second).spec, Some(second)).is_err());
    node.want(first, VmPower::Stopped).await;
    node.settle(first, MINUTE).await;
    node.settle(second, MINUTE).await;
    assert_eq!(node.vm(second).status.state, VmState::Running);
    node.controller.admit_vm(&node.vm(second).spec, Some(second)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_definition_waits_for_an_operator_but_does_not_block_a_stop() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.set(Mood::DefineRefused);
    let record = node.vm(vm);
    let mut tx = skerry_store::Transaction::new();
    tx.put_spec(vm, None, skerry_model::VmSpec { vcpus: 2, ..record.spec });
    node.store.commit(tx).await.unwrap();
    assert_eq!(node.pass(vm).await.unwrap_err().class, ErrorClass::NeedsOperator);
    assert_eq!(node.vm(vm).status.state, VmState::Running, "left alone");
    assert!(node.vm(vm).status.conditions.holds("Pending"));
    node.want(vm, VmPower::Stopped).await;
    node.settle(vm, seconds(11)).await;
    assert_eq!(node.vm(vm).status.state, VmState::Stopped);
    node.want(vm, VmPower::Running).await;
    assert_eq!(node.pass(vm).await.unwrap_err().class, ErrorClass::NeedsOperator);
    assert_eq!(
        (node.vm(vm).status.state, reason(&node, vm).as_str()),
        (VmState::Failed, "StartFailed")
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_tried_again_and_a_silent_hypervisor_changes_nothing() {
    let node = Node::new(2048).await;
    let vm = node.create(1, 128).await;
    node.fake.set(Mood::StartFails);
    node.settle(vm, seconds(25)).await;
    let status = node.vm(vm).status;
    assert_eq!((status.state, status.crashes), (VmState::Backoff, 3), "at 0, 0 and 10 s");
    assert_eq!(reason(&node, vm), "StartFailed");
    node.fake.set(Mood::Away);
    assert_eq!(node.pass(vm).await.unwrap_err().class, ErrorClass::Retry);
    let ready = node.vm(vm).status.conditions.get("Ready").cloned().unwrap();
    assert_eq!(ready.state, ConditionState::Unknown);
    assert_eq!(node.vm(vm).status.state, VmState::Backoff);
    node.fake.set(Mood::Good);
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_machine_leaves_nothing() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.set(Mood::Away);
    node.delete(vm).await;
    assert!(node.pass(vm).await.is_err());
    assert_eq!(node.vm(vm).status.state, VmState::Deleting);
    node.fake.set(Mood::Good);
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["destroy", "undefine", "erase"]);
    assert!(node.store.get(vm).unwrap().is_none());
    assert_eq!(node.fake.with(vm, |domain| domain.look()), None);
}

#[tokio::test(start_paused = true)]
async fn only_changes_of_what_is_wanted_wake_a_machine() {
    let node = Node::new(2048).await;
    let mut watch = node.store.watch(None).unwrap();
    let vm = node.create(1, 128).await;
    node.settle(vm, MINUTE).await;
    node.want(vm, VmPower::Stopped).await;
    node.delete(vm).await;
    let mut woken = Vec::new();
    while let Some(change) = watch.ready().unwrap() {
        woken.extend(
            node.controller.keys(&change).into_iter().map(|key| (change.subject.kind, key.id)),
        );
    }
    // Created; port made; port ready; power; removal.
    let kinds: Vec<_> = woken.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Vm, Kind::Port, Kind::Port, Kind::Vm, Kind::Vm]);
    assert!(woken.iter().all(|(_, id)| *id == vm.uuid()));
}

#[tokio::test(start_paused = true)]
async fn a_resize_waits_for_the_next_start_and_says_what_will_be_different() {
    // 1536 MiB for workloads.
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.edit(vm, |spec| (spec.vcpus, spec.memory_mib) = (2, 1024)).await;
    node.settle(vm, MINUTE).await;
    let pending = node.vm(vm).status.conditions.get("Pending").cloned().unwrap();
    assert!(pending.message.contains("vcpus 1 -> 2, memory_mib 128 -> 1024"), "{pending:?}");
    // What it has not taken yet is free for a start; what it takes at its own is asked for then.
    let other = node.create(2, 512).await;
    node.settle(other, MINUTE).await;
    assert_eq!(node.vm(other).status.state, VmState::Running);
    node.act(vm, VmAction::Restart).await;
    node.settle(vm, seconds(20)).await;
    assert_eq!(reason(&node, vm), "DoesNotFit");
    node.act(other, VmAction::Stop).await;
    node.settle(other, MINUTE).await;
    node.settle(vm, MINUTE).await;
    let status = node.vm(vm).status;
    assert_eq!(status.running_size, Some(node.vm(vm).spec.size()));
    assert!(status.conditions.get("Pending").is_none());
}

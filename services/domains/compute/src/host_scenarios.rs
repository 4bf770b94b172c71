//! The host goes down: every guest gets its own orderly end, and none of them keeps the others from theirs.

use skerry_model::{Id, Vm, VmPower, VmState};
use tokio::time::Instant;

use crate::Hold;
use crate::scenarios::{MINUTE, running, seconds};
use crate::testing::{Mood, Node};

/// So many guests that run, with their places in the order of starts.
async fn guests(node: &Node, orders: &[u32]) -> Vec<Id<Vm>> {
    let mut guests = Vec::new();
    for (number, order) in (1..).zip(orders) {
        let vm = running(node, number).await;
        node.edit(vm, |spec| spec.start_order = *order).await;
        guests.push(vm);
    }
    node.fake.log();
    guests
}

/// Stops them all, and says how long that took and what was done.
async fn stop(node: &Node, budget: u64) -> (u64, Vec<(Id<Vm>, &'static str)>) {
    let begun = Instant::now();
    node.controller.stop_all_for_host(seconds(budget)).await;
    (begun.elapsed().as_secs(), node.fake.log())
}

fn steps_of(log: &[(Id<Vm>, &'static str)], vm: Id<Vm>) -> Vec<&'static str> {
    log.iter().filter(|(of, _)| *of == vm).map(|(_, step)| *step).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_started_last_is_stopped_first() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[100, 500, 300, 500]).await;
    let [database, web, middle, other] = all[..] else { panic!("four") };
    let (_, log) = stop(&node, 180).await;
    let order: Vec<_> = log.iter().map(|(vm, _)| *vm).collect();
    assert_eq!(order, [web, other, middle, database], "{log:?}");
    assert!(log.iter().all(|(_, step)| *step == "shutdown"), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn those_with_one_place_are_asked_together_and_the_next_wait_for_them() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[500, 500, 100]).await;
    node.fake.deafen(all[0]);
    node.edit(all[0], |spec| spec.stop_timeout_s = 15).await;
    let (took, log) = stop(&node, 180).await;
    assert_eq!(steps_of(&log, all[0]), ["shutdown", "shutdown", "destroy"]);
    assert_eq!(steps_of(&log, all[1]), ["shutdown"]);
    assert_eq!(log.last(), Some(&(all[2], "shutdown")), "after the deaf one: {log:?}");
    assert!((15..20).contains(&took), "took {took} s");
}

#[tokio::test(start_paused = true)]
async fn each_has_its_own_time_within_that_of_all() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[500, 500, 100]).await;
    node.fake.set(Mood::Deaf);
    node.edit(all[0], |spec| spec.stop_timeout_s = 5).await;
    node.edit(all[1], |spec| spec.stop_timeout_s = 3600).await;
    let (took, log) = stop(&node, 180).await;
    assert_eq!(steps_of(&log, all[0]), ["shutdown", "destroy"], "5 s are enough");
    assert_eq!(steps_of(&log, all[2]).first(), Some(&"shutdown"), "it is asked too");
    assert_eq!(steps_of(&log, all[2]).last(), Some(&"destroy"));
    assert!((170..=185).contains(&took), "took {took} s");
    // One whose time is 0 s is not asked.
    let node = Node::new(4096).await;
    let all = guests(&node, &[500]).await;
    node.edit(all[0], |spec| spec.stop_timeout_s = 0).await;
    assert_eq!(stop(&node, 180).await, (0, vec![(all[0], "destroy")]));
}

#[tokio::test(start_paused = true)]
async fn a_held_guest_is_let_go_and_asked() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[500]).await;
    node.want(all[0], VmPower::Paused).await;
    node.settle(all[0], MINUTE).await;
    node.fake.log();
    let (took, log) = stop(&node, 180).await;
    assert_eq!(steps_of(&log, all[0]), ["resume", "shutdown"]);
    assert!(took < 5, "took {took} s");
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_hear_is_not_waited_for() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[500, 500]).await;
    node.fake.with(all[0], |domain| {
        domain.hold(Hold::DiskFault);
        domain.stuck = Some(Hold::DiskFault);
    });
    node.fake.deafen(all[0]);
    let (took, log) = stop(&node, 180).await;
    assert_eq!(steps_of(&log, all[0]), ["resume", "shutdown", "destroy"]);
    assert_eq!(steps_of(&log, all[1]), ["shutdown"]);
    assert!(took < 5, "took {took} s");
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_asked_first_and_the_button_pressed_if_it_does_nothing() {
    let node = Node::new(4096).await;
    let vm = node.create(1, 128).await;
    node.edit(vm, |spec| spec.guest_agent = true).await;
    node.settle(vm, MINUTE).await;
    node.fake.log();
    let (_, log) = stop(&node, 180).await;
    assert_eq!(steps_of(&log, vm), ["shutdown by agent"]);
    node.controller.release();
    node.settle(vm, MINUTE).await;
    node.fake.log();
    node.fake.set(Mood::Mute);
    let (_, log) = stop(&node, 180).await;
    assert_eq!(steps_of(&log, vm), ["shutdown by agent", "shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_leaves_no_other() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[500, 500, 500, 100]).await;
    node.fake.set(Mood::Deaf);
    for vm in &all {
        node.edit(*vm, |spec| spec.stop_timeout_s = 10).await;
    }
    node.fake.fail(all[0], "shutdown");
    node.fake.fail(all[0], "destroy");
    let (took, log) = stop(&node, 180).await;
    for vm in &all {
        assert!(steps_of(&log, *vm).contains(&"destroy"), "{vm}: {log:?}");
    }
    assert!(took < 60, "took {took} s");
    for vm in &all[1..] {
        let up = node.fake.with(*vm, |domain| domain.look().unwrap().power.is_up());
        assert!(!up, "{vm}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hypervisor_that_is_away_does_not_keep_the_host_up() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[500]).await;
    node.fake.set(Mood::Away);
    let (took, _) = stop(&node, 180).await;
    assert!(took <= 30, "took {took} s");
    assert_eq!(node.vm(all[0]).spec.power, VmPower::Running);
    // Where nothing ran, its service may have ended itself, and nobody waits for it.
    let node = Node::new(4096).await;
    node.fake.set(Mood::Away);
    assert_eq!(stop(&node, 180).await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_put_on_disk_is_left_to_it() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[500]).await;
    // The pass that puts it there is at work, and holds the guest meanwhile.
    node.want(all[0], VmPower::Suspended).await;
    node.fake.with(all[0], |domain| domain.hold(Hold::Other));
    let (_, log) = stop(&node, 30).await;
    assert_eq!(steps_of(&log, all[0]), ["destroy"], "at the very end");
}

#[tokio::test(start_paused = true)]
async fn it_is_written_down_that_the_host_goes_down() {
    let node = Node::new(4096).await;
    let all = guests(&node, &[500, 100]).await;
    stop(&node, 180).await;
    for vm in all {
        let record = node.vm(vm);
        assert_eq!(record.status.state, VmState::Stopping);
        assert_eq!(record.status.reason, "the host is going down");
        assert_eq!(record.spec.power, VmPower::Running);
    }
}

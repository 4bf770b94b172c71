//! Guests that have processors and huge pages for themselves, over starts, reboots and changes of the machine.

use skerry_model::{
    ConditionState, HugePageSize, Id, Vm, VmAction, VmCpu, VmPower, VmSpec, VmState,
};

use crate::scenarios::{MINUTE, reason, running, seconds};
use crate::testing::{Mood, Node};
use crate::{AdmissionError, PagePool, Topology};

/// Wants so many processors for itself.
fn dedicated(spec: &mut VmSpec, vcpus: u32) {
    spec.vcpus = vcpus;
    spec.cpu = Some(VmCpu { dedicated: true, ..VmCpu::default() });
}

async fn with_dedicated(node: &Node, number: u128, vcpus: u32) -> Id<Vm> {
    let vm = node.create(number, 128).await;
    node.edit(vm, |spec| dedicated(spec, vcpus)).await;
    node.settle(vm, MINUTE).await;
    vm
}

fn reserved(node: &Node, vm: Id<Vm>) -> String {
    node.vm(vm).status.placement.map(|place| place.reserved.to_string()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn no_processor_is_given_twice_and_what_is_freed_is_given_again() {
    let node = Node::new(4096).await;
    let first = with_dedicated(&node, 1, 2).await;
    assert_eq!(node.vm(first).status.state, VmState::Running);
    assert_eq!(reserved(&node, first), "1-2");
    let placed = node.vm(first).status.conditions.get("Placed").unwrap().clone();
    assert_eq!((placed.state, placed.message.as_str()), (ConditionState::True, "has the CPUs 1-2"));

    let second = with_dedicated(&node, 2, 2).await;
    assert_eq!(node.vm(second).status.state, VmState::Stopped);
    assert_eq!(reason(&node, second), "DoesNotFit");
    let told = node.vm(second).status.reason;
    assert!(told.contains("asks for 2 dedicated CPUs, 1 of 3 are free"), "{told}");
    let refused = node.controller.admit_vm(&node.vm(second).spec, Some(second)).unwrap_err();
    assert!(matches!(refused, AdmissionError::NoPlace(_)), "{refused}");

    node.want(first, VmPower::Stopped).await;
    node.settle(first, MINUTE).await;
    node.settle(second, MINUTE).await;
    assert_eq!(
        (node.vm(second).status.state, reserved(&node, second).as_str()),
        (VmState::Running, "1-2")
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_runs_keeps_its_place_and_one_that_returns_has_it_again() {
    let mut node = Node::new(4096).await;
    let first = with_dedicated(&node, 1, 1).await;
    let second = with_dedicated(&node, 2, 1).await;
    assert_eq!((reserved(&node, first), reserved(&node, second)), ("1".into(), "2".into()));
    node.fake.steps();
    node.restart();
    node.settle(second, MINUTE).await;
    assert_eq!(node.fake.steps(), [""; 0], "adopted as it is");
    node.want(first, VmPower::Stopped).await;
    node.settle(first, MINUTE).await;
    node.reboot(true);
    node.settle(second, MINUTE).await;
    assert_eq!(reserved(&node, second), "2", "though the first is free");
    let shared = running(&node, 3).await;
    assert_eq!(node.vm(shared).status.placement, None);
    assert!(node.vm(shared).status.conditions.get("Placed").is_none());
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_without_its_processors_it_says_so_or_goes_elsewhere() {
    let mut node = Node::new(4096).await;
    let named = node.create(1, 128).await;
    node.edit(named, |spec| {
        spec.cpu = Some(VmCpu { set: Some("3".parse().unwrap()), ..VmCpu::default() });
    })
    .await;
    node.settle(named, MINUTE).await;
    let free = with_dedicated(&node, 2, 1).await;
    assert_eq!((reserved(&node, named), reserved(&node, free)), ("3".into(), "1".into()));
    let mut smaller = Topology::plain(4, 4096);
    smaller.cpus.retain(|cpu| ![1, 3].contains(&cpu.id));
    node.fake.set_topology(smaller);
    node.reboot(true);
    node.settle(named, MINUTE).await;
    node.settle(free, MINUTE).await;
    assert_eq!(node.vm(named).status.state, VmState::Stopped);
    assert_eq!(reason(&node, named), "NotOnThisMachine");
    let placed = node.vm(named).status.conditions.get("Placed").unwrap().clone();
    assert_eq!((placed.state, placed.reason.as_str()), (ConditionState::False, "NotOnThisMachine"));
    assert!(placed.message.contains("the CPUs 3, which the machine does not have"), "{placed:?}");
    assert_eq!(
        (node.vm(free).status.state, reserved(&node, free).as_str()),
        (VmState::Running, "2")
    );
    node.fake.set_topology(Topology::plain(4, 4096));
    node.settle(named, MINUTE).await;
    assert_eq!(node.vm(named).status.state, VmState::Running);
    assert!(node.vm(named).status.conditions.holds("Placed"));
}

#[tokio::test(start_paused = true)]
async fn huge_pages_are_counted_and_what_is_suspended_keeps_its_own() {
    let node = Node::new(4096).await;
    let pages = |total, free| {
        let mut machine = Topology::plain(4, 4096);
        machine.nodes[0].pages.push(PagePool { size: HugePageSize::Mib2, total, free });
        machine
    };
    let vm = node.create(1, 128).await;
    node.edit(vm, |spec| spec.huge_pages = Some(HugePageSize::Mib2)).await;
    node.settle(vm, MINUTE).await;
    assert!(node.vm(vm).status.reason.contains("none set aside"), "{}", node.vm(vm).status.reason);
    node.fake.set_topology(pages(100, 63));
    node.settle(vm, MINUTE).await;
    let told = node.vm(vm).status.reason;
    assert!(told.contains("asks for 64 huge pages of 2 MiB, 63 of 100 are free"), "{told}");
    node.fake.set_topology(pages(100, 100));
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.placement.unwrap().huge_pages[0].count, 64);

    node.act(vm, VmAction::Suspend).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Suspended);
    let other = node.create(2, 128).await;
    node.edit(other, |spec| spec.huge_pages = Some(HugePageSize::Mib2)).await;
    node.settle(other, seconds(1)).await;
    assert!(
        node.vm(other).status.reason.contains("36 of 100 are free"),
        "{}",
        node.vm(other).status.reason
    );
    node.fake.set_topology(pages(10, 10));
    node.act(vm, VmAction::Start).await;
    node.settle(vm, seconds(1)).await;
    assert_eq!(reason(&node, vm), "NotOnThisMachine");
    node.fake.set_topology(pages(100, 100));
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    assert_eq!(node.fake.with(vm, |domain| domain.restores), 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_wish_is_pending_and_counts_at_the_next_start() {
    let node = Node::new(4096).await;
    let vm = with_dedicated(&node, 1, 1).await;
    node.edit(vm, |spec| dedicated(spec, 2)).await;
    node.settle(vm, MINUTE).await;
    assert!(node.vm(vm).status.conditions.holds("Pending"));
    assert_eq!(reserved(&node, vm), "1", "what it runs on");
    node.act(vm, VmAction::Restart).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(reserved(&node, vm), "1-2");
    assert!(!node.vm(vm).status.conditions.holds("Pending"));
    node.edit(vm, |spec| spec.cpu = None).await;
    node.act(vm, VmAction::Restart).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.placement, None);
    assert!(node.vm(vm).status.conditions.get("Placed").is_none());
}

#[tokio::test(start_paused = true)]
async fn processors_are_added_while_it_runs_and_a_refusal_shows() {
    let node = Node::new(4096).await;
    let vm = node.create(1, 128).await;
    let set = async |vcpus: u32| {
        node.edit(vm, |spec| (spec.vcpus, spec.max_vcpus) = (vcpus, Some(4))).await;
        node.settle(vm, MINUTE).await;
    };
    set(1).await;
    node.fake.steps();
    set(3).await;
    assert_eq!(node.fake.steps(), ["add processors", "define"]);
    let status = node.vm(vm).status;
    assert_eq!((status.starts, status.running_size.unwrap().vcpus), (1, 3));
    assert!(!status.conditions.holds("Pending"));

    node.fake.set(Mood::NoRoom);
    set(4).await;
    let status = node.vm(vm).status;
    assert_eq!((status.state, reason(&node, vm).as_str()), (VmState::Running, "SizeNotChanged"));
    assert!(status.reason.contains("guest says no"), "{}", status.reason);
    assert!(status.conditions.get("Pending").unwrap().message.contains("vcpus 3 -> 4"));
    node.fake.set(Mood::Good);
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.running_size.unwrap().vcpus, 4);

    set(2).await;
    let status = node.vm(vm).status;
    assert!(status.conditions.get("Pending").unwrap().message.contains("vcpus 4 -> 2"));
    node.act(vm, VmAction::Restart).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.running_size.unwrap().vcpus, 2);
    assert!(!node.vm(vm).status.conditions.holds("Pending"));
}

//! Guests that are given memory while they run.

use skerry_model::{ConditionState, Id, Vm, VmAction, VmState};

use crate::OffReason;
use crate::scenarios::{MINUTE, reason};
use crate::testing::{Mood, Node};

async fn set(node: &Node, vm: Id<Vm>, memory_mib: u64) {
    node.edit(vm, |spec| (spec.memory_mib, spec.max_memory_mib) = (memory_mib, Some(1024))).await;
    node.settle(vm, MINUTE).await;
}

fn memory(node: &Node, vm: Id<Vm>) -> u64 {
    node.vm(vm).status.running_size.unwrap().memory_mib
}

fn pending(node: &Node, vm: Id<Vm>) -> String {
    let status = node.vm(vm).status;
    status.conditions.get("Pending").map(|told| told.message.clone()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn memory_is_added_while_it_runs_and_less_waits_for_the_next_start() {
    let node = Node::new(4096).await;
    let vm = node.create(1, 128).await;
    set(&node, vm, 128).await;
    node.fake.steps();
    set(&node, vm, 512).await;
    assert_eq!(node.fake.steps(), ["add memory", "define"]);
    assert_eq!((node.vm(vm).status.starts, memory(&node, vm)), (1, 512));
    assert_eq!(pending(&node, vm), "");

    node.fake.set(Mood::NoRoom);
    set(&node, vm, 640).await;
    assert_eq!(reason(&node, vm), "SizeNotChanged");
    assert_eq!(memory(&node, vm), 512, "what it does not have does not count");
    assert!(pending(&node, vm).contains("memory_mib 512 -> 640"), "{}", pending(&node, vm));
    node.fake.set(Mood::Good);
    node.settle(vm, MINUTE).await;
    assert_eq!((memory(&node, vm), pending(&node, vm).as_str()), (640, ""));

    set(&node, vm, 256).await;
    assert!(pending(&node, vm).contains("memory_mib 640 -> 256"), "{}", pending(&node, vm));
    node.act(vm, VmAction::Restart).await;
    node.settle(vm, MINUTE).await;
    assert_eq!((memory(&node, vm), pending(&node, vm).as_str()), (256, ""));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_takes_none_is_told_of_and_charged() {
    let node = Node::new(4096).await;
    let vm = node.create(1, 128).await;
    node.fake.with(vm, |domain| domain.takes_no_memory = true);
    set(&node, vm, 128).await;
    set(&node, vm, 256).await;
    let status = node.vm(vm).status;
    let told = status.conditions.get("MemoryTaken").unwrap();
    assert_eq!(told.state, ConditionState::False);
    assert!(told.message.contains("128 of 256 MiB"), "{}", told.message);
    assert_eq!(memory(&node, vm), 256, "it may take it at any moment");
    node.fake.with(vm, |domain| domain.end(OffReason::Shutdown));
    node.settle(vm, MINUTE).await;
    assert!(node.vm(vm).status.conditions.get("MemoryTaken").is_none());
}

#[tokio::test(start_paused = true)]
async fn memory_that_another_still_has_is_not_given() {
    let node = Node::new(2048).await;
    let (grows, other) = (node.create(1, 128).await, node.create(2, 512).await);
    set(&node, grows, 128).await;
    node.settle(other, MINUTE).await;
    assert_eq!(node.vm(other).status.state, VmState::Running);
    // Meant to be smaller, which it is from its next start on.
    node.edit(other, |spec| spec.memory_mib = 64).await;
    node.settle(other, MINUTE).await;
    node.fake.steps();
    set(&node, grows, 768).await;
    assert_eq!(node.fake.steps(), ["define"]);
    let told = node.vm(grows).status.reason;
    assert!(told.contains("does not fit") && memory(&node, grows) == 128, "{told}");
    node.act(other, VmAction::Restart).await;
    node.settle(other, MINUTE).await;
    node.settle(grows, MINUTE).await;
    assert_eq!((memory(&node, grows), reason(&node, grows).as_str()), (768, "Running"));
}

#[tokio::test(start_paused = true)]
async fn memory_goes_on_from_disk_with_what_it_had() {
    let node = Node::new(4096).await;
    let vm = node.create(1, 128).await;
    set(&node, vm, 128).await;
    set(&node, vm, 256).await;
    node.act(vm, VmAction::Suspend).await;
    node.settle(vm, MINUTE).await;
    assert_eq!((node.vm(vm).status.state, memory(&node, vm)), (VmState::Suspended, 256));
    node.act(vm, VmAction::Start).await;
    node.settle(vm, MINUTE).await;
    assert_eq!((node.vm(vm).status.state, memory(&node, vm)), (VmState::Running, 256));
}

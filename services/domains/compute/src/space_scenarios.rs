//! Guests that find no space, on a made-up hypervisor: held, and let go on when there is room for them.

use std::time::Duration;

use skerry_model::{Id, Vm, VmAction, VmState};

use crate::Hold;
use crate::scenarios::{MINUTE, reason, running};
use crate::testing::Node;

#[tokio::test(start_paused = true)]
async fn a_guest_that_found_no_space_goes_on_when_there_is_some() {
    let node = Node::new(2048).await;
    node.set_pool_free(0).await;
    let vm = running_with_volume(&node, 1).await;
    node.fake.with(vm, |domain| domain.hold(Hold::DiskFault));
    node.settle(vm, MINUTE).await;
    assert_eq!(
        (node.vm(vm).status.state, reason(&node, vm).as_str()),
        (VmState::Paused, "IoPaused")
    );
    assert!(node.vm(vm).status.reason.contains("default"), "{}", node.vm(vm).status.reason);
    assert_eq!(node.fake.steps(), [""; 0]);
    node.set_pool_free(1 << 30).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["resume"]);
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    // One that fails again at once is not let go on again and again without a pause.
    node.fake.with(vm, |domain| domain.hold(Hold::DiskFault));
    node.settle(vm, Duration::from_secs(1)).await;
    assert_eq!(node.fake.steps(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_goes_on_for_the_room_of_guests_and_not_for_the_reserve() {
    let node = Node::new(2048).await;
    node.set_pool_room(8 << 30, 0).await;
    let vm = running_with_volume(&node, 1).await;
    node.fake.with(vm, |domain| domain.hold(Hold::DiskFault));
    node.settle(vm, MINUTE).await;
    assert_eq!(reason(&node, vm), "IoPaused", "what is free is the node's");
    // So little that it would be held again at once.
    node.set_pool_room(8 << 30, 16 << 20).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(reason(&node, vm), "IoPaused");
    node.set_pool_room(8 << 30, 64 << 20).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["resume"]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_to_be_held_stays_so_when_there_is_room_again() {
    let node = Node::new(2048).await;
    node.set_pool_free(0).await;
    let vm = running_with_volume(&node, 1).await;
    node.fake.with(vm, |domain| domain.hold(Hold::DiskFault));
    node.settle(vm, MINUTE).await;
    node.act(vm, VmAction::Pause).await;
    node.set_pool_free(1 << 30).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), [""; 0]);
    assert_eq!(node.vm(vm).status.state, VmState::Paused);
}

/// A running machine with a disk in the pool `default`.
async fn running_with_volume(node: &Node, number: u128) -> Id<Vm> {
    let vm = running(node, number).await;
    node.add_volume("data").await;
    let disk: skerry_model::VmDisk = serde_json::from_str(r#"{"volume": "data"}"#).unwrap();
    node.edit(vm, |spec| spec.disks = vec![disk]).await;
    node.settle(vm, MINUTE).await;
    node.fake.steps();
    vm
}

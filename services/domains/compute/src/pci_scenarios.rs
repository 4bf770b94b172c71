//! Guests that have PCI functions of the machine for themselves.

use skerry_model::{Id, Vm, VmAction, VmPci, VmPower, VmState};

use crate::AdmissionError;
use crate::pci::tests::function;
use crate::scenarios::{MINUTE, reason};
use crate::testing::Node;

fn by_address(address: &str) -> Vec<VmPci> {
    vec![VmPci { address: Some(address.parse().unwrap()), ..VmPci::default() }]
}

async fn with_pci(node: &Node, number: u128, address: &str) -> Id<Vm> {
    let vm = node.create(number, 128).await;
    node.edit(vm, |spec| spec.pci = by_address(address)).await;
    node.settle(vm, MINUTE).await;
    vm
}

fn has(node: &Node, vm: Id<Vm>) -> Vec<String> {
    let place = node.vm(vm).status.placement.unwrap_or_default();
    place.pci.iter().map(|given| given.address.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_function_is_given_once_and_freed_with_its_machine() {
    let node = Node::new(4096).await;
    let card = |address: &str| function(address, "030000", Some(2));
    node.fake.set_pci(vec![card("01:00.0"), card("01:00.1")]);
    let first = with_pci(&node, 1, "01:00.0").await;
    assert_eq!(node.vm(first).status.state, VmState::Running);
    assert_eq!(has(&node, first), ["0000:01:00.0", "0000:01:00.1"]);
    let placed = node.vm(first).status.conditions.get("Placed").unwrap().message.clone();
    assert_eq!(placed, "has the PCI functions 0000:01:00.0, 0000:01:00.1");

    let second = with_pci(&node, 2, "01:00.1").await;
    assert_eq!(node.vm(second).status.state, VmState::Stopped);
    assert_eq!(reason(&node, second), "PciNotFree");
    let told = node.vm(second).status.reason;
    assert!(told.contains("0000:01:00.1 is in use by the machine `vm-1`"), "{told}");
    let refused = node.controller.admit_vm(&node.vm(second).spec, Some(second)).unwrap_err();
    assert!(matches!(refused, AdmissionError::Pci(_)), "{refused}");

    node.want(first, VmPower::Stopped).await;
    node.settle(first, MINUTE).await;
    node.settle(second, MINUTE).await;
    assert_eq!(node.vm(second).status.state, VmState::Running);
    assert_eq!(has(&node, second), ["0000:01:00.1", "0000:01:00.0"]);
}

#[tokio::test(start_paused = true)]
async fn another_list_is_pending_until_the_next_start() {
    let node = Node::new(4096).await;
    let card = |address: &str, group| function(address, "020000", Some(group));
    node.fake.set_pci(vec![card("01:00.0", 1), card("02:00.0", 2)]);
    let vm = with_pci(&node, 1, "01:00.0").await;
    node.edit(vm, |spec| spec.pci = by_address("02:00.0")).await;
    node.settle(vm, MINUTE).await;
    assert!(node.vm(vm).status.conditions.holds("Pending"));
    assert_eq!(has(&node, vm), ["0000:01:00.0"]);
    node.act(vm, VmAction::Restart).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(has(&node, vm), ["0000:02:00.0"]);
    assert!(!node.vm(vm).status.conditions.holds("Pending"));
    node.edit(vm, |spec| spec.pci = Vec::new()).await;
    node.act(vm, VmAction::Restart).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.placement, None);
    assert!(node.vm(vm).status.conditions.get("Placed").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_gone_keeps_its_machine_off_with_a_reason() {
    let node = Node::new(4096).await;
    let vm = with_pci(&node, 1, "01:00.0").await;
    assert_eq!(
        (node.vm(vm).status.state, reason(&node, vm)),
        (VmState::Stopped, "PciNotFree".into())
    );
    node.fake.set_pci(vec![function("01:00.0", "020000", Some(1))]);
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
}

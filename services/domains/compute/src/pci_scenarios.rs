//! Guests that have PCI functions of the machine for themselves.

use skerry_model::{Id, Name, Vm, VmAction, VmPci, VmPower, VmState};

use crate::pci::tests::{function, part};
use crate::scenarios::{MINUTE, reason};
use crate::testing::{Mood, Node};
use crate::{AdmissionError, PciFunction, VirtualWish};

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

fn fast() -> Name {
    Name::new("fast").unwrap()
}

/// A node with a card that may have four virtual functions, and is to have so many.
async fn with_card(count: u32) -> Node {
    let of = "01:00.0".parse().unwrap();
    let wish =
        VirtualWish { of, count, group: fast(), vlan: None, spoof_check: true, trust: false };
    let node = Node::new(4096).await.with_virtual(vec![wish]);
    let card = PciFunction {
        most_virtual: 4,
        driver: Some("igb".to_owned()),
        nic: Some("eth1".to_owned()),
        ..function("01:00.0", "020000", Some(1))
    };
    node.fake.set_pci(vec![card]);
    node
}

async fn with_virtual(node: &Node, number: u128) -> Id<Vm> {
    let vm = node.create(number, 128).await;
    let wish = VmPci { group: Some(fast()), ..VmPci::default() };
    node.edit(vm, |spec| spec.pci = vec![wish]).await;
    node.settle(vm, MINUTE).await;
    vm
}

/// Whether they are there, and what is said.
async fn made(node: &Node) -> (bool, String) {
    let reports = node.controller.keep_virtual().await.unwrap();
    let [report] = &reports[..] else { panic!("one") };
    (report.good, report.message.clone())
}

#[tokio::test(start_paused = true)]
async fn virtual_functions_are_made_and_their_card_is_told_before_the_start() {
    let node = with_card(2).await;
    let (good, told) = made(&node).await;
    assert!(good && told.contains("0000:01:00.0 has 2 virtual functions"), "{told}");
    let vm = with_virtual(&node, 7).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    let [card] = &node.fake.cards()[..] else { panic!("told once") };
    assert_eq!((card.nic.as_str(), card.number), ("eth1", 0));
    assert_eq!(card.mac.to_string(), "02:00:00:00:00:07", "from the id");
    let placed = node.vm(vm).status.conditions.get("Placed").unwrap().message.clone();
    assert!(
        placed.contains("0000:01:10.0 (with the Ethernet address 02:00:00:00:00:07)"),
        "{placed}"
    );

    // Off and on again it has the same.
    node.want(vm, VmPower::Stopped).await;
    node.settle(vm, MINUTE).await;
    node.want(vm, VmPower::Running).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.cards()[0], *card);
}

#[tokio::test(start_paused = true)]
async fn another_number_waits_until_no_machine_has_one() {
    let node = with_card(2).await;
    let of = "01:00.0".parse().unwrap();
    let mut present = node.controller.pci().unwrap().functions;
    present[0].virtual_functions = 1;
    present.push(part(&of, 0));
    node.fake.set_pci(present);
    let vm = with_virtual(&node, 1).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    let (good, told) = made(&node).await;
    assert!(!good && told.contains("stay until these machines are off: `vm-1`"), "{told}");
    node.want(vm, VmPower::Stopped).await;
    node.settle(vm, MINUTE).await;
    assert!(made(&node).await.0);
    assert_eq!(node.controller.pci().unwrap().functions.len(), 3);
    assert!(made(&node).await.0, "and again, with nothing to do");
}

#[tokio::test(start_paused = true)]
async fn what_the_machine_refuses_is_said_and_tried_again() {
    let node = with_card(2).await;
    node.fake.set(Mood::NoVirtual);
    let (good, told) = made(&node).await;
    assert!(!good && told == "0000:01:00.0 has a driver that makes none", "{told}");
    let held = node.controller.pci().unwrap();
    let said = node.controller.describe_virtual(&held, &held.functions[0]).unwrap();
    assert_eq!(said, "has a driver that makes none");
    node.fake.set(Mood::Good);
    assert!(made(&node).await.0);

    node.fake.set(Mood::NoVirtual);
    let vm = with_virtual(&node, 1).await;
    let status = node.vm(vm).status;
    assert_eq!((status.pid, reason(&node, vm)), (None, "FunctionNotSet".into()));
    assert!(status.reason.contains("refuses the Ethernet address"), "{}", status.reason);
    node.fake.set(Mood::Good);
    node.settle(vm, 10 * MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
}

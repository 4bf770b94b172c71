//! Agents in guests: there, silent, lying, and asked to shut their guest down.

use skerry_model::{Condition, Id, Vm, VmPower, VmState};
use tokio::time::advance;

use crate::AgentLink;
use crate::scenarios::{MINUTE, seconds};
use crate::testing::{Mood, Node};

/// A running machine whose guest has an agent.
async fn with_agent(node: &Node) -> Id<Vm> {
    let vm = node.create(1, 128).await;
    node.edit(vm, |spec| spec.guest_agent = true).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    node.fake.steps();
    vm
}

fn agent(node: &Node, vm: Id<Vm>) -> Option<Condition> {
    node.vm(vm).status.conditions.get("GuestAgent").cloned()
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_asked_when_it_appears_and_then_rarely() {
    let node = Node::new(2048).await;
    let vm = with_agent(&node).await;
    assert_eq!(node.fake.asked(), ["guest-info", "guest-network-get-interfaces"]);
    let report = node.vm(vm).status.guest.unwrap();
    assert_eq!(report.agent_version, "10.0");
    assert_eq!(report.interfaces[0].addresses, ["10.88.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(agent(&node, vm).unwrap().reason, "Connected");
    for _ in 0..10 {
        node.pass(vm).await.unwrap();
    }
    node.settle(vm, MINUTE * 3).await;
    assert!(node.fake.asked().is_empty(), "asked again within minutes");
    node.settle(vm, MINUTE * 12).await;
    assert!(node.fake.asked().len() <= 6);
    node.fake.with(vm, |domain| domain.link(AgentLink::Silent));
    node.pass(vm).await.unwrap();
    assert_eq!(agent(&node, vm).unwrap().reason, "NotConnected");
    assert_eq!(node.vm(vm).status.guest, None, "old news");
    node.fake.asked();
    node.fake.with(vm, |domain| domain.link(AgentLink::Connected));
    node.pass(vm).await.unwrap();
    assert_eq!(node.fake.asked().len(), 2, "asked at once when it is back");
}

#[tokio::test(start_paused = true)]
async fn a_guest_without_agent_costs_nothing() {
    let node = Node::new(2048).await;
    let vm = crate::scenarios::running(&node, 1).await;
    node.settle(vm, MINUTE * 60).await;
    assert!(node.fake.asked().is_empty());
    assert_eq!(agent(&node, vm), None);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_mute_or_lies_is_asked_ever_less_often_and_changes_nothing() {
    for mood in [Mood::Mute, Mood::Lying] {
        let node = Node::new(2048).await;
        node.fake.set(mood);
        let vm = with_agent(&node).await;
        node.fake.asked();
        node.settle(vm, MINUTE * 60).await;
        let asked = node.fake.asked().len();
        assert!(asked < 50, "asked {asked} times in an hour");
        assert_eq!(agent(&node, vm).unwrap().reason, "NoAnswer");
        assert_eq!(node.vm(vm).status.guest, None);
        assert_eq!(node.vm(vm).status.state, VmState::Running);
    }
}

#[tokio::test(start_paused = true)]
async fn agents_that_keep_their_answers_back_take_only_some_of_the_passes() {
    let node = Node::new(2048).await;
    let others = node.controller.hearing.acquire_many(4).await.unwrap();
    let vm = with_agent(&node).await;
    assert!(node.fake.asked().is_empty());
    assert_eq!(node.vm(vm).status.state, VmState::Running, "the machine waits for nobody");
    drop(others);
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.asked().len(), 2, "asked when it is its turn");
}

#[tokio::test(start_paused = true)]
async fn a_stop_asks_the_agent_first_and_the_power_button_after_it() {
    let node = Node::new(2048).await;
    let vm = with_agent(&node).await;
    node.want(vm, VmPower::Stopped).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.fake.steps(), ["shutdown by agent"]);
    assert_eq!(node.vm(vm).status.state, VmState::Stopped);
    assert_eq!(agent(&node, vm), None);

    node.want(vm, VmPower::Running).await;
    node.settle(vm, MINUTE).await;
    node.fake.steps();
    node.fake.set(Mood::Deaf);
    node.want(vm, VmPower::Stopped).await;
    node.settle(vm, seconds(25)).await;
    assert_eq!(node.fake.steps(), ["shutdown by agent", "shutdown", "shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_refuses_to_stop_costs_no_time() {
    let node = Node::new(2048).await;
    let vm = with_agent(&node).await;
    node.fake.set(Mood::Mute);
    node.want(vm, VmPower::Stopped).await;
    node.pass(vm).await.unwrap();
    assert_eq!(node.fake.steps(), ["shutdown"]);
    advance(seconds(1)).await;
    node.settle(vm, MINUTE).await;
    assert_eq!(node.vm(vm).status.state, VmState::Stopped);
    assert!(node.fake.with(vm, |domain| domain.wrong.is_empty()));
}

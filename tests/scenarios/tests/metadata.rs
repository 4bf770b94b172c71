//! What guests are told when they ask for their data, and who else may know.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use skerry_ipc::{Json, PeerRole, Request};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, document};
use skerry_sim_host::SimHost;

/// A running machine with data, and its address.
async fn with_data(node: &RunningNode, name: &str) -> Ipv4Addr {
    node.wait_network().await.unwrap();
    let vm = json!({"metadata": {"name": name}, "spec": {"image": "tiny-vm", "memory_mib": 64,
        "init": {"user_data": format!("#!/bin/sh\necho {name} has a swordfish\n"),
            "password": "herring"}}});
    node.create(Kind::Vm, vm).await.unwrap();
    let vm = node.wait_state(Kind::Vm, name, "running").await.unwrap();
    vm["status"]["addresses"][0].as_str().unwrap().parse().unwrap()
}

async fn told(node: &RunningNode, address: Ipv4Addr) -> anyhow::Result<Value> {
    document(node.ask(Request::GuestMetadata { address }).await?)
}

async fn change(node: &RunningNode, key: &str, init: Value) {
    let patch = Json(json!({"spec": {"init": init}}).to_string());
    let request = Request::Patch { kind: Kind::Vm, key: key.into(), patch, if_revision: None };
    document(node.ask(request).await.unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_guest_is_told_its_own_once_it_was_said_that_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let (ada, bob) = (with_data(&node, "ada").await, with_data(&node, "bob").await);
    assert!(told(&node, ada).await.is_err(), "it is off unless asked for");
    let started = node.get(Kind::Vm, "ada").await.unwrap()["status"]["starts"].clone();

    change(&node, "ada", json!({"metadata": true})).await;
    let data = told(&node, ada).await.unwrap().to_string();
    assert!(data.contains("ada has a swordfish") && !data.contains("bob"), "{data}");
    assert!(!data.contains("$6$"), "the password is not told here: {data}");
    assert!(told(&node, bob).await.is_err());
    assert!(told(&node, Ipv4Addr::new(10, 88, 0, 1)).await.is_err());
    let vm = node.get(Kind::Vm, "ada").await.unwrap();
    assert_eq!(vm["status"]["starts"], started, "it counts at once, without a restart");
    assert_eq!(vm["spec"]["init"]["metadata"], true);

    let key = "ada".to_owned();
    let shown = document(node.ask(Request::VmMetadata { key }).await.unwrap()).unwrap();
    assert_eq!(shown["on"], true);
    assert!(!shown.to_string().contains("swordfish"), "people are not shown it: {shown}");
    let user_data = shown["entries"].as_array().unwrap().iter();
    let mut user_data = user_data.filter(|entry| entry["path"] == "latest/user-data");
    assert_eq!(user_data.next().unwrap()["bytes"], 35);

    change(&node, "ada", json!({"metadata": false})).await;
    assert!(told(&node, ada).await.is_err(), "and it ends at once");
    let vm = node.get(Kind::Vm, "ada").await.unwrap();
    assert_eq!(vm["spec"]["init"].get("metadata"), None, "as if it had never been said");
    let key = "ada".to_owned();
    let shown = document(node.ask(Request::VmMetadata { key }).await.unwrap()).unwrap();
    assert_eq!(shown, json!({"on": false, "entries": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_service_that_answers_guests_is_told_all() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let ada = with_data(&node, "ada").await;
    change(&node, "ada", json!({"metadata": true})).await;
    node.stop().await.unwrap();

    let node = RunningNode::start_as(folder.path(), &host, PeerRole::Guests).await.unwrap();
    assert!(told(&node, ada).await.unwrap().to_string().contains("swordfish"));
    for kind in [Kind::Vm, Kind::Port, Kind::Network] {
        assert!(node.list(kind).await.is_err(), "and nothing else");
    }
    assert!(node.ask(Request::VmMetadata { key: "ada".into() }).await.is_err());
    node.stop().await.unwrap();
    for role in [PeerRole::North, PeerRole::Console, PeerRole::Member] {
        let node = RunningNode::start_as(folder.path(), &host, role).await.unwrap();
        assert!(told(&node, ada).await.is_err(), "{role:?}");
        node.stop().await.unwrap();
    }
}

//! Agents in guests, and machines that get another name.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_ipc::{Action, Answer, Json, Request};
use skerry_model::{Hidden, Id, Kind, Vm};
use skerry_scenarios_tests::{RunningNode, document, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);

fn condition(resource: &Value, kind: &str) -> Option<Value> {
    let conditions = resource.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind).cloned()
}

/// A running machine with an agent in its guest and a volume.
async fn with_agent(node: &RunningNode) -> Id<Vm> {
    node.wait_network().await.unwrap();
    node.wait_state(Kind::Pool, "default", "ready").await.unwrap();
    let volume = json!({"metadata": {"name": "data"}, "spec": {"size_mib": 64}});
    node.create(Kind::Volume, volume).await.unwrap();
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    let vm = json!({"metadata": {"name": "guest"}, "spec": {"image": "tiny-vm", "memory_mib": 128,
        "guest_agent": true, "disks": [{"volume": "data"}], "init": {"password": "first"}}});
    let made = node.create(Kind::Vm, vm).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    made["metadata"]["id"].as_str().unwrap().parse().unwrap()
}

async fn patch(node: &RunningNode, key: &str, patch: Value) -> anyhow::Result<Value> {
    let patch = Json(patch.to_string());
    let request = Request::Patch { kind: Kind::Vm, key: key.into(), patch, if_revision: None };
    document(node.ask(request).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_tells_its_addresses_and_takes_a_password_that_is_kept_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let id = with_agent(&node).await;
    eventually(LIMIT, || async {
        let vm = node.get(Kind::Vm, "guest").await.map_err(|e| e.to_string())?;
        let address = vm.pointer("/status/guest/interfaces/0/addresses/0");
        let connected = condition(&vm, "GuestAgent").is_some_and(|c| c["state"] == "true");
        if address == Some(&json!("192.0.2.7")) && connected { Ok(()) } else { Err(vm.to_string()) }
    })
    .await
    .unwrap();
    let asked = node.ask(Request::GuestReport { key: "guest".into() }).await;
    assert_eq!(document(asked.unwrap()).unwrap()["agent_version"], "simulated");

    let set = |user: &str| Request::SetGuestPassword {
        key: "guest".into(),
        user: user.into(),
        password: Hidden::new("swordfish-7"),
    };
    assert_eq!(node.ask(set("root")).await.unwrap(), Answer::Done);
    assert_eq!(host.guest_password(id, "root").as_deref(), Some("swordfish-7"));
    let refused = node.ask(set("nobody")).await.unwrap_err().to_string();
    assert!(refused.contains("refused") && !refused.contains("swordfish"), "{refused}");
    for kind in Kind::ALL {
        let all = json!(node.list(kind).await.unwrap_or_default()).to_string();
        assert!(!all.contains("swordfish"), "{kind}");
    }

    host.end_agent(id);
    eventually(LIMIT, || async {
        let vm = node.get(Kind::Vm, "guest").await.map_err(|e| e.to_string())?;
        let told = condition(&vm, "GuestAgent").is_some_and(|c| c["reason"] == "NotConnected");
        if told { Ok(()) } else { Err(vm.to_string()) }
    })
    .await
    .unwrap();
    let refused = node.ask(set("root")).await.unwrap_err().to_string();
    assert!(refused.contains("install `qemu-guest-agent`"), "{refused}");
    // Without an agent the power button does.
    let stop = Request::Act { kind: Kind::Vm, key: "guest".into(), action: Action::Stop };
    node.ask(stop).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "stopped").await.unwrap();
    node.stop().await.unwrap();
    let state = std::fs::read_dir(folder.path().join("state/store")).unwrap();
    assert!(state.count() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_says_whether_the_guest_was_at_rest_and_it_goes_on_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let id = with_agent(&node).await;
    let take = async |node: &RunningNode, name: &str| {
        let spec = json!({"metadata": {"name": name}, "spec": {"vm": "guest"}});
        node.create(Kind::Snapshot, spec).await.unwrap();
        node.wait_state(Kind::Snapshot, name, "ready").await.unwrap()
    };
    let rested = take(&node, "rested").await;
    assert_eq!(condition(&rested, "Consistent").unwrap()["reason"], "FileSystemsAtRest");
    assert!(!host.is_at_rest(id));
    host.mute_agent(id, true);
    let crashed = take(&node, "mute").await;
    let said = condition(&crashed, "Consistent").unwrap();
    assert_eq!(said["reason"], "CrashConsistent");
    assert!(said["message"].as_str().unwrap().contains("no answer"), "{said}");
    host.mute_agent(id, false);

    // The service is killed while the guest is at rest: the next one lets it go on.
    host.order_faults(|faults| faults.delay = Duration::from_millis(300));
    let spec = json!({"metadata": {"name": "third"}, "spec": {"vm": "guest"}});
    node.create(Kind::Snapshot, spec).await.unwrap();
    eventually(LIMIT, || async { host.is_at_rest(id).then_some(()).ok_or("not at rest") })
        .await
        .unwrap();
    node.kill().await.unwrap();
    host.order_faults(|faults| faults.delay = Duration::ZERO);
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_state(Kind::Snapshot, "third", "ready").await.unwrap();
    eventually(LIMIT, || async { (!host.is_at_rest(id)).then_some(()).ok_or("still at rest") })
        .await
        .unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_another_name_and_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let id = with_agent(&node).await;
    let snapshot = json!({"metadata": {"name": "before"}, "spec": {"vm": "guest"}});
    node.create(Kind::Snapshot, snapshot).await.unwrap();
    node.wait_state(Kind::Snapshot, "before", "ready").await.unwrap();
    let other =
        json!({"metadata": {"name": "other"}, "spec": {"image": "tiny-vm", "power": "stopped"}});
    node.create(Kind::Vm, other).await.unwrap();
    let seed = host.seed_file(id, "meta-data");
    let before = node.get(Kind::Vm, "guest").await.unwrap();

    let taken = patch(&node, "guest", json!({"metadata": {"name": "other"}})).await;
    assert!(taken.unwrap_err().to_string().contains("other"));
    let wrong = patch(&node, "guest", json!({"metadata": {"name": "No Name"}})).await;
    assert!(wrong.is_err());
    let renamed = patch(&node, "guest", json!({"metadata": {"name": "shop"}})).await.unwrap();
    assert_eq!(renamed["metadata"]["id"], json!(id));
    assert!(node.get(Kind::Vm, "guest").await.is_err());
    eventually(LIMIT, || async {
        let volume = node.get(Kind::Volume, "data").await.map_err(|e| e.to_string())?;
        let to = volume.pointer("/status/attached_to").cloned();
        if to == Some(json!("shop")) { Ok(()) } else { Err(volume.to_string()) }
    })
    .await
    .unwrap();
    let after = node.get(Kind::Vm, "shop").await.unwrap();
    for same in ["/status/pid", "/status/port", "/status/addresses", "/status/starts"] {
        assert_eq!(before.pointer(same), after.pointer(same), "{same}");
    }
    assert_eq!(condition(&after, "Pending"), None, "a name is no change of the machine");
    assert_eq!(host.seed_file(id, "meta-data"), seed, "cloud-init would begin anew");
    assert_eq!(node.get(Kind::Snapshot, "before").await.unwrap()["spec"]["vm"], "shop");
    // The old name is free, and other kinds keep theirs.
    let again =
        json!({"metadata": {"name": "guest"}, "spec": {"image": "tiny-vm", "power": "stopped"}});
    node.create(Kind::Vm, again).await.unwrap();
    let request = Request::Patch {
        kind: Kind::Volume,
        key: "data".into(),
        patch: Json(json!({"metadata": {"name": "x"}}).to_string()),
        if_revision: None,
    };
    assert!(node.ask(request).await.is_err());
    node.kill().await.unwrap();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let found = node.wait_state(Kind::Vm, "shop", "running").await.unwrap();
    assert_eq!(found["metadata"]["id"], json!(id));
    node.stop().await.unwrap();
}

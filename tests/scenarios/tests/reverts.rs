//! Volumes that are set back to a snapshot, and the machines that want to start with them meanwhile.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use skerry_ipc::{Action, Json, Request};
use skerry_model::{Id, Kind, Volume};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);

fn vm(name: &str, volume: &str, power: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"image": "tiny-vm", "memory_mib": 128,
        "disks": [{"volume": volume}], "power": power}})
}

async fn patch_vm(node: &RunningNode, key: &str, spec: Value) -> anyhow::Result<()> {
    let patch = Json(json!({ "spec": spec }).to_string());
    let (kind, key) = (Kind::Vm, key.to_owned());
    node.ask(Request::Patch { kind, key, patch, if_revision: None }).await.map(drop)
}

async fn delete_snapshot(node: &RunningNode) {
    let (kind, key) = (Kind::Snapshot, "one".to_owned());
    let delete = Request::Delete { kind, key, if_revision: None, with_volumes: false };
    node.ask(delete).await.unwrap();
}

async fn act(node: &RunningNode, kind: Kind, key: &str, action: Action) -> anyhow::Result<()> {
    node.ask(Request::Act { kind, key: key.to_owned(), action }).await.map(drop)
}

/// A machine that is off, whose volume `data` holds `second`, and `first` in the snapshot `one`.
async fn stopped_guest(node: &RunningNode, host: &SimHost) -> Id<Volume> {
    node.wait_network().await.unwrap();
    node.wait_state(Kind::Pool, "default", "ready").await.unwrap();
    for name in ["data", "other"] {
        let body = json!({"metadata": {"name": name}, "spec": {"size_mib": 64}});
        node.create(Kind::Volume, body).await.unwrap();
        node.wait_state(Kind::Volume, name, "available").await.unwrap();
    }
    let made = node.get(Kind::Volume, "data").await.unwrap();
    let data: Id<Volume> = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    host.write_volume(data, "first");
    let snapshot = json!({"metadata": {"name": "one"}, "spec": {"volumes": ["data"]}});
    node.create(Kind::Snapshot, snapshot).await.unwrap();
    node.wait_state(Kind::Snapshot, "one", "ready").await.unwrap();
    host.write_volume(data, "second");
    node.create(Kind::Vm, vm("guest", "data", "stopped")).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "stopped").await.unwrap();
    data
}

async fn start_waits_for_snapshot(node: &RunningNode) {
    eventually(LIMIT, || async {
        let status = node.get(Kind::Vm, "guest").await.map_err(|e| e.to_string())?["status"].take();
        assert_ne!(status["state"], "running", "it started before its volume was set back");
        let told = status.to_string().contains("is set back to the snapshot `one`");
        if told { Ok(()) } else { Err(status.to_string()) }
    })
    .await
    .unwrap();
}

/// The same, told to go back to the snapshot, which fails again and again, and then to start.
async fn waiting_guest(folder: &Path, host: &SimHost) -> (RunningNode, Id<Volume>) {
    let node = RunningNode::start(folder, host).await.unwrap();
    let data = stopped_guest(&node, host).await;
    host.order_faults(|faults| faults.fail("revert volume", 1000));
    act(&node, Kind::Snapshot, "one", Action::Revert).await.unwrap();
    act(&node, Kind::Vm, "guest", Action::Start).await.unwrap();
    start_waits_for_snapshot(&node).await;
    (node, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_starts_once_its_volume_is_set_back_also_over_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let (node, data) = waiting_guest(folder.path(), &host).await;
    node.kill().await.unwrap();
    host.power_cut();
    host.order_faults(|faults| faults.fail("revert volume", 2));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    assert_eq!(host.read_volume(data).unwrap(), "first", "it runs with what was to be gone");
    let snapshot = node.get(Kind::Snapshot, "one").await.unwrap();
    assert_eq!(
        (&snapshot["status"]["reverts"], &snapshot["status"]["state"]),
        (&json!(1), &json!("ready"))
    );
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_to_be_set_back_is_not_attached_until_that_is_called_off() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let (node, data) = waiting_guest(folder.path(), &host).await;
    node.create(Kind::Vm, vm("runs", "other", "running")).await.unwrap();
    node.wait_state(Kind::Vm, "runs", "running").await.unwrap();
    act(&node, Kind::Vm, "guest", Action::Stop).await.unwrap();
    patch_vm(&node, "guest", json!({"disks": []})).await.unwrap();
    let disks = json!([{"volume": "other"}, {"volume": "data"}]);
    let refused = patch_vm(&node, "runs", json!({ "disks": disks })).await.unwrap_err();
    assert!(
        refused.to_string().contains("still to be set back to the snapshot `one`"),
        "{refused}"
    );
    patch_vm(&node, "guest", json!({"power": "running"})).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    delete_snapshot(&node).await;
    patch_vm(&node, "runs", json!({ "disks": disks })).await.unwrap();
    assert_eq!(host.read_volume(data).unwrap(), "second", "it was called off");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_waits_for_a_snapshot_starts_when_that_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let (node, data) = waiting_guest(folder.path(), &host).await;
    delete_snapshot(&node).await;
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    assert_eq!(host.read_volume(data).unwrap(), "second", "it was called off");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_its_guest_has_not_let_go_of_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let data = stopped_guest(&node, &host).await;
    act(&node, Kind::Vm, "guest", Action::Start).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    node.wait_state(Kind::Volume, "data", "in_use").await.unwrap();

    // It is to have it no more, but has it: neither is the volume set back, nor does another machine get it.
    host.order_faults(|faults| faults.fail("detach disk", 1000));
    patch_vm(&node, "guest", json!({"disks": []})).await.unwrap();
    eventually(LIMIT, || async {
        let status = node.get(Kind::Vm, "guest").await.map_err(|e| e.to_string())?["status"].take();
        let told = status.to_string().contains("DiskNotChanged");
        if told { Ok(()) } else { Err(status.to_string()) }
    })
    .await
    .unwrap();
    let volume = node.get(Kind::Volume, "data").await.unwrap();
    assert_eq!(volume["status"]["state"], "in_use", "{volume}");
    let refused = act(&node, Kind::Snapshot, "one", Action::Revert).await.unwrap_err();
    assert!(refused.to_string().contains("guest"), "{refused}");
    let refused = node.create(Kind::Vm, vm("second", "data", "running")).await.unwrap_err();
    assert!(refused.to_string().contains("guest"), "{refused}");
    assert_eq!(host.read_volume(data).unwrap(), "second");

    host.order_faults(|faults| faults.fail("detach disk", 0));
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    act(&node, Kind::Snapshot, "one", Action::Revert).await.unwrap();
    eventually(LIMIT, || async {
        let found = host.read_volume(data);
        if found.as_deref() == Some("first") { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
    node.stop().await.unwrap();
}

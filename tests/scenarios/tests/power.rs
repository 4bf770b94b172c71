//! What can be done with a virtual machine beyond starting and stopping it, over restarts of the daemon.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_ipc::{Action, Json, Request};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

async fn act(node: &RunningNode, action: Action) -> anyhow::Result<()> {
    let key = "guest".to_owned();
    node.ask(Request::Act { kind: Kind::Vm, key, action }).await.map(drop)
}

async fn state(node: &RunningNode, state: &str) -> Value {
    node.wait_state(Kind::Vm, "guest", state).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_paused_suspended_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let spec = json!({"image": "tiny-vm", "memory_mib": 128});
    node.create(Kind::Vm, json!({"metadata": {"name": "guest"}, "spec": spec})).await.unwrap();
    let pid = state(&node, "running").await["status"]["pid"].clone();

    act(&node, Action::Pause).await.unwrap();
    let paused = state(&node, "paused").await;
    let actions = paused["status"]["actions"].as_array().unwrap();
    let reset = actions.iter().find(|one| one["action"] == "reset").unwrap();
    assert_eq!(reset["why"], "it is paused: resume it first");
    let refused = act(&node, Action::Reset).await.unwrap_err().to_string();
    assert!(refused.contains("it is paused: resume it first"), "{refused}");
    node.kill().await.unwrap();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    assert_eq!(state(&node, "paused").await["status"]["pid"], pid);

    act(&node, Action::Resume).await.unwrap();
    state(&node, "running").await;
    act(&node, Action::Suspend).await.unwrap();
    state(&node, "suspended").await;
    assert_eq!(host.running(), (0, 0));
    node.kill().await.unwrap();
    host.power_cut();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    state(&node, "suspended").await;
    act(&node, Action::Start).await.unwrap();
    state(&node, "running").await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_end_with_the_node_but_not_with_its_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let spec = json!({"image": "tiny-vm", "memory_mib": 128});
    node.create(Kind::Vm, json!({"metadata": {"name": "guest"}, "spec": spec})).await.unwrap();
    let pid = state(&node, "running").await["status"]["pid"].clone();
    // The daemon alone ends, as for an update.
    node.stop().await.unwrap();
    assert_eq!(host.running(), (1, 0));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    assert_eq!(state(&node, "running").await["status"]["pid"], pid);
    // Somebody presses the power button, and systemd ends the daemon.
    host.press_power();
    node.stop().await.unwrap();
    assert_eq!(host.running(), (0, 0));
    host.power_cut();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let guest = state(&node, "running").await;
    assert_eq!(
        (&guest["status"]["crashes"], &guest["spec"]["power"]),
        (&json!(0), &json!("running"))
    );
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_machine_is_deleted_only_when_that_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let spec = json!({"image": "tiny-vm", "memory_mib": 128, "protected": true});
    node.create(Kind::Vm, json!({"metadata": {"name": "guest"}, "spec": spec})).await.unwrap();
    state(&node, "running").await;
    let delete = || Request::Delete {
        kind: Kind::Vm,
        key: "guest".to_owned(),
        if_revision: None,
        with_volumes: true,
    };
    let refused = node.ask(delete()).await.unwrap_err().to_string();
    assert!(refused.contains("protected"), "{refused}");
    state(&node, "running").await;
    let patch = Json(json!({"spec": {"protected": false}}).to_string());
    let key = "guest".to_owned();
    node.ask(Request::Patch { kind: Kind::Vm, key, patch, if_revision: None }).await.unwrap();
    node.ask(delete()).await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_the_store_forgot_is_shown_and_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let spec = json!({"image": "tiny-vm", "memory_mib": 128});
    node.create(Kind::Vm, json!({"metadata": {"name": "guest"}, "spec": spec})).await.unwrap();
    let id = state(&node, "running").await["metadata"]["id"].as_str().unwrap().to_owned();
    node.stop().await.unwrap();
    // The store is lost; what runs is not.
    let other = tempfile::tempdir().unwrap();
    let node = RunningNode::start(other.path(), &host).await.unwrap();
    let found = async |count: usize| {
        eventually(Duration::from_secs(20), || async {
            let status = node.list(Kind::Node).await?[0]["status"].clone();
            let found = status["unmanaged_vms"].as_array().unwrap();
            anyhow::ensure!(found.len() == count, "{status}");
            let alarms = node.list(Kind::Alarm).await?;
            let stands = alarms.iter().any(|alarm| {
                alarm["spec"]["definition"] == "VMS_UNMANAGED"
                    && alarm["status"]["cleared"].is_null()
            });
            anyhow::ensure!(stands == (count > 0), "{alarms:?}");
            Ok::<_, anyhow::Error>(status)
        })
        .await
        .unwrap()
    };
    let status = found(1).await;
    let seen = &status["unmanaged_vms"][0];
    assert_eq!((&seen["id"], &seen["running"]), (&json!(id), &json!(true)));
    assert!(seen["memory_mib"].as_u64().unwrap() > 128, "{seen}");
    assert!(status["conditions"].to_string().contains(&id));
    assert_eq!(host.running(), (1, 0), "it is left alone");
    let key = id.clone();
    let delete = Request::Delete { kind: Kind::Vm, key, if_revision: None, with_volumes: false };
    node.ask(delete.clone()).await.unwrap();
    assert_eq!(host.running(), (0, 0));
    found(0).await;
    node.ask(delete).await.unwrap_err();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_requests_come_from_actions_alone() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let with = |power| {
        json!({"metadata": {"name": "guest"},
            "spec": {"image": "tiny-vm", "memory_mib": 128, "power": power,
                "request": {"number": 9, "what": "reset"}}})
    };
    let refused = node.create(Kind::Vm, with("paused")).await.unwrap_err().to_string();
    assert!(refused.contains("running or stopped"), "{refused}");
    let made = node.create(Kind::Vm, with("stopped")).await.unwrap();
    assert_eq!(made["spec"]["request"], Value::Null);
    state(&node, "stopped").await;
    for action in [Action::Pause, Action::Resume, Action::Reset, Action::Reboot, Action::Suspend] {
        act(&node, action).await.unwrap_err();
    }
    let patch = Json(json!({"spec": {"power": "suspended"}}).to_string());
    let key = "guest".to_owned();
    let patch = Request::Patch { kind: Kind::Vm, key, patch, if_revision: None };
    let refused = node.ask(patch).await.unwrap_err().to_string();
    assert!(refused.contains("it does not run"), "{refused}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_raises_an_alarm_that_a_stop_ends() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let spec = json!({"image": "tiny-vm", "memory_mib": 128, "crash_policy": {"action": "alarm"}});
    node.create(Kind::Vm, json!({"metadata": {"name": "guest"}, "spec": spec})).await.unwrap();
    let id = state(&node, "running").await["metadata"]["id"].as_str().unwrap().parse().unwrap();
    host.crash_guest(id);
    state(&node, "crashed").await;
    let standing = async |wanted: bool| {
        eventually(Duration::from_secs(20), || async {
            let alarms = node.list(Kind::Alarm).await?;
            let mut crashed = alarms.iter().filter(|a| a["spec"]["definition"] == "VM_CRASHED");
            let stands = crashed.any(|a| a["status"]["cleared"].is_null());
            anyhow::ensure!(stands == wanted, "{alarms:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await
        .unwrap();
    };
    standing(true).await;
    act(&node, Action::Stop).await.unwrap();
    state(&node, "stopped").await;
    standing(false).await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_machines_start_as_was_set_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    for (name, power, autostart) in [
        ("kept", "stopped", "last_state"),
        ("on", "stopped", "always"),
        ("off", "running", "never"),
    ] {
        let spec =
            json!({"image": "tiny-vm", "memory_mib": 128, "power": power, "autostart": autostart});
        node.create(Kind::Vm, json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
        node.wait_state(Kind::Vm, name, power).await.unwrap();
    }
    node.kill().await.unwrap();
    host.power_cut();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    for (name, state) in [("on", "running"), ("off", "stopped"), ("kept", "stopped")] {
        node.wait_state(Kind::Vm, name, state).await.unwrap();
    }
    assert_eq!(host.running(), (1, 0));
    node.stop().await.unwrap();
}

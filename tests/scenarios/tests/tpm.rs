//! TPMs in snapshots of machines, over a power cut too, and in clones.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::json;
use skerry_ipc::{Action, Request};
use skerry_model::{Id, Kind, Vm};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);

async fn act(node: &RunningNode, kind: Kind, key: &str, action: Action) -> anyhow::Result<()> {
    node.ask(Request::Act { kind, key: key.to_owned(), action }).await.map(drop)
}

async fn power(node: &RunningNode, key: &str, action: Action, state: &str) {
    act(node, Kind::Vm, key, action).await.unwrap();
    node.wait_state(Kind::Vm, key, state).await.unwrap();
}

async fn delete_snapshot(node: &RunningNode, name: &str) {
    let (kind, key) = (Kind::Snapshot, name.to_owned());
    let delete = Request::Delete { kind, key, if_revision: None, with_volumes: false };
    node.ask(delete).await.unwrap();
}

async fn id_of(node: &RunningNode, name: &str) -> Id<Vm> {
    let vm = node.get(Kind::Vm, name).await.unwrap();
    vm["metadata"]["id"].as_str().unwrap().parse().unwrap()
}

/// A machine with a TPM that runs for the first time, from an image that was made of a volume.
async fn sealed(node: &RunningNode) -> Id<Vm> {
    node.wait_network().await.unwrap();
    node.wait_state(Kind::Pool, "default", "ready").await.unwrap();
    let data = json!({"metadata": {"name": "data"}, "spec": {"size_mib": 64}});
    node.create(Kind::Volume, data).await.unwrap();
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    let image = json!({"metadata": {"name": "golden"}, "spec": {"format": "qcow2",
        "architecture": "x86_64", "source": {"volume": {"volume": "data"}}}});
    node.create(Kind::Image, image).await.unwrap();
    node.wait_state(Kind::Image, "golden", "available").await.unwrap();
    let vm = json!({"metadata": {"name": "sealed"}, "spec": {"image": "golden", "memory_mib": 128,
        "tpm": true, "firmware": "uefi"}});
    node.create(Kind::Vm, vm).await.unwrap();
    node.wait_state(Kind::Vm, "sealed", "running").await.unwrap();
    id_of(node, "sealed").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_goes_back_with_its_machine_also_over_a_power_cut() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let vm = sealed(&node).await;
    let snapshot = json!({"metadata": {"name": "one"}, "spec": {"vm": "sealed"}});
    node.create(Kind::Snapshot, snapshot).await.unwrap();
    let taken = node.wait_state(Kind::Snapshot, "one", "ready").await.unwrap();
    assert_eq!(taken["status"]["tpm"], json!(vm));
    let refused = act(&node, Kind::Snapshot, "one", Action::Revert).await.unwrap_err();
    assert!(refused.to_string().contains("stop `sealed` first"), "{refused}");
    for _ in 0..2 {
        power(&node, "sealed", Action::Stop, "stopped").await;
        power(&node, "sealed", Action::Start, "running").await;
    }
    power(&node, "sealed", Action::Stop, "stopped").await;
    assert_eq!(host.tpm_uses(vm), Some(3));

    // It fails again and again; meanwhile the machine is told to start, and waits.
    host.order_faults(|faults| faults.fail("revert TPM", 1000));
    act(&node, Kind::Snapshot, "one", Action::Revert).await.unwrap();
    act(&node, Kind::Vm, "sealed", Action::Start).await.unwrap();
    eventually(LIMIT, || async {
        let status =
            node.get(Kind::Vm, "sealed").await.map_err(|e| e.to_string())?["status"].take();
        let told = status.to_string().contains("is set back to the snapshot `one`");
        if told { Ok(()) } else { Err(status.to_string()) }
    })
    .await
    .unwrap();
    node.kill().await.unwrap();
    host.power_cut();
    host.order_faults(|faults| faults.fail("revert TPM", 2));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_state(Kind::Vm, "sealed", "running").await.unwrap();
    assert_eq!(host.tpm_uses(vm), Some(2), "set back to the first start, and started once more");

    assert_eq!(host.kept_tpms(vm), 2, "what it held before is kept as well");
    for name in ["one", "before-one-1"] {
        delete_snapshot(&node, name).await;
    }
    eventually(LIMIT, || async {
        let left = host.kept_tpms(vm);
        if left == 0 { Ok(()) } else { Err(format!("{left} copies are left")) }
    })
    .await
    .unwrap();
    assert_eq!(host.tpm_uses(vm), Some(2));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_begins_with_a_tpm_of_its_own() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let vm = sealed(&node).await;
    power(&node, "sealed", Action::Stop, "stopped").await;
    power(&node, "sealed", Action::Start, "running").await;
    power(&node, "sealed", Action::Stop, "stopped").await;
    let clone = json!({"metadata": {"name": "copy"}, "spec": {"clone_of": "sealed"}});
    node.create(Kind::Vm, clone).await.unwrap();
    node.wait_state(Kind::Vm, "copy", "running").await.unwrap();
    let copy = id_of(&node, "copy").await;
    assert_eq!((host.tpm_uses(vm), host.tpm_uses(copy)), (Some(2), Some(1)));
    node.stop().await.unwrap();
}

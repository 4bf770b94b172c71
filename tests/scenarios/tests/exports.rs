//! Images made of volumes and snapshots, over aborts, faults and power cuts.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};
use skerry_ipc::{Action, Json, Request};
use skerry_model::{Id, Kind, Volume};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);

async fn start(folder: &tempfile::TempDir, host: &SimHost) -> RunningNode {
    RunningNode::start(folder.path(), host).await.unwrap()
}

async fn volume(node: &RunningNode, host: &SimHost, word: &str) -> Id<Volume> {
    node.wait_state(Kind::Pool, "default", "ready").await.unwrap();
    let document = json!({"metadata": {"name": "data"}, "spec": {"size_mib": 64}});
    let made = node.create(Kind::Volume, document).await.unwrap();
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    host.write_volume(id, word);
    id
}

fn image(name: &str, snapshot: Option<&str>) -> Value {
    json!({"metadata": {"name": name}, "spec": {"format": "qcow2", "architecture": "x86_64",
        "source": {"volume": {"volume": "data", "snapshot": snapshot}}}})
}

async fn refused(node: &RunningNode, document: &Value, part: &str) {
    let document = Json(document.to_string());
    let request = Request::Create { kind: Kind::Image, document, dry_run: false };
    let error = node.ask(request).await.unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

fn digest(image: &Value) -> String {
    image.pointer("/spec/files/0/sha256").unwrap().as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_becomes_an_image_that_machines_start_from() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    node.wait_network().await.unwrap();
    volume(&node, &host, "golden").await;
    let made = node.create(Kind::Image, image("golden", None)).await.unwrap();
    let job = made["status"]["job"].as_str().unwrap().to_owned();
    node.wait_state(Kind::Image, "golden", "available").await.unwrap();
    let done = node.wait_state(Kind::Job, &job, "completed").await.unwrap();
    assert_eq!(done["spec"]["operation"], "volume.export");
    assert_eq!(host.image_files(), (0, 0, 1));
    let seen = node.get(Kind::Volume, "data").await.unwrap();
    assert_eq!(seen["status"]["operation"], "none");
    let vm = json!({"metadata": {"name": "sealed"}, "spec": {"image": "golden", "memory_mib": 128,
        "tpm": true, "power": "stopped"}});
    let document = Json(vm.to_string());
    let request = Request::Create { kind: Kind::Vm, document, dry_run: false };
    let refused = node.ask(request).await.unwrap_err().to_string();
    assert!(refused.contains("spec.tpm"), "BIOS has no use for a TPM: {refused}");
    let vm = json!({"metadata": {"name": "sealed"}, "spec": {"image": "golden", "memory_mib": 128,
        "tpm": true, "firmware": "uefi", "power": "stopped"}});
    let sealed = node.create(Kind::Vm, vm).await.unwrap();
    assert_eq!(sealed["spec"]["tpm"], true);
    let vm = json!({"metadata": {"name": "copy"}, "spec": {"image": "golden", "memory_mib": 128}});
    node.create(Kind::Vm, vm).await.unwrap();
    node.wait_state(Kind::Vm, "copy", "running").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_guest_keeps_its_volume_and_a_snapshot_of_it_is_exported() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    node.wait_network().await.unwrap();
    let id = volume(&node, &host, "before").await;
    let vm = json!({"metadata": {"name": "guest"}, "spec": {"image": "tiny-vm", "memory_mib": 128,
        "disks": [{"volume": "data"}]}});
    node.create(Kind::Vm, vm).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    refused(&node, &image("now", None), "stop it first, or take a snapshot").await;
    let snapshot = json!({"metadata": {"name": "kept"}, "spec": {"volumes": ["data"]}});
    node.create(Kind::Snapshot, snapshot).await.unwrap();
    node.wait_state(Kind::Snapshot, "kept", "ready").await.unwrap();
    host.write_volume(id, "after");
    node.create(Kind::Image, image("then", Some("kept"))).await.unwrap();
    let then = node.wait_state(Kind::Image, "then", "available").await.unwrap();
    let stop = Request::Act { kind: Kind::Vm, key: "guest".into(), action: Action::Stop };
    node.ask(stop).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "stopped").await.unwrap();
    node.create(Kind::Image, image("now", None)).await.unwrap();
    let now = node.wait_state(Kind::Image, "now", "available").await.unwrap();
    assert_ne!(digest(&then), digest(&now));

    for (document, part) in [
        (image("x", Some("none")), "there is no snapshot"),
        (
            json!({"metadata": {"name": "x"}, "spec": {"format": "raw", "architecture": "x86_64",
            "source": {"volume": {"volume": "data"}}}}),
            "must be qcow2",
        ),
        (
            json!({"metadata": {"name": "x"}, "spec": {"format": "qcow2", "architecture": "x86_64",
            "source": {"volume": {"volume": "none"}}}}),
            "there is no volume",
        ),
    ] {
        refused(&node, &document, part).await;
    }
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_or_failed_export_leaves_nothing_behind() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    volume(&node, &host, "word").await;
    host.order_faults(|faults| faults.delay = Duration::from_millis(500));
    let made = node.create(Kind::Image, image("one", None)).await.unwrap();
    let job = made["status"]["job"].as_str().unwrap().to_owned();
    node.wait_state(Kind::Job, &job, "running").await.unwrap();
    let abort = Request::Act { kind: Kind::Job, key: job.clone(), action: Action::Abort };
    node.ask(abort).await.unwrap();
    node.wait_state(Kind::Job, &job, "aborted").await.unwrap();
    host.order_faults(|faults| faults.delay = Duration::ZERO);
    assert_eq!(host.image_files(), (0, 0, 0));
    let free = eventually(LIMIT, || async {
        let seen = node.get(Kind::Volume, "data").await?;
        if seen["status"]["operation"] == "none" { Ok(()) } else { bail!("{seen}") }
    });
    free.await.unwrap();
    let failed = node.wait_state(Kind::Image, "one", "failed").await.unwrap();
    assert_ne!(failed["status"]["state"], "available");

    host.order_faults(|faults| faults.fail("FlattenDisk", 1));
    node.create(Kind::Image, image("two", None)).await.unwrap();
    node.wait_state(Kind::Image, "two", "available").await.unwrap();
    assert_eq!(host.image_files(), (0, 0, 1));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_step_only_costs_time() {
    for steps in 0..5 {
        let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
        let node = start(&folder, &host).await;
        volume(&node, &host, "word").await;
        host.order_faults(|faults| faults.cut_power_after(steps));
        node.create(Kind::Image, image("one", None)).await.unwrap();
        let dark = eventually(LIMIT, || async {
            let image = node.get(Kind::Image, "one").await?;
            let done = image["status"]["state"] == "available";
            if done || host.is_dark() { Ok(()) } else { bail!("{image}") }
        });
        dark.await.unwrap();
        node.kill().await.unwrap();
        host.power_cut();
        let node = start(&folder, &host).await;
        node.wait_state(Kind::Image, "one", "available").await.unwrap();
        assert_eq!(host.image_files(), (0, 0, 1), "after {steps} steps");
        node.stop().await.unwrap();
    }
}

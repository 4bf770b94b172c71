//! CD images: machines that are installed from one, and discs that come and go while a guest runs.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use skerry_ipc::{Action, Json, Request};
use skerry_model::{Id, Kind, Vm};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);

/// What the simulated machine takes for a CD, told from others by its last byte.
fn iso(mark: u8) -> Vec<u8> {
    let mut bytes = vec![0_u8; 33_000];
    bytes[32_769..32_774].copy_from_slice(b"CD001");
    bytes.push(mark);
    bytes
}

async fn bring_in(node: &RunningNode, host: &SimHost, name: &str, mark: u8) -> String {
    let upload = Uuid::from_u128(mark.into());
    host.spool(upload, &iso(mark));
    let spec = json!({"format": "iso", "source": {"upload": upload}, "architecture": "x86_64"});
    node.create(Kind::Image, json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
    let image = node.wait_state(Kind::Image, name, "available").await.unwrap();
    image["spec"]["files"][0]["path"].as_str().unwrap().to_owned()
}

fn vm(name: &str, spec: Value) -> Value {
    let mut whole = json!({"memory_mib": 64});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": whole})
}

fn patch(name: &str, spec: Value) -> Request {
    let patch = Json(json!({ "spec": spec }).to_string());
    Request::Patch { kind: Kind::Vm, key: name.to_owned(), patch, if_revision: None }
}

fn delete(kind: Kind, key: &str) -> Request {
    Request::Delete { kind, key: key.to_owned(), if_revision: None, with_volumes: false }
}

async fn refused(node: &RunningNode, request: Request, part: &str) {
    let error = format!("{:?}", node.ask(request).await.unwrap_err());
    assert!(error.contains(part), "{error}");
}

fn id(document: &Value) -> Id<Vm> {
    Id::new(document["metadata"]["id"].as_str().unwrap().parse().unwrap())
}

async fn discs(host: &SimHost, vm: Id<Vm>, wanted: &[Option<&str>]) {
    eventually(LIMIT, || async {
        let found = host.discs_of(vm);
        let words: Vec<_> =
            found.iter().map(|disc| disc.as_ref().and_then(|d| d.to_str())).collect();
        ensure!(words == wanted, "{words:?}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn deleted(node: &RunningNode, image: &str) {
    eventually(LIMIT, || node.ask(delete(Kind::Image, image))).await.unwrap();
    eventually(LIMIT, || async {
        ensure!(node.get(Kind::Image, image).await.is_err(), "it is still there");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_installed_from_a_cd_that_goes_when_it_is_taken_out() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let path = bring_in(&node, &host, "debian-cd", 1).await;
    let create = |spec: Value| Request::Create {
        kind: Kind::Vm,
        document: Json(vm("guest", spec).to_string()),
        dry_run: false,
    };
    refused(&node, create(json!({"image": "debian-cd"})), "spec.disk_size_mib").await;
    let taken = json!({"image": "debian-cd", "disk_size_mib": 64, "media": [{"boot_index": 1}]});
    refused(&node, create(taken), "1 is given twice").await;
    assert!(node.list(Kind::Volume).await.unwrap().is_empty(), "nothing is left of a refusal");

    let spec = json!({"image": "debian-cd", "disk_size_mib": 4096, "firmware": "uefi"});
    let made = node.create(Kind::Vm, vm("guest", spec)).await.unwrap();
    assert_eq!(made["spec"]["disks"][0]["volume"], "guest-root");
    assert_eq!(made["spec"]["disks"][0]["boot_index"], 1);
    assert_eq!(made["spec"]["media"], json!([{"image": "debian-cd", "boot_index": 2}]));
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    let root = node.wait_state(Kind::Volume, "guest-root", "in_use").await.unwrap();
    assert_eq!(root["status"]["size_bytes"], 4_u64 << 30);
    assert!(root["status"]["base"].is_null(), "{root}");
    let guest = id(&made);
    discs(&host, guest, &[Some(&path)]).await;
    refused(&node, delete(Kind::Image, "debian-cd"), "used by vm guest").await;

    // Installed: the disc is taken out while the guest runs, and may go, though the machine was made from it.
    node.ask(patch("guest", json!({"media": [{"image": null, "boot_index": 2}]}))).await.unwrap();
    discs(&host, guest, &[None]).await;
    deleted(&node, "debian-cd").await;
    let act = |action| Request::Act { kind: Kind::Vm, key: "guest".to_owned(), action };
    node.ask(act(Action::Stop)).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "stopped").await.unwrap();
    node.ask(act(Action::Start)).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn discs_change_while_the_guest_runs_and_drives_at_its_next_start() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let first = bring_in(&node, &host, "first", 1).await;
    let second = bring_in(&node, &host, "second", 2).await;
    let odd = json!({"image": "tiny-vm", "media": [{"image": "tiny-vm"}]});
    let error = format!("{:?}", node.create(Kind::Vm, vm("guest", odd)).await.unwrap_err());
    assert!(error.contains("a CD drive takes an image of format iso"), "{error}");
    let none = json!({"image": "tiny-vm", "media": [{"image": "nowhere"}]});
    let error = format!("{:?}", node.create(Kind::Vm, vm("guest", none)).await.unwrap_err());
    assert!(error.contains("there is no image `nowhere`"), "{error}");

    let spec = json!({"image": "tiny-vm", "media": [{"image": "first"}]});
    let made = node.create(Kind::Vm, vm("guest", spec)).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    let guest = id(&made);
    discs(&host, guest, &[Some(&first)]).await;
    node.ask(patch("guest", json!({"media": [{"image": "second"}]}))).await.unwrap();
    discs(&host, guest, &[Some(&second)]).await;
    deleted(&node, "first").await;

    // A second drive has to wait; both discs are in use from now on.
    let third = bring_in(&node, &host, "third", 3).await;
    let both = json!({"media": [{"image": "second"}, {"image": "third"}]});
    node.ask(patch("guest", both)).await.unwrap();
    refused(&node, delete(Kind::Image, "third"), "used by vm guest").await;
    eventually(LIMIT, || async {
        let vm = node.get(Kind::Vm, "guest").await?;
        let conditions = vm["status"]["conditions"].as_array().into_iter().flatten();
        let mut pending = conditions.filter(|c| c["type"] == "Pending");
        ensure!(pending.any(|c| c["reason"] == "ChangedWhileRunning"), "{}", vm["status"]);
        Ok(())
    })
    .await
    .unwrap();
    discs(&host, guest, &[Some(&second)]).await;
    let restart = Request::Act { kind: Kind::Vm, key: "guest".to_owned(), action: Action::Restart };
    node.ask(restart).await.unwrap();
    discs(&host, guest, &[Some(&second), Some(&third)]).await;

    // Drives that are to go are emptied at once, and their discs may go.
    node.ask(patch("guest", json!({"media": []}))).await.unwrap();
    discs(&host, guest, &[None, None]).await;
    deleted(&node, "second").await;
    deleted(&node, "third").await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disc_is_waited_for() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let path = bring_in(&node, &host, "cd", 1).await;
    node.stop().await.unwrap();
    host.spoil_images();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_state(Kind::Image, "cd", "quarantined").await.unwrap();
    let spec = json!({"image": "tiny-vm", "media": [{"image": "cd"}]});
    let made = node.create(Kind::Vm, vm("guest", spec)).await.unwrap();
    eventually(LIMIT, || async {
        let vm = node.get(Kind::Vm, "guest").await?;
        ensure!(vm["status"].to_string().contains("waits for the image `cd`"), "{}", vm["status"]);
        Ok(())
    })
    .await
    .unwrap();
    // The same bytes again mend it.
    bring_in(&node, &host, "again", 1).await;
    node.ask(patch("guest", json!({"media": [{"image": "again"}]}))).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    discs(&host, id(&made), &[Some(&path)]).await;
    node.stop().await.unwrap();
}

//! Huge pages of pods, through the whole node: from the account that virtual machines have, refused with numbers, kept over
//! restarts and power cuts, and given back.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_compute::{NumaNode, PagePool, Topology};
use skerry_ipc::{Action, Json, Request};
use skerry_model::{HugePageSize, Kind};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

/// Two NUMA nodes with so many huge pages of 2 MiB.
fn machine(first: u64, second: u64) -> Topology {
    let mut machine = Topology::plain(4, 2048);
    machine.cpus.iter_mut().for_each(|cpu| cpu.node = cpu.id / 2);
    let pool = |total| vec![PagePool { size: HugePageSize::Mib2, total, free: total }];
    machine.nodes[0].pages = pool(first);
    machine.nodes.push(NumaNode { id: 1, memory_mib: 2048, pages: pool(second) });
    machine
}

fn pod(name: &str, mib: u64) -> Value {
    let container = json!({"name": "main", "image": "tiny",
        "huge_pages": [{"size": "2Mi", "mib": mib}],
        "mounts": [{"volume": "huge", "path": "/huge"}]});
    let volume = json!({"name": "huge", "source": {"empty": {"medium": "huge_pages_2Mi"}}});
    json!({"metadata": {"name": name}, "spec": {"containers": [container], "volumes": [volume]}})
}

fn of(node: u32, count: u64) -> Value {
    json!({"node": node, "size": "2Mi", "count": count})
}

async fn act(node: &RunningNode, kind: Kind, key: &str, action: Action) -> anyhow::Result<()> {
    node.ask(Request::Act { kind, key: key.to_owned(), action }).await.map(|_| ())
}

async fn patch(node: &RunningNode, key: &str, patch: Value) -> anyhow::Result<()> {
    let (key, patch) = (key.to_owned(), Json(patch.to_string()));
    let request = Request::Patch { kind: Kind::Pod, key, patch, if_revision: None };
    node.ask(request).await.map(|_| ())
}

/// Waits until a pod's status says that these are its own.
async fn wait_pages(node: &RunningNode, name: &str, wanted: Value) {
    let seen = || async {
        let status = node.get(Kind::Pod, name).await?["status"].clone();
        let pages = status.get("huge_pages").cloned().unwrap_or(json!([]));
        anyhow::ensure!(pages == wanted, "{status}");
        Ok::<_, anyhow::Error>(())
    };
    eventually(Duration::from_secs(30), seen).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_machines_share_one_account() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    host.set_topology(machine(40, 64));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let made = node.create(Kind::Pod, pod("first", 64)).await.unwrap();
    let first = node.wait_state(Kind::Pod, "first", "running").await.unwrap();
    assert_eq!(first["status"]["huge_pages"], json!([of(0, 32)]), "where it fits tightest");
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    let started = host.started(id, &"main".parse().unwrap()).unwrap();
    let pages = started.pod_pages.unwrap();
    assert_eq!((pages.limits, pages.nodes), (vec![(HugePageSize::Mib2, 32)], vec![0]));

    let vm = |name: &str| {
        let spec = json!({"image": "tiny-vm", "memory_mib": 128, "huge_pages": "2Mi"});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    node.create(Kind::Vm, vm("paged")).await.unwrap();
    let paged = node.wait_state(Kind::Vm, "paged", "running").await.unwrap();
    assert_eq!(paged["status"]["placement"]["huge_pages"], json!([of(1, 64)]));
    let told = node.create(Kind::Pod, pod("second", 64)).await.unwrap_err().to_string();
    assert!(told.contains("asks for 32 huge pages of 2 MiB, 8 of 104 are free"), "{told}");
    let told = node.create(Kind::Vm, vm("late")).await.unwrap_err().to_string();
    assert!(told.contains("asks for 64 huge pages of 2 MiB, 8 of 104 are free"), "{told}");
    let told = patch(&node, "first", json!({"spec": pod("first", 128)["spec"]})).await.unwrap_err();
    assert!(told.to_string().contains("asks for 64 huge pages of 2 MiB, 40 of 104"), "{told}");
    node.create(Kind::Pod, pod("small", 16)).await.unwrap();
    node.wait_state(Kind::Pod, "small", "running").await.unwrap();

    // A machine that is off gives its pages back, and so does a pod.
    act(&node, Kind::Vm, "paged", Action::Stop).await.unwrap();
    node.wait_state(Kind::Vm, "paged", "stopped").await.unwrap();
    node.create(Kind::Pod, pod("second", 100)).await.unwrap();
    node.wait_state(Kind::Pod, "second", "running").await.unwrap();
    wait_pages(&node, "second", json!([of(1, 50)])).await;
    act(&node, Kind::Pod, "second", Action::Stop).await.unwrap();
    node.wait_state(Kind::Pod, "second", "stopped").await.unwrap();
    wait_pages(&node, "second", json!([])).await;
    act(&node, Kind::Vm, "paged", Action::Start).await.unwrap();
    node.wait_state(Kind::Vm, "paged", "running").await.unwrap();
    let told = act(&node, Kind::Pod, "second", Action::Start).await.unwrap_err().to_string();
    assert!(told.contains("asks for 50 huge pages of 2 MiB, 0 of 104 are free"), "{told}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_has_it_keeps_over_a_restart_and_waits_for_when_the_machine_has_less() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    host.set_topology(machine(16, 16));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.create(Kind::Pod, pod("wide", 40)).await.unwrap();
    let wide = node.wait_state(Kind::Pod, "wide", "running").await.unwrap();
    let pages = json!([of(1, 16), of(0, 4)]);
    assert_eq!(wide["status"]["huge_pages"], pages, "no node alone has so many");

    // Another noded finds it as it is.
    node.kill().await.unwrap();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let again = node.wait_state(Kind::Pod, "wide", "running").await.unwrap();
    assert_eq!(again["status"]["huge_pages"], pages);
    assert_eq!(again["status"]["containers"][0]["restarts"], 0);
    let told = node.create(Kind::Pod, pod("more", 26)).await.unwrap_err().to_string();
    assert!(told.contains("asks for 13 huge pages of 2 MiB, 12 of 32 are free"), "{told}");

    node.kill().await.unwrap();
    host.power_cut();
    host.set_topology(machine(16, 2));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let told = || async {
        let status = node.get(Kind::Pod, "wide").await?["status"].clone();
        let reason = status["reason"].as_str().unwrap_or_default();
        let waits = status["state"] == "pending" && reason.contains("18 of 18 are free");
        anyhow::ensure!(waits && status.get("huge_pages").is_none(), "{status}");
        Ok::<_, anyhow::Error>(())
    };
    eventually(Duration::from_secs(30), told).await.unwrap();
    host.set_topology(machine(16, 8));
    node.wait_state(Kind::Pod, "wide", "running").await.unwrap();
    wait_pages(&node, "wide", json!([of(1, 8), of(0, 12)])).await;

    // Another number takes the pod down first, and none gives all back.
    patch(&node, "wide", json!({"spec": pod("wide", 4)["spec"]})).await.unwrap();
    wait_pages(&node, "wide", json!([of(0, 2)])).await;
    node.wait_state(Kind::Pod, "wide", "running").await.unwrap();
    let plain = json!({"containers": [{"name": "main", "image": "tiny"}], "volumes": []});
    patch(&node, "wide", json!({"spec": plain})).await.unwrap();
    wait_pages(&node, "wide", json!([])).await;
    node.wait_state(Kind::Pod, "wide", "running").await.unwrap();
    node.create(Kind::Pod, pod("more", 48)).await.unwrap();
    node.wait_state(Kind::Pod, "more", "running").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let node = RunningNode::start(folder.path(), &SimHost::new()).await.unwrap();
    let refused =
        async |body: Value| format!("{:?}", node.create(Kind::Pod, body).await.unwrap_err());
    let told = refused(pod("none", 4)).await;
    assert!(told.contains("none set aside"), "{told}");
    let told = refused(pod("odd", 3)).await;
    assert!(told.contains("spec.containers[0].huge_pages[0].mib"), "{told}");
    let mut without = pod("without", 4);
    without["spec"]["containers"][0]["huge_pages"] = json!([]);
    let told = refused(without).await;
    assert!(told.contains("spec.containers[0].mounts[0].volume"), "{told}");
    node.stop().await.unwrap();
}

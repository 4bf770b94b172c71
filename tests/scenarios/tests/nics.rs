//! Further network interfaces of virtual machines: each with a port of its own, given and taken while the guest runs.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use skerry_ipc::{Action, Json, Request};
use skerry_model::{Id, Kind, Vm};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(30);

async fn network(node: &RunningNode, name: &str, third: u8, prefix: u8) {
    let subnet = json!({"network": format!("10.90.{third}.0"), "prefix": prefix});
    let spec = json!({"mode": "nat", "subnet": subnet});
    node.create(Kind::Network, json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
}

fn vm(name: &str, nics: &[&str]) -> Value {
    let nics: Vec<_> = nics.iter().map(|network| json!({"network": network})).collect();
    let spec = json!({"image": "tiny-vm", "memory_mib": 64, "nics": nics,
        "init": {"metadata": true}});
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn change(node: &RunningNode, name: &str, nics: &[&str]) -> anyhow::Result<()> {
    let nics: Vec<_> = nics.iter().map(|network| json!({"network": network})).collect();
    let patch = Json(json!({"spec": {"nics": nics}}).to_string());
    let key = name.to_owned();
    let request = Request::Patch { kind: Kind::Vm, key, patch, if_revision: None };
    node.ask(request).await.map(drop)
}

/// Waits until the running guest has exactly these further interfaces, and gives back what is said of them.
async fn plugged(node: &RunningNode, host: &SimHost, name: &str, networks: &[&str]) -> Vec<Value> {
    eventually(LIMIT, || async {
        let vm = node.get(Kind::Vm, name).await?;
        let nics = vm["status"]["nics"].as_array().cloned().unwrap_or_default();
        let has: Vec<_> = nics.iter().map(|nic| nic["network"].as_str().unwrap_or("")).collect();
        ensure!(has == networks, "{}", vm["status"]);
        ensure!(nics.iter().all(|nic| nic["plugged"] == true), "{}", vm["status"]);
        let id: Id<Vm> = serde_json::from_value(vm["metadata"]["id"].clone())?;
        let guest = host.nics_of(id);
        ensure!(guest.len() == networks.len() + 1, "{guest:?}");
        let all = nics.iter().all(|nic| guest.iter().any(|mac| nic["mac"] == mac.as_str()));
        ensure!(all, "{guest:?}, {nics:?}");
        Ok(nics)
    })
    .await
    .unwrap()
}

fn delete(kind: Kind, key: &str) -> Request {
    Request::Delete { kind, key: key.to_owned(), if_revision: None, with_volumes: false }
}

async fn ports(node: &RunningNode, of: &str) -> Vec<Value> {
    let all = node.list(Kind::Port).await.unwrap();
    let name = |port: &Value| port["metadata"]["name"].as_str().unwrap_or("").to_owned();
    all.into_iter().filter(|port| name(port).starts_with(of)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_come_and_go_with_their_ports() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    network(&node, "lab", 1, 24).await;
    network(&node, "core", 2, 24).await;
    node.create(Kind::Vm, vm("many", &["lab"])).await.unwrap();
    node.wait_state(Kind::Vm, "many", "running").await.unwrap();
    let first = plugged(&node, &host, "many", &["lab"]).await;
    assert_eq!(first[0]["address"], "10.90.1.2");
    let starts = node.get(Kind::Vm, "many").await.unwrap()["status"]["starts"].clone();

    // One comes beside it, in front of it; it keeps what it has.
    change(&node, "many", &["core", "lab"]).await.unwrap();
    let both = plugged(&node, &host, "many", &["core", "lab"]).await;
    assert_eq!(both[1], first[0]);
    let record = node.get(Kind::Vm, "many").await.unwrap();
    assert_eq!(record["status"]["addresses"].as_array().unwrap().len(), 3);
    assert_eq!(ports(&node, "many-vm-").await.len(), 3);
    let used = node.ask(delete(Kind::Network, "core"));
    assert!(used.await.unwrap_err().to_string().contains("is used by many"));

    // Both go, their ports with them; the guest was never restarted.
    change(&node, "many", &[]).await.unwrap();
    plugged(&node, &host, "many", &[]).await;
    assert_eq!(ports(&node, "many-vm-").await.len(), 1);
    let after = node.get(Kind::Vm, "many").await.unwrap();
    assert_eq!(after["status"]["starts"], starts);
    assert_eq!(after["status"]["addresses"].as_array().unwrap().len(), 1);

    // What it is to have it has after a start as well.
    change(&node, "many", &["core"]).await.unwrap();
    plugged(&node, &host, "many", &["core"]).await;
    let restart = |action| Request::Act { kind: Kind::Vm, key: "many".to_owned(), action };
    node.ask(restart(Action::Stop)).await.unwrap();
    node.wait_state(Kind::Vm, "many", "stopped").await.unwrap();
    node.ask(restart(Action::Start)).await.unwrap();
    plugged(&node, &host, "many", &["core"]).await;
    node.ask(delete(Kind::Vm, "many")).await.unwrap();
    eventually(LIMIT, || async {
        let left = ports(&node, "many-vm-").await;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    // Five addresses beside the node's own.
    network(&node, "small", 1, 29).await;
    for number in 1..5 {
        let mut document = vm(&format!("off-{number}"), &["small"]);
        document["spec"]["power"] = json!("stopped");
        node.create(Kind::Vm, document).await.unwrap();
    }
    let refused = |nics: &[&str]| {
        let document = vm("bad", nics);
        let node = &node;
        async move { format!("{:?}", node.create(Kind::Vm, document).await.unwrap_err()) }
    };
    let said = refused(&["none"]).await;
    assert!(said.contains("spec.nics[0].network") && said.contains("no network `none`"), "{said}");
    let said = refused(&["default"]).await;
    assert!(said.contains("needs another network"), "{said}");
    assert_eq!(node.list(Kind::Port).await.unwrap().len(), 8);

    node.create(Kind::Vm, vm("one", &["small"])).await.unwrap();
    node.wait_state(Kind::Vm, "one", "running").await.unwrap();
    let said = refused(&["small"]).await;
    assert!(said.contains("spec.nics[0].network") && said.contains("is full"), "{said}");
    let before = plugged(&node, &host, "one", &["small"]).await;
    let said = change(&node, "one", &["small", "none"]).await.unwrap_err();
    assert!(format!("{said:?}").contains("spec.nics[1].network"), "{said:?}");
    assert_eq!(plugged(&node, &host, "one", &["small"]).await, before);
    assert_eq!(node.list(Kind::Port).await.unwrap().len(), 10);
    node.stop().await.unwrap();
}

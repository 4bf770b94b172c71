//! Virtual machines with processors and huge pages of their own: admitted with numbers, kept over power cuts, and
//! explained when the machine is not what it was.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_compute::{NumaNode, PagePool, Topology};
use skerry_ipc::{Action, Json, Request};
use skerry_model::{HugePageSize, Kind};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

/// Two NUMA nodes of four processors, the second with huge pages.
fn large() -> Topology {
    let mut machine = Topology::plain(8, 2048);
    machine.cpus.iter_mut().for_each(|cpu| cpu.node = cpu.id / 4);
    let pages = vec![PagePool { size: HugePageSize::Mib2, total: 128, free: 128 }];
    machine.nodes.push(NumaNode { id: 1, memory_mib: 2048, pages });
    machine
}

async fn create(node: &RunningNode, name: &str, more: Value) -> anyhow::Result<Value> {
    let mut spec = json!({"image": "tiny-vm", "memory_mib": 128});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    node.create(Kind::Vm, json!({"metadata": {"name": name}, "spec": spec})).await
}

fn dedicated(vcpus: u32) -> Value {
    json!({"vcpus": vcpus, "cpu": {"dedicated": true}})
}

#[tokio::test(flavor = "multi_thread")]
async fn processors_are_given_once_and_refusals_have_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    create(&node, "first", dedicated(2)).await.unwrap();
    let first = node.wait_state(Kind::Vm, "first", "running").await.unwrap();
    assert_eq!(first["status"]["placement"]["cpus"], json!([1, 2]));
    assert_eq!(first["status"]["placement"]["emulator"], "0");
    let refused = create(&node, "second", dedicated(2)).await.unwrap_err().to_string();
    assert!(refused.contains("asks for 2 dedicated CPUs, 1 of 3 are free"), "{refused}");
    let named = json!({"vcpus": 2, "cpu": {"set": "2-3"}});
    let refused = create(&node, "second", named).await.unwrap_err().to_string();
    assert!(refused.contains("the CPUs 2, which belong to first"), "{refused}");
    let model = json!({"cpu": {"model": "host-passthrough"}});
    let refused = create(&node, "second", model).await.unwrap_err().to_string();
    assert!(refused.contains("needs KVM"), "{refused}");
    let pages =
        create(&node, "second", json!({"huge_pages": "2Mi"})).await.unwrap_err().to_string();
    assert!(pages.contains("none set aside"), "{pages}");

    let act = Request::Act { kind: Kind::Vm, key: "first".to_owned(), action: Action::Stop };
    node.ask(act).await.unwrap();
    node.wait_state(Kind::Vm, "first", "stopped").await.unwrap();
    create(&node, "second", dedicated(3)).await.unwrap();
    node.wait_state(Kind::Vm, "second", "running").await.unwrap();
    let act = Request::Act { kind: Kind::Vm, key: "first".to_owned(), action: Action::Start };
    let refused = node.ask(act).await.unwrap_err().to_string();
    assert!(refused.contains("asks for 2 dedicated CPUs, 0 of 3 are free"), "{refused}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_outlives_a_power_cut_unless_the_machine_lost_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    host.set_topology(large());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let wish = json!({"vcpus": 2, "cpu": {"dedicated": true}, "huge_pages": "2Mi"});
    create(&node, "paged", wish).await.unwrap();
    let placed = node.wait_state(Kind::Vm, "paged", "running").await.unwrap();
    let place = placed["status"]["placement"].clone();
    assert_eq!((&place["reserved"], &place["numa_nodes"]), (&json!("4-5"), &json!([1])));
    assert_eq!(place["huge_pages"], json!([{"node": 1, "size": "2Mi", "count": 64}]));
    create(&node, "named", json!({"cpu": {"set": "7"}})).await.unwrap();
    node.wait_state(Kind::Vm, "named", "running").await.unwrap();
    let apart = create(&node, "apart", dedicated(4)).await.unwrap_err().to_string();
    assert!(apart.contains("node 0 has 3 CPUs"), "{apart}");

    node.kill().await.unwrap();
    host.power_cut();
    let mut smaller = large();
    smaller.cpus.retain(|cpu| cpu.id != 7);
    host.set_topology(smaller);
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let again = node.wait_state(Kind::Vm, "paged", "running").await.unwrap();
    assert_eq!(again["status"]["placement"], place);
    eventually(Duration::from_secs(20), || async {
        let named = node.get(Kind::Vm, "named").await?;
        let conditions = named["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let placed = conditions.iter().find(|one| one["type"] == "Placed");
        let told = placed
            .is_some_and(|one| one["state"] == "false" && one["reason"] == "NotOnThisMachine");
        anyhow::ensure!(told && named["status"]["state"] == "stopped", "{}", named["status"]);
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    // Somebody lets the node choose.
    let patch = Json(json!({"spec": {"cpu": {"set": null, "dedicated": true}}}).to_string());
    let key = "named".to_owned();
    node.ask(Request::Patch { kind: Kind::Vm, key, patch, if_revision: None }).await.unwrap();
    let moved = node.wait_state(Kind::Vm, "named", "running").await.unwrap();
    assert_eq!(moved["status"]["placement"]["reserved"], "6");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn processors_are_added_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let made = create(&node, "grows", json!({"max_vcpus": 4})).await.unwrap();
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    let pid = node.wait_state(Kind::Vm, "grows", "running").await.unwrap()["status"]["pid"].clone();
    let set = async |vcpus: u32| {
        let patch = Json(json!({"spec": {"vcpus": vcpus}}).to_string());
        let key = "grows".to_owned();
        node.ask(Request::Patch { kind: Kind::Vm, key, patch, if_revision: None }).await
    };
    set(3).await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let status = node.get(Kind::Vm, "grows").await?["status"].clone();
        let grown = status["running_size"]["vcpus"] == 3 && status["pid"] == pid;
        anyhow::ensure!(grown && host.vcpus_of(id) == Some(3), "{status}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    let refused = set(5).await.unwrap_err().to_string();
    assert!(refused.contains("spec.max_vcpus"), "{refused}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_added_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let odd = create(&node, "grows", json!({"max_memory_mib": 200})).await.unwrap_err().to_string();
    assert!(odd.contains("spec.max_memory_mib"), "{odd}");
    let made = create(&node, "grows", json!({"max_memory_mib": 8192})).await.unwrap();
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    let pid = node.wait_state(Kind::Vm, "grows", "running").await.unwrap()["status"]["pid"].clone();
    let set = async |memory_mib: u64| {
        let patch = Json(json!({"spec": {"memory_mib": memory_mib}}).to_string());
        let key = "grows".to_owned();
        node.ask(Request::Patch { kind: Kind::Vm, key, patch, if_revision: None }).await
    };
    set(1024).await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let status = node.get(Kind::Vm, "grows").await?["status"].clone();
        let grown = status["running_size"]["memory_mib"] == 1024 && status["pid"] == pid;
        anyhow::ensure!(grown && host.memory_of(id) == Some(1024), "{status}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    let refused = set(8192).await.unwrap_err().to_string();
    assert!(refused.contains("does not fit on this node"), "room is not what it has: {refused}");
    let refused = set(1100).await.unwrap_err().to_string();
    assert!(refused.contains("spec.max_memory_mib"), "{refused}");
    node.stop().await.unwrap();
}

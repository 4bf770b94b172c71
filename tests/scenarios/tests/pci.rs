//! PCI functions of the machine: listed with what becomes of them, given by an admin alone, and to one machine at a time.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use skerry_compute::PciFunction;
use skerry_ipc::{Action, Answer, Auth, Json, Request};
use skerry_model::Kind;
use skerry_scenarios_tests::RunningNode;
use skerry_sim_host::SimHost;

fn function(address: &str, class: &str, group: u32) -> PciFunction {
    PciFunction {
        address: address.parse().unwrap(),
        class: class.to_owned(),
        vendor_id: "10de".to_owned(),
        device_id: "2236".to_owned(),
        vendor: None,
        model: None,
        driver: None,
        iommu_group: Some(group),
        parent: None,
        virtual_functions: 0,
        needed: None,
    }
}

/// A card with its sound, and the node's own disk.
fn machine() -> SimHost {
    let host = SimHost::new();
    let disk = PciFunction {
        needed: Some("holds the disk sda, which the node uses".to_owned()),
        ..function("02:00.0", "010601", 2)
    };
    let card = function("01:00.0", "030000", 1);
    host.set_pci(vec![card, function("01:00.1", "040300", 1), disk]);
    host
}

fn vm(name: &str, address: &str) -> Value {
    let spec = json!({"image": "tiny-vm", "memory_mib": 128, "pci": [{"address": address}]});
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn inventory(node: &RunningNode) -> Value {
    let Answer::Document(Json(text)) = node.ask(Request::Inventory).await.unwrap() else {
        panic!("no document")
    };
    serde_json::from_str::<Value>(&text).unwrap()["pci"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_given_once_and_the_list_says_what_becomes_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let node = RunningNode::start(folder.path(), &machine()).await.unwrap();
    let listed = inventory(&node).await;
    assert_eq!(listed[0]["can_be_given"], true, "{listed}");
    assert!(listed[0]["why"].as_str().unwrap().contains("0000:01:00.1 of its IOMMU group"));
    assert_eq!(listed[2]["can_be_given"], false);
    assert!(listed[2]["why"].as_str().unwrap().contains("the node needs it"), "{listed}");

    node.create(Kind::Vm, vm("desk", "01:00.0")).await.unwrap();
    let desk = node.wait_state(Kind::Vm, "desk", "running").await.unwrap();
    let given = &desk["status"]["placement"]["pci"];
    assert_eq!(given[0]["address"], "0000:01:00.0", "{desk}");
    assert_eq!((&given[1]["address"], &given[1]["along"]), (&json!("0000:01:00.1"), &json!(true)));
    assert_eq!(inventory(&node).await[1]["vm"], "desk");
    for (address, says) in [
        ("01:00.1", "is in use by the machine `desk`"),
        ("02:00.0", "the node needs it: it holds the disk sda"),
        ("03:00.0", "there is no PCI function 0000:03:00.0"),
    ] {
        let refused = node.create(Kind::Vm, vm("other", address)).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    let grouped = json!({"image": "tiny-vm", "pci": [{"group": "gpu"}]});
    let grouped = json!({"metadata": {"name": "other"}, "spec": grouped});
    let refused = node.create(Kind::Vm, grouped).await.unwrap_err().to_string();
    assert!(refused.contains("there is no group `gpu`"), "{refused}");
    let suspend = Request::Act { kind: Kind::Vm, key: "desk".to_owned(), action: Action::Suspend };
    let refused = node.ask(suspend).await.unwrap_err().to_string();
    assert!(refused.contains("cannot be suspended"), "{refused}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_gives_functions_away() {
    let folder = tempfile::tempdir().unwrap();
    let node = RunningNode::start(folder.path(), &machine()).await.unwrap();
    let password = "correct horse battery";
    let user = json!({"role": "operator", "password": password});
    node.create(Kind::User, json!({"metadata": {"name": "otto"}, "spec": user})).await.unwrap();
    let login = Request::Login {
        username: "otto".to_owned(),
        password: password.to_owned(),
        purpose: "cli".to_owned(),
        origin: "192.0.2.1".to_owned(),
    };
    let Answer::Session { token, .. } = node.ask(login).await.unwrap() else {
        panic!("no session")
    };
    let otto = async |request| node.client.call(Auth::Token(token.clone()), request).await;
    let document = Json(vm("desk", "01:00.0").to_string());
    let create = Request::Create { kind: Kind::Vm, document, dry_run: false };
    let refused = otto(create).await.unwrap_err();
    assert!(format!("{refused:?}").contains("only an admin"), "{refused:?}");
    node.create(Kind::Vm, vm("desk", "01:00.0")).await.unwrap();
    node.wait_state(Kind::Vm, "desk", "running").await.unwrap();
    let patch = |patch: Value| {
        let (key, patch) = ("desk".to_owned(), Json(patch.to_string()));
        Request::Patch { kind: Kind::Vm, key, patch, if_revision: None }
    };
    let refused = otto(patch(json!({"spec": {"pci": []}}))).await.unwrap_err();
    assert!(format!("{refused:?}").contains("only an admin"), "{refused:?}");
    otto(patch(json!({"spec": {"stop_timeout_s": 5}}))).await.unwrap();
    otto(patch(json!({"spec": {"power": "stopped"}}))).await.unwrap();
    node.stop().await.unwrap();
}

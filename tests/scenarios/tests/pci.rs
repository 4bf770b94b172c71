//! PCI functions of the machine: listed with what becomes of them, given by an admin alone, and to one machine at a time.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use skerry_compute::PciFunction;
use skerry_ipc::{Action, Answer, Auth, Json, Request};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, eventually};
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
        number: None,
        virtual_functions: 0,
        most_virtual: 0,
        numa_node: None,
        nic: None,
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
async fn a_clone_has_no_functions_of_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let node = RunningNode::start(folder.path(), &machine()).await.unwrap();
    node.create(Kind::Vm, vm("desk", "01:00.0")).await.unwrap();
    node.wait_state(Kind::Vm, "desk", "running").await.unwrap();
    let key = "desk".to_owned();
    node.ask(Request::Act { kind: Kind::Vm, key, action: Action::Stop }).await.unwrap();
    node.wait_state(Kind::Vm, "desk", "stopped").await.unwrap();
    let copy = json!({"metadata": {"name": "copy"}, "spec": {"clone_of": "desk"}});
    let copy = node.create(Kind::Vm, copy).await.unwrap();
    assert!(copy["spec"]["pci"].as_array().is_none_or(Vec::is_empty), "{copy}");
    node.wait_state(Kind::Vm, "copy", "running").await.unwrap();
    // The original starts beside it.
    let key = "desk".to_owned();
    node.ask(Request::Act { kind: Kind::Vm, key, action: Action::Start }).await.unwrap();
    node.wait_state(Kind::Vm, "desk", "running").await.unwrap();
    node.stop().await.unwrap();
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

/// A network card with four virtual functions at most, which carries the node's own traffic.
fn uplink() -> SimHost {
    let host = SimHost::new();
    let card = PciFunction {
        most_virtual: 4,
        driver: Some("igb".to_owned()),
        nic: Some("eth0".to_owned()),
        needed: Some("is the network card eth0, which carries the node's own traffic".to_owned()),
        ..function("03:00.0", "020000", 3)
    };
    host.set_pci(vec![card]);
    host
}

fn settings(count: u32) -> String {
    format!(
        "schema = 1\n[[virtual_functions]]\nof = \"03:00.0\"\ncount = {count}\ngroup = \"fast\"\nvlan = 7\n"
    )
}

fn part(name: &str, more: Value) -> Value {
    let mut wish = json!({"group": "fast"});
    wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec = json!({"image": "tiny-vm", "memory_mib": 128, "pci": [wish]});
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Waits until the node says this of its virtual functions.
async fn wait_made(node: &RunningNode, reason: &str) -> String {
    let limit = Duration::from_secs(10);
    eventually(limit, || async {
        let nodes = node.list(Kind::Node).await?;
        let all = nodes[0]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let made =
            all.iter().find(|one| one["type"] == "VirtualFunctions" && one["reason"] == reason);
        made.and_then(|one| one["message"].as_str())
            .map(str::to_owned)
            .with_context(|| nodes[0].to_string())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_functions_are_made_and_told_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let host = uplink();
    let node = RunningNode::start_with(folder.path(), &host, &settings(2)).await.unwrap();
    let told = wait_made(&node, "Made").await;
    assert_eq!(told, "0000:03:00.0 has 2 virtual functions, in the group `fast`");
    let listed = inventory(&node).await;
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    let card = &listed[0]["virtual_functions"];
    assert_eq!((&card["present"], &card["most"]), (&json!(2), &json!(4)), "{listed}");
    assert!(card["message"].as_str().unwrap().contains("keeps none of its virtual"), "{listed}");
    assert_eq!(listed[1]["virtual_function_of"], "0000:03:00.0", "{listed}");
    assert_eq!(
        (&listed[1]["groups"], &listed[1]["can_be_given"]),
        (&json!(["fast"]), &json!(true))
    );

    node.create(Kind::Vm, part("web", json!({}))).await.unwrap();
    let mac = "02:00:00:00:00:09";
    node.create(Kind::Vm, part("db", json!({"mac": mac, "vlan": 9}))).await.unwrap();
    let web = node.wait_state(Kind::Vm, "web", "running").await.unwrap();
    let db = node.wait_state(Kind::Vm, "db", "running").await.unwrap();
    let own = web["status"]["placement"]["pci"][0].clone();
    assert_eq!((&own["virtual_function_of"], &own["vlan"]), (&json!("0000:03:00.0"), &json!(7)));
    assert_eq!(db["status"]["placement"]["pci"][0]["mac"], mac, "{db}");
    let cards = host.cards();
    let of = |mac: &str| cards.iter().find(|card| card.mac.to_string() == mac).unwrap();
    assert_eq!((of(mac).nic.as_str(), of(mac).vlan, of(mac).spoof_check), ("eth0", Some(9), true));
    assert_eq!(of(own["mac"].as_str().unwrap()).vlan, Some(7));

    for (name, more, says) in [
        ("third", json!({}), "no PCI function of the group `fast` is free"),
        ("third", json!({"vlan": 0}), "must be 1 to 4094"),
    ] {
        let refused = node.create(Kind::Vm, part(name, more)).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    node.stop().await.unwrap();

    // Another number waits until nobody has one; the machine keeps its address over the power cut.
    let node = RunningNode::start_with(folder.path(), &host, &settings(3)).await.unwrap();
    let told = wait_made(&node, "NotMade").await;
    assert!(told.contains("has 2 virtual functions, and 3 are asked for"), "{told}");
    assert!(told.contains("off: `db`, `web`"), "{told}");
    let limit = Duration::from_secs(10);
    eventually(limit, || async {
        let alarms = Value::from(node.list(Kind::Alarm).await?).to_string();
        if alarms.contains("VIRTUAL_FUNCTIONS_MISSING") { Ok(()) } else { bail!("{alarms}") }
    })
    .await
    .unwrap();
    node.kill().await.unwrap();
    host.power_cut();
    let node = RunningNode::start_with(folder.path(), &host, &settings(3)).await.unwrap();
    wait_made(&node, "Made").await;
    let again = node.wait_state(Kind::Vm, "web", "running").await.unwrap();
    assert_eq!(again["status"]["placement"]["pci"][0]["mac"], own["mac"]);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_is_said_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let host = uplink();
    let node = RunningNode::start_with(folder.path(), &host, &settings(9)).await.unwrap();
    let told = wait_made(&node, "NotMade").await;
    assert!(told.contains("0000:03:00.0 can have 4 virtual functions at most"), "{told}");
    let refused = node.create(Kind::Vm, part("web", json!({}))).await.unwrap_err().to_string();
    assert!(refused.contains("group `fast` is free: it has none"), "{refused}");
    let plain = json!({"metadata": {"name": "plain"}, "spec": {"image": "tiny-vm"}});
    node.create(Kind::Vm, plain).await.unwrap();
    node.wait_state(Kind::Vm, "plain", "running").await.unwrap();
    node.stop().await.unwrap();
}

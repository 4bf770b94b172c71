//! Virtual machines with devices of the node: given by admins alone, waited for, followed, and had by one alone.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use skerry_ipc::{Action, Answer, Auth, Json, Request};
use skerry_model::{HostDevice, Kind, UsbPlace};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(30);
const KEY: &str = "usb:0403:6001:A9";
const PORT: &str = "usb-port:0000:00:14.0/1";

fn key(device: u16) -> HostDevice {
    let usb = Some(UsbPlace { bus: 1, device, vendor: 0x0403, product: 0x6001 });
    HostDevice { names: vec![KEY.to_owned(), PORT.to_owned()], usb, ..HostDevice::default() }
}

fn vm(name: &str, devices: Value) -> Value {
    let spec = json!({"image": "tiny-vm", "memory_mib": 64, "host_devices": devices});
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn wait_reason(node: &RunningNode, name: &str, reason: &str) {
    eventually(LIMIT, || async {
        let vm = node.get(Kind::Vm, name).await?;
        let ready = vm["status"]["conditions"].as_array().into_iter().flatten();
        let found = ready.filter(|c| c["type"] == "Ready").any(|c| c["reason"] == reason);
        ensure!(found, "{}", vm["status"]);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_waited_for_and_had_by_one_machine_alone() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.create(Kind::Vm, vm("first", json!([KEY]))).await.unwrap();
    wait_reason(&node, "first", "DeviceMissing").await;
    host.plug_in(key(4));
    node.wait_state(Kind::Vm, "first", "running").await.unwrap();
    let Answer::Document(inventory) = node.ask(Request::Inventory).await.unwrap() else {
        panic!("no inventory");
    };
    let inventory: Value = serde_json::from_str(&inventory.0).unwrap();
    assert_eq!(inventory["host_devices"][0]["names"][0], KEY);

    // By another name it is the same device.
    let refused = node.create(Kind::Vm, vm("second", json!([PORT]))).await.unwrap_err().to_string();
    assert!(refused.contains("is given to the virtual machine `first`"), "{refused}");
    let mut off = vm("second", json!([PORT]));
    off["spec"]["power"] = json!("stopped");
    node.create(Kind::Vm, off).await.unwrap();
    let act = |key: &str, action| Request::Act { kind: Kind::Vm, key: key.to_owned(), action };
    let refused = node.ask(act("second", Action::Start)).await.unwrap_err().to_string();
    assert!(refused.contains("is given to the virtual machine `first`"), "{refused}");
    node.ask(act("first", Action::Stop)).await.unwrap();
    node.wait_state(Kind::Vm, "first", "stopped").await.unwrap();
    node.ask(act("second", Action::Start)).await.unwrap();
    node.wait_state(Kind::Vm, "second", "running").await.unwrap();

    // It is pulled out, and comes back as another number.
    host.pull_out(KEY);
    wait_reason(&node, "second", "DeviceMissing").await;
    host.plug_in(key(5));
    wait_reason(&node, "second", "Running").await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_given_by_admins_and_never_what_the_node_needs() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let refused = Some("is the node's console".to_owned());
    let line = Some("/dev/ttyS0".to_owned());
    let names = vec!["serial:ttyS0".to_owned()];
    host.plug_in(HostDevice { names, line, refused, ..HostDevice::default() });
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let said = node.create(Kind::Vm, vm("bad", json!(["serial:ttyS0"]))).await.unwrap_err();
    assert!(said.to_string().contains("it is the node's console"), "{said}");
    let said = node.create(Kind::Vm, vm("bad", json!(["/dev/sda"]))).await.unwrap_err();
    assert!(format!("{said:?}").contains("must be usb:VENDOR:PRODUCT"), "{said:?}");

    let password = "correct horse battery";
    let user = json!({"metadata": {"name": "otto"},
        "spec": {"role": "operator", "password": password}});
    node.create(Kind::User, user).await.unwrap();
    let login = Request::Login {
        username: "otto".to_owned(),
        password: password.to_owned(),
        purpose: "cli".to_owned(),
        origin: "192.0.2.1".to_owned(),
    };
    let Answer::Session { token, .. } = node.ask(login).await.unwrap() else {
        panic!("no session")
    };
    let ask = |request| node.client.call(Auth::Token(token.clone()), request);
    let create = |body: Value| Request::Create {
        kind: Kind::Vm,
        document: Json(body.to_string()),
        dry_run: false,
    };
    let said = format!("{:?}", ask(create(vm("own", json!([KEY])))).await.unwrap_err());
    assert!(said.contains("only an admin may give a machine devices of the node"), "{said}");
    ask(create(vm("own", json!([])))).await.unwrap();
    let patch = |spec: Value| Request::Patch {
        kind: Kind::Vm,
        key: "own".to_owned(),
        patch: Json(json!({ "spec": spec }).to_string()),
        if_revision: None,
    };
    let said = ask(patch(json!({"host_devices": [KEY]}))).await.unwrap_err();
    assert!(format!("{said:?}").contains("only an admin"), "{said:?}");
    // What an admin has given stays while an operator changes the rest, and may be taken away.
    node.ask(patch(json!({"host_devices": [KEY]}))).await.unwrap();
    ask(patch(json!({"stop_timeout_s": 1}))).await.unwrap();
    ask(patch(json!({"host_devices": []}))).await.unwrap();
    node.stop().await.unwrap();
}

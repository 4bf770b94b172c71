//! Volumes and snapshots on the simulated machine: made, kept over power cuts, set back, refused with numbers.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_ipc::{Action, Json, Request};
use skerry_model::{Id, Kind, Volume};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);

fn volume(name: &str, mib: u64) -> Value {
    json!({"metadata": {"name": name}, "spec": {"size_mib": mib}})
}

fn id(document: &Value) -> Id<Volume> {
    document["metadata"]["id"].as_str().unwrap().parse().unwrap()
}

async fn pool_is_ready(node: &RunningNode) {
    eventually(LIMIT, || async {
        let pool = node.get(Kind::Pool, "default").await.map_err(|e| e.to_string())?;
        if pool["status"]["state"] == "ready" { Ok(()) } else { Err(pool.to_string()) }
    })
    .await
    .unwrap();
}

async fn delete(node: &RunningNode, kind: Kind, key: &str) -> anyhow::Result<()> {
    let request =
        Request::Delete { kind, key: key.to_owned(), if_revision: None, with_volumes: false };
    node.ask(request).await.map(drop)
}

async fn gone(node: &RunningNode, kind: Kind, key: &str) {
    eventually(LIMIT, || async {
        match node.get(kind, key).await {
            Ok(still) => Err(still["status"].to_string()),
            Err(_) => Ok(()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_outlives_power_and_goes_back_to_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    pool_is_ready(&node).await;
    node.create(Kind::Volume, volume("data", 1024)).await.unwrap();
    let made = node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    assert_eq!(made["status"]["size_bytes"], 1_u64 << 30);
    host.write_volume(id(&made), "first");
    let snapshot = json!({"metadata": {"name": "one"}, "spec": {"volumes": ["data"]}});
    node.create(Kind::Snapshot, snapshot).await.unwrap();
    node.wait_state(Kind::Snapshot, "one", "ready").await.unwrap();
    host.write_volume(id(&made), "second");
    node.kill().await.unwrap();
    host.power_cut();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    assert_eq!(host.read_volume(id(&made)).unwrap(), "second");
    let revert =
        Request::Act { kind: Kind::Snapshot, key: "one".to_owned(), action: Action::Revert };
    node.ask(revert).await.unwrap();
    eventually(LIMIT, || async {
        match host.read_volume(id(&made)).as_deref() {
            Some("first") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    // What was there before can be had from the snapshot that was taken first.
    let body = json!({"metadata": {"name": "old"},
        "spec": {"source": {"snapshot": "before-one-1", "volume": "data"}}});
    node.create(Kind::Volume, body).await.unwrap();
    let old = node.wait_state(Kind::Volume, "old", "available").await.unwrap();
    assert_eq!(host.read_volume(id(&old)).unwrap(), "second");
    for name in ["one", "before-one-1"] {
        delete(&node, Kind::Snapshot, name).await.unwrap();
        gone(&node, Kind::Snapshot, name).await;
    }
    delete(&node, Kind::Volume, "data").await.unwrap();
    gone(&node, Kind::Volume, "data").await;
    assert_eq!(host.read_volume(id(&made)), None);
    assert_eq!(host.read_volume(id(&old)).unwrap(), "second");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_numbers_and_nothing_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    pool_is_ready(&node).await;
    let refused = node.create(Kind::Volume, volume("huge", 1 << 20)).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("committed space: 1048576 MiB needed, 131072 of 131072"), "{text}");
    node.create(Kind::Volume, volume("data", 1024)).await.unwrap();
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    let patch = |spec: Value| Request::Patch {
        kind: Kind::Volume,
        key: "data".to_owned(),
        patch: Json(json!({ "spec": spec }).to_string()),
        if_revision: None,
    };
    let text = node.ask(patch(json!({"size_mib": 512}))).await.unwrap_err().to_string();
    assert!(text.contains("cannot shrink; it has 1024 MiB"), "{text}");
    node.ask(patch(json!({"size_mib": 2048, "locked": true}))).await.unwrap();
    eventually(LIMIT, || async {
        let seen = node.get(Kind::Volume, "data").await.map_err(|e| e.to_string())?;
        let grown = seen["status"]["size_bytes"] == 2_u64 << 30;
        if grown { Ok(()) } else { Err(seen["status"].to_string()) }
    })
    .await
    .unwrap();
    let text = delete(&node, Kind::Volume, "data").await.unwrap_err().to_string();
    assert!(text.contains("locked"), "{text}");
    let text = node
        .create(
            Kind::Volume,
            json!({"metadata": {"name": "x"}, "spec": {"source": {"image": "tiny"}}}),
        )
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("`tiny` is no disk image"), "{text}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn scarce_space_raises_an_alarm_and_refuses_new_volumes() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    pool_is_ready(&node).await;
    host.set_free_space(2 << 30);
    eventually(Duration::from_secs(40), || async {
        let alarms = node.list(Kind::Alarm).await.map_err(|e| e.to_string())?;
        let text = alarms.iter().map(ToString::to_string).collect::<String>();
        if text.contains("POOL_SPACE_CRITICAL") { Ok(()) } else { Err(text) }
    })
    .await
    .unwrap();
    let text = node.create(Kind::Volume, volume("more", 1)).await.unwrap_err().to_string();
    assert!(text.contains("free space"), "{text}");
    node.stop().await.unwrap();
}

fn vm_with(name: &str, disks: &[&str]) -> Value {
    let disks: Vec<_> = disks.iter().map(|volume| json!({"volume": volume})).collect();
    json!({"metadata": {"name": name},
        "spec": {"image": "tiny-vm", "memory_mib": 128, "disks": disks}})
}

async fn patch_vm(node: &RunningNode, key: &str, spec: Value) -> anyhow::Result<()> {
    let patch = Json(json!({ "spec": spec }).to_string());
    let (kind, key) = (Kind::Vm, key.to_owned());
    node.ask(Request::Patch { kind, key, patch, if_revision: None }).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_come_and_go_while_a_machine_runs_and_stay_when_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_network().await.unwrap();
    pool_is_ready(&node).await;
    for name in ["one", "two"] {
        node.create(Kind::Volume, volume(name, 64)).await.unwrap();
    }
    // The machine waits for its volume by itself.
    node.create(Kind::Vm, vm_with("guest", &["one"])).await.unwrap();
    let guest = node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    node.wait_state(Kind::Volume, "one", "in_use").await.unwrap();
    let refused = node.create(Kind::Vm, vm_with("thief", &["one"])).await.unwrap_err();
    assert!(refused.to_string().contains("attached to `guest`"), "{refused}");
    let text = delete(&node, Kind::Volume, "one").await.unwrap_err().to_string();
    assert!(text.contains("detach it first"), "{text}");
    let vm = guest["metadata"]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(host.disks_of(vm), 1);
    let both = json!([{"volume": "one"}, {"volume": "two"}]);
    patch_vm(&node, "guest", json!({"disks": both})).await.unwrap();
    let disks = |count: usize| {
        let host = host.clone();
        async move {
            eventually(LIMIT, || async {
                let now = host.disks_of(vm);
                if now == count { Ok(()) } else { Err(format!("{now} disks")) }
            })
            .await
            .unwrap();
        }
    };
    disks(2).await;
    let pending = |found: &Value| found["status"]["conditions"].to_string().contains("estart");
    patch_vm(&node, "guest", json!({"disks": [{"volume": "two"}]})).await.unwrap();
    disks(1).await;
    node.wait_state(Kind::Volume, "one", "available").await.unwrap();
    let after = node.get(Kind::Vm, "guest").await.unwrap();
    assert_eq!(after["status"]["pid"], guest["status"]["pid"], "it was restarted");
    assert!(!pending(&after) || pending(&guest), "{after}");
    // A snapshot holds the guest and lets it go; it runs as before.
    let snapshot = json!({"metadata": {"name": "s"}, "spec": {"vm": "guest"}});
    node.create(Kind::Snapshot, snapshot).await.unwrap();
    let taken = node.wait_state(Kind::Snapshot, "s", "ready").await.unwrap();
    assert_eq!(taken["spec"]["volumes"], json!(["two"]));
    assert_eq!(taken["status"]["guest_running"], true);
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    let revert = Request::Act { kind: Kind::Snapshot, key: "s".to_owned(), action: Action::Revert };
    let text = node.ask(revert).await.unwrap_err().to_string();
    assert!(text.contains("stop `guest` first"), "{text}");
    // The machine goes, its volume stays; asked for, it goes with the machine.
    delete(&node, Kind::Vm, "guest").await.unwrap();
    gone(&node, Kind::Vm, "guest").await;
    node.wait_state(Kind::Volume, "two", "available").await.unwrap();
    node.create(Kind::Vm, vm_with("other", &["two"])).await.unwrap();
    node.wait_state(Kind::Vm, "other", "running").await.unwrap();
    let (kind, key) = (Kind::Vm, "other".to_owned());
    node.ask(Request::Delete { kind, key, if_revision: None, with_volumes: true }).await.unwrap();
    gone(&node, Kind::Vm, "other").await;
    gone(&node, Kind::Volume, "two").await;
    node.get(Kind::Volume, "one").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_a_machine_starts_when_its_volumes_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_network().await.unwrap();
    pool_is_ready(&node).await;
    node.create(Kind::Volume, volume("one", 64)).await.unwrap();
    node.create(Kind::Vm, vm_with("guest", &["one"])).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    node.kill().await.unwrap();
    host.power_cut();
    host.order_faults(|faults| faults.fail("check volume", 1));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    eventually(LIMIT, || async {
        let running = host.running().0;
        if running == 1 { Ok(()) } else { Err(format!("{running} run")) }
    })
    .await
    .unwrap();
    let seen = node.get(Kind::Volume, "one").await.unwrap();
    assert_eq!(seen["status"]["checked"], true, "it started before the check");
    assert_eq!(seen["status"]["state"], "in_use");
    node.stop().await.unwrap();
}

/// The head of a qcow2 disk of 1 MiB, which is all that the simulated machine looks at.
fn qcow2() -> Vec<u8> {
    let mut bytes = vec![0_u8; 600];
    for (at, part) in [
        (0, &b"QFI\xfb"[..]),
        (4, &3_u32.to_be_bytes()),
        (24, &(1_u64 << 20).to_be_bytes()),
        (100, &104_u32.to_be_bytes()),
    ] {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_from_a_disk_image_gets_a_disk_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_network().await.unwrap();
    pool_is_ready(&node).await;
    let upload = uuid::Uuid::from_u128(1);
    host.spool(upload, &qcow2());
    let image = json!({"metadata": {"name": "debian"},
        "spec": {"format": "qcow2", "source": {"upload": upload}, "architecture": "x86_64",
        "firmware": "bios", "min_memory_mib": 96, "min_disk_bytes": 3_u64 << 30}});
    node.create(Kind::Image, image).await.unwrap();
    node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    let body = json!({"metadata": {"name": "guest"},
        "spec": {"image": "debian", "memory_mib": 128, "disk_size_mib": 4096}});
    let made = node.create(Kind::Vm, body.clone()).await.unwrap();
    assert_eq!(made["spec"]["disks"][0]["volume"], "guest-root");
    assert_eq!(made["spec"]["disks"][0]["boot_index"], 1);
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    let root = node.wait_state(Kind::Volume, "guest-root", "in_use").await.unwrap();
    assert_eq!(root["status"]["size_bytes"], 4_u64 << 30);
    assert!(root["status"]["base"].is_string(), "{root}");
    // What cannot work is refused with the reason and the numbers.
    let refused = async |name: &str, spec: Value| {
        let body = json!({"metadata": {"name": name}, "spec": spec});
        node.create(Kind::Vm, body).await.unwrap_err().to_string()
    };
    let again = refused("guest", json!({"image": "debian"})).await;
    assert!(again.contains("guest-root"), "{again}");
    let small = refused("b", json!({"image": "debian", "memory_mib": 64})).await;
    assert!(small.contains("96 MiB or more, and 64 MiB"), "{small}");
    let small = refused("b", json!({"image": "debian", "disk_size_mib": 2048})).await;
    assert!(small.contains("3072 MiB or more, and 2048 MiB"), "{small}");
    let uefi = refused("b", json!({"image": "debian", "firmware": "uefi"})).await;
    assert!(uefi.contains("BIOS only"), "{uefi}");
    let act = |action| Request::Act { kind: Kind::Vm, key: "guest".to_owned(), action };
    node.ask(act(Action::Stop)).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "stopped").await.unwrap();
    node.ask(act(Action::Start)).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    copies_and_rebuilds(&node, &host).await;
    delete(&node, Kind::Vm, "guest").await.unwrap();
    gone(&node, Kind::Vm, "guest").await;
    node.wait_state(Kind::Volume, "guest-root", "available").await.unwrap();
    a_kept_volume_starts_another(&node).await;
    // One whose disk goes with it, and that has the least size that its image needs.
    let body = json!({"metadata": {"name": "other"}, "spec": {"image": "debian"}});
    let made = node.create(Kind::Vm, body).await.unwrap();
    assert_eq!(made["spec"]["firmware"], "bios");
    node.wait_state(Kind::Vm, "other", "running").await.unwrap();
    let root = node.get(Kind::Volume, "other-root").await.unwrap();
    assert_eq!(root["status"]["size_bytes"], 3_u64 << 30);
    let key = "other".to_owned();
    let request = Request::Delete { kind: Kind::Vm, key, if_revision: None, with_volumes: true };
    node.ask(request).await.unwrap();
    gone(&node, Kind::Volume, "other-root").await;
    node.stop().await.unwrap();
}

/// What is left of `guest` is the disk of a machine without an image, by the firmware that its image needed.
async fn a_kept_volume_starts_another(node: &RunningNode) {
    let create = |spec: Value| json!({"metadata": {"name": "heir"}, "spec": spec});
    let kept = || json!([{"volume": "guest-root"}]);
    for (spec, part) in [
        (json!({}), "the volume of an earlier machine"),
        (json!({"disks": kept(), "disk_size_mib": 4096}), "gets no disk of its own"),
        (json!({"disks": kept(), "firmware": "uefi"}), "BIOS only"),
        (json!({"disks": [{"volume": "nowhere"}]}), "nowhere"),
    ] {
        let error = node.create(Kind::Vm, create(spec)).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let made = node.create(Kind::Vm, create(json!({"disks": kept()}))).await.unwrap();
    assert_eq!(made["spec"].get("image"), None);
    assert_eq!(made["spec"]["disks"][0]["boot_index"], 1);
    assert_eq!(made["spec"]["firmware"], "bios");
    node.wait_state(Kind::Vm, "heir", "running").await.unwrap();
    node.wait_state(Kind::Volume, "guest-root", "in_use").await.unwrap();
    let patch = |key: &str, patch: Value| Request::Patch {
        kind: Kind::Vm,
        key: key.to_owned(),
        patch: Json(patch.to_string()),
        if_revision: None,
    };
    // A name of a machine that starts from its kernel is not to be lost.
    let direct =
        json!({"metadata": {"name": "direct"}, "spec": {"image": "tiny-vm", "memory_mib": 64}});
    node.create(Kind::Vm, direct).await.unwrap();
    let error = node.ask(patch("direct", json!({"spec": {"image": null}}))).await.unwrap_err();
    assert!(error.to_string().contains("starts from its kernel"), "{error}");
    for name in ["direct", "heir"] {
        delete(node, Kind::Vm, name).await.unwrap();
        gone(node, Kind::Vm, name).await;
    }
    node.wait_state(Kind::Volume, "guest-root", "available").await.unwrap();
}

/// The machine `guest` is copied, and begins anew.
async fn copies_and_rebuilds(node: &RunningNode, host: &SimHost) {
    let clone = || json!({"metadata": {"name": "twin"}, "spec": {"clone_of": "guest"}});
    let refused = node.create(Kind::Vm, clone()).await.unwrap_err().to_string();
    assert!(refused.contains("must be stopped"), "{refused}");
    let act = |action| Request::Act { kind: Kind::Vm, key: "guest".to_owned(), action };
    node.ask(act(Action::Stop)).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "stopped").await.unwrap();
    let root = node.get(Kind::Volume, "guest-root").await.unwrap();
    host.write_volume(id(&root), "first");
    node.ask(Request::Patch {
        kind: Kind::Volume,
        key: "guest-root".to_owned(),
        patch: Json(json!({"spec": {"erase_on_delete": true}}).to_string()),
        if_revision: None,
    })
    .await
    .unwrap();
    let twin = node.create(Kind::Vm, clone()).await.unwrap();
    assert_eq!(twin["spec"]["disks"][0]["volume"], "twin-root");
    assert_eq!(
        (&twin["spec"]["memory_mib"], &twin["spec"]["firmware"]),
        (&json!(128), &json!("bios"))
    );
    node.wait_state(Kind::Vm, "twin", "running").await.unwrap();
    let copy = node.get(Kind::Volume, "twin-root").await.unwrap();
    assert_eq!(host.read_volume(id(&copy)).unwrap(), "first");
    assert_eq!(copy["spec"]["erase_on_delete"], true, "the same data");
    host.write_volume(id(&copy), "second");
    assert_eq!(host.read_volume(id(&root)).unwrap(), "first");

    let rebuild = |image: &str| Request::Patch {
        kind: Kind::Vm,
        key: "guest".to_owned(),
        patch: Json(json!({"spec": {"image": image}}).to_string()),
        if_revision: None,
    };
    let refused = node.ask(rebuild("tiny-vm")).await.unwrap_err().to_string();
    assert!(refused.contains("no disk image"), "{refused}");
    let upload = uuid::Uuid::from_u128(2);
    host.spool(upload, &qcow2());
    let image = json!({"metadata": {"name": "newer"},
        "spec": {"format": "qcow2", "source": {"upload": upload}, "architecture": "x86_64"}});
    node.create(Kind::Image, image).await.unwrap();
    node.wait_state(Kind::Image, "newer", "available").await.unwrap();
    node.ask(rebuild("newer")).await.unwrap();
    let seen = node.get(Kind::Vm, "guest").await.unwrap();
    assert_eq!(seen["spec"]["disks"][0]["volume"], "guest-root-2");
    let renewed = node.wait_state(Kind::Volume, "guest-root-2", "in_use").await.unwrap();
    assert_eq!(renewed["status"]["size_bytes"], 4_u64 << 30);
    assert_eq!(renewed["spec"]["erase_on_delete"], true, "a disk for the same purpose");
    node.wait_state(Kind::Volume, "guest-root", "available").await.unwrap();
    node.ask(act(Action::Start)).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    delete(node, Kind::Vm, "twin").await.unwrap();
    gone(node, Kind::Vm, "twin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_of_an_image_is_an_alarm_until_a_volume_brings_a_fresh_one() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    pool_is_ready(&node).await;
    let bring = async |node: &RunningNode, name: &str, n| {
        let upload = uuid::Uuid::from_u128(n);
        host.spool(upload, &qcow2());
        let image = json!({"metadata": {"name": name},
            "spec": {"format": "qcow2", "source": {"upload": upload}, "architecture": "x86_64"}});
        node.create(Kind::Image, image).await.unwrap();
        node.wait_state(Kind::Image, name, "available").await.unwrap();
    };
    let from = |name: &str, image: &str| json!({"metadata": {"name": name}, "spec": {"source": {"image": image}}});
    bring(&node, "debian", 1).await;
    node.create(Kind::Volume, from("one", "debian")).await.unwrap();
    node.wait_state(Kind::Volume, "one", "available").await.unwrap();
    let stands = async |node: &RunningNode, wanted: bool| {
        eventually(LIMIT, || async {
            let alarms = node.list(Kind::Alarm).await.map_err(|error| error.to_string())?;
            let found = alarms.iter().any(|alarm| {
                alarm["spec"]["definition"] == "IMAGE_DAMAGED"
                    && alarm["spec"]["object"]["kind"] == json!(Kind::Pool)
                    && alarm["status"]["cleared"].is_null()
            });
            if found == wanted { Ok(()) } else { Err(format!("{alarms:?}")) }
        })
        .await
        .unwrap();
    };
    node.stop().await.unwrap();
    host.spoil_bases();
    host.spoil_images();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_state(Kind::Image, "debian", "quarantined").await.unwrap();
    stands(&node, true).await;
    let pool = node.get(Kind::Pool, "default").await.unwrap();
    assert!(pool.to_string().contains("import the image again"), "{pool}");
    bring(&node, "again", 2).await;
    node.create(Kind::Volume, from("two", "again")).await.unwrap();
    node.wait_state(Kind::Volume, "two", "available").await.unwrap();
    stands(&node, false).await;
    node.stop().await.unwrap();
}

async fn pool_says(node: &RunningNode, state: &str) -> Value {
    eventually(Duration::from_secs(40), || async {
        let pool = node.get(Kind::Pool, "fast").await.map_err(|e| e.to_string())?;
        if pool["status"]["state"] == state { Ok(pool) } else { Err(pool["status"].to_string()) }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_disk_of_its_own_comes_back_and_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    host.add_disk("wwn-1", Some("2 partitions"));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_network().await.unwrap();
    pool_is_ready(&node).await;
    let pool =
        |disk: Value| json!({"metadata": {"name": "fast"}, "spec": {"source": {"disk": disk}}});
    for (disk, words) in [
        (json!({"id": "wwn-2"}), "there is no disk `wwn-2`"),
        (json!({"id": "../sda"}), "must be the name of a whole disk"),
        (json!({"id": "wwn-1"}), "holds 2 partitions; set `erase` to true"),
    ] {
        let text = node.create(Kind::Pool, pool(disk)).await.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
    node.create(Kind::Pool, pool(json!({"id": "wwn-1", "erase": true}))).await.unwrap();
    let made = pool_says(&node, "ready").await;
    assert_eq!(made["status"]["size_bytes"], 32_u64 << 30);
    let data = json!({"metadata": {"name": "data"}, "spec": {"size_mib": 64, "pool": "fast"}});
    node.create(Kind::Volume, data).await.unwrap();
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    node.create(Kind::Vm, vm_with("guest", &["data"])).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    let text = delete(&node, Kind::Pool, "fast").await.unwrap_err().to_string();
    assert!(text.contains("in `fast` lie data"), "{text}");
    let text = delete(&node, Kind::Pool, "default").await.unwrap_err().to_string();
    assert!(text.contains("the node's own pool"), "{text}");

    // After a boot without the disk the machine waits for it, and everything else works.
    node.kill().await.unwrap();
    host.power_cut();
    host.plug_disk("wwn-1", false);
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    pool_is_ready(&node).await;
    let away = pool_says(&node, "failed").await;
    assert!(away["status"]["reason"].to_string().contains("is not there"), "{away}");
    eventually(LIMIT, || async {
        let guest = node.get(Kind::Vm, "guest").await.map_err(|e| e.to_string())?;
        let text = guest["status"].to_string();
        let waits =
            text.contains("waits for the volume `data`") && text.contains("`fast` cannot be used");
        if waits { Ok(()) } else { Err(text) }
    })
    .await
    .unwrap();
    eventually(LIMIT, || async {
        let alarms = node.list(Kind::Alarm).await.map_err(|e| e.to_string())?;
        let text = alarms.iter().map(ToString::to_string).collect::<String>();
        if text.contains("POOL_AWAY") { Ok(()) } else { Err(text) }
    })
    .await
    .unwrap();
    host.plug_disk("wwn-1", true);
    pool_says(&node, "ready").await;
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();

    delete(&node, Kind::Vm, "guest").await.unwrap();
    gone(&node, Kind::Vm, "guest").await;
    delete(&node, Kind::Volume, "data").await.unwrap();
    gone(&node, Kind::Volume, "data").await;
    delete(&node, Kind::Pool, "fast").await.unwrap();
    gone(&node, Kind::Pool, "fast").await;
    node.stop().await.unwrap();
}

//! Pools in folders of file systems that are kept, and images from folders, on the simulated machine: refused with the
//! reason, waited for, given back; other files on the file system are never touched.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_ipc::{Answer, Json, Request};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);
const UUID: &str = "0a1b2c3d-0000-4000-8000-000000000001";
const OTHER: &str = "0a1b2c3d-0000-4000-8000-000000000002";
const STICK: &str = "1A2B-3C4D";

fn pool(name: &str, uuid: &str, folder: &str) -> Value {
    let source = json!({"file_system": {"uuid": uuid, "folder": folder}});
    json!({"metadata": {"name": name}, "spec": {"source": source}})
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

async fn says(node: &RunningNode, name: &str, state: &str, words: &str) -> Value {
    eventually(Duration::from_secs(40), || async {
        let pool = node.get(Kind::Pool, name).await.map_err(|e| e.to_string())?;
        let status = &pool["status"];
        let said = status["state"] == state && status["reason"].to_string().contains(words);
        if said { Ok(pool.clone()) } else { Err(status.to_string()) }
    })
    .await
    .unwrap()
}

async fn remove(node: &RunningNode, kind: Kind, key: &str) {
    let request =
        Request::Delete { kind, key: key.to_owned(), if_revision: None, with_volumes: false };
    node.ask(request).await.unwrap();
    eventually(LIMIT, || async {
        match node.get(kind, key).await {
            Ok(still) => Err(still["status"].to_string()),
            Err(_) => Ok(()),
        }
    })
    .await
    .unwrap();
}

async fn media(node: &RunningNode) -> Value {
    let Answer::Document(listed) = node.ask(Request::Media).await.unwrap() else {
        panic!("no list");
    };
    serde_json::from_str(&listed.0).unwrap()
}

async fn image(node: &RunningNode, name: &str, path: &str) -> anyhow::Result<Value> {
    let source = json!({ "folder": path });
    let spec = json!({"format": "qcow2", "source": source, "architecture": "x86_64"});
    node.create(Kind::Image, json!({"metadata": {"name": name}, "spec": spec})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_hold_a_pool_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    host.add_file_system(UUID, "ext4");
    host.add_file_system(STICK, "vfat");
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_network().await.unwrap();
    for (uuid, folder, words) in [
        (OTHER, "skerry", "no file system with the UUID"),
        (STICK, "skerry", "of the kind `vfat`; a pool needs xfs or ext4"),
        ("/dev/sdb1", "skerry", "must be the UUID of a file system"),
        (UUID, "../skerry", "must be a path on the file system"),
        (UUID, "/skerry", "must be a path on the file system"),
    ] {
        let error = node.create(Kind::Pool, pool("fast", uuid, folder)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    // Whose the folder is shows only when the file system is mounted: it is left alone, and the pool says why.
    node.create(Kind::Pool, pool("fast", UUID, "family")).await.unwrap();
    says(&node, "fast", "failed", "holds other files").await;
    let error = node.create(Kind::Pool, pool("more", UUID, "skerry")).await.unwrap_err();
    assert!(error.to_string().contains("which can hold one"), "{error}");
    let patch = json!({"spec": {"source": {"file_system": {"uuid": UUID, "folder": "x"}}}});
    let patch = Json(patch.to_string());
    let (kind, key) = (Kind::Pool, "fast".to_owned());
    let change = Request::Patch { kind, key, patch, if_revision: None };
    let error = node.ask(change).await.unwrap_err();
    assert!(error.to_string().contains("cannot be changed"), "{error}");
    remove(&node, Kind::Pool, "fast").await;
    assert_eq!(host.folders_on(UUID), ["family"]);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_beside_other_files_outlives_power_waits_for_its_disk_and_leaves_them_alone() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    host.add_file_system(UUID, "ext4");
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_network().await.unwrap();
    // The first try to make the folder breaks off.
    host.order_faults(|faults| faults.fail("settle pool", 1));
    node.create(Kind::Pool, pool("fast", UUID, "skerry")).await.unwrap();
    let made = says(&node, "fast", "ready", "").await;
    assert_eq!(made["status"]["prepared"], true);
    assert_eq!(host.folders_on(UUID), ["family", "skerry"]);
    // ext4 knows no quota of projects, which is said.
    assert!(made["status"].get("guest_room_bytes").is_none(), "{made}");
    assert!(made["status"]["conditions"].to_string().contains("NoQuota"), "{made}");
    let data = |name: &str, mib: u64| json!({"metadata": {"name": name}, "spec": {"size_mib": mib, "pool": "fast"}});
    node.create(Kind::Volume, data("data", 64)).await.unwrap();
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    // Other files take room too.
    host.put_on_file_system(UUID, "letters.img", b"", 31 << 30);
    eventually(Duration::from_secs(40), || async {
        let pool = node.get(Kind::Pool, "fast").await.map_err(|e| e.to_string())?;
        let free = pool["status"]["free_bytes"].as_u64();
        if free == Some(1 << 30) { Ok(()) } else { Err(pool["status"].to_string()) }
    })
    .await
    .unwrap();
    let error = node.create(Kind::Volume, data("more", 64)).await.unwrap_err();
    assert!(error.to_string().contains("free space"), "{error}");

    node.kill().await.unwrap();
    host.power_cut();
    host.plug_file_system(UUID, false);
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    says(&node, "fast", "failed", "is not there; plug its disk in again").await;
    let error = node.create(Kind::Volume, data("more", 64)).await.unwrap_err();
    assert!(error.to_string().contains("`fast` is not ready"), "{error}");
    host.order_faults(|faults| faults.fail("mount pool", 1));
    host.plug_file_system(UUID, true);
    says(&node, "fast", "ready", "").await;
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();

    remove(&node, Kind::Volume, "data").await;
    remove(&node, Kind::Pool, "fast").await;
    assert_eq!(host.folders_on(UUID), ["family"]);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_from_the_inbox_and_from_beside_a_pool_as_long_as_they_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    host.add_file_system(UUID, "xfs");
    host.put_on_file_system(UUID, "images/debian.qcow2", &qcow2(), 0);
    host.put_medium("import/small.qcow2", &qcow2());
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_network().await.unwrap();
    let listed = media(&node).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        (&listed["items"][0]["kind"], &listed["items"][0]["name"]),
        (&json!("folder"), &json!("import"))
    );
    image(&node, "small", "import/small.qcow2").await.unwrap();
    node.wait_state(Kind::Image, "small", "available").await.unwrap();
    let error = image(&node, "early", "fast/images/debian.qcow2").await.unwrap_err();
    assert!(error.to_string().contains("is not there"), "{error}");

    node.create(Kind::Pool, pool("fast", UUID, "skerry")).await.unwrap();
    let made = says(&node, "fast", "ready", "").await;
    assert!(made["status"]["guest_room_bytes"].as_u64() > Some(1 << 30), "{made}");
    let listed = media(&node).await.to_string();
    assert!(listed.contains("images/debian.qcow2"), "{listed}");
    image(&node, "debian", "fast/images/debian.qcow2").await.unwrap();
    node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    // The first try to take a copy breaks off, and then the disk is gone: nothing is left.
    host.order_faults(|faults| faults.fail("TakeImage", 1));
    image(&node, "again", "fast/images/debian.qcow2").await.unwrap();
    host.plug_file_system(UUID, false);
    node.wait_state(Kind::Image, "again", "failed").await.unwrap();
    eventually(LIMIT, || async {
        let (spool, work, _) = host.image_files();
        if (spool, work) == (0, 0) { Ok(()) } else { Err(format!("{spool} {work}")) }
    })
    .await
    .unwrap();
    assert!(!media(&node).await.to_string().contains("\"fast\""));
    node.stop().await.unwrap();
}

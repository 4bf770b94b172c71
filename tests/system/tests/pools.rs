//! A pool on a second disk: refused while something is on it, formatted, there again after a power cut, and waited
//! for when the disk is not. In the same boots, a pool in a folder on a third disk's file system, whose other files stay.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, PASSWORD, SOON, USER, eventually, machine};

const POOLS: &str = "/api/v1/pools";
const POOL: &str = "/api/v1/pools/fast";
const VOLUME: &str = "/api/v1/volumes/data";
/// The disk's name below /dev/disk/by-id, from the serial number that the machine gives it.
const DISK: &str = "virtio-second";

const KEPT: &str = "/api/v1/pools/old";
/// The third disk's only partition, and the file system on it.
const PART: &str = "/dev/disk/by-id/virtio-third-part1";
const UUID: &str = "0a1b2c3d-0000-4000-8000-000000000001";
/// Where the test itself mounts it, and where the node does.
const BY_HAND: &str = "/run/by-hand";
const MOUNTED: &str = "/var/lib/skerry/pools/old";
/// The project of what keeps to the reserve, as the file system's tool writes it.
const RESERVED: &str = "4027383809";

#[tokio::test(flavor = "multi_thread")]
async fn a_second_disk_becomes_a_pool() -> anyhow::Result<()> {
    let mut machine = machine("pools")?;
    machine.debug_shell = true;
    let file = machine.folder.join("second.raw");
    std::fs::File::create(&file)?.set_len(2 << 30)?;
    let second = format!("file={},if=none,id=second,format=raw", file.display());
    let third = partitioned(&machine.folder.join("third.raw"))?;
    let third = format!("file={},if=none,id=third,format=raw", third.display());
    let second = ["-drive", &second, "-device", "virtio-blk-pci,drive=second,serial=second"];
    let third = ["-drive", &third, "-device", "virtio-blk-pci,drive=third,serial=third"];
    machine.qemu_words = second.into_iter().chain(third).map(ToOwned::to_owned).collect();
    let (mut node, code) = NodeUnderTest::first_boot(machine)?;
    node.wait_api().await?;
    let claim = json!({"code": code, "username": USER, "password": PASSWORD});
    node.post("/api/v1/claim", claim).await?;
    node.login().await?;

    println!("== a disk with a file system is not taken unless that is said");
    let listed = node.get("/api/v1/inventory").await?["disks"].to_string();
    ensure!(listed.contains(DISK), "{listed}");
    node.shell(&format!("mkfs.ext4 -q -F /dev/disk/by-id/{DISK}"))?;
    let (status, answer) = node.request(Method::POST, POOLS, Some(pool(false))).await?;
    ensure!(status == StatusCode::CONFLICT, "{status} {answer}");
    ensure!(answer.to_string().contains("ext4"), "{answer}");
    node.post(POOLS, pool(true)).await?;
    let made = node.wait_state(POOL, "ready", SOON).await?;
    ensure!(made["status"]["size_bytes"].as_u64() > Some(1 << 30), "{made}");
    ensure!(made["status"]["guest_room_bytes"].as_u64() > Some(1 << 30), "{made}");
    let spec = json!({"size_mib": 64, "pool": "fast"});
    let volume = json!({"metadata": {"name": "data"}, "spec": spec});
    node.post("/api/v1/volumes", volume).await?;
    node.wait_state(VOLUME, "available", SOON).await?;
    let mounted = node.shell("findmnt -n -o FSTYPE,OPTIONS /var/lib/skerry/pools/fast")?;
    ensure!(mounted.contains("xfs") && mounted.contains("prjquota"), "{mounted}");
    let (status, answer) = node.request(Method::DELETE, POOL, None).await?;
    ensure!(status == StatusCode::CONFLICT, "{status} {answer}");

    a_folder_beside_other_files_becomes_a_pool(&mut node).await?;

    println!("== after a power cut without its disk it is waited for");
    node.shell("sync")?;
    let words = std::mem::take(&mut node.machine.qemu_words);
    node = node.power_cycle()?;
    node.wait_api().await?;
    let away = node.wait_state(POOL, "failed", SOON).await?;
    ensure!(away["status"]["reason"].to_string().contains("is not there"), "{away}");
    checked(&node, VOLUME, false).await?;
    let away = node.wait_state(KEPT, "failed", SOON).await?;
    ensure!(away["status"]["reason"].to_string().contains("is not there"), "{away}");
    checked(&node, "/api/v1/volumes/letters", false).await?;

    println!("== after one with its disk all is there again");
    node.machine.qemu_words = words;
    node = node.power_cycle()?;
    node.wait_api().await?;
    node.wait_state(POOL, "ready", SOON).await?;
    checked(&node, VOLUME, true).await?;
    node.wait_state(KEPT, "ready", SOON).await?;
    checked(&node, "/api/v1/volumes/letters", true).await?;

    println!("== empty, it gives its disk back");
    for path in [VOLUME, POOL] {
        remove(&node, path).await?;
    }
    let left = node.shell("findmnt -n /var/lib/skerry/pools/fast || true")?;
    ensure!(left.trim().is_empty(), "{left}");
    a_file_system_is_given_back(&mut node).await
}

/// A disk with one partition from 1 MiB on, in the oldest of partition tables.
fn partitioned(file: &Path) -> anyhow::Result<PathBuf> {
    let (size, start) = (3_u64 << 30, 2048_u32);
    let sectors = u32::try_from(size / 512)? - start;
    let mut table = vec![0_u8; 512];
    table[446 + 4] = 0x83;
    table[446 + 8..446 + 12].copy_from_slice(&start.to_le_bytes());
    table[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(file, table)?;
    std::fs::OpenOptions::new().write(true).open(file)?.set_len(size)?;
    Ok(file.to_owned())
}

async fn remove(node: &NodeUnderTest, path: &str) -> anyhow::Result<()> {
    let (status, answer) = node.request(Method::DELETE, path, None).await?;
    ensure!(status.is_success(), "{status} {answer}");
    eventually(SOON, || async {
        let (status, answer) = node.request(Method::GET, path, None).await?;
        if status == StatusCode::NOT_FOUND { Ok(()) } else { bail!("{answer}") }
    })
    .await
}

async fn a_folder_beside_other_files_becomes_a_pool(
    node: &mut NodeUnderTest,
) -> anyhow::Result<()> {
    println!("== a file system with files on it holds a pool in a folder");
    node.shell(&format!("mkfs.ext4 -q -F -U {UUID} {PART} && udevadm trigger --settle {PART}"))?;
    node.shell(&format!(
        "mkdir -p {BY_HAND} && mount {PART} {BY_HAND} && mkdir {BY_HAND}/images && \
         echo dear friend > {BY_HAND}/letter && \
         qemu-img create -q -f qcow2 {BY_HAND}/images/small.qcow2 8M"
    ))?;
    let (status, answer) = node.request(Method::POST, POOLS, Some(kept(UUID))).await?;
    ensure!(status == StatusCode::CONFLICT, "{status} {answer}");
    ensure!(answer.to_string().contains("is mounted at"), "{answer}");
    node.shell(&format!("umount {BY_HAND}"))?;
    refused_on_the_nodes_own(node).await?;
    let outcome = node.post(POOLS, kept(UUID)).await?;
    ensure!(outcome["spec"]["source"]["file_system"]["folder"] == "skerry", "{outcome}");
    let made = node.wait_state(KEPT, "ready", SOON).await?;
    ensure!(made["status"]["size_bytes"].as_u64() > Some(2 << 30), "{made}");
    ensure!(made["status"].get("guest_room_bytes").is_none(), "ext4 counts by project? {made}");
    ensure!(made["status"]["conditions"].to_string().contains("NoQuota"), "{made}");
    let mounted = node.shell(&format!("findmnt -n -o FSTYPE,OPTIONS {MOUNTED}"))?;
    let words = ["ext4", "noexec", "nosuid", "nodev"];
    ensure!(words.iter().all(|word| mounted.contains(word)), "{mounted}");
    images_come_from_folders(node).await?;
    volumes_lie_beside_other_files(node).await
}

/// The node's own file systems are of a wrong kind, or in use.
async fn refused_on_the_nodes_own(node: &NodeUnderTest) -> anyhow::Result<()> {
    let inventory = node.get("/api/v1/inventory").await?;
    let disks = inventory["disks"].as_array().cloned().unwrap_or_default();
    let all: Vec<Value> = disks
        .iter()
        .filter_map(|disk| disk["file_systems"].as_array().cloned())
        .flatten()
        .collect();
    ensure!(all.iter().any(|each| each["uuid"] == UUID && each["kind"] == "ext4"), "{all:?}");
    for (kind, words) in [("vfat", "of the kind `vfat`"), ("xfs", "own partition `data`")] {
        let is =
            |each: &&Value| each["kind"] == kind && each["size_bytes"].as_u64() > Some(1 << 29);
        // The pool on the second disk is xfs, too.
        for each in all.iter().filter(is).filter(|each| !each["label"].to_string().contains("pool"))
        {
            let body = kept(each["uuid"].as_str().unwrap());
            let (status, answer) = node.request(Method::POST, POOLS, Some(body)).await?;
            ensure!(status.is_client_error(), "{status} {answer}");
            ensure!(answer.to_string().contains(words), "{each} {answer}");
        }
    }
    Ok(())
}

async fn images_come_from_folders(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    println!("== images come from beside the pool, and from the inbox, which keeps to the reserve");
    let inbox = "/var/lib/skerry/data/import";
    let seen = node.shell(&format!("stat -c %a:%U {inbox} && xfs_io -r -c lsproj {inbox}"))?;
    ensure!(seen.contains("700:root") && seen.contains(RESERVED), "{seen}");
    node.shell(&format!("qemu-img create -q -f qcow2 {inbox}/in.qcow2 8M"))?;
    node.shell(&format!("ln -s {MOUNTED}/letter {inbox}/link.qcow2"))?;
    let listed = node.get("/api/v1/media").await?;
    for words in ["in.qcow2", "images/small.qcow2", MOUNTED, inbox] {
        ensure!(listed.to_string().contains(words), "{words}: {listed}");
    }
    ensure!(!listed.to_string().contains("link.qcow2"), "{listed}");
    for (name, file) in
        [("small", "folder:old/images/small.qcow2"), ("in", "folder:import/in.qcow2")]
    {
        node.skerry(&["image", "import", file, "--name", name, "--wait"])?;
    }
    for path in ["import/link.qcow2", "old/skerry/pool.json", "import/none.qcow2"] {
        let spec = json!({"format": "raw", "architecture": "x86_64", "source": {"folder": path}});
        let body = json!({"metadata": {"name": "no"}, "spec": spec});
        let (status, answer) = node.request(Method::POST, "/api/v1/images", Some(body)).await?;
        ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{path}: {status} {answer}");
    }
    Ok(())
}

async fn volumes_lie_beside_other_files(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    println!("== volumes, one that shares an image's data, and a snapshot lie in the folder");
    for (name, source) in [("letters", json!({})), ("from-image", json!({"image": "small"}))] {
        let spec = json!({"size_mib": 64, "pool": "old", "source": source});
        node.post("/api/v1/volumes", json!({"metadata": {"name": name}, "spec": spec})).await?;
        node.wait_state(&format!("/api/v1/volumes/{name}"), "available", SOON).await?;
    }
    let spec = json!({"volumes": ["letters"], "description": ""});
    node.post("/api/v1/snapshots", json!({"metadata": {"name": "one"}, "spec": spec})).await?;
    node.wait_state("/api/v1/snapshots/one", "ready", SOON).await?;
    let (status, answer) = node.request(Method::DELETE, KEPT, None).await?;
    ensure!(status == StatusCode::CONFLICT, "{status} {answer}");
    Ok(())
}

async fn a_file_system_is_given_back(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    println!("== a file system is given back with its other files as they were");
    for path in ["snapshots/one", "volumes/letters", "volumes/from-image", "pools/old"] {
        remove(node, &format!("/api/v1/{path}")).await?;
    }
    let left = node.shell(&format!("findmnt -n {MOUNTED} || true"))?;
    ensure!(left.trim().is_empty(), "{left}");
    let look = format!(
        "mkdir -p {BY_HAND} && mount -o ro {PART} {BY_HAND} && ls -1 {BY_HAND} && cat {BY_HAND}/letter && \
         umount {BY_HAND}"
    );
    let left = node.shell(&look)?;
    let words: Vec<&str> = left.split_whitespace().collect();
    ensure!(words == ["images", "letter", "lost+found", "dear", "friend"], "{left}");
    Ok(())
}

fn kept(uuid: &str) -> Value {
    let source = json!({"file_system": {"uuid": uuid}});
    json!({"metadata": {"name": "old"}, "spec": {"source": source}})
}

fn pool(erase: bool) -> Value {
    let disk = json!({"id": DISK, "erase": erase});
    json!({"metadata": {"name": "fast"}, "spec": {"source": {"disk": disk}}})
}

/// Waits until a volume can be used, or cannot.
async fn checked(node: &NodeUnderTest, volume: &str, usable: bool) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let status = node.get(volume).await?["status"].clone();
        ensure!(status["checked"] == usable, "{status}");
        ensure!(usable || status["reason"].to_string().contains("cannot be used"), "{status}");
        Ok(())
    })
    .await
}

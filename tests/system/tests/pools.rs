//! A pool on a second disk: refused while something is on it, formatted, there again after a power cut, and waited
//! for when the disk is not.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use anyhow::{bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, PASSWORD, SOON, USER, eventually, machine};

const POOLS: &str = "/api/v1/pools";
const POOL: &str = "/api/v1/pools/fast";
const VOLUME: &str = "/api/v1/volumes/data";
/// The disk's name below /dev/disk/by-id, from the serial number that the machine gives it.
const DISK: &str = "virtio-second";

#[tokio::test(flavor = "multi_thread")]
async fn a_second_disk_becomes_a_pool() -> anyhow::Result<()> {
    let mut machine = machine("pools")?;
    machine.debug_shell = true;
    let file = machine.folder.join("second.raw");
    std::fs::File::create(&file)?.set_len(2 << 30)?;
    let second = format!("file={},if=none,id=second,format=raw", file.display());
    let words = ["-drive", &second, "-device", "virtio-blk-pci,drive=second,serial=second"];
    machine.qemu_words = words.map(ToOwned::to_owned).to_vec();
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

    println!("== after a power cut without its disk it is waited for");
    node.shell("sync")?;
    let words = std::mem::take(&mut node.machine.qemu_words);
    node = node.power_cycle()?;
    node.wait_api().await?;
    let away = node.wait_state(POOL, "failed", SOON).await?;
    ensure!(away["status"]["reason"].to_string().contains("is not there"), "{away}");
    checked(&node, false).await?;

    println!("== after one with its disk all is there again");
    node.machine.qemu_words = words;
    node = node.power_cycle()?;
    node.wait_api().await?;
    node.wait_state(POOL, "ready", SOON).await?;
    checked(&node, true).await?;

    println!("== empty, it gives its disk back");
    for path in [VOLUME, POOL] {
        let (status, answer) = node.request(Method::DELETE, path, None).await?;
        ensure!(status.is_success(), "{status} {answer}");
        eventually(SOON, || async {
            let (status, answer) = node.request(Method::GET, path, None).await?;
            if status == StatusCode::NOT_FOUND { Ok(()) } else { bail!("{answer}") }
        })
        .await?;
    }
    let left = node.shell("findmnt -n /var/lib/skerry/pools/fast || true")?;
    ensure!(left.trim().is_empty(), "{left}");
    Ok(())
}

fn pool(erase: bool) -> Value {
    let disk = json!({"id": DISK, "erase": erase});
    json!({"metadata": {"name": "fast"}, "spec": {"source": {"disk": disk}}})
}

/// Waits until the volume can be used, or cannot.
async fn checked(node: &NodeUnderTest, usable: bool) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let status = node.get(VOLUME).await?["status"].clone();
        ensure!(status["checked"] == usable, "{status}");
        ensure!(usable || status["reason"].to_string().contains("cannot be used"), "{status}");
        Ok(())
    })
    .await
}

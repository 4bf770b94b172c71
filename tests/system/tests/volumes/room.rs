//! A guest that writes more than the node has for guests.

use anyhow::{Context, bail, ensure};
use serde_json::json;
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually};

use super::{Guest, VM, patch, volume};

const POOL: &str = "/api/v1/pools/default";
/// Where space of the data partition is taken up.
const BALLAST: &str = "/var/lib/skerry/data/ballast";

/// A guest writes more than is free beyond the reserve.
pub async fn fill_the_pool(node: &mut NodeUnderTest, guest: &Guest) -> anyhow::Result<()> {
    const MIB: u64 = 1024 * 1024;
    println!(
        "== a guest that writes more than there is room for is held, and the node keeps its reserve"
    );
    let held = node.get(POOL).await?["status"]["conditions"].to_string();
    ensure!(held.contains("ReserveHeld"), "{held}");
    let reserve = node.get(POOL).await?["status"]["reserve_bytes"].as_u64().context("bytes")? / MIB;
    volume(node, "big", json!({"size_mib": 256})).await?;
    patch(node, VM, json!({"spec": {"disks": [{"volume": "data"}, {"volume": "big"}]}})).await?;
    guest.shows(node, "big", 256).await?;
    let free = free_mib(node)?;
    // Something of the node's own takes all but 24 MiB of what guests could have.
    let ballast = free.saturating_sub(reserve + 24);
    node.shell(&format!("fallocate -l {ballast}M {BALLAST}"))?;
    eventually(SOON, || async {
        let room = node.get(POOL).await?["status"]["guest_room_bytes"].as_u64();
        ensure!(room.is_some_and(|room| room <= 32 * MIB), "{room:?}");
        Ok(())
    })
    .await?;
    let (disk, _) = guest.finds(node, "big").await?;
    let told = node.fetch(guest.port, &format!("/cgi-bin/disk?{disk}=fill:64")).await?;
    ensure!(told.contains("filling"), "{told}");
    // libvirt may tell a moment later why it is held.
    eventually(GUEST, || async {
        let status = node.get(VM).await?["status"].clone();
        let why = status["reason"].to_string();
        ensure!(status["state"] == "paused" && why.contains("no space"), "{status}");
        Ok(())
    })
    .await?;
    wait_alarm(node, true).await?;
    let left = free_mib(node)?;
    ensure!(left + 8 >= reserve, "{left} MiB are left of a reserve of {reserve}");
    node.shell(&format!("dd if=/dev/zero of={BALLAST}.2 bs=1M count=16 && rm {BALLAST}.2"))?;
    let config = json!({"metadata": {"name": "kept"}, "spec": {"data": {"a": "b"}}});
    node.post("/api/v1/configs", config).await?;

    println!("== when there is room again it goes on by itself");
    node.shell(&format!("rm {BALLAST}"))?;
    node.wait_state(VM, "running", SOON).await?;
    wait_alarm(node, false).await?;
    eventually(GUEST, || async {
        let told = node.fetch(guest.port, "/cgi-bin/disk?filled").await?;
        ensure!(told.trim() == "0", "{told}");
        Ok(())
    })
    .await?;
    patch(node, VM, json!({"spec": {"disks": [{"volume": "data"}]}})).await?;
    node.wait_state("/api/v1/volumes/big", "available", SOON).await.map(drop)
}

/// Waits until the alarm of the held guest stands, or is over.
async fn wait_alarm(node: &NodeUnderTest, stands: bool) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let alarms = node.get("/api/v1/alarms").await?;
        let list = alarms["items"].as_array().context("a list")?;
        let standing = list.iter().any(|alarm| {
            alarm["spec"]["definition"] == "VM_IO_PAUSED" && alarm["status"]["cleared"].is_null()
        });
        ensure!(standing == stands, "{alarms}");
        Ok(())
    })
    .await
}

/// What is free on the data partition.
fn free_mib(node: &mut NodeUnderTest) -> anyhow::Result<u64> {
    let free = node.shell("stat -f -c '%a %S' /var/lib/skerry/data")?;
    let numbers: Vec<u64> = free.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [blocks, size] = numbers[..] else { bail!("{free}") };
    Ok(blocks * size / (1024 * 1024))
}

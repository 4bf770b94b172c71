//! Volumes in a real virtual machine: written, set back to a snapshot, grown under a running guest, attached and
//! detached, and kept when the machine is deleted. Its network interfaces come and go as well.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "volumes/nics.rs"]
mod nics;
#[path = "volumes/room.rs"]
mod room;

use anyhow::{Context, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, SOON, SSH_KEY, USER_DATA, eventually};

const VM: &str = "/api/v1/vms/guest";

#[tokio::test(flavor = "multi_thread")]
async fn volumes_hold_what_guests_write() -> anyhow::Result<()> {
    let (mut node, port) = NodeUnderTest::with_guest("volumes").await?;
    let guest = Guest { port };
    println!("== the guest finds what it is given to set itself up with");
    let told = node.fetch(port, "/cgi-bin/disk?init").await?;
    let id = node.get(VM).await?["metadata"]["id"].as_str().context("an id")?.to_owned();
    for part in [USER_DATA, SSH_KEY, "told", id.as_str()] {
        ensure!(told.contains(part), "no `{part}` in {told}");
    }

    println!("== it finds the same when it asks for it, once it may");
    let told = node.fetch(port, "/cgi-bin/disk?metadata").await?;
    ensure!(told.contains("nothing at latest/user-data"), "nobody said that it may: {told}");
    patch(&node, VM, json!({"spec": {"init": {"metadata": true}}})).await?;
    let told = node.fetch(port, "/cgi-bin/disk?metadata").await?;
    for part in [USER_DATA, SSH_KEY, "told", id.as_str()] {
        ensure!(told.contains(part), "no `{part}` in {told}");
    }
    let shown = node.get(&format!("{VM}/metadata")).await?;
    ensure!(shown["on"] == true && !shown.to_string().contains("runcmd"), "{shown}");
    node.shell("systemctl is-active skerry-metad")?;

    println!("== a volume comes to a running guest, which writes to it");
    volume(&node, "data", json!({"size_mib": 64})).await?;
    patch(&node, VM, json!({"spec": {"disks": [{"volume": "data"}]}})).await?;
    guest.shows(&node, "data", 64).await?;
    guest.writes(&node, "data", "first").await?;

    println!("== a snapshot of the running machine keeps what was there");
    let snapshot = json!({"metadata": {"name": "before"}, "spec": {"vm": "guest"}});
    node.post("/api/v1/snapshots", snapshot).await?;
    node.wait_state("/api/v1/snapshots/before", "ready", SOON).await?;
    guest.writes(&node, "data", "second").await?;
    guest.reads(&node, "data", "second").await?;

    println!("== it grows under the running guest");
    patch(&node, "/api/v1/volumes/data", json!({"spec": {"size_mib": 96}})).await?;
    guest.shows(&node, "data", 96).await?;

    println!("== a second volume comes and goes while the guest runs");
    volume(&node, "extra", json!({"size_mib": 16})).await?;
    let two = json!({"spec": {"disks": [{"volume": "data"}, {"volume": "extra"}]}});
    patch(&node, VM, two).await?;
    guest.shows(&node, "extra", 16).await?;
    patch(&node, VM, json!({"spec": {"disks": [{"volume": "data"}]}})).await?;
    node.wait_state("/api/v1/volumes/extra", "available", SOON).await?;

    nics::come_and_go(&node, port).await?;

    println!("== set back, it holds what it held");
    patch(&node, VM, json!({"spec": {"disks": []}})).await?;
    node.wait_state("/api/v1/volumes/data", "available", SOON).await?;
    node.post("/api/v1/snapshots/before/actions/revert", json!({})).await?;
    set_back(&node, 1).await?;
    patch(&node, VM, json!({"spec": {"disks": [{"volume": "data"}]}})).await?;
    node.wait_state("/api/v1/volumes/data", "in_use", SOON).await?;
    eventually(SOON, || async { guest.reads(&node, "data", "first").await }).await?;

    room::fill_the_pool(&mut node, &guest).await?;

    println!("== a start that comes with a revert waits for it");
    node.post("/api/v1/vms/guest/actions/force_stop", json!({})).await?;
    node.wait_state(VM, "stopped", SOON).await?;
    node.post("/api/v1/snapshots/before/actions/revert", json!({})).await?;
    node.post("/api/v1/vms/guest/actions/start", json!({})).await?;
    node.wait_state(VM, "running", SOON).await?;
    set_back(&node, 2).await?;
    nics::there_from_the_start(&node, port).await?;

    println!("== a machine is deleted, its volume stays");
    let (status, answer) = node.request(Method::DELETE, VM, None).await?;
    ensure!(status.is_success(), "{status} {answer}");
    eventually(SOON, || async {
        let (status, answer) = node.request(Method::GET, VM, None).await?;
        if status == StatusCode::NOT_FOUND { Ok(()) } else { bail!("{answer}") }
    })
    .await?;
    node.wait_state("/api/v1/volumes/data", "available", SOON).await?;
    let failed = node.shell("systemctl --failed --no-legend --plain | wc -l")?;
    ensure!(failed.trim() == "0", "failed units: {}", node.shell("systemctl --failed")?);
    Ok(())
}

/// Waits until the volumes have been set back so often.
async fn set_back(node: &NodeUnderTest, times: u64) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let status = node.get("/api/v1/snapshots/before").await?["status"].clone();
        ensure!(status["reverts"] == times && status["state"] == "ready", "{status}");
        Ok(())
    })
    .await
}

async fn volume(node: &NodeUnderTest, name: &str, spec: Value) -> anyhow::Result<()> {
    node.post("/api/v1/volumes", json!({"metadata": {"name": name}, "spec": spec})).await?;
    node.wait_state(&format!("/api/v1/volumes/{name}"), "available", SOON).await.map(drop)
}

async fn patch(node: &NodeUnderTest, path: &str, body: Value) -> anyhow::Result<()> {
    let (status, answer) = node.request(Method::PATCH, path, Some(body)).await?;
    ensure!(status.is_success(), "PATCH {path}: {status} {answer}");
    Ok(())
}

/// The tiny machine, which tells of its disks over HTTP.
struct Guest {
    port: u16,
}

impl Guest {
    /// The name that the guest gives a volume, and its size there in MiB.
    async fn finds(&self, node: &NodeUnderTest, volume: &str) -> anyhow::Result<(String, u64)> {
        let told = node.get(&format!("/api/v1/volumes/{volume}")).await?;
        let serial = told["status"]["serial"].as_str().context("a serial number")?;
        let disks = node.fetch(self.port, "/cgi-bin/disk").await?;
        let line = disks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut found = line.filter(|words| words.get(2) == Some(&serial));
        let words = found.next().with_context(|| format!("no {serial} in {disks}"))?;
        Ok((words[0].to_owned(), words[1].parse::<u64>()? / 2048))
    }

    /// Asks until the volume is there with this size.
    async fn shows(&self, node: &NodeUnderTest, volume: &str, mib: u64) -> anyhow::Result<()> {
        eventually(SOON, || async {
            let (_, size) = self.finds(node, volume).await?;
            ensure!(size == mib, "{volume} has {size} MiB");
            Ok(())
        })
        .await
    }

    async fn reads(&self, node: &NodeUnderTest, volume: &str, word: &str) -> anyhow::Result<()> {
        let (disk, _) = self.finds(node, volume).await?;
        let text = node.fetch(self.port, &format!("/cgi-bin/disk?{disk}")).await?;
        ensure!(text.contains(word), "{volume} holds `{text}` instead of `{word}`");
        Ok(())
    }

    async fn writes(&self, node: &NodeUnderTest, volume: &str, word: &str) -> anyhow::Result<()> {
        let (disk, _) = self.finds(node, volume).await?;
        let text = node.fetch(self.port, &format!("/cgi-bin/disk?{disk}={word}")).await?;
        ensure!(text.contains("written"), "{volume}: {text}");
        Ok(())
    }
}

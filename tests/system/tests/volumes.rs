//! Volumes in a real virtual machine: written, kept in a snapshot while the guest runs, and grown under it.
//! Setting back, attaching to a running guest, detaching and deletion are tested on the simulated machine only.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use anyhow::ensure;
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn volumes_hold_what_guests_write() -> anyhow::Result<()> {
    let (mut node, ports) = NodeUnderTest::claimed("volumes", &[8081]).await?;
    let guest = Guest { port: ports[0] };
    println!("== a guest finds its volume and writes to it");
    volume(&node, "data", json!({"size_mib": 64})).await?;
    node.post("/api/v1/vms", machine()).await?;
    node.wait_state("/api/v1/vms/keeper", "running", GUEST).await?;
    node.wait_answer(guest.port, "skerry tiny vm", GUEST).await?;
    guest.shows(&node, "", "vda 131072").await?;
    guest.says(&node, "vda=first", "written").await?;

    println!("== a snapshot of the running machine keeps what was there");
    let snapshot = json!({"metadata": {"name": "before"}, "spec": {"vm": "keeper"}});
    node.post("/api/v1/snapshots", snapshot).await?;
    node.wait_state("/api/v1/snapshots/before", "ready", SOON).await?;
    guest.says(&node, "vda=second", "written").await?;
    guest.says(&node, "vda", "second").await?;

    println!("== it grows under the running guest");
    patch(&node, "/api/v1/volumes/data", json!({"spec": {"size_mib": 96}})).await?;
    guest.shows(&node, "", "vda 196608").await?;
    let failed = node.shell("systemctl --failed --no-legend --plain | wc -l")?;
    ensure!(failed.trim() == "0", "failed units: {}", node.shell("systemctl --failed")?);
    Ok(())
}

fn machine() -> Value {
    json!({"metadata": {"name": "keeper"}, "spec": {"image": "tiny-vm", "memory_mib": 128, "graphics": "none",
        "disks": [{"volume": "data"}], "publish": [{"host_port": 8081, "workload_port": 8080}]}})
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
    /// Asks once; the answer must hold this.
    async fn says(&self, node: &NodeUnderTest, ask: &str, expected: &str) -> anyhow::Result<()> {
        let text = node.fetch(self.port, &format!("/cgi-bin/disk?{ask}")).await?;
        ensure!(text.contains(expected), "disk?{ask} says `{text}` instead of `{expected}`");
        Ok(())
    }

    /// Asks until the answer holds this.
    async fn shows(&self, node: &NodeUnderTest, ask: &str, expected: &str) -> anyhow::Result<()> {
        eventually(SOON, || self.says(node, ask, expected)).await
    }
}

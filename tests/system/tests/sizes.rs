//! What a machine may have of the node's while it runs, as only a real guest can show it.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::json;
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually};

const VM: &str = "/api/v1/vms/guest";

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_grows_while_it_runs() -> anyhow::Result<()> {
    let (mut node, web) = NodeUnderTest::with_guest("sizes").await?;
    node.wait_answer(web, "skerry tiny vm", SOON).await?;

    println!("== room for more counts from the next start");
    set(&node, json!({"max_memory_mib": memory_mib(&node).await? + 128, "io_threads": 1})).await?;
    eventually(SOON, || async {
        let pending = node.get(VM).await?["status"]["conditions"].to_string();
        if pending.contains("ChangedWhileRunning") { Ok(()) } else { bail!("{pending}") }
    })
    .await?;
    node.post(&format!("{VM}/actions/force_stop"), json!({})).await?;
    node.wait_state(VM, "stopped", SOON).await?;
    node.post(&format!("{VM}/actions/start"), json!({})).await?;
    node.wait_answer(web, "skerry tiny vm", GUEST).await?;
    let (before, pid) =
        (guest_kib(&node, web).await?, node.get(VM).await?["status"]["pid"].clone());

    println!("== it has a thread for its disks");
    node.shell(&format!("grep -q iothread /proc/{pid}/task/*/comm"))?;

    println!("== memory is given while it runs, and its guest takes it");
    let more = memory_mib(&node).await? + 128;
    set(&node, json!({"memory_mib": more})).await?;
    eventually(GUEST, || async {
        let status = node.get(VM).await?["status"].clone();
        let grown = status["running_size"]["memory_mib"] == more && status["pid"] == pid;
        ensure!(grown, "{status}");
        ensure!(!status["conditions"].to_string().contains("MemoryTaken"), "{status}");
        Ok(())
    })
    .await?;
    eventually(GUEST, || async {
        let now = guest_kib(&node, web).await?;
        if now >= before + 100 * 1024 { Ok(()) } else { bail!("{before} KiB, now {now}") }
    })
    .await
}

async fn set(node: &NodeUnderTest, spec: serde_json::Value) -> anyhow::Result<()> {
    let (status, told) = node.request(Method::PATCH, VM, Some(json!({"spec": spec}))).await?;
    ensure!(status.is_success(), "{status} {told}");
    Ok(())
}

async fn memory_mib(node: &NodeUnderTest) -> anyhow::Result<u64> {
    node.get(VM).await?["spec"]["memory_mib"].as_u64().context("memory_mib")
}

/// What the guest itself says it has.
async fn guest_kib(node: &NodeUnderTest, web: u16) -> anyhow::Result<u64> {
    let told = node.fetch(web, "/cgi-bin/disk?size").await?;
    let total = told.lines().find(|line| line.starts_with("MemTotal:")).context(told.clone())?;
    let number = total.split_whitespace().nth(1).context("a number")?;
    number.parse().with_context(|| total.to_owned())
}

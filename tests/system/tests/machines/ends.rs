//! What guests live through, how they end against their will and with the node, and in which order they start again.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually};

const GUEST_VM: &str = "/api/v1/vms/guest";
const OTHER: &str = "/api/v1/vms/other";

/// What the kernel of a guest says last when it turns itself off.
const LAST_WORDS: &str = "reboot: Power down";

/// The node gives its guests 180 s, and those of this test need far less.
const NODE_OFF: Duration = Duration::from_secs(300);

/// The node's daemon is killed and libvirt's service started anew under a guest that runs.
pub async fn outlives_services(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let before = node.get(GUEST_VM).await?["status"].clone();
    node.shell("systemctl kill --signal=KILL skerry-noded.service && systemctl restart libvirtd")?;
    node.wait_api().await?;
    let after = node.wait_state(GUEST_VM, "running", SOON).await?["status"].clone();
    for same in ["pid", "starts", "crashes"] {
        ensure!(after[same] == before[same], "{same}: {before} became {after}");
    }
    Ok(())
}

/// A guest that does not hear its power button is forced off when its time is over, and not before.
pub async fn deaf(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    change(node, GUEST_VM, json!({"stop_timeout_s": 15})).await?;
    let mut line = node.terminal(&format!("{GUEST_VM}/console"), "").await?;
    line.types("kill $(pidof acpid); echo no $((1 + 1)) ears\r").await?;
    line.until("no 2 ears", GUEST).await?;
    let words = last_words(node, GUEST_VM).await?;
    let begun = Instant::now();
    node.post(&format!("{GUEST_VM}/actions/stop"), json!({})).await?;
    node.wait_state(GUEST_VM, "stopped", SOON).await?;
    let took = begun.elapsed();
    ensure!(took >= Duration::from_secs(14), "forced off after {took:?}");
    ensure!(last_words(node, GUEST_VM).await? == words, "it shut down by itself");
    change(node, GUEST_VM, json!({"stop_timeout_s": 90})).await?;
    node.post(&format!("{GUEST_VM}/actions/start"), json!({})).await?;
    node.wait_state(GUEST_VM, "running", SOON).await.map(drop)
}

/// The node's power button: its guests shut down in their own way before it is off, and start in their order after that.
pub async fn with_the_node(node: NodeUnderTest) -> anyhow::Result<()> {
    change(&node, OTHER, json!({"start_order": 100})).await?;
    change(&node, GUEST_VM, json!({"start_order": 900, "start_delay_s": 5})).await?;
    let boots = said(&node, GUEST_VM, "skerry tiny vm started").await?;
    node.post(&format!("{GUEST_VM}/actions/start"), json!({})).await?;
    eventually(GUEST, || async {
        let now = said(&node, GUEST_VM, "skerry tiny vm started").await?;
        if now > boots { Ok(()) } else { bail!("{now} boots") }
    })
    .await?;
    let before = [last_words(&node, GUEST_VM).await?, last_words(&node, OTHER).await?];
    let mut node = node.power_button(NODE_OFF)?;
    node.wait_api().await?;
    node.login().await?;
    let after = [last_words(&node, GUEST_VM).await?, last_words(&node, OTHER).await?];
    ensure!(after[0] == before[0] + 1, "the guest did not shut down: {before:?} {after:?}");
    ensure!(after[1] == before[1] + 1, "the other did not shut down: {before:?} {after:?}");
    let journal = "journalctl --no-pager --output=cat --boot=-1 --unit=skerry-noded.service";
    let forced = node.shell(&format!("{journal} | grep -c 'forced off' || true"))?;
    ensure!(forced.trim() == "0", "{forced} were forced off");
    let (guest, other) = (started(&node, GUEST_VM).await?, started(&node, OTHER).await?);
    ensure!(other < guest, "the guest started at {guest}, and the other after it at {other}");
    Ok(())
}

/// When it was started after the boot.
async fn started(node: &NodeUnderTest, path: &str) -> anyhow::Result<String> {
    let vm = node.wait_state(path, "running", SOON).await?;
    // All of one form and one zone, so that they compare as texts.
    Ok(vm["status"]["started_at"].as_str().context("started_at")?.to_owned())
}

async fn change(node: &NodeUnderTest, path: &str, spec: Value) -> anyhow::Result<()> {
    let (status, answer) = node.request(Method::PATCH, path, Some(json!({"spec": spec}))).await?;
    ensure!(status.is_success(), "{status} {answer}");
    Ok(())
}

async fn last_words(node: &NodeUnderTest, path: &str) -> anyhow::Result<usize> {
    said(node, path, LAST_WORDS).await
}

/// How often it said this on its serial line.
async fn said(node: &NodeUnderTest, path: &str, what: &str) -> anyhow::Result<usize> {
    let serial = node.get(&format!("{path}/serial?tail=1000")).await?;
    Ok(serial.as_str().unwrap_or_default().matches(what).count())
}

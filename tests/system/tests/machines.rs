//! What can be done with a virtual machine while it runs, what becomes of it when things end under it, and what a
//! power cut leaves wanted.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "machines/ends.rs"]
mod ends;
#[path = "machines/place.rs"]
mod place;

use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually};

const VM: &str = "/api/v1/vms/guest";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_obeys_and_outlives() -> anyhow::Result<()> {
    let (mut node, web) = NodeUnderTest::with_guest("machines").await?;
    node.wait_answer(web, "skerry tiny vm", SOON).await?;
    let pid = pid(&node).await?;

    step("paused, it keeps its process and stays paused while services restart");
    act(&node, "pause").await?;
    node.wait_state(VM, "paused", SOON).await?;
    node.shell("systemctl restart libvirtd skerry-noded")?;
    node.wait_api().await?;
    let paused = node.wait_state(VM, "paused", SOON).await?;
    ensure!(paused["status"]["pid"] == pid, "{paused}");
    act(&node, "resume").await?;
    node.wait_answer(web, "skerry tiny vm", SOON).await?;

    step("suspended, its memory is on disk, and it goes on where it was");
    act(&node, "suspend").await?;
    node.wait_state(VM, "suspended", SOON).await?;
    let file = node.shell("head -c 16 /var/lib/skerry/data/vm-memory/skerry-vm-*.save")?;
    ensure!(file.contains("LibvirtQemudSave"), "{file}");
    act(&node, "start").await?;
    node.wait_answer(web, "skerry tiny vm", SOON).await?;
    ensure!(boots(&node).await? == 1, "it booted instead of going on");
    node.shell("test -z \"$(ls /var/lib/skerry/data/vm-memory)\"")?;

    step(
        "running, it outlives the end of the daemon and of libvirt's service, and goes on with its serial line",
    );
    ends::outlives_services(&mut node).await?;

    step("rebooted by its own shutdown, it keeps its process");
    let before = self::pid(&node).await?;
    act(&node, "reboot").await?;
    eventually(GUEST, || async {
        let boots = boots(&node).await?;
        if boots == 2 { Ok(()) } else { bail!("{boots} boots") }
    })
    .await?;
    ensure!(self::pid(&node).await? == before, "another process");

    step("reset, it keeps its process too");
    act(&node, "reset").await?;
    dealt_with(&node).await?;
    ensure!(self::pid(&node).await? == before, "another process");

    step("deaf to its power button, it is forced off when its time is over");
    eventually(GUEST, || async {
        let boots = boots(&node).await?;
        if boots == 3 { Ok(()) } else { bail!("{boots} boots") }
    })
    .await?;
    ends::deaf(&mut node).await?;

    step("killed, it is started again, left, or off, as was set");
    crashes(&mut node).await?;

    step(
        "with a processor and huge pages of its own it runs on them alone, and nobody else gets them",
    );
    place::own_place(&mut node).await?;

    step("a machine with room for more processors gets them while it runs");
    place::grows(&mut node).await?;

    step("after a power cut what ran runs, and what was stopped stays stopped");
    let spec = json!({"image": "tiny-vm", "memory_mib": 96, "graphics": "none"});
    node.post("/api/v1/vms", json!({"metadata": {"name": "other"}, "spec": spec})).await?;
    node.wait_state("/api/v1/vms/other", "running", SOON).await?;
    let mut node = node.power_cycle()?;
    node.wait_api().await?;
    node.login().await?;
    eventually(GUEST, || async {
        let other = node.get("/api/v1/vms/other").await?;
        let up = other["status"]["state"] == "running" && other["status"]["starts"] == 2;
        if up { Ok(()) } else { bail!("{}", other["status"]) }
    })
    .await?;
    let guest = node.get(VM).await?;
    ensure!(guest["status"]["state"] == "stopped", "{guest}");

    step(
        "by the node's power button its guests end in their own way, and they start again in their order",
    );
    ends::with_the_node(node).await
}

fn step(text: &str) {
    println!("== {text}");
}

async fn act(node: &NodeUnderTest, action: &str) -> anyhow::Result<Value> {
    node.post(&format!("{VM}/actions/{action}"), json!({})).await.context(action.to_owned())
}

async fn pid(node: &NodeUnderTest) -> anyhow::Result<Value> {
    let status = node.get(VM).await?["status"].clone();
    ensure!(status["pid"].is_number(), "{status}");
    Ok(status["pid"].clone())
}

/// How often the guest has come up.
async fn boots(node: &NodeUnderTest) -> anyhow::Result<usize> {
    let serial = node.get(&format!("{VM}/serial?tail=1000")).await?;
    Ok(serial.as_str().unwrap_or_default().matches("skerry tiny vm started").count())
}

async fn dealt_with(node: &NodeUnderTest) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let vm = node.get(VM).await?;
        let done = vm["status"]["request_done"] == vm["spec"]["request"]["number"];
        if done { Ok(()) } else { bail!("{vm}") }
    })
    .await
}

async fn crashes(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let first = pid(node).await?;
    node.shell(&format!("kill -9 {first}"))?;
    eventually(SOON, || async {
        let status = node.get(VM).await?["status"].clone();
        let again = status["state"] == "running" && status["pid"] != first;
        if again && status["crashes"] == 1 { Ok(()) } else { bail!("{status}") }
    })
    .await
    .context("started again")?;
    for (action, state) in [("alarm", "crashed"), ("stop", "stopped")] {
        let policy = json!({"spec": {"crash_policy": {"action": action}}});
        let (status, answer) = node.request(Method::PATCH, VM, Some(policy)).await?;
        ensure!(status.is_success(), "{status} {answer}");
        act(node, "start").await?;
        // A start that is still wanted when the process is killed would start it again.
        dealt_with(node).await?;
        node.wait_state(VM, "running", SOON).await?;
        let now = pid(node).await?;
        node.shell(&format!("kill -9 {now}"))?;
        node.wait_state(VM, state, SOON).await?;
        let alarms = node.get("/api/v1/alarms").await?;
        let mut standing = alarms["items"].as_array().unwrap().iter();
        ensure!(
            standing.any(
                |a| a["spec"]["definition"] == "VM_CRASHED" && a["status"]["cleared"].is_null()
            ),
            "no alarm: {alarms}"
        );
    }
    ensure!(node.get(VM).await?["spec"]["power"] == "stopped");
    Ok(())
}

//! A virtual machine that boots from a disk of its own, by BIOS and by UEFI: with a TPM that its firmware measures into,
//! a real guest agent, and an end that leaves nothing.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::Path;

use anyhow::{Context, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually};
use xtask::builder::Builder;
use xtask::guest_disk;
use xtask::paths::Paths;

const VM: &str = "/api/v1/vms/own";
/// Port of the node at which the guest answers.
const WEB: u16 = 8082;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_boots_from_its_own_disk() -> anyhow::Result<()> {
    let (mut node, ports) = NodeUnderTest::claimed("own-disk", &[WEB]).await?;
    let port = *ports.first().context("a port was forwarded")?;
    let paths = Paths::find();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let disk = guest_disk::build(&paths, &Builder::existing(&paths)?, &files)?;
    node.skerry(&["image", "import", &disk.display().to_string(), "--name", "own", "--wait"])?;

    println!("== by BIOS");
    by_bios(&node, port).await?;

    println!("== a processor that cannot run guests: that is said, and they are emulated");
    node.machine.virtualization = false;
    let mut node = node.power_cycle()?;
    node.wait_api().await?;
    node.login().await?;

    println!("== by UEFI: its disk, its TPM");
    let size = json!({"metadata": {"name": "data"}, "spec": {"size_mib": 32}});
    node.post("/api/v1/volumes", size).await?;
    let spec = json!({"image": "own", "memory_mib": 160, "firmware": "uefi", "tpm": true,
        "disk_size_mib": 64, "disks": [{"volume": "data"}], "guest_agent": true, "graphics": "none",
        "publish": [{"host_port": WEB, "workload_port": 8080}]});
    node.post("/api/v1/vms", json!({"metadata": {"name": "own"}, "spec": spec})).await?;
    // The firmware comes first, emulated too.
    node.wait_answer(port, "skerry tiny vm", 2 * GUEST).await?;
    let told = node.fetch(port, "/cgi-bin/told").await?;
    runs_by(&node, VM, "emulation", "false").await?;
    for part in ["firmware uefi", "disk 131072", "tpm 2"] {
        ensure!(told.contains(part), "no `{part}` in {told}");
    }
    let measured = told.lines().find_map(|line| line.strip_prefix("pcr0 ")).context("pcr0")?;
    ensure!(measured.len() == 64 && measured.contains(|digit| digit != '0'), "{told}");

    println!("== its agent");
    agent(&node, port).await?;

    println!("== it ends by its own shutdown, and its TPM outlives process and name");
    let kept = "test -s /var/lib/skerry/data/vm/*/tpm/tpm2-00.permall";
    node.shell(kept)?;
    node.skerry(&["vm", "rename", "own", "shut"])?;
    node.post("/api/v1/vms/shut/actions/stop", json!({})).await?;
    node.wait_state("/api/v1/vms/shut", "stopped", GUEST).await?;
    let serial = node.get("/api/v1/vms/shut/serial?tail=50").await?;
    ensure!(serial.as_str().is_some_and(|said| said.contains("the agent turns off")), "{serial}");
    node.shell(kept)?;

    println!("== a snapshot has held its TPM");
    tpm(&mut node).await?;

    println!("== an image of its disk stays, all else goes with it");
    node.skerry(&["volume", "export", "own-root", "--image", "golden", "--wait"])?;
    node.wait_state("/api/v1/images/golden", "available", SOON).await?;
    node.skerry(&["vm", "delete", "shut", "--delete-volumes"])?;
    gone(&node, "/api/v1/volumes/own-root").await?;
    node.shell("test -z \"$(ls /var/lib/skerry/data/vm)\"").map(drop)
}

/// What runs guests, as machine and node tell it.
async fn runs_by(
    node: &NodeUnderTest,
    vm: &str,
    accelerator: &str,
    usable: &str,
) -> anyhow::Result<()> {
    let status = node.get(vm).await?["status"].clone();
    ensure!(status["accelerator"] == accelerator, "{status}");
    let told = node.get("/api/v1/node").await?["status"].clone();
    ensure!(told["accelerator"] == accelerator, "{told}");
    let mut conditions = told["conditions"].as_array().context("conditions")?.iter();
    let kvm = conditions.find(|c| c["type"] == "KvmUsable").context("KvmUsable")?;
    ensure!(kvm["state"] == usable, "{kvm}");
    Ok(())
}

async fn by_bios(node: &NodeUnderTest, port: u16) -> anyhow::Result<()> {
    const OLD: &str = "/api/v1/vms/old";
    let spec = json!({"image": "own", "memory_mib": 128, "firmware": "bios", "graphics": "none",
        "publish": [{"host_port": WEB, "workload_port": 8080}]});
    node.post("/api/v1/vms", json!({"metadata": {"name": "old"}, "spec": spec})).await?;
    node.wait_answer(port, "skerry tiny vm", GUEST).await?;
    let serial = node.get(&format!("{OLD}/serial?tail=100")).await?;
    let said = serial.as_str().unwrap_or_default();
    ensure!(said.contains(guest_disk::BIOS_LOADER), "it says `{said}`");
    let told = node.fetch(port, "/cgi-bin/told").await?;
    ensure!(told.contains("firmware bios"), "{told}");
    runs_by(node, OLD, "kvm", "true").await?;
    node.skerry(&["vm", "delete", "old", "--delete-volumes"])?;
    gone(node, OLD).await
}

/// Debian's agent: addresses, a password, file systems at rest for a snapshot.
async fn agent(node: &NodeUnderTest, port: u16) -> anyhow::Result<()> {
    let report = eventually(SOON, || async {
        let report = node.get(&format!("{VM}/guest")).await?;
        let mut interfaces = report["interfaces"].as_array().into_iter().flatten();
        let found = interfaces.any(|one| {
            let mut addresses = one["addresses"].as_array().into_iter().flatten();
            addresses.any(|address| address.as_str().is_some_and(|a| a.starts_with("10.")))
        });
        if found { Ok(report) } else { bail!("{report}") }
    })
    .await?;
    ensure!(report["agent_version"].as_str().is_some_and(|version| !version.is_empty()));

    let password = json!({"user": "root", "password": "swordfish"});
    node.post(&format!("{VM}/guest/password"), password).await?;
    let digest = hex::encode(Sha256::digest("root:swordfish\n"));
    let told = node.fetch(port, "/cgi-bin/told").await?;
    ensure!(told.contains(&digest), "the guest was given another password: {told}");

    ensure!(told.contains(" /data ext4 "), "{told}");
    let snapshot = json!({"metadata": {"name": "resting"}, "spec": {"vm": "own"}});
    node.post("/api/v1/snapshots", snapshot).await?;
    let taken = node.wait_state("/api/v1/snapshots/resting", "ready", SOON).await?;
    let mut conditions = taken["status"]["conditions"].as_array().into_iter().flatten();
    let resting = conditions.find(|one| one["type"] == "Consistent").context("Consistent")?;
    ensure!(resting["state"] == "true" && resting["reason"] == "FileSystemsAtRest", "{taken}");
    // And it goes on: the same file system can be written to.
    let frozen = &taken["status"]["frozen"];
    ensure!(frozen.as_array().is_none_or(Vec::is_empty), "{taken}");
    ensure!(taken["status"]["tpm"].is_string(), "the TPM was left out: {taken}");
    Ok(())
}

/// The snapshot of the running machine holds its TPM; going back to it puts that back, and its deletion removes it.
async fn tpm(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let taken = node.get("/api/v1/snapshots/resting").await?;
    let id = taken["metadata"]["id"].as_str().context("an id")?;
    let folder = "/var/lib/skerry/data/vm/*";
    let same = format!("cmp {folder}/tpm/tpm2-00.permall {folder}/tpm-kept/{id}/tpm2-00.permall");
    node.shell(&format!("test -s {folder}/tpm-kept/{id}/tpm2-00.permall"))?;
    node.shell(&format!("for f in {folder}/tpm/tpm2-00.permall; do echo spoiled > $f; done"))?;
    let owner =
        node.shell(&format!("stat -c %u:%g:%a {folder}/tpm {folder}/tpm/tpm2-00.permall"))?;
    node.post("/api/v1/snapshots/resting/actions/revert", json!({})).await?;
    eventually(SOON, || async {
        let status = node.get("/api/v1/snapshots/resting").await?["status"].take();
        if status["reverts"] == 1 && status["state"] == "ready" {
            Ok(())
        } else {
            bail!("{status}")
        }
    })
    .await?;
    node.shell(&same)?;
    let after =
        node.shell(&format!("stat -c %u:%g:%a {folder}/tpm {folder}/tpm/tpm2-00.permall"))?;
    ensure!(after == owner, "{owner} became {after}");
    for name in ["resting", "before-resting-1"] {
        let path = format!("/api/v1/snapshots/{name}");
        let (status, answer) = node.request(Method::DELETE, &path, None).await?;
        ensure!(status.is_success(), "{status} {answer}");
        gone(node, &path).await?;
    }
    node.shell(&format!("test -z \"$(ls {folder}/tpm-kept)\"")).map(drop)
}

async fn gone(node: &NodeUnderTest, path: &str) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let (status, answer): (_, Value) = node.request(Method::GET, path, None).await?;
        if status == StatusCode::NOT_FOUND { Ok(()) } else { bail!("{path} is there: {answer}") }
    })
    .await
}

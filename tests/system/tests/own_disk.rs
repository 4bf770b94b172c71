//! A virtual machine that boots from a disk of its own, by BIOS and by UEFI, with Secure Boot and without: with a TPM that
//! its firmware measures into, a real guest agent, and an end that leaves nothing.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "own_disk/secure_boot.rs"]
mod secure_boot;

use std::path::Path;

use anyhow::{Context, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually, short};
use xtask::builder::Builder;
use xtask::guest_disk::{self, Loader};
use xtask::paths::Paths;

const VM: &str = "/api/v1/vms/own";
/// Port of the node at which the guest answers.
const WEB: u16 = 8082;
/// What its firmware says when it starts what it found on the disk.
const UEFI_STARTS: &str = "BdsDxe: starting Boot";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_boots_from_its_own_disk() -> anyhow::Result<()> {
    let (mut node, ports) = NodeUnderTest::claimed("own-disk", &[WEB]).await?;
    let port = *ports.first().context("a port was forwarded")?;
    let paths = Paths::find();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let builder = Builder::existing(&paths)?;
    let [disk, signed] = [Loader::Unsigned, Loader::Signed]
        .map(|loader| guest_disk::build(&paths, &builder, &files, loader));
    let (disk, signed) = (disk?, signed?);
    node.skerry(&["image", "import", &disk.display().to_string(), "--name", "own", "--wait"])?;

    println!("== by BIOS");
    let size = json!({"metadata": {"name": "data"}, "spec": {"size_mib": 32}});
    node.post("/api/v1/volumes", size).await?;
    let more = json!({"firmware": "bios", "disks": [{"volume": "data"}], "guest_agent": true});
    let told = boots(&node, port, more).await?;
    ensure!(told.contains("firmware bios"), "{told}");
    let said = spoken(&node, "own").await?;
    ensure!(said.contains(guest_disk::BIOS_LOADER), "it says `{said}`");
    runs_by(&node, "kvm", "true").await?;

    println!("== its agent");
    agent(&node, port).await?;

    println!("== it ends by its own shutdown under another name, and an image of its disk stays");
    node.skerry(&["vm", "rename", "own", "shut"])?;
    node.post("/api/v1/vms/shut/actions/stop", json!({})).await?;
    node.wait_state("/api/v1/vms/shut", "stopped", GUEST).await?;
    let serial = node.get("/api/v1/vms/shut/serial?tail=50").await?;
    ensure!(serial.as_str().is_some_and(|said| said.contains("the agent turns off")), "{serial}");
    node.skerry(&["volume", "export", "own-root", "--image", "golden", "--wait"])?;
    node.wait_state("/api/v1/images/golden", "available", SOON).await?;
    snapshots_go(&node, &["resting"]).await?;
    node.skerry(&["vm", "delete", "shut"])?;
    gone(&node, "/api/v1/vms/shut").await?;

    println!("== another starts from the volume that is left, without an image");
    let publish = format!("{WEB}:8080");
    let line =
        ["vm", "create", "heir", "--disk", "own-root", "--memory", "160", "--publish", &publish];
    eventually(SOON, || async { node.skerry(&line).map(drop) }).await?;
    let told = booted(&node, port).await?;
    ensure!(told.contains("firmware bios"), "{told}");
    node.skerry(&["vm", "delete", "heir", "--delete-volumes"])?;
    gone(&node, "/api/v1/volumes/own-root").await?;

    println!("== a processor that cannot run guests: that is said, and they are emulated");
    node.machine.virtualization = false;
    // Room for two machines at once: emulation takes more, and so does a signed loader.
    node.machine.memory_mib = 1536;
    let mut node = node.power_cycle()?;
    node.wait_api().await?;
    node.login().await?;

    if short() {
        println!("a short run: by UEFI with Secure Boot alone");
    } else {
        println!("== by UEFI: its disk, its TPM");
        let told = boots(&node, port, json!({"firmware": "uefi", "tpm": true})).await?;
        ensure!(!told.contains("secure boot"), "{told}");
        measured(&told)?;
        node.skerry(&["vm", "delete", "own", "--delete-volumes"])?;
        gone(&node, "/api/v1/volumes/own-root").await?;
    }

    println!("== by UEFI with Secure Boot: what is signed, and nothing else");
    secure_boot::starts_what_is_signed(&node, port, &signed).await?;
    runs_by(&node, "emulation", "false").await?;

    println!("== a snapshot holds its TPM, which outlives its process");
    tpm(&mut node).await?;
    node.skerry(&["vm", "delete", "own", "--delete-volumes"])?;
    gone(&node, "/api/v1/volumes/own-root").await?;
    node.shell("test -z \"$(ls /var/lib/skerry/data/vm)\"").map(drop)
}

/// The end of what a machine has said on its serial line.
async fn spoken(node: &NodeUnderTest, name: &str) -> anyhow::Result<String> {
    let said = node.get(&format!("/api/v1/vms/{name}/serial?tail=100")).await?;
    Ok(said.as_str().context("a text")?.to_owned())
}

/// Makes a machine: with the disk that nobody signed and the port at which its guest answers, unless `more` says otherwise.
async fn make(node: &NodeUnderTest, name: &str, more: Value) -> anyhow::Result<()> {
    let mut spec = json!({"image": "own", "memory_mib": 160, "disk_size_mib": 64,
        "graphics": "none", "publish": [{"host_port": WEB, "workload_port": 8080}]});
    let more = more.as_object().context("a spec is an object")?.clone();
    spec.as_object_mut().context("a spec is an object")?.extend(more);
    node.post("/api/v1/vms", json!({"metadata": {"name": name}, "spec": spec})).await.map(drop)
}

/// Makes machine `own`, waits until it has booted, and gives what its guest tells.
async fn boots(node: &NodeUnderTest, port: u16, more: Value) -> anyhow::Result<String> {
    make(node, "own", more).await?;
    booted(node, port).await
}

async fn booted(node: &NodeUnderTest, port: u16) -> anyhow::Result<String> {
    // Firmware and guest may be emulated within what is emulated itself.
    node.wait_answer(port, "skerry tiny vm", 2 * GUEST).await?;
    let told = node.fetch(port, "/cgi-bin/told").await?;
    ensure!(told.contains("disk 131072"), "{told}");
    Ok(told)
}

/// Its guest tells that UEFI started it and measured what it did into the TPM.
fn measured(told: &str) -> anyhow::Result<()> {
    for part in ["firmware uefi", "tpm 2"] {
        ensure!(told.contains(part), "no `{part}` in {told}");
    }
    let measured = told.lines().find_map(|line| line.strip_prefix("pcr0 ")).context("pcr0")?;
    ensure!(measured.len() == 64 && measured.contains(|digit| digit != '0'), "{told}");
    Ok(())
}

/// What runs guests, as machine and node tell it.
async fn runs_by(node: &NodeUnderTest, accelerator: &str, usable: &str) -> anyhow::Result<()> {
    let status = node.get(VM).await?["status"].clone();
    ensure!(status["accelerator"] == accelerator, "{status}");
    let told = node.get("/api/v1/node").await?["status"].clone();
    ensure!(told["accelerator"] == accelerator, "{told}");
    let mut conditions = told["conditions"].as_array().context("conditions")?.iter();
    let kvm = conditions.find(|c| c["type"] == "KvmUsable").context("KvmUsable")?;
    ensure!(kvm["state"] == usable, "{kvm}");
    Ok(())
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
    Ok(())
}

/// The snapshot of the running machine holds its TPM; going back to it puts that back, and its deletion removes it.
async fn tpm(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let folder = "/var/lib/skerry/data/vm/*";
    let file = format!("{folder}/tpm/tpm2-00.permall");
    node.shell(&format!("test -s {file}"))?;
    let snapshot = json!({"metadata": {"name": "sealed"}, "spec": {"vm": "own"}});
    node.post("/api/v1/snapshots", snapshot).await?;
    let taken = node.wait_state("/api/v1/snapshots/sealed", "ready", SOON).await?;
    ensure!(taken["status"]["tpm"].is_string(), "the TPM was left out: {taken}");
    let kept = format!("{folder}/tpm-kept/{}", taken["metadata"]["id"].as_str().context("id")?);
    node.shell(&format!("test -s {kept}/tpm2-00.permall"))?;

    node.post(&format!("{VM}/actions/force_stop"), json!({})).await?;
    node.wait_state(VM, "stopped", SOON).await?;
    node.shell(&format!("test -s {file} && for f in {file}; do echo spoiled > $f; done"))?;
    let owners = format!("stat -c %u:%g:%a {folder}/tpm {file}");
    let owner = node.shell(&owners)?;
    node.post("/api/v1/snapshots/sealed/actions/revert", json!({})).await?;
    eventually(SOON, || async {
        let status = node.get("/api/v1/snapshots/sealed").await?["status"].take();
        let done = status["reverts"] == 1 && status["state"] == "ready";
        if done { Ok(()) } else { bail!("{status}") }
    })
    .await?;
    node.shell(&format!("cmp {file} {kept}/tpm2-00.permall"))?;
    let after = node.shell(&owners)?;
    ensure!(after == owner, "{owner} became {after}");
    snapshots_go(node, &["sealed", "before-sealed-1"]).await?;
    node.shell(&format!("test -z \"$(ls {folder}/tpm-kept)\"")).map(drop)
}

async fn snapshots_go(node: &NodeUnderTest, names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        let path = format!("/api/v1/snapshots/{name}");
        let (status, answer) = node.request(Method::DELETE, &path, None).await?;
        ensure!(status.is_success(), "{path}: {status} {answer}");
        gone(node, &path).await?;
    }
    Ok(())
}

async fn gone(node: &NodeUnderTest, path: &str) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let (status, answer) = node.request(Method::GET, path, None).await?;
        if status == StatusCode::NOT_FOUND { Ok(()) } else { bail!("{path} is there: {answer}") }
    })
    .await
}

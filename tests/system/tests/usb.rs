//! What is plugged into the node. A USB stick: its image files are listed, one becomes an image, and a stick that is pulled
//! out meanwhile leaves nothing. A device and a serial line for a guest: waited for, had, pulled out and plugged in again.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, PASSWORD, SOON, USER, eventually, machine};
use xtask::builder::Builder;
use xtask::command;
use xtask::paths::Paths;

/// Where a stick is mounted while it is read.
const PLACE: &str = "/run/skerry/media/STICK";

/// A stick with the usual file system: one small image that starts with a header, and one that takes a while.
fn stick(folder: &Path) -> anyhow::Result<PathBuf> {
    let builder = Builder::ensure(&Paths::find())?;
    let tool = |program: &str| builder.user_command(program);
    let files = folder.join("files");
    std::fs::create_dir_all(&files)?;
    let (small, large) = (files.join("small.qcow2"), files.join("large.raw"));
    command::run(tool("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&small).arg("8M"))?;
    std::fs::write(&large, vec![0xa5_u8; 160 << 20])?;
    let disk = folder.join("stick.raw");
    std::fs::File::create(&disk)?.set_len(256 << 20)?;
    command::run(tool("mkfs.vfat").args(["-F", "32", "-n", "STICK"]).arg(&disk))?;
    command::run(tool("mmd").arg("-i").arg(&disk).arg("::/images"))?;
    command::run(tool("mcopy").arg("-i").arg(&disk).arg(&small).arg(&large).arg("::/images/"))?;
    Ok(disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_plugged_in_is_of_use() -> anyhow::Result<()> {
    let mut machine = machine("usb")?;
    machine.debug_shell = true;
    let words = [
        "-device",
        "qemu-xhci,id=usb",
        "-chardev",
        "ringbuf,id=line,size=4096",
        "-device",
        "pci-serial,chardev=line",
    ];
    machine.qemu_words = words.map(ToOwned::to_owned).to_vec();
    let (mut node, code) = NodeUnderTest::first_boot(machine)?;
    node.wait_api().await?;
    let claim = json!({"code": code, "username": USER, "password": PASSWORD});
    node.post("/api/v1/claim", claim).await?;
    node.login().await?;
    an_image_comes_from_a_stick(&mut node).await?;
    a_guest_has_what_is_plugged_in(&mut node).await
}

fn plug(node: &mut NodeUnderTest, file: &Path) -> anyhow::Result<()> {
    let file = json!({"driver": "file", "filename": file});
    let block = json!({"driver": "raw", "node-name": "stick", "file": file});
    node.vm.qmp("blockdev-add", &block)?;
    let device = json!({"driver": "usb-storage", "id": "stick", "drive": "stick",
        "bus": "usb.0", "serial": "stick", "removable": true});
    node.vm.qmp("device_add", &device)?;
    Ok(())
}

async fn an_image_comes_from_a_stick(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    println!("== a stick is plugged in, its image files are listed, and one becomes an image");
    ensure!(sticks(node).await?.is_empty(), "there is a stick before one was plugged in");
    let file = stick(&node.machine.folder)?;
    plug(node, &file)?;
    eventually(SOON, || async {
        let listed = sticks(node).await?;
        let [stick] = listed.as_slice() else { bail!("{listed:?}") };
        ensure!(stick["name"] == "STICK" && stick["file_system"] == "vfat", "{stick}");
        ensure!(stick["reason"] == "", "{stick}");
        ensure!(stick.to_string().contains("images/small.qcow2"), "{stick}");
        Ok(())
    })
    .await?;
    let left = node.shell(&format!("findmnt -n {PLACE} || true"))?;
    ensure!(left.trim().is_empty(), "it stays mounted: {left}");
    node.skerry(&["image", "import", "usb:STICK/images/small.qcow2", "--name", "small", "--wait"])?;

    println!("== it is mounted for reading alone, and pulled out meanwhile, it leaves nothing");
    node.skerry(&["image", "import", "usb:STICK/images/large.raw", "--name", "large"])?;
    // Under a fast machine the copy may be done before anybody can look.
    let options = node.shell(&format!("findmnt -n -o OPTIONS {PLACE} || true"))?;
    let good = ["ro", "nosuid", "nodev", "noexec"].iter().all(|word| options.contains(word));
    ensure!(good || options.trim().is_empty(), "{options}");
    node.vm.qmp("device_del", &json!({"id": "stick"}))?;
    eventually(SOON, || async {
        let image = node.get("/api/v1/images/large").await?;
        let state = &image["status"]["state"];
        ensure!(state == "failed" || state == "available", "{image}");
        Ok(())
    })
    .await?;
    let work = node.shell("ls /var/lib/skerry/data/images/work | wc -l")?;
    ensure!(work.trim() == "0", "{work}");
    let source = json!({"folder": "STICK/images/small.qcow2"});
    let spec = json!({"format": "qcow2", "architecture": "x86_64", "source": source});
    let body = json!({"metadata": {"name": "more"}, "spec": spec});
    let (status, answer) = node.request(Method::POST, "/api/v1/images", Some(body)).await?;
    ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{status} {answer}");
    ensure!(sticks(node).await?.is_empty(), "it is gone");
    Ok(())
}

/// What is plugged in, of all that images can come from.
async fn sticks(node: &NodeUnderTest) -> anyhow::Result<Vec<Value>> {
    let listed = node.get("/api/v1/media").await?;
    let items = listed["items"].as_array().context("a list")?;
    Ok(items.iter().filter(|medium| medium["kind"] == "stick").cloned().collect())
}

const GUEST: &str = "/api/v1/vms/guest";
/// A device that QEMU has with any serial number.
const KEY: &str = "usb:0627:0001:K1";
/// The driver that has it on the node: none while QEMU has it, until the guest's own driver makes use of it.
const DRIVER: &str = "for d in /sys/bus/usb/devices/*; do \
    grep -qs 0627 $d/idVendor && { readlink $d/$(basename $d):1.0/driver || echo none; }; done; true";

/// Checks that QEMU has it, and no driver of the node's.
fn is_the_guests(node: &mut NodeUnderTest, pid: u64) -> anyhow::Result<()> {
    let driver = node.shell(DRIVER)?;
    ensure!(driver.trim() == "none" || driver.trim().ends_with("/usbfs"), "{driver}");
    let open = node.shell(&format!("ls -l /proc/{pid}/fd | grep -c /dev/bus/usb/"))?;
    ensure!(open.trim() != "0", "QEMU has not opened the device");
    Ok(())
}

fn insert_key(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let device = json!({"driver": "usb-tablet", "id": "key", "bus": "usb.0", "serial": "K1"});
    node.vm.qmp("device_add", &device)?;
    Ok(())
}

fn spec(devices: &[&str]) -> Value {
    let spec = json!({"image": "tiny-vm", "memory_mib": 96, "host_devices": devices});
    json!({"metadata": {"name": "guest"}, "spec": spec})
}

async fn wait_reason(node: &NodeUnderTest, reason: &str) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let status = node.get(GUEST).await?["status"].clone();
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        ensure!(ready.any(|condition| condition["reason"] == reason), "{status}");
        Ok(())
    })
    .await
}

async fn a_guest_has_what_is_plugged_in(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    println!("== serial lines are listed, and the node's console is given to nobody");
    let listed = node.get("/api/v1/inventory").await?["host_devices"].clone();
    let all: Vec<&Value> = listed.as_array().into_iter().flatten().collect();
    let console = all.iter().find(|device| device["names"][0] == "serial:ttyS0");
    let console = console.context("the console is listed")?;
    ensure!(console["refused"] == "is the node's console", "{console}");
    let body = Some(spec(&["serial:ttyS0"]));
    let (status, answer) = node.request(Method::POST, "/api/v1/vms", body).await?;
    ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{status} {answer}");
    // The second is that of the debug shell.
    let own = ["serial:ttyS0", "serial:ttyS1"];
    let names = all.iter().filter_map(|device| device["names"][0].as_str());
    let mut lines = names.filter(|name| name.starts_with("serial:") && !own.contains(name));
    let line = lines.next().with_context(|| format!("no line on PCI: {listed}"))?.to_owned();
    ensure!(node.skerry(&["node", "devices"])?.contains(&line));

    println!("== a guest waits for a device, and has it with the line");
    node.post("/api/v1/vms", spec(&[KEY, &line])).await?;
    wait_reason(node, "DeviceMissing").await?;
    insert_key(node)?;
    let guest = node.wait_state(GUEST, "running", SOON).await?;
    let pid = guest["status"]["pid"].as_u64().context("a guest that runs has a process")?;
    is_the_guests(node, pid)?;
    let file = line.trim_start_matches("serial:");
    let open = node.shell(&format!("ls -l /proc/{pid}/fd | grep -c /dev/{file}"))?;
    ensure!(open.trim() != "0", "QEMU has not opened the line");

    println!("== pulled out, the guest runs on; plugged in again, it has it again");
    node.vm.qmp("device_del", &json!({"id": "key"}))?;
    wait_reason(node, "DeviceMissing").await?;
    ensure!(node.get(GUEST).await?["status"]["state"] == "running");
    insert_key(node)?;
    wait_reason(node, "Running").await?;
    is_the_guests(node, pid)?;
    let same = node.get(GUEST).await?["status"]["pid"].as_u64();
    ensure!(same == Some(pid), "it was started anew");

    println!("== stopped, the node has it back");
    node.skerry(&["vm", "delete", "guest"])?;
    eventually(SOON, || async {
        let (status, _) = node.request(Method::GET, GUEST, None).await?;
        ensure!(status == StatusCode::NOT_FOUND, "{status}");
        Ok(())
    })
    .await?;
    let driver = node.shell(DRIVER)?;
    ensure!(driver.trim().ends_with("/usbhid"), "{driver}");
    Ok(())
}

//! PCI functions for guests, behind an emulated IOMMU: virtual functions that the node makes of a network card, and a
//! function taken from its driver; seen by the guest, refused to others, and given back. See image/README.md.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{GUEST, NodeUnderTest, PASSWORD, SOON, USER, eventually, machine};
use xtask::qemu::Machine;

const VMS: &str = "/api/v1/vms";
const VM: &str = "/api/v1/vms/guest";
/// Intel 82576, with seven virtual functions at most.
const CARD: &str = "0000:01:00.0";
/// An NVMe disk that the node makes no use of.
const NVME: &str = "0000:02:00.0";
const MAC: &str = "02:00:00:00:00:07";
/// Where the guest answers.
const PORT: u16 = 8081;

/// Each card on a port of its own, behind an IOMMU that also keeps interrupts apart.
fn cards(machine: &mut Machine) -> anyhow::Result<()> {
    let disk = machine.folder.join("nvme.raw");
    std::fs::File::create(&disk)?.set_len(64 << 20)?;
    let words = [
        "-device intel-iommu,intremap=on,caching-mode=on",
        "-device pcie-root-port,id=port1,chassis=1,slot=1",
        "-device pcie-root-port,id=port2,chassis=2,slot=2",
        "-netdev user,id=fast,restrict=on",
        "-device igb,bus=port1,netdev=fast,mac=52:54:00:5e:00:10",
        &format!("-drive file={},if=none,id=spare,format=raw", disk.display()),
        "-device nvme,bus=port2,drive=spare,serial=spare",
    ];
    let words = words.iter().filter_map(|pair| pair.split_once(' '));
    machine.qemu_words = words.flat_map(|(a, b)| [a.to_owned(), b.to_owned()]).collect();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_has_functions_of_the_machine() -> anyhow::Result<()> {
    let mut machine = machine("pci")?;
    machine.debug_shell = true;
    // The second machine is to be refused for its functions, not for its memory.
    machine.memory_mib = 1536;
    cards(&mut machine)?;
    let web = machine.forward(PORT)?;
    let (mut node, code) = NodeUnderTest::first_boot(machine)?;
    node.wait_api().await?;
    let claim = json!({"code": code, "username": USER, "password": PASSWORD});
    node.post("/api/v1/claim", claim).await?;
    node.login().await?;
    what_cannot_be_given_is_explained(&node).await?;
    virtual_functions_are_made(&mut node).await?;
    the_guest_sees_them(&mut node, web).await?;
    they_are_given_back(&mut node).await
}

async fn pci(node: &NodeUnderTest) -> anyhow::Result<Vec<Value>> {
    let inventory = node.get("/api/v1/inventory").await?;
    Ok(inventory["pci"].as_array().cloned().unwrap_or_default())
}

async fn function(node: &NodeUnderTest, address: &str) -> anyhow::Result<Value> {
    let all = pci(node).await?;
    all.into_iter().find(|one| one["pci_address"] == address).context(address.to_owned())
}

fn guest(name: &str, pci: &Value) -> Value {
    let publish = json!([{"protocol": "tcp", "host_port": PORT, "workload_port": 8080}]);
    let publish = if name == "guest" { publish } else { json!([]) };
    let spec = json!({"image": "tiny-vm", "memory_mib": 96, "pci": pci, "publish": publish});
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn refused(node: &NodeUnderTest, pci: &Value, says: &str) -> anyhow::Result<()> {
    let (status, told) = node.request(Method::POST, VMS, Some(guest("other", pci))).await?;
    ensure!(status.is_client_error() && told.to_string().contains(says), "{status} {told}");
    Ok(())
}

async fn what_cannot_be_given_is_explained(node: &NodeUnderTest) -> anyhow::Result<()> {
    println!("== what can be given is listed, and what cannot with the reason");
    ensure!(function(node, NVME).await?["can_be_given"] == true);
    let card = function(node, CARD).await?;
    ensure!(card["virtual_functions"]["most"] == 7, "{card}");
    ensure!(card["virtual_functions"]["message"].to_string().contains("ask for none"), "{card}");
    // The bridge in its group drives serial lines.
    let sata = function(node, "0000:00:1f.2").await?;
    let shared = "with 0000:00:1f.0, which cannot be given away: is a bridge";
    ensure!(sata["why"].to_string().contains(shared), "{sata}");
    refused(node, &json!([{"address": "0000:00:1f.2"}]), shared).await?;
    let all = pci(node).await?;
    for needed in ["holds the disk vda", "which carries the node's own traffic", "watchdog"] {
        let mut own = all.iter().filter(|one| one["why"].to_string().contains(needed));
        let own = own.next().with_context(|| needed.to_owned())?;
        refused(node, &json!([{"address": own["pci_address"]}]), needed).await?;
    }
    Ok(())
}

/// Starts the node's service with other settings; those of the image cannot be written.
async fn settings(node: &mut NodeUnderTest, count: u32) -> anyhow::Result<()> {
    let entry = format!(
        "[[virtual_functions]]\\nof = \"{CARD}\"\\ncount = {count}\\ngroup = \"fast\"\\nvlan = 9\\n"
    );
    let file = "/etc/skerry/node.toml";
    node.shell(&format!("mountpoint -q {file} && umount {file}; true"))?;
    node.shell(&format!("{{ cat {file}; printf '{entry}'; }} > /run/node.toml"))?;
    node.shell(&format!("mount --bind /run/node.toml {file}"))?;
    node.shell("systemctl restart skerry-noded")?;
    node.wait_api().await?;
    Ok(())
}

async fn wait_told(node: &NodeUnderTest, reason: &str, says: &str) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let status = node.get("/api/v1/node").await?["status"].clone();
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut made = conditions.filter(|condition| condition["type"] == "VirtualFunctions");
        let good =
            |one: &Value| one["reason"] == reason && one["message"].to_string().contains(says);
        ensure!(made.any(good), "{status}");
        Ok(())
    })
    .await
}

async fn virtual_functions_are_made(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    println!(
        "== virtual functions are made as the settings ask, on a card that carries the node's traffic"
    );
    settings(node, 9).await?;
    wait_told(node, "NotMade", "can have 7 virtual functions at most").await?;
    settings(node, 2).await?;
    wait_told(node, "Made", "has 2 virtual functions").await?;
    let card = function(node, CARD).await?;
    ensure!(card["virtual_functions"]["present"] == 2, "{card}");
    let all = pci(node).await?;
    let parts: Vec<_> = all.iter().filter(|one| one["virtual_function_of"] == CARD).collect();
    ensure!(parts.len() == 2, "{all:?}");
    for part in parts {
        ensure!(part["can_be_given"] == true && part["groups"] == json!(["fast"]), "{part}");
        ensure!(part["driver"].is_null(), "the node took it: {part}");
    }
    Ok(())
}

async fn the_guest_sees_them(node: &mut NodeUnderTest, web: u16) -> anyhow::Result<()> {
    println!(
        "== a guest has a virtual function with its address and VLAN, and a disk taken from its driver"
    );
    let own = json!([{"group": "fast", "mac": MAC}, {"address": NVME}]);
    node.post(VMS, guest("guest", &own)).await?;
    let running = node.wait_state(VM, "running", SOON).await?;
    let given = &running["status"]["placement"]["pci"];
    ensure!(given[0]["mac"] == MAC && given[0]["vlan"] == 9, "{given}");
    ensure!(given[1]["address"] == NVME, "{given}");
    let part = given[0]["address"].as_str().context("an address")?.to_owned();
    let told = node.shell("ip link show enp1s0")?;
    let line = told.lines().find(|line| line.contains(MAC)).context(told.clone())?;
    ensure!(line.contains("vlan 9") && line.contains("spoof checking on"), "{line}");
    for address in [part.as_str(), NVME] {
        let driver = node.shell(&format!("readlink /sys/bus/pci/devices/{address}/driver"))?;
        ensure!(driver.trim().ends_with("/vfio-pci"), "{address}: {driver}");
        ensure!(function(node, address).await?["vm"] == "guest");
    }
    node.wait_answer(web, "skerry tiny vm", GUEST).await?;
    let seen = node.fetch(web, "/cgi-bin/disk?size").await?;
    for ids in ["0x8086 0x10ca", "0x1b36 0x0010"] {
        ensure!(seen.contains(ids), "the guest does not see {ids}: {seen}");
    }

    println!("== no other machine gets them, and their number stays");
    refused(node, &json!([{"address": part}]), "is in use by the machine `guest`").await?;
    refused(node, &json!([{"group": "fast", "mac": MAC}]), "is that of the machine `guest`")
        .await?;
    settings(node, 3).await?;
    wait_told(node, "NotMade", "stay until these machines are off: `guest`").await?;
    ensure!(
        node.get(VM).await?["status"]["pid"] == running["status"]["pid"],
        "it was started anew"
    );
    Ok(())
}

async fn they_are_given_back(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    println!("== when it is gone, the node has them back, and makes as many as are asked for");
    node.skerry(&["vm", "delete", "guest"])?;
    eventually(SOON, || async {
        let (status, _) = node.request(Method::GET, VM, None).await?;
        ensure!(status == StatusCode::NOT_FOUND, "{status}");
        Ok(())
    })
    .await?;
    let disk = function(node, NVME).await?;
    ensure!(disk["driver"] == "nvme" && disk["vm"].is_null(), "{disk}");
    wait_told(node, "Made", "has 3 virtual functions").await
}

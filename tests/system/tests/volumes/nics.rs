//! Further network interfaces of a running guest: found, used, let go of, and there again after a start.

use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

const VM: &str = "/api/v1/vms/guest";
const LAB: &str = "/api/v1/networks/lab";

/// Gives the guest an interface and takes it away again, twice; the second time it stays.
pub async fn come_and_go(node: &NodeUnderTest, port: u16) -> anyhow::Result<()> {
    println!("== a second interface comes to the running guest, which gets an address through it");
    let spec = json!({"mode": "nat", "subnet": {"network": "10.90.1.0", "prefix": 24}});
    node.post("/api/v1/networks", json!({"metadata": {"name": "lab"}, "spec": spec})).await?;
    let pid = node.get(VM).await?["status"]["pid"].clone();
    wish(node, json!([{"network": "lab"}])).await?;
    let nic = plugged(node).await?;
    let mac = nic["mac"].as_str().context("an Ethernet address")?.to_owned();
    let address = nic["address"].as_str().context("an address")?.to_owned();
    let name = eventually(SOON, || async {
        let seen = interface(node, port, &mac).await?;
        seen.map(|(name, _)| name).with_context(|| format!("the guest has no {mac}"))
    })
    .await?;
    let up = node.fetch(port, &format!("/cgi-bin/disk?nic={name}")).await?;
    ensure!(up.contains("up"), "no address by DHCP: {up}");
    let seen = interface(node, port, &mac).await?;
    ensure!(seen == Some((name, format!("{address}/24"))), "{seen:?} instead of {address}");

    println!("== it goes, and its network can go after it");
    wish(node, json!([])).await?;
    eventually(SOON, || async {
        let status = node.get(VM).await?["status"].clone();
        ensure!(status.get("nics").is_none() && status["state"] == "running", "{status}");
        match interface(node, port, &mac).await? {
            Some(still) => bail!("the guest still has {still:?}"),
            None => Ok(()),
        }
    })
    .await?;
    ensure!(node.get(VM).await?["status"]["pid"] == pid, "another process");
    let (status, answer) = node.request(Method::DELETE, LAB, None).await?;
    ensure!(status.is_success(), "{status} {answer}");
    eventually(SOON, || async {
        let (status, _) = node.request(Method::GET, LAB, None).await?;
        if status == 404 { Ok(()) } else { bail!("still there: {status}") }
    })
    .await?;

    let spec = json!({"mode": "isolated", "subnet": {"network": "10.90.2.0", "prefix": 24}});
    node.post("/api/v1/networks", json!({"metadata": {"name": "lab"}, "spec": spec})).await?;
    wish(node, json!([{"network": "lab"}])).await?;
    plugged(node).await.map(drop)
}

/// After a start the guest has both from the beginning.
pub async fn there_from_the_start(node: &NodeUnderTest, port: u16) -> anyhow::Result<()> {
    println!("== started anew, the guest has its second interface from the beginning");
    let nic = plugged(node).await?;
    let mac = nic["mac"].as_str().context("an Ethernet address")?;
    eventually(SOON, || async {
        let seen = interface(node, port, mac).await?;
        ensure!(seen.as_ref().is_some_and(|(name, _)| name == "eth1"), "{seen:?}");
        Ok(())
    })
    .await
}

async fn wish(node: &NodeUnderTest, nics: Value) -> anyhow::Result<()> {
    let body = json!({"spec": {"nics": nics}});
    let (status, answer) = node.request(Method::PATCH, VM, Some(body)).await?;
    ensure!(status.is_success(), "{status} {answer}");
    Ok(())
}

/// What the node says of the interface, once the guest's process has it.
async fn plugged(node: &NodeUnderTest) -> anyhow::Result<Value> {
    eventually(SOON, || async {
        let status = node.get(VM).await?["status"].clone();
        let nic = status["nics"][0].clone();
        ensure!(nic["plugged"] == true && nic["network"] == "lab", "{status}");
        Ok(nic)
    })
    .await
}

/// What the guest calls the interface with this Ethernet address, and its address with its prefix there.
async fn interface(
    node: &NodeUnderTest,
    port: u16,
    mac: &str,
) -> anyhow::Result<Option<(String, String)>> {
    let told = node.fetch(port, "/cgi-bin/disk?nics").await?;
    ensure!(told.contains("end"), "{told}");
    let words = told.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = words.filter(|words| words.len() == 3).find(|words| words[1] == mac);
    Ok(found.map(|words| (words[0].to_owned(), words[2].to_owned())))
}

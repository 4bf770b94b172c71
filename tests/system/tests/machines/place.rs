//! What a machine has of the node: processors and huge pages of its own, and more of them while it runs.

use anyhow::{bail, ensure};
use reqwest::Method;
use serde_json::json;
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

/// The node has two processors, of which the second may be given away.
pub async fn own_place(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let machine = |name: &str| {
        let spec = json!({"image": "tiny-vm", "memory_mib": 96, "graphics": "none", "queues": 2,
            "cpu": {"dedicated": true}, "huge_pages": "2Mi"});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let (status, told) = node.request(Method::POST, "/api/v1/vms", Some(machine("placed"))).await?;
    ensure!(status == 409 && told.to_string().contains("none set aside"), "{status} {told}");
    node.shell("echo 56 > /proc/sys/vm/nr_hugepages")?;
    node.post("/api/v1/vms", machine("placed")).await?;
    let placed = node.wait_state("/api/v1/vms/placed", "running", SOON).await?;
    let place = &placed["status"]["placement"];
    ensure!(place["cpus"] == json!([1]) && place["huge_pages"][0]["count"] == 48, "{place}");
    let pid = &placed["status"]["pid"];
    let threads = |which: &str| {
        format!(
            "for t in /proc/{pid}/task/*; do case $(cat $t/comm) in {which}) \
             grep Cpus_allowed_list $t/status;; esac; done"
        )
    };
    let pinned = node.shell(&threads("CPU*"))?;
    ensure!(pinned.contains("Cpus_allowed_list:\t1"), "{pinned}");
    let others = node.shell(&threads("qemu-system*"))?;
    ensure!(others.contains("Cpus_allowed_list:\t0"), "{others}");
    node.shell("test $(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages) = 8")?;
    // The second queue is there for the guest; with one processor it leaves it alone.
    let queues = node.shell(&format!("ls -l /proc/{pid}/fd | grep -c /dev/net/tun"))?;
    ensure!(queues.trim() == "2", "{queues} queues");
    let (status, told) = node.request(Method::POST, "/api/v1/vms", Some(machine("late"))).await?;
    let told = told.to_string();
    ensure!(status == 409 && told.contains("0 of 1 are free"), "{status} {told}");
    ensure!(told.contains("8 of 56 are free"), "{told}");
    gone(node, "/api/v1/vms/placed").await?;
    node.shell("echo 0 > /proc/sys/vm/nr_hugepages")?;
    Ok(())
}

/// What the guest makes of another processor is its own affair; QEMU has a thread for it.
pub async fn grows(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    const VM: &str = "/api/v1/vms/grows";
    let spec = json!({"image": "tiny-vm", "memory_mib": 96, "graphics": "none", "max_vcpus": 2});
    node.post("/api/v1/vms", json!({"metadata": {"name": "grows"}, "spec": spec})).await?;
    let pid = node.wait_state(VM, "running", SOON).await?["status"]["pid"].clone();
    let more = json!({"spec": {"vcpus": 2}});
    let (status, told) = node.request(Method::PATCH, VM, Some(more)).await?;
    ensure!(status.is_success(), "{status} {told}");
    eventually(SOON, || async {
        let status = node.get(VM).await?["status"].clone();
        let grown = status["running_size"]["vcpus"] == 2 && status["pid"] == pid;
        if grown { Ok(()) } else { bail!("{status}") }
    })
    .await?;
    node.shell(&format!("grep -q 'CPU 1' /proc/{pid}/task/*/comm"))?;
    gone(node, VM).await
}

/// Deletes a machine and waits until it is gone.
pub async fn gone(node: &NodeUnderTest, path: &str) -> anyhow::Result<()> {
    node.request(Method::DELETE, path, None).await?;
    eventually(SOON, || async {
        let (status, _) = node.request(Method::GET, path, None).await?;
        if status == 404 { Ok(()) } else { bail!("still there: {status}") }
    })
    .await
}

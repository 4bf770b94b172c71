//! Huge pages of pods: handed out from the account that machines have, held by the kernel, and given back.

use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

use super::order::wait_gone;
use super::{alone, delete, wait_log};

/// Pages of 2 MiB that are set aside for this; what the test may use, and one more that nobody gets.
const TOTAL: u64 = 5;

/// A pod with two pages in a folder and by its own memory, one beside it with none, and users of a pod's own.
pub async fn are_handed_out(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let (status, told) =
        node.request(Method::POST, "/api/v1/pods", Some(paged("paged", "true", 4))).await?;
    ensure!(status == 409 && told.to_string().contains("none set aside"), "{status} {told}");
    node.shell(&format!("echo {TOTAL} > /proc/sys/vm/nr_hugepages"))?;
    wait_free(node, TOTAL).await?;

    in_a_folder(node).await?;
    in_memory_of_its_own(node).await?;
    for_users_of_its_own(node).await?;
    none_for_others(node).await?;

    wait_free(node, TOTAL).await?;
    node.shell("echo 0 > /proc/sys/vm/nr_hugepages")?;
    Ok(())
}

async fn in_a_folder(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let script = "cd /huge; busybox fallocate -l 4M two && echo it has two; \
        busybox fallocate -l 2M three || echo a third is refused; sleep 1000";
    node.post("/api/v1/pods", paged("paged", script, 4)).await?;
    wait_log(node, "paged", "main", "it has two").await?;
    wait_log(node, "paged", "main", "a third is refused").await?;
    let pod = node.get("/api/v1/pods/paged").await?;
    let taken = &pod["status"]["huge_pages"];
    ensure!(*taken == json!([{"node": 0, "size": "2Mi", "count": 2}]), "{taken}");
    wait_free(node, TOTAL - 2).await?;
    let (status, told) =
        node.request(Method::POST, "/api/v1/pods", Some(paged("late", "true", 8))).await?;
    ensure!(status == 409 && told.to_string().contains("3 of 5 are free"), "{status} {told}");

    // Whoever comes in shares what the pod has.
    let more =
        ["exec", "paged", "--", "/bin/sh", "-c", "busybox fallocate -l 2M /huge/x || echo no"];
    let said = node.skerry(&more)?;
    ensure!(said.contains("no"), "a program of a person got more than the pod has: {said}");

    // What the account says outlives the daemon, and the manager leaves the limits as they are.
    let limits = limits(node, &pod)?;
    ensure!(limits.contains("4194304 4194304"), "{limits}");
    node.shell("systemctl daemon-reload; systemctl restart skerry-noded.service")?;
    node.wait_api().await?;
    ensure!(self::limits(node, &pod)? == limits, "the limits changed");
    let (status, told) =
        node.request(Method::POST, "/api/v1/pods", Some(paged("late", "true", 8))).await?;
    ensure!(status == 409 && told.to_string().contains("3 of 5 are free"), "{status} {told}");

    // Off, it has none, though its folder was full.
    node.skerry(&["pod", "stop", "paged"])?;
    node.wait_state("/api/v1/pods/paged", "stopped", SOON).await?;
    wait_free(node, TOTAL).await?;
    eventually(SOON, || async {
        let status = node.get("/api/v1/pods/paged").await?["status"].clone();
        if status.get("huge_pages").is_none() { Ok(()) } else { bail!("{status}") }
    })
    .await?;
    gone(node, "paged", &pod).await
}

async fn in_memory_of_its_own(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let script = format!(
        "{} {} /two; echo two: $?; /three; echo three: $?; sleep 1000",
        mapper("/two", 4),
        mapper("/three", 6)
    );
    let pod = node.post("/api/v1/pods", paged("mapper", &script, 4)).await?;
    wait_log(node, "mapper", "main", "two: 0").await?;
    // ENOMEM.
    wait_log(node, "mapper", "main", "three: 12").await?;
    gone(node, "mapper", &pod).await
}

async fn for_users_of_its_own(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let script =
        "cd /huge; busybox fallocate -l 2M one && busybox stat -c 'it is of %u' one; sleep 1000";
    let mut pod = paged("mine", script, 2);
    pod["spec"]["user_namespace"] = json!("pod");
    let pod = node.post("/api/v1/pods", pod).await?;
    wait_log(node, "mine", "main", "it is of 0").await?;
    wait_free(node, TOTAL - 1).await?;
    gone(node, "mine", &pod).await
}

/// There are enough, and who has asked for none gets none: by the list of system calls, or, without one, by its limit.
async fn none_for_others(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    for (name, privileged) in [("plain", false), ("mighty", true)] {
        let script = format!("{} /one; echo one: $?; sleep 1000", mapper("/one", 2));
        let pod = alone(name, &script, &json!({"privileged": privileged}));
        let pod = node.post("/api/v1/pods", pod).await?;
        wait_log(node, name, "main", "one: 12").await?;
        gone(node, name, &pod).await?;
    }
    Ok(())
}

/// A pod with so much memory in huge pages, and a folder of them.
fn paged(name: &str, script: &str, mib: u64) -> Value {
    let mut pod = alone(
        name,
        script,
        &json!({"memory_mib": 16, "huge_pages": [{"size": "2Mi", "mib": mib}],
            "mounts": [{"volume": "huge", "path": "/huge"}]}),
    );
    pod["spec"]["volumes"] =
        json!([{"name": "huge", "source": {"empty": {"medium": "huge_pages_2Mi"}}}]);
    pod
}

/// Words that write a program to this path which maps so much memory in huge pages, writes to it, and ends with the number
/// of the error, or 0.
fn mapper(path: &str, mib: u32) -> String {
    let head = "7f454c4602010100000000000000000002003e0001000000780040000000000040000000000000000000000000000000\
        0000000040003800010000000000000001000000050000000000000000000000000040000000000000004000000000\
        00b200000000000000b2000000000000000010000000000000";
    // mmap(0, size, read and write, private, anonymous and huge, -1, 0)
    let size: String = (mib << 20).to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
    let map = format!("b80900000031ffbe{size}ba0300000041ba2200040049c7c0ffffffff4531c90f05");
    // A byte is written, exit(0); or exit(error).
    let rest = "4885c07807c6000131ffeb04f7d889c7b83c0000000f05";
    let hex = format!("{head}{map}{rest}");
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).unwrap();
        format!("\\{:03o}", u8::from_str_radix(text, 16).unwrap())
    };
    let bytes: Vec<String> = hex.as_bytes().chunks(2).map(byte).collect();
    format!("busybox printf '{}' > {path}; busybox chmod +x {path};", bytes.concat())
}

/// What the kernel says of the limits of a pod's main container, used and reserved.
fn limits(node: &mut NodeUnderTest, pod: &Value) -> anyhow::Result<String> {
    let id = pod["metadata"]["id"].as_str().context("it has no id")?;
    let short = id.get(..8).context("its id is too short")?;
    let group = format!(
        "/sys/fs/cgroup/skerry.slice/skerry-pods.slice/skerry-pods-{short}.slice/skerry-pod-{short}-main.service"
    );
    let both = format!("echo $(cat {group}/hugetlb.2MB.max {group}/hugetlb.2MB.rsvd.max)");
    node.shell(&both)
}

/// Deletes a pod and looks whether its slice goes with it.
async fn gone(node: &mut NodeUnderTest, name: &str, pod: &Value) -> anyhow::Result<()> {
    delete(node, name).await?;
    wait_gone(node, &format!("/api/v1/pods/{name}")).await?;
    wait_free(node, TOTAL).await?;
    let id = pod["metadata"]["id"].as_str().context("it has no id")?;
    let short = id.get(..8).context("its id is too short")?;
    let left = node.shell(&format!(
        "grep hugetlbfs /proc/mounts | grep {id}; ls -d /sys/fs/cgroup/skerry.slice/skerry-pods.slice/*{short}* \
         2>/dev/null; true"
    ))?;
    ensure!(left.trim().is_empty(), "{left}");
    Ok(())
}

/// Waits until the kernel has so many in nobody's use.
async fn wait_free(node: &mut NodeUnderTest, wanted: u64) -> anyhow::Result<()> {
    let node = tokio::sync::Mutex::new(node);
    eventually(SOON, || async {
        let file = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
        let free = node.lock().await.shell(&format!("cat {file}"))?;
        let free = free.trim();
        if free == wanted.to_string() { Ok(()) } else { bail!("{free} are free, not {wanted}") }
    })
    .await
    .context("huge pages are to be free")
}

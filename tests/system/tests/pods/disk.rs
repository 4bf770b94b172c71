//! Containers that write more than the node has for them.

use anyhow::{Context, bail, ensure};
use serde_json::json;
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

use super::{alone, delete, wait_log};

const DATA: &str = "/var/lib/skerry/data";

/// Neither in its own root nor in a volume of its own does a container get at the last of the data partition.
pub async fn ends_before_the_node_does(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let pool = node.get("/api/v1/pools/default").await?;
    let reserve = pool["status"]["reserve_bytes"].as_u64().context("a reserve")?;
    let (free, size) = space(node, DATA)?;
    let (left, whole) = space(node, &format!("{DATA}/pods"))?;
    ensure!(whole < size && left < free, "containers are not held: {left} of {whole} B");
    let script = format!(
        "for at in /own /shared/own; do busybox fallocate -l 16777216 $at && echo $at fits; \
         busybox fallocate -l {free} $at.all || echo $at ends; done; sleep 1000"
    );
    let mut pod =
        alone("filler", &script, &json!({"mounts": [{"volume": "shared", "path": "/shared"}]}));
    pod["spec"]["volumes"] = json!([{"name": "shared", "source": {"empty": {"medium": "disk"}}}]);
    node.post("/api/v1/pods", pod).await?;
    for line in ["/own fits", "/own ends", "/shared/own fits", "/shared/own ends"] {
        wait_log(node, "filler", "main", line).await?;
    }
    let left = space(node, DATA)?.0;
    ensure!(left >= reserve / 2, "{left} B are left of a reserve of {reserve} B");
    node.shell(&format!("dd if=/dev/zero of={DATA}/own bs=1M count=16 && rm {DATA}/own"))?;
    delete(node, "filler").await?;
    // The journal and others write meanwhile.
    let before = free.saturating_sub(64 << 20);
    eventually(SOON, || async {
        let pool = node.get("/api/v1/pools/default").await?;
        match pool["status"]["free_bytes"].as_u64() {
            Some(free) if free >= before => Ok(()),
            free => bail!("{free:?} B are free after {before}"),
        }
    })
    .await
}

/// What is free and what there is in all, in bytes, as the file system tells for a folder.
fn space(node: &mut NodeUnderTest, folder: &str) -> anyhow::Result<(u64, u64)> {
    let told = node.shell(&format!("stat -f -c '%a %b %S' {folder}"))?;
    let numbers: Vec<u64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [free, all, unit] = numbers[..] else { bail!("{told}") };
    Ok((free * unit, all * unit))
}

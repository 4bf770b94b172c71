//! Volumes of the node in pods, on the real file system.

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

use super::{delete, wait_container, wait_log};

/// A pod that does this with the volume and ends.
fn task(name: &str, script: &str, read_only: bool) -> Value {
    json!({"metadata": {"name": name}, "spec": {"restart": "never",
        "volumes": [{"name": "kept",
            "source": {"volume": {"name": "kept", "read_only": read_only}}}],
        "containers": [{"name": "main", "image": "tiny", "command": ["/bin/sh", "-c", script],
            "mounts": [{"volume": "kept", "path": "/kept"}]}]}})
}

async fn runs(node: &NodeUnderTest, name: &str, script: &str, code: i64) -> anyhow::Result<()> {
    node.post("/api/v1/pods", task(name, script, false)).await?;
    let main = wait_container(node, name, |main| main["state"] == "exited").await?;
    ensure!(main["exit_code"] == code, "{name}: {main}");
    delete(node, name).await?;
    gone(node, name).await
}

async fn gone(node: &NodeUnderTest, name: &str) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let pods = node.get("/api/v1/pods").await?;
        let left = pods["items"].as_array().into_iter().flatten();
        match left.filter(|pod| pod["metadata"]["name"] == name).count() {
            0 => Ok(()),
            _ => bail!("{name} is still there"),
        }
    })
    .await
}

pub async fn outlive(node: &NodeUnderTest) -> anyhow::Result<()> {
    node.skerry(&["volume", "create", "kept", "--folder", "--size", "8M", "--wait"])?;
    let volume = node.get("/api/v1/volumes/kept").await?;
    let limit = volume["status"]["conditions"].to_string();
    ensure!(limit.contains(r#""reason":"Quota""#), "{limit}");
    runs(node, "writer", "echo first > /kept/mark && cat /kept/mark", 0).await?;
    // More than fits: the rest of the disk is not for it.
    let full =
        "busybox dd if=/dev/zero of=/kept/big bs=1M count=16 || { busybox rm /kept/big; exit 7; }";
    runs(node, "glutton", full, 7).await?;
    node.skerry(&["volume", "grow", "kept", "--size", "32M", "--wait"])?;
    let fits = "busybox dd if=/dev/zero of=/kept/big bs=1M count=16 && busybox rm /kept/big && busybox sync";
    runs(node, "modest", fits, 0).await?;

    let reader = "cat /kept/mark; busybox touch /kept/x || echo kept whole; sleep 100000";
    node.post("/api/v1/pods", task("reader", reader, true)).await?;
    wait_log(node, "reader", "main", "kept whole").await?;
    let refused = node.skerry(&["volume", "delete", "kept"]).unwrap_err().to_string();
    ensure!(refused.contains("reader"), "{refused}");
    Ok(())
}

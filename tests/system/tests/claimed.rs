//! The claimed node that other tests go on from, itself.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use anyhow::ensure;
use serde_json::json;
use skerry_system_tests::NodeUnderTest;

#[tokio::test(flavor = "multi_thread")]
async fn each_test_gets_a_claimed_node_of_its_own() -> anyhow::Result<()> {
    let (mut node, _) = NodeUnderTest::claimed("claimed-first", &[]).await?;
    let pod = json!({"metadata": {"name": "mark"}, "spec": {
        "power": "stopped", "containers": [{"name": "a", "image": "tiny"}]}});
    node.post("/api/v1/pods", pod).await?;
    ensure!(node.shell("echo answer")? == "answer", "the debug shell does not answer");
    drop(node);
    let (node, _) = NodeUnderTest::claimed("claimed-second", &[]).await?;
    let pods = node.get("/api/v1/pods").await?;
    ensure!(pods["items"] == json!([]), "what another test did is here: {pods}");
    Ok(())
}

//! What a pod needs besides its network is made ready while that is being wired.

use anyhow::{Context, bail, ensure};
use serde_json::json;
use skerry_system_tests::NodeUnderTest;

/// The bundle is whole before the network is: the resolver's file is the last of that. Both are made once.
pub async fn is_ready_before_its_network(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let pod = super::alone("early", "echo it is up; sleep 1000", &json!({}));
    let made = node.post("/api/v1/pods", pod).await?;
    let id = made["metadata"]["id"].as_str().context("it has no id")?.to_owned();
    super::wait_log(node, "early", "main", "it is up").await?;
    let short = id.get(..8).context("its id is too short")?;
    let told = node.shell(&format!(
        "stat -c %.Y /run/skerry/pods/{id}/main/made /run/skerry/resolv/skerry-pod-{short}.conf"
    ))?;
    let times = told.split_whitespace().map(str::parse::<f64>).collect::<Result<Vec<_>, _>>();
    let times = times.with_context(|| told.clone())?;
    let [ready, wired] = times[..] else { bail!("{told}") };
    println!("   its bundle was ready {:.3} s before its network", wired - ready);
    ensure!(ready < wired, "it waited for its network: {told}");

    // Ones that go in the middle leave nothing.
    let mut ids = vec![id];
    for name in ["gone-1", "gone-2", "gone-3"] {
        let made = node.post("/api/v1/pods", super::alone(name, "sleep 1000", &json!({}))).await?;
        ids.push(made["metadata"]["id"].as_str().context("it has no id")?.to_owned());
        super::delete(node, name).await?;
    }
    super::delete(node, "early").await?;
    for name in ["gone-1", "gone-2", "gone-3", "early"] {
        super::order::wait_gone(node, &format!("/api/v1/pods/{name}")).await?;
    }
    for id in ids {
        let left = node.shell(&format!(
            "grep {id} /proc/mounts; ls -d /run/skerry/pods/{id} /var/lib/skerry/data/pods/{id} 2>/dev/null; true"
        ))?;
        ensure!(left.trim().is_empty(), "{left}");
    }
    Ok(())
}

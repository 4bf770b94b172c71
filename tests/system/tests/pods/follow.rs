//! A log that is followed while its container writes, and one whose container writes too much.

use anyhow::{Context, ensure};
use serde_json::json;
use skerry_system_tests::{NodeUnderTest, SOON};

use super::{alone, delete, wait_log};

/// What is written comes without asking again, in order and once, also what comes after the container was replaced.
pub async fn as_it_is_written(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let script = "n=0; while [ $n -lt 1000 ]; do n=$((n+1)); echo line $n.; sleep 1; done";
    let mut pod = alone("talker", script, &json!({}));
    pod["spec"]["restart"] = json!("always");
    node.post("/api/v1/pods", pod).await?;
    wait_log(node, "talker", "main", "line 1.").await?;
    let mut log = node.stream("/api/v1/pods/talker/logs?container=main&tail=1&follow=true").await?;
    let first = log.until("line", SOON).await?;
    let number = |text: &str| {
        let digits = text.rsplit("line ").next()?.split('.').next()?;
        digits.parse::<u32>().ok()
    };
    let begin = match number(&first) {
        Some(number) => number,
        None => number(&log.until(".", SOON).await?).context("a number")?,
    };
    for next in begin + 1..begin + 4 {
        let came = log.until(&format!("line {next}."), SOON).await?;
        ensure!(came.matches("line").count() == 1, "{next}: {came}");
    }
    let pid = node.get("/api/v1/pods/talker").await?["status"]["containers"][0]["pid"].clone();
    node.shell(&format!("kill -9 {pid}"))?;
    log.until("line 1.", SOON).await.context("after the container was started again")?;
    drop(log);
    delete(node, "talker").await
}

/// More lines than it may write are dropped, and the log says how many; the node goes on.
pub async fn is_cut_when_it_floods(node: &NodeUnderTest) -> anyhow::Result<()> {
    // The journal tells of what it dropped with the next line after the interval.
    let script = "n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo flood $n.; done; sleep 15; \
        echo over; sleep 1000";
    let rate = json!({"log_rate": {"lines": 10, "interval_s": 10}});
    node.post("/api/v1/pods", alone("flooder", script, &rate)).await?;
    for line in ["flood 1.", "over", "dropped: above its log rate"] {
        wait_log(node, "flooder", "main", line).await?;
    }
    let told = node.get("/api/v1/pods/flooder/logs?container=main&tail=1000").await?.to_string();
    // Up to six times its rate while there is much room, in each of two intervals that the flood may have touched.
    let lines = told.matches("flood ").count();
    ensure!((10..=120).contains(&lines), "{lines} of 400 lines");
    delete(node, "flooder").await
}

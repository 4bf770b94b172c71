//! How long something takes in the node, by the node's own clock.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skerry_system_tests::NodeUnderTest;

/// Seconds that a command line takes in the node's shell, to a hundredth.
pub fn seconds(node: &mut NodeUnderTest, line: &str, limit: Duration) -> Result<f64> {
    let whole = format!(
        "read from rest < /proc/uptime && {{ {line} ; }} && read to rest < /proc/uptime && echo \"$from $to\""
    );
    let (from, to) = last_two(&run(node, &whole, limit)?)?;
    Ok(to - from)
}

/// The lowest of three.
pub fn lowest(mut take: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut lowest = f64::INFINITY;
    for _ in 0..3 {
        lowest = lowest.min(take()?);
    }
    Ok(lowest)
}

/// The same, for a line that itself prints the time since boot at which the thing began, and that at which it was there.
pub fn printed(node: &mut NodeUnderTest, line: &str, limit: Duration) -> Result<f64> {
    let (from, to) = last_two(&run(node, line, limit)?)?;
    Ok(to - from)
}

/// Runs a command line that must succeed within the limit.
pub fn run(node: &mut NodeUnderTest, line: &str, limit: Duration) -> Result<String> {
    let (text, code) = node.vm.shell(line, limit)?;
    ensure!(code == 0, "`{line}` ended with {code}: {text}");
    Ok(text)
}

fn last_two(text: &str) -> Result<(f64, f64)> {
    let mut words = text.lines().last().unwrap_or_default().split_whitespace();
    let mut number = || words.next()?.parse::<f64>().ok();
    number().zip(number()).with_context(|| format!("no two times in `{text}`"))
}

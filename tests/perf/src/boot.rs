//! Times of a boot: by the node's own clock, which starts with the kernel, and by this machine's, which starts
//! when QEMU does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use skerry_system_tests::{BOOT, GUEST, NodeUnderTest};

use crate::figures::{Figure, Figures};
use crate::work::{Ports, answers, first_answer, hasty_client};

/// Units whose readiness counts, and what the table calls them.
const READY: [(&str, &str, Option<f64>); 2] =
    [("skerry-noded", "local API", Some(5.0)), ("skerry-northd", "page", Some(8.0))];

/// Lets the node come to rest: everything started, and time for libvirt's service to end itself, which it does after
/// two minutes without a customer.
pub fn settle(node: &mut NodeUnderTest) -> Result<()> {
    let line = "timeout 240 systemctl is-system-running --wait; sleep 150";
    node.vm.shell(line, BOOT)?;
    Ok(())
}

/// The first boot, which also makes partitions, keys and the store.
pub fn first(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    ready(node, figures, "first boot")?;
    let manager = "systemctl show -p FirmwareTimestampMonotonic -p UserspaceTimestampMonotonic";
    let text = node.shell(manager)?;
    let firmware = microseconds(&text, "FirmwareTimestampMonotonic");
    let userspace = microseconds(&text, "UserspaceTimestampMonotonic");
    if let (Some(firmware), Some(userspace)) = (firmware, userspace) {
        let remark = format!(
            "firmware and loader took {firmware:.1} s before the kernel, on the first boot"
        );
        figures
            .add(Figure::new("kernel start → systemd", format!("{userspace:.1} s")).remark(remark));
    }
    Ok(())
}

/// Pulls the plug, and times the next boot up to the last workload's answer.
pub async fn second(node: NodeUnderTest, ports: Ports, figures: &mut Figures) -> Result<()> {
    let started = Instant::now();
    let mut node = node.power_cycle()?;
    let client = hasty_client()?;
    let health = format!("{}/api/v1/health", node.url());
    let page = format!("{}/", node.url());
    let (health, page, pod, vm) = tokio::join!(
        first_answer(&client, &health, "", BOOT),
        first_answer(&client, &page, "<html", BOOT),
        answers(&client, ports.pod, "skerry tiny container", BOOT),
        answers(&client, ports.vm, "skerry tiny vm", BOOT + GUEST),
    );
    let up: f64 = node.shell("read up idle < /proc/uptime; echo $up")?.trim().parse()?;
    let kernel = Instant::now().checked_sub(Duration::from_secs_f64(up)).context("no such time")?;
    ready(&mut node, figures, "second boot")?;
    node.login().await?;
    processes(&mut node, figures).await?;
    let seen = [
        ("API answers over HTTPS", health, None),
        ("page answers over HTTPS", page, Some(8.0)),
        ("container answers", pod, None),
        ("VM answers", vm, None),
    ];
    for (what, answered, aim) in seen {
        figures.add(match answered {
            Ok(at) => outside(what, at, kernel, started, aim),
            Err(error) => Figure::missing(&format!("second boot: {what}"), "", &error),
        });
    }
    Ok(())
}

fn outside(what: &str, at: Instant, kernel: Instant, qemu: Instant, aim: Option<f64>) -> Figure {
    let what = format!("second boot: kernel start → {what}");
    let seconds = at.saturating_duration_since(kernel).as_secs_f64();
    let whole = at.saturating_duration_since(qemu).as_secs_f64();
    timed(&what, seconds, aim)
        .remark(format!("asked from outside; {whole:.1} s after QEMU's start"))
}

fn timed(what: &str, seconds: f64, aim: Option<f64>) -> Figure {
    match aim {
        Some(aim) => Figure::at_most(what, seconds, aim, "s"),
        None => Figure::new(what, format!("{seconds:.1} s")),
    }
}

/// When our services said that they were ready.
fn ready(node: &mut NodeUnderTest, figures: &mut Figures, boot: &str) -> Result<()> {
    for (unit, name, aim) in READY {
        let text =
            node.shell(&format!("systemctl show -p ActiveEnterTimestampMonotonic {unit}"))?;
        let at = microseconds(&text, "ActiveEnterTimestampMonotonic").context("not ready")?;
        let what = format!("{boot}: kernel start → {name}");
        figures.add(timed(&what, at, aim).remark(format!("`{unit}` ready, by the node's clock")));
    }
    Ok(())
}

/// When the processes of the workloads were started.
async fn processes(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let pod = node.get("/api/v1/pods/web").await?;
    let vm = node.get("/api/v1/vms/guest").await?;
    let found = [
        ("container's process", pod.pointer("/status/containers/0/pid").and_then(Value::as_u64)),
        ("VM's process", vm.pointer("/status/pid").and_then(Value::as_u64)),
    ];
    for (what, pid) in found {
        let pid = pid.with_context(|| format!("the {what} has no id"))?;
        let ticks = node.shell(&format!("cut -d' ' -f22 /proc/{pid}/stat"))?;
        // A hundred ticks a second on every Linux that Debian builds for this processor.
        let seconds = ticks.trim().parse::<f64>().context("no start time")? / 100.0;
        let what = format!("second boot: kernel start → {what}");
        figures.add(timed(&what, seconds, Some(20.0)).remark("by the node's clock"));
    }
    Ok(())
}

/// A time of `systemctl show`, in seconds; nothing when it was never reached.
fn microseconds(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    let value: f64 = line.trim().parse().ok()?;
    (value > 0.0).then_some(value / 1e6)
}

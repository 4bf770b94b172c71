//! What many workloads cost, how long copies of large images take, and how fast images come in.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{BOOT, NodeUnderTest, eventually};

use crate::clock::{run, seconds};
use crate::figures::{Figure, Figures};

const PODS: u32 = 100;
const VMS: u32 = 50;
/// For all of them to come, under emulation.
const LIMIT: Duration = Duration::from_secs(1800);
/// Bytes of the image that comes in.
const IMPORTED: usize = 64 << 20;

/// Adds the figures; each one stands for itself.
pub async fn add(node: &mut NodeUnderTest, figures: &mut Figures) {
    let copies = copies(node, figures).await;
    or_missing(copies, "volume from a 10 GiB image", figures);
    let import = import(node, figures).await;
    or_missing(import, "image import", figures);
    let many = vms(node, figures).await;
    or_missing(many, "noded with 50 defined VMs", figures);
    let many = pods(node, figures).await;
    or_missing(many, "noded with 100 pods", figures);
}

fn or_missing(taken: Result<()>, what: &str, figures: &mut Figures) {
    if let Err(error) = taken {
        figures.add(Figure::missing(what, "", &error));
    }
}

/// A volume from an image of 1 GiB and one of 10 GiB: made by reference, both take the same time.
async fn copies(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let mut times = Vec::new();
    for (name, size) in [("small", "1G"), ("large", "10G")] {
        let file = node.machine.folder.join(format!("{name}.qcow2")).display().to_string();
        let words = ["create", "-q", "-f", "qcow2", &file, size];
        let made =
            Command::new("qemu-img").args(words).status().context("qemu-img cannot be run")?;
        ensure!(made.success(), "qemu-img: {made}");
        node.skerry(&["image", "import", &file, "--name", name, "--wait"])?;
        let source = json!({"metadata": {"name": name}, "spec": {"source": {"image": name}}});
        let started = Instant::now();
        node.post("/api/v1/volumes", source).await?;
        node.wait_state(&format!("/api/v1/volumes/{name}"), "available", BOOT).await?;
        times.push(started.elapsed().as_secs_f64());
    }
    if let [small, large] = times.as_slice() {
        figures.add(
            Figure::at_most(
                "volume from a 10 GiB image ÷ from one of 1 GiB",
                large / small,
                1.5,
                "×",
            )
            .remark(format!("{large:.2} s and {small:.2} s")),
        );
    }
    Ok(())
}

/// An image that has arrived becomes usable, against the same work by the tools of the node.
async fn import(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let mut seed = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    })
    .take(IMPORTED)
    .collect();
    let upload =
        node.post("/api/v1/uploads", json!({"name": "noise.raw", "size": IMPORTED})).await?;
    let id = upload.get("id").and_then(Value::as_str).context("an upload has an id")?.to_owned();
    let (status, answer) = node.send_part(&id, 0, vec![Ok(bytes)]).await?;
    ensure!(status.is_success(), "{status} {answer}");
    let spec = json!({"format": "raw", "source": {"upload": id}, "architecture": "x86_64"});
    let started = Instant::now();
    node.post("/api/v1/images", json!({"metadata": {"name": "noise"}, "spec": spec})).await?;
    let image = node.wait_state("/api/v1/images/noise", "available", LIMIT).await?;
    let ours = started.elapsed().as_secs_f64();
    let digest = image.pointer("/spec/files/0/sha256").and_then(Value::as_str);
    let digest = digest.context("an image has a digest")?;
    // Each line is a shell of its own.
    let data = "/var/lib/skerry/data";
    let find = format!("find {data}/images -type f -name '*{digest}*' | head -n 1");
    let file = run(node, &find, BOOT)?.trim().to_owned();
    ensure!(!file.is_empty(), "the library has no file {digest}");
    run(node, "sync && echo 3 > /proc/sys/vm/drop_caches", BOOT)?;
    let line = format!(
        "qemu-img convert -f raw -O qcow2 {file} {data}/perf.qcow2 && sha256sum {file} > /dev/null && sync"
    );
    let peer = seconds(node, &line, BOOT)?;
    run(node, &format!("rm {data}/perf.qcow2"), BOOT)?;
    figures.add(
        Figure::new(
            "image import ÷ `qemu-img convert` and `sha256sum`",
            format!("{:.2} ×", ours / peer),
        )
        .remark(format!("64 MiB raw, from its order to available: {ours:.1} s and {peer:.1} s")),
    );
    Ok(())
}

/// Machines that are defined and off.
async fn vms(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let before = noded(node)?;
    for number in 0..VMS {
        let spec = json!({"image": "tiny-vm", "memory_mib": 64, "power": "stopped"});
        let body = json!({"metadata": {"name": format!("defined-{number}")}, "spec": spec});
        node.post("/api/v1/vms", body).await?;
    }
    all(node, "vms", "defined-", "stopped", VMS).await?;
    let after = noded(node)?;
    figures.add(
        Figure::new("noded with 50 defined VMs", format!("{after:.1} MiB"))
            .remark(format!("PSS; {before:.1} MiB before")),
    );
    drop_all(node, "vms", "defined-", &numbers(VMS)).await
}

/// Pods that run.
async fn pods(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let before = (noded(node)?, used(node)?);
    for number in 0..PODS {
        let container =
            json!({"name": "main", "image": "tiny", "memory_mib": 16, "memory_request_mib": 1});
        let body = json!({"metadata": {"name": format!("many-{number}")}, "spec": {"containers": [container]}});
        node.post("/api/v1/pods", body).await?;
    }
    all(node, "pods", "many-", "running", PODS).await?;
    let after = (noded(node)?, used(node)?);
    figures.add(
        Figure::new("noded with 100 pods", format!("{:.1} MiB", after.0))
            .remark(format!("PSS; {:.1} MiB before", before.0)),
    );
    figures.add(
        Figure::new(
            "memory per running pod",
            format!("{:.2} MiB", (after.1 - before.1) / f64::from(PODS)),
        )
        .remark(
            "MemTotal − MemAvailable of the whole node; the workload, a busybox web server, in it",
        ),
    );
    drop_all(node, "pods", "many-", &numbers(PODS)).await
}

async fn all(
    node: &NodeUnderTest,
    kind: &str,
    prefix: &str,
    state: &str,
    count: u32,
) -> Result<()> {
    eventually(LIMIT, || async {
        let list = node.get(&format!("/api/v1/{kind}")).await?;
        let there =
            of(&list, prefix).filter(|one| one.pointer("/status/state") == Some(&json!(state)));
        let there = there.count();
        ensure!(there >= count as usize, "{there} of {count} {kind} are {state}");
        Ok(())
    })
    .await
}

/// Deletes what is called by the prefix and one of the endings, and waits until it is gone.
pub async fn drop_all(
    node: &NodeUnderTest,
    kind: &str,
    prefix: &str,
    endings: &[String],
) -> Result<()> {
    for ending in endings {
        let path = format!("/api/v1/{kind}/{prefix}{ending}");
        let (status, answer) = node.request(Method::DELETE, &path, None).await?;
        ensure!(status.is_success(), "{status} {answer}");
    }
    eventually(LIMIT, || async {
        let list = node.get(&format!("/api/v1/{kind}")).await?;
        let left = of(&list, prefix).count();
        ensure!(left == 0, "{left} {kind} are left");
        Ok(())
    })
    .await
}

fn numbers(count: u32) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn of<'a>(list: &'a Value, prefix: &'a str) -> impl Iterator<Item = &'a Value> {
    let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
    items.filter(move |one| {
        let name = one.pointer("/metadata/name").and_then(Value::as_str);
        name.is_some_and(|name| name.starts_with(prefix))
    })
}

/// Memory of the node daemon in MiB, its share of what is shared.
fn noded(node: &mut NodeUnderTest) -> Result<f64> {
    let line = "while read name size unit; do [ $name = Pss: ] && echo $size; done \
                < /proc/$(systemctl show -p MainPID --value skerry-noded)/smaps_rollup; true";
    Ok(node.shell(line)?.trim().parse::<f64>()? / 1024.0)
}

/// Memory of the whole node in MiB.
fn used(node: &mut NodeUnderTest) -> Result<f64> {
    let line = "sync; echo 3 > /proc/sys/vm/drop_caches; while read name size unit; do case $name in \
                MemTotal:) all=$size;; MemAvailable:) free=$size;; esac; done < /proc/meminfo; \
                echo $((all - free))";
    Ok(node.shell(line)?.trim().parse::<f64>()? / 1024.0)
}

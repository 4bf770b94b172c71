//! Container images from a real registry on this machine (Debian's docker-registry, TLS and a password) into the real
//! image: pulled by tag and by digest, run, and still there when the registry is away and the plug was pulled; a pull
//! that breaks goes on where it was; a flipped bit is found and mended; many pods at once.

// A test ends where something is not as it should be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    dead_code
)]

#[path = "../../../services/apps/registry/tests/registry/image.rs"]
mod image;
#[path = "../../../services/apps/registry/tests/registry/proxy.rs"]
mod proxy;
#[path = "../../../services/apps/registry/tests/registry/registry.rs"]
mod registry;
#[path = "../../../services/apps/registry/tests/registry/signing.rs"]
mod signing;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

use image::{layout, noise};
use proxy::Proxy;
use registry::{PASSWORD, Registry, USER};
use signing::{Signer, named, push_signatures};

/// This machine as the node sees it.
const HOST: &str = "10.0.2.2";

/// A layer with one file.
fn layer(path: &str, mode: u32, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    tar.append_data(&mut header, path, bytes).unwrap();
    tar.into_inner().unwrap()
}

fn file<'a>(image: &'a Value, role: &str) -> &'a str {
    let files = image["spec"]["files"].as_array().unwrap();
    files.iter().find(|file| file["role"] == role).unwrap()["sha256"].as_str().unwrap()
}

/// Bytes of the layer of the image whose pull breaks.
const BIG: usize = 12 << 20;
/// Where the wire breaks, in bytes after the last break; all together less than the layer.
const POINTS: Range<i64> = 256 << 10..1024 << 10;
/// Layers of an image with many: more than one option of a mount could name.
const DEEP: usize = 70;
/// Pods at once.
const MANY: usize = 50;

/// The images that the registry holds.
fn fill(registry: &Registry) -> anyhow::Result<()> {
    let busybox = std::fs::read("/usr/bin/busybox").context("busybox-static is installed")?;
    let push = |layers: Vec<Vec<u8>>, name: &str| -> anyhow::Result<()> {
        let place = tempfile::tempdir()?;
        layout(place.path(), layers);
        registry.push(place.path(), name, "all");
        Ok(())
    };
    let program = layer("bin/busybox", 0o755, &busybox);
    let mut deep = vec![program.clone()];
    let file = |number: usize| layer(&format!("files/{number}"), 0o644, b"one of many\n");
    deep.extend((1..DEEP).map(file));
    push(deep, "lab/deep:1")?;
    push(vec![program, layer("www/index.html", 0o644, b"from afar\n")], "lab/web:1")?;
    push(vec![layer("big", 0o644, &noise(BIG, 7))], "lab/big:1")?;
    push(vec![layer("late", 0o644, &noise(5000, 8))], "lab/late:1")
}

async fn know(node: &NodeUnderTest, registry: &Registry, port: u16) -> anyhow::Result<()> {
    let body = json!({"metadata": {"name": format!("lab-{port}")}, "spec": {
        "host": format!("{HOST}:{port}"), "ca_pem": registry.ca_pem,
        "username": USER, "password": PASSWORD}});
    node.post("/api/v1/registries", body).await.map(drop)
}

fn pod(name: &str, command: &[&str]) -> Value {
    json!({"metadata": {"name": name, "labels": {"test": "registry"}}, "spec": {
        "stop_timeout_s": 2,
        "containers": [{"name": "main", "image": "web", "memory_mib": 8, "memory_request_mib": 2,
            "command": command}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_from_a_registry_and_needs_it_no_more() -> anyhow::Result<()> {
    let mut registry = Registry::start().await;
    fill(&registry)?;
    let open = |machine: &mut xtask::qemu::Machine| machine.restrict = false;
    let (mut node, ports) = NodeUnderTest::claimed_as("registry", &[8080], open).await?;
    know(&node, &registry, registry.port).await?;
    println!("== by tag, by digest");
    let reference = format!("{HOST}:{}/lab/web:1", registry.port);
    let told = node.skerry(&["image", "pull", &reference, "--name", "web", "--wait"])?;
    ensure!(told.contains("the image is there"), "{told}");
    let web = node.wait_state("/api/v1/images/web", "available", SOON).await?;
    let by_digest = format!("{HOST}:{}/lab/web@sha256:{}", registry.port, file(&web, "manifest"));
    node.skerry(&["image", "pull", &by_digest, "--name", "same", "--wait"])?;
    let serve = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"];
    let mut first = pod("web", &serve);
    first["spec"]["publish"] = json!([{"host_port": 8080, "workload_port": 8080}]);
    node.post("/api/v1/pods", first).await?;
    node.wait_answer(ports[0], "from afar", SOON).await?;

    println!("== an image of many layers");
    deep(&node, registry.port).await?;

    println!("== out as an archive");
    archives(&node)?;

    println!("== only what is signed comes in where that is required");
    signed(&node, &registry).await?;

    println!("== a pull that breaks");
    broken_pull(&mut node, &registry).await?;

    println!("== the registry is away and the plug is pulled");
    registry.stop();
    let late = format!("{HOST}:{}/lab/late:1", registry.port);
    node.skerry(&["image", "pull", &late, "--name", "late"])?;
    let mut node = node.power_cycle()?;
    node.wait_api().await?;
    node.login().await?;
    node.wait_answer(ports[0], "from afar", SOON).await?;
    registry.resume().await;
    node.wait_state("/api/v1/images/late", "available", SOON).await?;

    println!("== a flipped bit");
    flipped_bit(&mut node, file(&web, "layer")).await?;
    node.wait_answer(ports[0], "from afar", SOON).await?;
    let left = node.shell("ls /var/lib/skerry/data/pulls | wc -l")?;
    ensure!(left.trim() == "0", "downloads are left: {left}");

    println!("== {MANY} pods at once");
    many(&mut node).await
}

/// With users of the pod's own and with the node's: all layers are there.
async fn deep(node: &NodeUnderTest, port: u16) -> anyhow::Result<()> {
    let reference = format!("{HOST}:{port}/lab/deep:1");
    node.skerry(&["image", "pull", &reference, "--name", "deep", "--wait"])?;
    for users in ["pod", "host"] {
        let name = format!("deep-{users}");
        let mut wanted = pod(&name, &["/bin/busybox", "sleep", "1000"]);
        wanted["spec"]["containers"][0]["image"] = json!("deep");
        wanted["spec"]["user_namespace"] = json!(users);
        node.post("/api/v1/pods", wanted).await?;
        node.wait_state(&format!("/api/v1/pods/{name}"), "running", SOON).await?;
        let seen = node.skerry(&["exec", &name, "--", "/bin/busybox", "ls", "/files"])?;
        ensure!(seen.split_whitespace().count() == DEEP - 1, "{users}: {seen}");
        node.skerry(&["pod", "delete", &name])?;
    }
    Ok(())
}

/// The same each time, taken by skopeo, and the same image when it comes in again.
fn archives(node: &NodeUnderTest) -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let path = |name: &str| place.path().join(name).display().to_string();
    for format in ["oci", "docker"] {
        for name in ["first", "second"] {
            node.skerry(&["image", "export", "web", "--format", format, "-o", &path(name)])?;
        }
        ensure!(
            std::fs::read(path("first"))? == std::fs::read(path("second"))?,
            "{format} differs"
        );
        let source = format!("{format}-archive:{}", path("first"));
        let output = std::process::Command::new("/usr/bin/skopeo")
            .args(["inspect", "--override-os", "linux", "--override-arch", "amd64", &source])
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{source}: {errors}");
    }
    let again = ["image", "import", &path("first"), "--name", "again", "--format", "oci_archive"];
    node.skerry(&[&again[..], &["--wait"]].concat())?;
    node.skerry(&[
        "pod",
        "create",
        "again",
        "--image",
        "again",
        "--wait",
        "--",
        "/bin/busybox",
        "sleep",
        "100000",
    ])?;
    node.skerry(&["pod", "delete", "again", "--wait"])?;
    node.skerry(&["image", "delete", "again"])?;
    Ok(())
}

/// A registry that requires signatures: an image without one is refused, and comes in once it has one.
async fn signed(node: &NodeUnderTest, registry: &Registry) -> anyhow::Result<()> {
    let wire = Proxy::start(registry.port).await;
    let signer = Signer::new();
    let host = format!("{HOST}:{}", wire.port);
    let body = json!({"metadata": {"name": "strict"}, "spec": {
        "host": host, "ca_pem": registry.ca_pem, "username": USER, "password": PASSWORD,
        "signatures": [{"prefix": "lab", "require": true, "keys": [signer.public()]}]}});
    node.post("/api/v1/registries", body).await?;
    let place = tempfile::tempdir()?;
    layout(place.path(), vec![layer("signed", 0o644, &noise(5000, 9))]);
    registry.push(place.path(), "lab/signed:1", "all");
    let reference = format!("{host}/lab/signed:1");
    node.skerry(&["image", "pull", &reference, "--name", "unsigned"])?;
    let image = node.wait_state("/api/v1/images/unsigned", "failed", SOON).await?;
    ensure!(image["status"].to_string().contains("has no signature"), "{}", image["status"]);
    wait_alarm(node, true).await?;
    let digest = named(place.path());
    let signature = signer.sign(&format!("{host}/lab/signed"), &digest);
    push_signatures(registry, "lab/signed", &digest, &[signature]);
    node.skerry(&["image", "pull", &reference, "--name", "signed", "--wait"])?;
    let image = node.get("/api/v1/images/signed").await?;
    ensure!(image["spec"]["signature"]["key"] == signer.id(), "{}", image["spec"]);
    for path in ["images/unsigned", "images/signed", "registries/strict"] {
        let (status, answer) =
            node.request(Method::DELETE, &format!("/api/v1/{path}"), None).await?;
        ensure!(status.is_success(), "{path}: {status} {answer}");
    }
    wait_alarm(node, false).await
}

/// Waits until an alarm for a signature stands, or none does.
async fn wait_alarm(node: &NodeUnderTest, wanted: bool) -> anyhow::Result<()> {
    let look = || async {
        let alarms = node.get("/api/v1/alarms").await?;
        let list = alarms["items"].as_array().context("no list of alarms")?;
        let stands = list.iter().any(|alarm| {
            alarm["spec"]["definition"] == "SIGNATURE_FAILED"
                && alarm["status"]["cleared"].is_null()
        });
        ensure!(stands == wanted, "{alarms}");
        anyhow::Ok(())
    };
    eventually(SOON, look).await
}

/// How often the wire breaks while one image is pulled.
const BREAKS: u32 = 10;

/// The wire breaks at random points, the service that downloads is started anew in between, and what comes at last is less
/// than the whole.
async fn broken_pull(node: &mut NodeUnderTest, registry: &Registry) -> anyhow::Result<()> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    println!("the points are those of seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let wire = Proxy::start(registry.port).await;
    know(node, registry, wire.port).await?;
    let reference = format!("{HOST}:{}/lab/big:1", wire.port);
    let mut have = 0;
    for number in 1..=BREAKS {
        let point = random.random_range(POINTS);
        let before = wire.cuts.load(Ordering::SeqCst);
        wire.cut_after(point);
        if number == 1 {
            node.skerry(&["image", "pull", &reference, "--name", "big"])?;
        }
        eventually(SOON * 2, || async {
            let cuts = wire.cuts.load(Ordering::SeqCst);
            if cuts > before { Ok(()) } else { bail!("the wire does not break at {point}") }
        })
        .await?;
        // What is on the wire when it breaks is lost: what counts is what has come to the node.
        let text = node.shell("cat /var/lib/skerry/data/pulls/*/*.part 2>/dev/null | wc -c")?;
        let now: usize = text.trim().parse()?;
        ensure!(now >= have, "break {number}: of {have} bytes {now} are left");
        have = now;
        let image = node.get("/api/v1/images/big").await?;
        ensure!(image["status"]["state"] == "receiving", "{}", image["status"]);
        if number == BREAKS / 2 {
            node.shell("systemctl restart skerry-northd")?;
            node.wait_api().await?;
        }
    }
    println!("{have} of {BIG} bytes are there");
    ensure!(have >= 1 << 20, "nothing of them is kept");
    // Not enough for the image from its beginning.
    wire.cut_after(i64::try_from(BIG - have / 2)?);
    node.wait_state("/api/v1/images/big", "available", SOON * 2).await.map(drop)
}

async fn flipped_bit(node: &mut NodeUnderTest, digest: &str) -> anyhow::Result<()> {
    let before = eventually(SOON, || async {
        let seen = node.get("/api/v1/pods/web").await?["status"]["containers"].clone();
        if seen[0]["pid"].is_u64() { Ok(seen) } else { bail!("{seen}") }
    })
    .await?;
    let image = node.get("/api/v1/images/web").await?;
    let blob = Path::new("/var/lib/skerry/data/blobs/sha256").join(digest);
    let blob = blob.display();
    let flip = "printf '\\377' | dd bs=1 seek=1000 conv=notrunc status=none";
    node.shell(&format!("{flip} of={blob} && sync"))?;
    node.shell("systemctl restart skerry-noded")?;
    node.wait_api().await?;
    let quarantine = "/var/lib/skerry/data/blobs/quarantine";
    let sum = format!("sha256sum {blob}; ls {quarantine}");
    let end = Instant::now() + SOON;
    loop {
        let (found, _) = node.vm.shell(&sum, SOON)?;
        if found.contains(&format!("{digest}  ")) && found.lines().any(|line| line == digest) {
            break;
        }
        ensure!(Instant::now() < end, "the damage was not mended: {found}");
    }
    let mended = node.wait_state("/api/v1/images/web", "available", SOON).await?;
    ensure!(mended["spec"] == image["spec"], "{} became {}", image["spec"], mended["spec"]);
    let after = node.get("/api/v1/pods/web").await?["status"]["containers"].clone();
    ensure!(after == before, "the pod ran on: {before} {after}");
    Ok(())
}

/// The memory of noded, in KiB.
fn memory(node: &mut NodeUnderTest) -> anyhow::Result<u64> {
    let line = "grep VmRSS /proc/$(systemctl show -p MainPID --value skerry-noded)/status";
    let text = node.shell(line)?;
    let number = text.split_whitespace().nth(1).context("VmRSS")?;
    Ok(number.parse()?)
}

async fn many(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let before = memory(node)?;
    let began = Instant::now();
    for number in 0..MANY {
        let sleeper = pod(&format!("many-{number}"), &["/bin/busybox", "sleep", "100000"]);
        node.post("/api/v1/pods", sleeper).await?;
    }
    println!("accepted after {:.1} s", began.elapsed().as_secs_f64());
    let count = |pods: &Value, state: &str| {
        let pods = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = |pod: &&Value| pod["metadata"]["name"].as_str().unwrap().starts_with("many-");
        pods.iter().filter(named).filter(|pod| pod["status"]["state"] == state).count()
    };
    eventually(SOON * 4, || async {
        let pods = node.get("/api/v1/pods?limit=1000").await?;
        let running = count(&pods, "running");
        if running == MANY { Ok(()) } else { bail!("{running} run") }
    })
    .await?;
    println!("all run after {:.1} s", began.elapsed().as_secs_f64());
    let processes = node.shell("pgrep -c -f '^/bin/busybox sleep 100000'")?;
    ensure!(processes.trim() == MANY.to_string(), "{processes}");
    println!("noded has {} KiB, and had {before} KiB", memory(node)?);
    let free = node.shell("grep MemAvailable /proc/meminfo")?;
    println!("{}", free.trim());
    let began = Instant::now();
    for number in 0..MANY {
        let path = format!("/api/v1/pods/many-{number}");
        let (status, answer) = node.request(Method::DELETE, &path, None).await?;
        ensure!(status.is_success(), "{status} {answer}");
    }
    eventually(SOON * 4, || async {
        let pods = node.get("/api/v1/pods?limit=1000").await?;
        let left = pods["items"].as_array().map_or(0, Vec::len);
        if left == 1 { Ok(()) } else { bail!("{left} are left") }
    })
    .await?;
    println!("all gone after {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

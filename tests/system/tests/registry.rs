//! Container images from a real registry on this machine (Debian's docker-registry, TLS and a password) into the real
//! image: pulled by tag and by digest, run, and still there when the registry is away and the plug was pulled.

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
#[path = "../../../services/apps/registry/tests/registry/registry.rs"]
mod registry;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

use image::layout;
use registry::{PASSWORD, Registry, USER};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_from_a_registry_and_needs_it_no_more() -> anyhow::Result<()> {
    let mut registry = Registry::start().await;
    let place = tempfile::tempdir()?;
    let busybox = std::fs::read("/usr/bin/busybox").context("busybox-static is installed")?;
    layout(
        place.path(),
        vec![layer("bin/busybox", 0o755, &busybox), layer("www/index.html", 0o644, b"from afar\n")],
    );
    registry.push(place.path(), "lab/web:1", "all");
    let reference = format!("{HOST}:{}/lab/web:1", registry.port);

    let open = |machine: &mut xtask::qemu::Machine| machine.restrict = false;
    let (mut node, ports) = NodeUnderTest::claimed_as("registry", &[8080], open).await?;
    let body = json!({"metadata": {"name": "lab"}, "spec": {
        "host": format!("{HOST}:{}", registry.port), "ca_pem": registry.ca_pem,
        "username": USER, "password": PASSWORD}});
    node.post("/api/v1/registries", body).await?;
    let told = node.skerry(&["image", "pull", &reference, "--name", "web", "--wait"])?;
    ensure!(told.contains("the image is there"), "{told}");
    let web = node.wait_state("/api/v1/images/web", "available", SOON).await?;
    let by_digest = format!("{HOST}:{}/lab/web@sha256:{}", registry.port, file(&web, "manifest"));
    node.skerry(&["image", "pull", &by_digest, "--name", "same", "--wait"])?;

    let pod = json!({"metadata": {"name": "web"}, "spec": {
        "containers": [{"name": "web", "image": "web",
            "command": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]}],
        "publish": [{"host_port": 8080, "workload_port": 8080}]}});
    node.post("/api/v1/pods", pod).await?;
    node.wait_answer(ports[0], "from afar", SOON).await?;

    println!("== the registry is away and the plug is pulled");
    registry.stop();
    let mut node = node.power_cycle()?;
    node.wait_api().await?;
    node.login().await?;
    node.wait_answer(ports[0], "from afar", SOON).await?;

    println!("== a flipped bit");
    registry.resume().await;
    let before = node.get("/api/v1/pods/web").await?["status"]["containers"].clone();
    let blob = format!("/var/lib/skerry/data/blobs/sha256/{}", file(&web, "layer"));
    node.shell(&format!("printf '\\377' | dd of={blob} bs=1 seek=1000 conv=notrunc 2>/dev/null"))?;
    node.shell("systemctl restart skerry-noded")?;
    node.wait_api().await?;
    eventually(SOON, || async {
        let image = node.get("/api/v1/images/web").await?;
        let aside = image["status"]["state"] == "available"
            && image["metadata"]["updated"] != web["metadata"]["updated"];
        if aside { Ok(()) } else { bail!("{}", image["status"]) }
    })
    .await?;
    let found = node.shell(&format!("sha256sum {blob}"))?;
    ensure!(found.contains(file(&web, "layer")), "{found}");
    let aside = node.shell("ls /var/lib/skerry/data/blobs/quarantine | wc -l")?;
    ensure!(aside.trim() == "1", "set aside: {aside}");
    let after = node.get("/api/v1/pods/web").await?["status"]["containers"].clone();
    ensure!(after == before, "the pod ran on: {before} {after}");
    node.wait_answer(ports[0], "from afar", SOON).await?;
    let left = node.shell("ls /var/lib/skerry/data/pulls | wc -l")?;
    ensure!(left.trim() == "0", "downloads are left: {left}");
    Ok(())
}

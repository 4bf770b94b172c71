//! Container layers that mean harm, brought to the node as an attacker would: archives that are uploaded, images that are
//! pulled from a real registry, and pods that are to start from them. Each is refused with its reason, nothing of it is
//! reached or left, and what is good runs all along.
//!
//! The cases are those of the unpacker's own tests (`tests/corpus`). With `SKERRY_SHORT=1` one of each refusal comes to the node, and
//! all that aim at its files; else every one.

// A test ends where something is not as it should be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "harm/cases.rs"]
mod cases;
#[path = "harm/ground.rs"]
mod ground;
#[path = "../../../services/apps/registry/tests/registry/registry.rs"]
#[allow(dead_code, reason = "its own tests ask more of it")]
mod registry;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_corpus_tests::{liars, longest_path, odd};
use skerry_system_tests::{NodeUnderTest, SOON, eventually, short};

use cases::{Case, Way};
use ground::Ground;
use registry::{PASSWORD, Registry, USER};

/// This machine as the node sees it.
const HOST: &str = "10.0.2.2";
/// Requests at once.
const AT_ONCE: usize = 4;
/// Many pods under emulation.
const LONG: Duration = Duration::from_secs(300);

fn pod(name: &str, image: &str) -> Value {
    // Without a network of its own: what is unpacked is the same, and a pod takes a second less.
    json!({"metadata": {"name": name}, "spec": {"stop_timeout_s": 1, "host_network": true,
        "containers": [{"name": "main", "image": image, "memory_mib": 16, "memory_request_mib": 1}]}})
}

/// A pod that answers over HTTP at a port of the node.
fn web(name: &str, image: &str, port: u16) -> Value {
    let mut pod = pod(name, image);
    pod["spec"]["host_network"] = json!(false);
    pod["spec"]["publish"] = json!([{"host_port": port, "workload_port": 8080}]);
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_mean_harm_are_refused_and_leave_nothing() -> anyhow::Result<()> {
    let registry = Registry::start().await;
    let open = |machine: &mut xtask::qemu::Machine| machine.restrict = false;
    let (mut node, ports) = NodeUnderTest::claimed_as("harm", &[8080, 8081], open).await?;
    let body = json!({"metadata": {"name": "lab"}, "spec": {
        "host": format!("{HOST}:{}", registry.port), "ca_pem": registry.ca_pem,
        "username": USER, "password": PASSWORD}});
    node.post("/api/v1/registries", body).await?;
    node.post("/api/v1/pods", web("good", "tiny", 8080)).await?;
    node.wait_answer(ports[0], "skerry tiny container", SOON).await?;
    let ground = Ground::new(&mut node).await?;
    let began = Instant::now();
    let step = |what: &str| println!("== {:5.1} s: {what}", began.elapsed().as_secs_f64());

    let cases = cases::all();
    let pulled = cases.iter().filter(|case| case.way == Way::Registry).count();
    step(&format!("{} layers come in, {pulled} of them by a pull", cases.len()));
    ensure!(cases.len() >= 25 && pulled >= 4, "too few cases");
    if short() {
        println!(
            "a short run: of layers with one refusal the first, and all that aim at the node's own files"
        );
    }
    bring_all(&node, &registry, &cases).await?;
    step("each pod says why it does not start");
    let said = all_failed(&node, &cases).await?;
    for case in &cases {
        case.check(&said[&case.name])?;
    }
    step("archives that lie are no images");
    liars_are_refused(&node).await?;
    step("nothing is reached");
    ground.holds(&mut node).await?;

    step("a bomb ends before the disk does");
    bomb(&mut node).await?;

    step("all goes, and nothing is left");
    gone(&node).await?;
    ground.is_as_before(&mut node).await?;

    step("what only looks odd runs, and has no devices");
    looks_odd(&node, ports[1]).await?;
    node.wait_answer(ports[0], "skerry tiny container", SOON).await?;
    step("done");
    Ok(())
}

/// Brings in all images and makes a pod of each, without waiting for anything.
async fn bring_all(
    node: &NodeUnderTest,
    registry: &Registry,
    cases: &[Case],
) -> anyhow::Result<()> {
    stream::iter(cases)
        .map(|case| async move {
            match case.way {
                Way::Archive => bring(node, &case.name, case.archive()).await?,
                Way::Registry => {
                    let reference = case.push(registry)?;
                    let source = json!({"registry": {"reference": format!("{HOST}:{reference}")}});
                    image(node, &case.name, source).await?;
                }
            }
            node.post("/api/v1/pods", pod(&case.name, &case.name)).await.map(drop)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Uploads an archive and makes an image of it, without waiting for it.
async fn bring(node: &NodeUnderTest, name: &str, archive: Vec<u8>) -> anyhow::Result<()> {
    let announced = json!({"name": format!("{name}.tar"), "size": archive.len()});
    let upload = node.post("/api/v1/uploads", announced).await?;
    let id = upload["id"].as_str().context("an upload has an id")?;
    let (status, done) = node.send_part(id, 0, vec![Ok(archive)]).await?;
    ensure!(status == StatusCode::OK && done["complete"] == true, "{status} {done}");
    image(node, name, json!({"upload": id})).await
}

async fn image(node: &NodeUnderTest, name: &str, source: Value) -> anyhow::Result<()> {
    let image = json!({"metadata": {"name": name}, "spec": {
        "format": "oci_archive", "source": source, "architecture": "x86_64"}});
    node.post("/api/v1/images", image).await.map(drop)
}

/// The statuses of all things of a kind, by their names.
async fn statuses(node: &NodeUnderTest, kind: &str) -> anyhow::Result<BTreeMap<String, Value>> {
    let list = node.get(&format!("/api/v1/{kind}?limit=1000")).await?;
    let items = list["items"].as_array().context("a list")?;
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    Ok(items.iter().map(|item| (name(item), item["status"].clone())).collect())
}

/// Waits until all pods have failed, and gives what each says.
async fn all_failed(
    node: &NodeUnderTest,
    cases: &[Case],
) -> anyhow::Result<BTreeMap<String, String>> {
    eventually(LONG, || async {
        let pods = statuses(node, "pods").await?;
        let mut said = BTreeMap::new();
        for case in cases {
            let status = &pods[&case.name];
            ensure!(status["state"] == "failed", "{}: {status}", case.harm.what);
            said.insert(case.name.clone(), status["reason"].as_str().unwrap().to_owned());
        }
        Ok(said)
    })
    .await
}

/// What is wrong with the archive itself keeps the image from coming in.
async fn liars_are_refused(node: &NodeUnderTest) -> anyhow::Result<()> {
    let liars: Vec<_> = liars().into_iter().enumerate().collect();
    let name = |number: &usize| format!("harm-liar-{number}");
    stream::iter(&liars)
        .map(|(number, liar)| async move {
            bring(node, &format!("harm-liar-{number}"), liar.bytes.clone()).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    eventually(LONG, || async {
        let images = statuses(node, "images").await?;
        for (number, liar) in &liars {
            let status = &images[&name(number)];
            ensure!(status["state"] == "failed", "{}: {status}", liar.what);
            let condition = &status["conditions"][0];
            let (reason, text) = (&condition["reason"], condition["message"].to_string());
            if reason != "UnusableArchive" || !text.contains(liar.says) {
                bail!("{}: {status}", liar.what);
            }
        }
        Ok(())
    })
    .await
}

/// On a disk that is nearly full a small layer wants to become larger than what is free, and guests, other containers and the
/// node have to go on.
async fn bomb(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let bomb = cases::bomb();
    bring(node, &bomb.name, bomb.archive()).await?;
    node.wait_state(&format!("/api/v1/images/{}", bomb.name), "available", SOON).await?;
    ground::fill(node)?;
    node.post("/api/v1/pods", pod(&bomb.name, &bomb.name)).await?;
    let path = format!("/api/v1/pods/{}", bomb.name);
    eventually(LONG, || async {
        let status = node.get(&path).await?["status"].clone();
        ensure!(status["state"] == "pending", "{status}");
        bomb.check(status["reason"].as_str().unwrap())
    })
    .await?;
    ground::had_room(node)
}

/// Deletes pods and images.
async fn gone(node: &NodeUnderTest) -> anyhow::Result<()> {
    for kind in ["pods", "images"] {
        let names: Vec<String> = statuses(node, kind).await?.into_keys().collect();
        stream::iter(names.iter().filter(|name| name.starts_with("harm-")))
            .map(|name| async move {
                let path = format!("/api/v1/{kind}/{name}");
                eventually(SOON, || async {
                    let (status, answer) = node.request(Method::DELETE, &path, None).await?;
                    ensure!(status.is_success() || status == StatusCode::NOT_FOUND, "{answer}");
                    Ok(())
                })
                .await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    eventually(SOON, || async {
        for kind in ["pods", "images"] {
            let left = statuses(node, kind).await?;
            ensure!(!left.keys().any(|name| name.starts_with("harm-")), "{left:?}");
        }
        Ok(())
    })
    .await
}

/// Links that lead anywhere, pipes, devices, and a path that is as long as paths get: in a container they are its own.
async fn looks_odd(node: &NodeUnderTest, port: u16) -> anyhow::Result<()> {
    let image = cases::good().layer(&odd()).layer(&longest_path(1000));
    let serve = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/"];
    bring(node, "odd", image.cmd(&serve).tar()).await?;
    node.post("/api/v1/pods", web("odd", "odd", 8081)).await?;
    eventually(LONG, || async {
        ensure!(node.fetch(port, "/out").await? == "mine", "another file answers");
        Ok(())
    })
    .await?;
    let list = node.skerry(&["exec", "odd", "--", "/bin/busybox", "ls", "-l", "/"])?;
    ensure!(list.contains("up -> ../../etc/passwd"), "{list}");
    let device = |line: &str| line.starts_with(['b', 'c']);
    ensure!(!list.lines().any(device), "an image brought a device: {list}");
    let read = node.skerry(&["exec", "odd", "--", "/bin/busybox", "cat", "/up"])?;
    ensure!(read.trim() == "its own", "a link of an image led to the node: {read}");
    Ok(())
}

//! Container layers that mean harm, brought to the node as an attacker would: archives that are uploaded, images that are
//! pulled from a real registry. Each is refused with its reason, nothing of it is reached or left, and what is good
//! runs all along.

// A test ends where something is not as it should be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    dead_code
)]

#[path = "harm/ground.rs"]
mod ground;
#[path = "../../../services/apps/registry/tests/registry/registry.rs"]
mod registry;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_corpus_tests::{Harm, Layer, OciArchive, harmful, mispacked, odd};
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

use ground::Ground;
use registry::{PASSWORD, Registry, USER};

/// This machine as the node sees it.
const HOST: &str = "10.0.2.2";
/// Requests at once.
const AT_ONCE: usize = 4;

/// One image with a layer that means harm.
struct Case {
    /// Name of the image and of the pod that is to start from it.
    name: String,
    harm: Harm,
}

/// A name that tells which case it is.
fn name(number: usize, what: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
    let words: String = what.chars().map(plain).collect();
    let words: Vec<&str> = words.split_whitespace().collect();
    format!("harm-{number}-{}", words.join("-"))
}

fn cases() -> Vec<Case> {
    let all = harmful().into_iter().chain(mispacked());
    let case = |(number, harm): (usize, Harm)| Case { name: name(number, harm.what), harm };
    all.enumerate().map(case).collect()
}

fn pod(image: &str) -> Value {
    json!({"metadata": {"name": image, "labels": {"test": "harm"}}, "spec": {
        "stop_timeout_s": 1,
        "containers": [{"name": "main", "image": image, "memory_mib": 8, "memory_request_mib": 1}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_mean_harm_are_refused_and_leave_nothing() -> anyhow::Result<()> {
    let registry = Registry::start().await;
    let open = |machine: &mut xtask::qemu::Machine| machine.restrict = false;
    let (mut node, ports) = NodeUnderTest::claimed_as("harm", &[8080], open).await?;
    let mut good = pod("tiny");
    good["metadata"]["name"] = json!("good");
    good["spec"]["publish"] = json!([{"host_port": 8080, "workload_port": 8080}]);
    node.post("/api/v1/pods", good).await?;
    node.wait_answer(ports[0], "skerry tiny container", SOON).await?;
    let ground = Ground::new(&mut node).await?;
    let began = Instant::now();
    let took = |what: &str| println!("{what} after {:.1} s", began.elapsed().as_secs_f64());

    println!("== archives");
    let cases = cases();
    let node_ref = &node;
    stream::iter(&cases)
        .map(|case| async move {
            bring(node_ref, &case.name, case.harm.on(OciArchive::new()).cmd(&["/a"]).tar()).await?;
            node_ref.post("/api/v1/pods", pod(&case.name)).await.map(drop)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    took("all sent");
    let refused = all_failed(&node, &cases).await?;
    took("all refused");
    for case in &cases {
        println!("{}: {}", case.harm.what, refused[&case.name]);
    }
    ground.holds(&mut node, &BTreeMap::new()).await?;
    took("looked");
    gone(&node, cases.iter().map(|case| case.name.as_str())).await?;
    took("all gone");
    ground.is_as_before(&mut node).await?;
    took("looked");
    node.wait_answer(ports[0], "skerry tiny container", SOON).await?;
    Ok(())
}

/// Uploads an archive and makes an image of it, without waiting for it.
async fn bring(node: &NodeUnderTest, name: &str, archive: Vec<u8>) -> anyhow::Result<()> {
    let announced = json!({"name": format!("{name}.tar"), "size": archive.len()});
    let upload = node.post("/api/v1/uploads", announced).await?;
    let id = upload["id"].as_str().context("an upload has an id")?;
    let (status, done) = node.send_part(id, 0, vec![Ok(archive)]).await?;
    ensure!(status == StatusCode::OK && done["complete"] == true, "{status} {done}");
    let image = json!({"metadata": {"name": name}, "spec": {
        "format": "oci_archive", "source": {"upload": id}, "architecture": "x86_64"}});
    node.post("/api/v1/images", image).await.map(drop)
}

/// Waits until no pod of these is on its way any more, and gives what each says.
async fn all_failed(
    node: &NodeUnderTest,
    cases: &[Case],
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut said = BTreeMap::new();
    loop {
        let pods = node.get("/api/v1/pods?limit=1000").await?;
        for pod in pods["items"].as_array().context("a list")? {
            let (name, status) = (pod["metadata"]["name"].as_str().unwrap(), &pod["status"]);
            if status["state"] == "failed" {
                said.insert(name.to_owned(), status["reason"].as_str().unwrap().to_owned());
            }
        }
        if cases.iter().all(|case| said.contains_key(&case.name)) {
            return Ok(said);
        }
    }
}

/// Deletes pods and images.
async fn gone(node: &NodeUnderTest, names: impl Iterator<Item = &str>) -> anyhow::Result<()> {
    let names: Vec<&str> = names.collect();
    for kind in ["pods", "images"] {
        stream::iter(&names)
            .map(|name| async move {
                let path = format!("/api/v1/{kind}/{name}");
                eventually(SOON, || async {
                    let (status, answer) = node.request(Method::DELETE, &path, None).await?;
                    ensure!(status.is_success(), "{path}: {status} {answer}");
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
            let list = node.get(&format!("/api/v1/{kind}?limit=1000")).await?.to_string();
            ensure!(!list.contains("harm-"), "{list}");
        }
        Ok(())
    })
    .await
}

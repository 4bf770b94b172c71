//! Container images from a real registry (Debian's docker-registry) into a node on the simulated machine, with the
//! real north side downloading.

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

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skerry_ipc::{Action, Request};
use skerry_model::Kind;
use skerry_northd::{IpcNode, Node};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use image::{gzip, layout, noise, sha256};
use registry::{PASSWORD, Registry, USER};

const LIMIT: Duration = Duration::from_secs(30);

/// The part of northd that downloads, over the node's own socket.
fn north(folder: &Path) -> JoinHandle<()> {
    let node: Arc<dyn Node> = Arc::new(IpcNode::new(&folder.join("run/noded.sock")));
    tokio::spawn(skerry_northd::pulls::run(node, CancellationToken::new()))
}

fn spec(reference: &str) -> Value {
    json!({"format": "oci_archive", "architecture": "x86_64",
        "source": {"registry": {"reference": reference}}})
}

async fn pull(node: &RunningNode, name: &str, reference: &str) -> Value {
    let body = json!({"metadata": {"name": name}, "spec": spec(reference)});
    node.create(Kind::Image, body).await.unwrap();
    node.wait_state(Kind::Image, name, "available").await.unwrap()
}

async fn know(node: &RunningNode, registry: &Registry) {
    let body = json!({"metadata": {"name": "lab"}, "spec": {
        "host": format!("localhost:{}", registry.port), "ca_pem": registry.ca_pem,
        "username": USER, "password": PASSWORD}});
    node.create(Kind::Registry, body).await.unwrap();
}

fn file<'a>(image: &'a Value, role: &str) -> &'a Value {
    let files = image["spec"]["files"].as_array().unwrap();
    files.iter().find(|file| file["role"] == role).unwrap()
}

async fn job_message(node: &RunningNode, image: &str, state: &str) -> String {
    let id = node.get(Kind::Image, image).await.unwrap()["metadata"]["id"].clone();
    eventually(LIMIT, || async {
        let jobs = node.list(Kind::Job).await.map_err(|e| e.to_string())?;
        let job = jobs.iter().find(|job| job["spec"]["subject"]["id"] == id);
        let status = job.map(|job| job["status"].clone()).unwrap_or_default();
        if status["state"] == state {
            Ok(status["message"].as_str().unwrap().to_owned())
        } else {
            Err(status.to_string())
        }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_used_mended_and_removed() {
    let registry = Registry::start().await;
    let place = tempfile::tempdir().unwrap();
    let layer = noise(200_000, 1);
    let manifest = layout(place.path(), vec![layer.clone(), noise(5000, 2)]);
    registry.push(place.path(), "lab/app:1", "all");

    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let mut north_side = north(folder.path());
    know(&node, &registry).await;
    let shown = node.get(Kind::Registry, "lab").await.unwrap();
    assert!(!shown.to_string().contains(PASSWORD), "{shown}");
    // A change that does not name the password keeps it.
    let patch = skerry_ipc::Json(json!({"metadata": {"labels": {"a": "b"}}}).to_string());
    let (kind, key) = (Kind::Registry, "lab".to_owned());
    node.ask(Request::Patch { kind, key, patch, if_revision: None }).await.unwrap();

    let tag = format!("localhost:{}/lab/app:1", registry.port);
    let image = pull(&node, "app", &tag).await;
    assert_eq!(file(&image, "manifest")["sha256"], manifest.as_str());
    let resolved = image["spec"]["source"]["registry"]["resolved"].as_str().unwrap();
    assert!(resolved.starts_with(&format!("{tag}@sha256:")), "{resolved}");
    for entry in image["spec"]["files"].as_array().unwrap() {
        let bytes = fs::read(entry["path"].as_str().unwrap()).unwrap();
        assert_eq!(entry["sha256"], sha256(&bytes).as_str());
    }
    assert_eq!(fs::read_dir(folder.path().join("data/pulls")).unwrap().count(), 0);
    let by_digest =
        pull(&node, "same", &format!("localhost:{}/lab/app@sha256:{manifest}", registry.port))
            .await;
    assert_eq!(file(&by_digest, "manifest"), file(&image, "manifest"));

    node.wait_network().await.unwrap();
    let pod = json!({"metadata": {"name": "web"}, "spec": {
        "containers": [{"name": "main", "image": "app"}]}});
    node.create(Kind::Pod, pod).await.unwrap();
    let running = node.wait_state(Kind::Pod, "web", "running").await.unwrap();

    // The tag moves on; the node does not, whatever happens to it.
    let other = tempfile::tempdir().unwrap();
    layout(other.path(), vec![noise(100, 9)]);
    registry.push(other.path(), "lab/app:1", "all");
    node.kill().await.unwrap();
    north_side.abort();
    let path = file(&image, "layer")["path"].as_str().unwrap().to_owned();
    let mut damaged = fs::read(&path).unwrap();
    assert_eq!(damaged, gzip(&layer));
    damaged[77] ^= 8;
    fs::write(&path, &damaged).unwrap();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    north_side = north(folder.path());
    eventually(LIMIT, || async {
        let now = fs::read(&path).unwrap_or_default();
        let state = node.get(Kind::Image, "app").await.map_err(|e| e.to_string())?;
        let state = state["status"]["state"].clone();
        if now == gzip(&layer) && state == "available" { Ok(()) } else { Err(state.to_string()) }
    })
    .await
    .unwrap();
    let after = node.get(Kind::Image, "app").await.unwrap();
    assert_eq!(after["spec"], image["spec"], "the same image as before");
    let still = node.get(Kind::Pod, "web").await.unwrap();
    assert_eq!(still["status"]["containers"], running["status"]["containers"], "the pod ran on");
    assert_eq!(fs::read_dir(folder.path().join("data/blobs/quarantine")).unwrap().count(), 1);

    // What is in use stays; what nobody names goes.
    let delete = |kind, key: &str| Request::Delete {
        kind,
        key: key.to_owned(),
        if_revision: None,
        with_volumes: false,
    };
    let refused = node.ask(delete(Kind::Image, "app")).await.unwrap_err().to_string();
    assert!(refused.contains("web"), "{refused}");
    node.ask(delete(Kind::Pod, "web")).await.unwrap();
    eventually(LIMIT, || async { node.ask(delete(Kind::Image, "app")).await }).await.unwrap();
    eventually(LIMIT, || async {
        match node.list(Kind::Image).await.unwrap().iter().any(|i| i["metadata"]["name"] == "app") {
            true => Err("still there"),
            false => Ok(()),
        }
    })
    .await
    .unwrap();
    assert!(Path::new(&path).exists(), "another image has the same blobs");
    node.ask(delete(Kind::Image, "same")).await.unwrap();
    let blobs = folder.path().join("data/blobs/sha256");
    eventually(LIMIT, || async {
        match fs::read_dir(&blobs).unwrap().count() {
            0 => Ok(()),
            left => Err(format!("{left} blobs are left")),
        }
    })
    .await
    .unwrap();
    north_side.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pulled_says_why_and_a_pull_outlives_a_restart() {
    let registry = Registry::start().await;
    let place = tempfile::tempdir().unwrap();
    layout(place.path(), vec![noise(100_000, 1)]);
    registry.push(place.path(), "a:1", "all");
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let own = |name: &str| format!("localhost:{}/{name}", registry.port);

    for (what, source) in [
        ("spec.source.registry.reference", json!({"registry": {"reference": "A b"}})),
        ("spec.source", json!("built_in")),
    ] {
        let mut wrong = spec("a");
        wrong["source"] = source;
        let body = json!({"metadata": {"name": "x"}, "spec": wrong});
        let refused = node.create(Kind::Image, body).await.unwrap_err();
        assert!(format!("{refused:?}").contains(what), "{refused:?}");
    }

    // Without anybody who downloads, an order waits; and after a restart it still stands.
    let body = json!({"metadata": {"name": "waits"}, "spec": spec(&own("a:1"))});
    node.create(Kind::Image, body).await.unwrap();
    know(&node, &registry).await;
    node.kill().await.unwrap();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let north_side = north(folder.path());
    node.wait_state(Kind::Image, "waits", "available").await.unwrap();

    let body = json!({"metadata": {"name": "missing"}, "spec": spec(&own("b:1"))});
    node.create(Kind::Image, body).await.unwrap();
    let message = job_message(&node, "missing", "failed").await;
    assert!(message.contains("has no image b:1"), "{message}");
    node.wait_state(Kind::Image, "missing", "failed").await.unwrap();

    // A step that fails is tried again.
    host.order_faults(|plan| plan.fail("OpenFolder", 1));
    let body = json!({"metadata": {"name": "second"}, "spec": spec(&own("a:1"))});
    node.create(Kind::Image, body).await.unwrap();
    node.wait_state(Kind::Image, "second", "available").await.unwrap();
    let abort = Request::Act { kind: Kind::Job, key: "x".to_owned(), action: Action::Abort };
    assert!(node.ask(abort).await.is_err());
    north_side.abort();
}

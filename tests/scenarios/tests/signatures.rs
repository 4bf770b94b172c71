//! Signed container images from a real registry into a node that requires signatures, with the real north side.
//!
//! Signatures are in cosign's form; a layout that holds them is pushed by skopeo, as any image.

// A test ends where something is not as it should be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

#[path = "../../../services/apps/registry/tests/registry/image.rs"]
mod image;
#[path = "../../../services/apps/registry/tests/registry/registry.rs"]
mod registry;
#[path = "../../../services/apps/registry/tests/registry/signing.rs"]
mod signing;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skerry_ipc::{Json, Request};
use skerry_model::Kind;
use skerry_northd::{IpcNode, Node};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use image::{layout, noise};
use registry::{PASSWORD, Registry, USER};
use signing::{Signer, named, push_signatures};

const LIMIT: Duration = Duration::from_secs(30);

fn north(folder: &Path) -> JoinHandle<()> {
    let node: Arc<dyn Node> = Arc::new(IpcNode::new(&folder.join("run/noded.sock")));
    tokio::spawn(skerry_northd::pulls::run(node, CancellationToken::new()))
}

async fn order(node: &RunningNode, name: &str, reference: &str) {
    let spec = json!({"format": "oci_archive", "architecture": "x86_64",
        "source": {"registry": {"reference": reference}}});
    node.create(Kind::Image, json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
}

/// Waits until so many alarms for signatures stand. There is one for each image.
async fn wait_alarms(node: &RunningNode, wanted: usize) {
    eventually(LIMIT, || async {
        let alarms = node.list(Kind::Alarm).await.map_err(|error| format!("{error:?}"))?;
        let stands = |alarm: &&Value| {
            alarm["spec"]["definition"] == "SIGNATURE_FAILED"
                && alarm["status"]["cleared"].is_null()
        };
        let found = alarms.iter().filter(stands).count();
        if found == wanted { Ok(()) } else { Err(format!("{alarms:?}")) }
    })
    .await
    .unwrap();
}

/// What a pull that fails says; its record is removed.
async fn refused(node: &RunningNode, reference: &str) -> String {
    order(node, "refused", reference).await;
    let image = node.wait_state(Kind::Image, "refused", "failed").await.unwrap();
    assert_eq!(image["spec"]["files"], json!([]));
    let conditions = image["status"]["conditions"].to_string();
    wait_alarms(node, 1).await;
    let delete = || Request::Delete {
        kind: Kind::Image,
        key: "refused".to_owned(),
        if_revision: None,
        with_volumes: false,
    };
    eventually(LIMIT, || async { node.ask(delete()).await.map(drop) }).await.unwrap();
    eventually(LIMIT, || async {
        node.get(Kind::Image, "refused").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await
    .unwrap();
    wait_alarms(node, 0).await;
    conditions
}

fn files_below(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

async fn registry_rules(node: &RunningNode, rules: Value) {
    let patch = Json(json!({"spec": {"signatures": rules}}).to_string());
    let (kind, key) = (Kind::Registry, "lab".to_owned());
    node.ask(Request::Patch { kind, key, patch, if_revision: None }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_signed_images_come_in_where_signatures_are_required() {
    let registry = Registry::start().await;
    let place = tempfile::tempdir().unwrap();
    layout(place.path(), vec![noise(50_000, 1)]);
    let digest = named(place.path());
    registry.push(place.path(), "lab/app:1", "all");
    registry.push(place.path(), "free/app:1", "all");
    let (signer, stranger) = (Signer::new(), Signer::new());

    let folder = tempfile::tempdir().unwrap();
    let node = RunningNode::start(folder.path(), &SimHost::new()).await.unwrap();
    let north_side = north(folder.path());
    let host = format!("localhost:{}", registry.port);
    let spec = |rules: Value| {
        json!({"host": host, "ca_pem": registry.ca_pem, "username": USER, "password": PASSWORD,
            "signatures": rules})
    };
    let wrong = json!([{"prefix": "lab", "require": true, "keys": [
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]}]);
    let body = json!({"metadata": {"name": "lab"}, "spec": spec(wrong)});
    let fault = format!("{:?}", node.create(Kind::Registry, body).await.unwrap_err());
    assert!(fault.contains("spec.signatures[0].keys[0]"), "{fault}");
    let strict = json!([{"prefix": "lab", "require": true, "keys": [signer.public()]}]);
    let body = json!({"metadata": {"name": "lab"}, "spec": spec(strict.clone())});
    node.create(Kind::Registry, body).await.unwrap();

    // Nothing, another's, and the right key's word on something else.
    let (repository, tag) = (format!("{host}/lab/app"), format!("{host}/lab/app:1"));
    let said = refused(&node, &tag).await;
    assert!(said.contains("has no signature") && said.contains("SignatureRefused"), "{said}");
    let foreign = stranger.sign(&repository, &digest);
    let elsewhere = signer.sign(&format!("{host}/lab/other"), &digest);
    let other = signer.sign(&repository, &"b".repeat(64));
    let good = signer.sign(&repository, &digest);
    let tampered = ([&good.0[..], b" "].concat(), good.1.clone());
    for (signatures, words) in [
        (vec![foreign.clone(), tampered.clone()], "none of its 2 signatures"),
        (vec![other.clone()], "of another image"),
        (vec![elsewhere.clone()], "for another repository"),
    ] {
        push_signatures(&registry, "lab/app", &digest, &signatures);
        let said = refused(&node, &tag).await;
        assert!(said.contains(words) && said.contains("SignatureRefused"), "{said}");
        assert_eq!(files_below(&folder.path().join("data/blobs/sha256")), 0);
        assert_eq!(files_below(&folder.path().join("data/pulls")), 0, "nothing is left behind");
    }

    // The right one among others, however many.
    let mut all: Vec<_> = (0..10).map(|n| stranger.sign(&format!("x.y/{n}"), &digest)).collect();
    all.extend([foreign, elsewhere, good, other, tampered]);
    push_signatures(&registry, "lab/app", &digest, &all);
    order(&node, "signed", &tag).await;
    let image = node.wait_state(Kind::Image, "signed", "available").await.unwrap();
    let verified = json!({"state": "verified", "key": signer.id()});
    assert_eq!(image["spec"]["signature"], verified);
    let patch = Json(json!({"spec": {"signature": {"state": "unsigned"}}}).to_string());
    let (kind, key) = (Kind::Image, "signed".to_owned());
    let fault = node.ask(Request::Patch { kind, key, patch, if_revision: None }).await;
    assert!(format!("{:?}", fault.unwrap_err()).contains("spec.signature"));

    // No rule, no word; a rule that does not require tells what it found.
    order(&node, "free", &format!("{host}/free/app:1")).await;
    let image = node.wait_state(Kind::Image, "free", "available").await.unwrap();
    assert!(image["spec"].get("signature").is_none(), "{image}");
    let third = Signer::new();
    registry_rules(&node, json!([{"keys": [third.public()]}])).await;
    for (name, path, state) in [("one", "lab/app:1", "failed"), ("two", "free/app:1", "unsigned")] {
        order(&node, name, &format!("{host}/{path}")).await;
        let image = node.wait_state(Kind::Image, name, "available").await.unwrap();
        assert_eq!(image["spec"]["signature"]["state"], state, "{image}");
        assert_eq!(image["spec"]["signature"].get("key"), None);
        // Where none is required, none is nothing to complain of.
        wait_alarms(&node, 1).await;
    }

    // By hand only what an administrator answers for.
    let archive = |unsigned: Value| {
        json!({"metadata": {"name": "by-hand"}, "spec": {"format": "oci_archive",
            "architecture": "x86_64", "source": {"folder": "app.tar"}, "allow_unsigned": unsigned}})
    };
    registry_rules(&node, strict).await;
    let fault = node.create(Kind::Image, archive(json!(false))).await.unwrap_err();
    assert!(format!("{fault:?}").contains("spec.allow_unsigned"), "{fault:?}");
    let fault = node.create(Kind::Image, archive(json!(true))).await.unwrap_err();
    assert!(
        format!("{fault:?}").contains("spec.source.folder"),
        "allowed, but not there: {fault:?}"
    );
    north_side.abort();
}

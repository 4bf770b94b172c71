//! Container images out of a node as archives, and back in.

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

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use skerry_ipc::{Auth, BUILD, CallError, Client, Request, StreamItem};
use skerry_model::{ImageArchiveForm, Kind};
use skerry_northd::{IpcNode, Node};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;
use tokio_util::sync::CancellationToken;

use image::{layout, noise};
use registry::{PASSWORD, Registry, USER};

async fn export(
    folder: &Path,
    key: &str,
    form: ImageArchiveForm,
) -> Result<(String, Vec<u8>), CallError> {
    let socket = folder.join("run/noded.sock");
    let client = Client::connect(&socket, BUILD, "scenario").await.unwrap();
    let request = Request::ExportImage { key: key.to_owned(), form };
    let mut items = Box::pin(client.open(Auth::Peer, request).await?);
    let Some(Ok(StreamItem::File { name, size })) = items.next().await else { panic!("no file") };
    let mut bytes = Vec::new();
    while let Some(item) = items.next().await {
        let StreamItem::Piece(piece) = item? else { panic!("no piece") };
        bytes.extend(piece);
    }
    assert_eq!(bytes.len() as u64, size);
    Ok((name, bytes))
}

fn file<'a>(image: &'a Value, role: &str) -> &'a str {
    let files = image["spec"]["files"].as_array().unwrap();
    let found = files.iter().find(|file| file["role"] == role).unwrap();
    found["path"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_out_whole_and_damage_is_found_on_the_way() {
    let registry = Registry::start().await;
    let place = tempfile::tempdir().unwrap();
    let manifest = layout(place.path(), vec![noise(200_000, 1), noise(5000, 2)]);
    registry.push(place.path(), "lab/app:1", "all");
    let folder = tempfile::tempdir().unwrap();
    let node = RunningNode::start(folder.path(), &SimHost::new()).await.unwrap();
    let body = json!({"metadata": {"name": "lab"}, "spec": {
        "host": format!("localhost:{}", registry.port), "ca_pem": registry.ca_pem,
        "username": USER, "password": PASSWORD}});
    node.create(Kind::Registry, body).await.unwrap();
    let spec = json!({"format": "oci_archive", "architecture": "x86_64", "source": {"registry":
        {"reference": format!("localhost:{}/lab/app:1", registry.port)}}});
    node.create(Kind::Image, json!({"metadata": {"name": "app"}, "spec": spec})).await.unwrap();
    let early = export(folder.path(), "app", ImageArchiveForm::Oci).await.unwrap_err();
    assert!(early.to_string().contains("still being brought in"), "{early}");

    let downloads: Arc<dyn Node> = Arc::new(IpcNode::new(&folder.path().join("run/noded.sock")));
    let start = || {
        let downloads = Arc::clone(&downloads);
        tokio::spawn(skerry_northd::pulls::run(downloads, CancellationToken::new()))
    };
    let north_side = start();
    let image = node.wait_state(Kind::Image, "app", "available").await.unwrap();
    let (name, whole) = export(folder.path(), "app", ImageArchiveForm::Oci).await.unwrap();
    assert_eq!(name, "app.oci.tar");
    let text = String::from_utf8_lossy(&whole);
    assert!(text.contains(&format!("blobs/sha256/{manifest}")));
    assert!(text.contains(&format!("localhost:{}/lab/app:1", registry.port)));
    let (name, _) = export(folder.path(), "app", ImageArchiveForm::Docker).await.unwrap();
    assert_eq!(name, "app.docker.tar");
    let disk = export(folder.path(), "tiny-vm", ImageArchiveForm::Oci).await.unwrap_err();
    assert!(disk.to_string().contains("only container images"), "{disk:?}");
    let none = export(folder.path(), "none", ImageArchiveForm::Oci).await.unwrap_err();
    assert!(matches!(none, CallError::Refused(_)), "{none:?}");

    // A flipped bit is found by the export; the image is fetched again and goes out as before.
    north_side.abort();
    let path = file(&image, "layer");
    let mut damaged = fs::read(path).unwrap();
    damaged[77] ^= 8;
    fs::write(path, damaged).unwrap();
    let broken = export(folder.path(), "app", ImageArchiveForm::Oci).await.unwrap_err();
    assert!(broken.to_string().contains("is damaged"), "{broken}");
    node.wait_state(Kind::Image, "app", "quarantined").await.unwrap();
    let refused = export(folder.path(), "app", ImageArchiveForm::Oci).await.unwrap_err();
    assert!(refused.to_string().contains("is damaged"), "{refused}");
    let north_side = start();
    eventually(Duration::from_secs(30), || async {
        match export(folder.path(), "app", ImageArchiveForm::Oci).await {
            Ok((_, again)) => {
                assert!(again == whole, "the same bytes as before");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    north_side.abort();
}

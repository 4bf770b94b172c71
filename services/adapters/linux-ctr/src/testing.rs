//! What the tests of this crate begin with. Layers and archives are made by the corpus, which other tests have too.

use std::net::Ipv4Addr;

use serde_json::json;
use skerry_containers::{ContainerDesired, ImageArchive, PodNetwork};
pub(crate) use skerry_corpus_tests::{Layer, OciArchive, sha256};
use skerry_model::{Id, Pod};

use crate::images::ImageRecord;
use crate::unpack::Limits;
use crate::unpacker::Unpacking;

/// The real program that reads layers, as built beside the tests.
pub(crate) fn unpacking(limits: Limits) -> Unpacking {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("skerry-unpack");
    assert!(program.exists(), "first: cargo build -p skerry-linux-ctr");
    // However full the disk of the tests is.
    Unpacking { limits, kept_free: |_| 0, ..Unpacking::new(program) }
}

/// The real program that holds terminals, as built beside the tests.
pub(crate) fn terminal() -> std::path::PathBuf {
    unpacking(Limits::default()).program.with_file_name("skerry-terminal")
}

/// A pod's id.
pub(crate) fn pod() -> Id<Pod> {
    "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap()
}

/// A container that takes everything from its image.
pub(crate) fn desired(name: &str) -> ContainerDesired {
    let spec = serde_json::from_value(json!({"name": name, "image": "tiny"})).unwrap();
    let image = ImageArchive {
        name: "tiny".parse().unwrap(),
        path: "/usr/share/skerry/images/tiny-oci.tar".to_owned(),
        sha256: "a".repeat(64),
    };
    let network = PodNetwork {
        namespace: "skerry-pod-0b6d1a52".to_owned(),
        hostname: "web".to_owned(),
        address: Ipv4Addr::new(10, 0, 0, 5),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
    };
    ContainerDesired::new(&spec, image, network, 30, Vec::new())
}

/// An image that says little.
pub(crate) fn record() -> ImageRecord {
    ImageRecord {
        schema: 2,
        manifest: "b".repeat(64),
        layers: vec!["c".repeat(64)],
        entrypoint: vec!["/bin/httpd".to_owned()],
        cmd: vec!["-f".to_owned()],
        env: vec!["A=image".to_owned()],
        working_dir: String::new(),
        user: String::new(),
        stop_signal: String::new(),
    }
}

//! Images for tests, as OCI layouts in folders.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Bytes that do not compress and are the same each time.
pub fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut block = Sha256::digest([seed]);
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes.truncate(length);
    bytes
}

/// A blob's descriptor.
pub fn descriptor(media: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()})
}

/// The parts of an image with these layers, which are compressed so that pushing does not change them.
pub struct Parts {
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn parts(architecture: &str, plain: Vec<Vec<u8>>) -> Parts {
    let ids: Vec<String> = plain.iter().map(|l| format!("sha256:{}", sha256(l))).collect();
    let layers: Vec<Vec<u8>> = plain.iter().map(|layer| gzip(layer)).collect();
    let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/a"]},
        "rootfs": {"type": "layers", "diff_ids": ids}});
    let config = config.to_string().into_bytes();
    let layer = |bytes: &Vec<u8>| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", bytes);
    let manifest = json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>()});
    Parts { config, layers, manifest: manifest.to_string().into_bytes() }
}

/// Writes an OCI layout with an image for arm64 and one for amd64; gives the digest of the latter's manifest.
pub fn layout(folder: &Path, layers: Vec<Vec<u8>>) -> String {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| fs::write(blobs.join(sha256(bytes)), bytes).unwrap();
    let mut list = Vec::new();
    let mut ours = String::new();
    for (architecture, layers) in [("arm64", vec![noise(1000, 99)]), ("amd64", layers)] {
        let parts = parts(architecture, layers);
        parts.layers.iter().for_each(|layer| put(layer));
        put(&parts.config);
        put(&parts.manifest);
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &parts.manifest);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        list.push(entry);
        ours = sha256(&parts.manifest);
    }
    let media = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media, "manifests": list}).to_string();
    put(index.as_bytes());
    let top = json!({"schemaVersion": 2, "manifests": [descriptor(media, index.as_bytes())]});
    fs::write(folder.join("index.json"), top.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    ours
}

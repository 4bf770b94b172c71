//! Layers and image archives made byte by byte, for the tests of this crate.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skerry_containers::{ContainerDesired, ImageArchive, PodNetwork};
use skerry_model::{Id, Pod};

use crate::images::ImageRecord;
use crate::unpack::Limits;
use crate::unpacker::Unpacking;

/// The real program that reads layers, as built beside the tests.
pub(crate) fn unpacking(limits: Limits) -> Unpacking {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("skerry-unpack");
    assert!(program.exists(), "first: cargo build -p skerry-linux-ctr");
    Unpacking { program, limits }
}

/// The real program that holds terminals, as built beside the tests.
pub(crate) fn terminal() -> std::path::PathBuf {
    unpacking(Limits::default()).program.with_file_name("skerry-terminal")
}

/// SHA-256 as hex digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Writes tar streams byte by byte, so that they can be as wrong as wanted.
#[derive(Default)]
pub(crate) struct Layer(Vec<u8>);

impl Layer {
    pub(crate) fn header(kind: u8, path: &[u8], link: &[u8], size: u64, mode: u32) -> [u8; 512] {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &path[..path.len().min(100)]);
        put(100, format!("{mode:07o}\0").as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, b"00000000017\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, &link[..link.len().min(100)]);
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    pub(crate) fn raw(
        mut self,
        kind: u8,
        path: &[u8],
        link: &[u8],
        data: &[u8],
        mode: u32,
    ) -> Self {
        self.0.extend(Self::header(kind, path, link, data.len() as u64, mode));
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        self.raw(b'0', path.as_bytes(), b"", data.as_bytes(), 0o644)
    }

    pub(crate) fn program(self, path: &str, data: &[u8]) -> Self {
        self.raw(b'0', path.as_bytes(), b"", data, 0o755)
    }

    /// A file whose field for the owner holds these seven bytes at most.
    pub(crate) fn file_with_owner(mut self, owner: &str) -> Self {
        let mut header = Self::header(b'0', b"owned", b"", 0, 0o644);
        header[108..115].fill(0);
        header[108..108 + owner.len()].copy_from_slice(owner.as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
        self
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.raw(b'5', path.as_bytes(), b"", b"", 0o755)
    }

    pub(crate) fn link(self, kind: u8, path: &str, target: &str) -> Self {
        self.raw(kind, path.as_bytes(), target.as_bytes(), b"", 0o777)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(b'2', path, target)
    }

    pub(crate) fn extended(self, records: &[(&str, &str)]) -> Self {
        let mut data = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while length != rest.len() + length.to_string().len() {
                length += 1;
            }
            data.push_str(&format!("{length}{rest}"));
        }
        self.raw(b'x', b"pax", b"", data.as_bytes(), 0o644)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// An OCI image layout in one archive.
pub(crate) struct OciArchive {
    blobs: Vec<(String, Vec<u8>)>,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
    config: Value,
    edit: Option<fn(&mut Value)>,
    damaged: bool,
}

impl OciArchive {
    pub(crate) fn new() -> Self {
        Self {
            blobs: Vec::new(),
            layers: Vec::new(),
            diff_ids: Vec::new(),
            config: json!({}),
            edit: None,
            damaged: false,
        }
    }

    pub(crate) fn layer(self, layer: &[u8]) -> Self {
        let identity = sha256(layer);
        self.blob_layer(layer, "application/vnd.oci.image.layer.v1.tar", &identity)
    }

    pub(crate) fn blob_layer(mut self, blob: &[u8], media: &str, diff_id: &str) -> Self {
        let digest = sha256(blob);
        self.layers.push(json!({
            "mediaType": media, "digest": format!("sha256:{digest}"), "size": blob.len(),
        }));
        self.diff_ids.push(format!("sha256:{diff_id}"));
        self.put(digest, blob.to_vec());
        self
    }

    pub(crate) fn cmd(mut self, words: &[&str]) -> Self {
        self.config["Cmd"] = json!(words);
        self
    }

    pub(crate) fn config(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub(crate) fn edit_index(&mut self, edit: fn(&mut Value)) {
        self.edit = Some(edit);
    }

    pub(crate) fn with_damaged_blobs(mut self) -> Self {
        self.damaged = true;
        self
    }

    fn put(&mut self, digest: String, bytes: Vec<u8>) {
        if !self.blobs.iter().any(|(other, _)| *other == digest) {
            self.blobs.push((digest, bytes));
        }
    }

    fn put_json(&mut self, value: &Value) -> (String, usize) {
        let bytes = serde_json::to_vec(value).unwrap();
        let (digest, size) = (sha256(&bytes), bytes.len());
        self.put(digest.clone(), bytes);
        (format!("sha256:{digest}"), size)
    }

    /// Adds configuration and manifest; gives the manifest's digest and size.
    fn finish(&mut self) -> (String, usize) {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        });
        let (digest, size) = self.put_json(&config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest, "size": size},
            "layers": self.layers,
        });
        self.put_json(&manifest)
    }

    /// The manifest's digest and all blobs.
    pub(crate) fn blobs(mut self) -> (String, Vec<Vec<u8>>) {
        let (digest, _) = self.finish();
        let digest = digest.strip_prefix("sha256:").unwrap().to_owned();
        (digest, self.blobs.into_iter().map(|(_, bytes)| bytes).collect())
    }

    pub(crate) fn tar(mut self) -> Vec<u8> {
        if self.damaged {
            for (_, blob) in &mut self.blobs {
                // The last bytes of a tar stream are padding: the layer still unpacks.
                *blob.last_mut().unwrap() ^= 1;
            }
        }
        let (digest, size) = self.finish();
        let mut index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": size,
        }]});
        if let Some(edit) = self.edit {
            edit(&mut index);
        }
        let mut tar = Layer::default().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        for (digest, blob) in &self.blobs {
            tar = tar.program(&format!("blobs/sha256/{digest}"), blob);
        }
        // The index comes last here, to show that order does not matter.
        tar.file("index.json", &index.to_string()).end()
    }
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

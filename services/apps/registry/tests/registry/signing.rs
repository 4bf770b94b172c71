//! Signatures in cosign's form: made by openssl, pushed by skopeo as the image that they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::image::{descriptor, sha256};
use crate::registry::Registry;

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("/usr/bin/openssl").args(arguments).output();
    let output = output.expect("openssl is installed (cargo xtask setup)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A key pair that openssl makes and uses.
pub struct Signer(TempDir);

#[allow(dead_code, reason = "not every test that includes this file uses all of it")]
impl Signer {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Self(folder);
        let curve = ["-pkeyopt", "ec_paramgen_curve:P-256"];
        let (key, public) = (signer.path("key.pem"), signer.path("public.pem"));
        openssl(&[&["genpkey", "-algorithm", "EC"], &curve[..], &["-out", &key]].concat());
        openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
        signer
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// The file with the public key.
    pub fn public_file(&self) -> String {
        self.path("public.pem")
    }

    /// The public key, PEM.
    pub fn public(&self) -> String {
        fs::read_to_string(self.public_file()).unwrap()
    }

    /// What the node calls the key.
    pub fn id(&self) -> String {
        sha256(&openssl(&["pkey", "-pubin", "-in", &self.public_file(), "-outform", "DER"]))
    }

    /// A document and its signature.
    pub fn sign(&self, repository: &str, digest: &str) -> (Vec<u8>, String) {
        let payload = json!({"critical": {"identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": format!("sha256:{digest}")},
            "type": "cosign container image signature"}, "optional": null});
        fs::write(self.path("payload"), payload.to_string()).unwrap();
        let (key, signed) = (self.path("key.pem"), self.path("signed"));
        openssl(&["dgst", "-sha256", "-sign", &key, "-out", &signed, &self.path("payload")]);
        let base64 = openssl(&["base64", "-A", "-in", &signed]);
        (payload.to_string().into_bytes(), String::from_utf8(base64).unwrap())
    }
}

/// Pushes signatures of the image with this digest beside it.
pub fn push_signatures(registry: &Registry, path: &str, digest: &str, found: &[(Vec<u8>, String)]) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| fs::write(blobs.join(sha256(bytes)), bytes).unwrap();
    let layer = |(payload, signature): &(Vec<u8>, String)| {
        put(payload);
        let media = "application/vnd.dev.cosign.simplesigning.v1+json";
        let mut layer = descriptor(media, payload);
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": signature });
        layer
    };
    let layers: Vec<Value> = found.iter().map(layer).collect();
    let ids: Vec<Value> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let config = json!({"architecture": "", "os": "", "config": {},
        "rootfs": {"type": "layers", "diff_ids": ids}})
    .to_string();
    put(config.as_bytes());
    let media = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media, "layers": layers,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes())})
    .to_string();
    put(manifest.as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [descriptor(media, manifest.as_bytes())]});
    fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
    fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    registry.push(folder.path(), &format!("{path}:sha256-{digest}.sig"), "all");
}

/// The digest of what a tag of this layout names.
pub fn named(layout: &Path) -> String {
    let index = fs::read(layout.join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    digest.strip_prefix("sha256:").unwrap().to_owned()
}

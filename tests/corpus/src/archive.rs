//! Image archives, part by part.

use serde_json::{Value, json};

use crate::{Layer, sha256};

/// An OCI image layout in one archive.
#[derive(Debug, Clone)]
pub struct OciArchive {
    blobs: Vec<(String, Vec<u8>)>,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
    config: Value,
    edit: Option<fn(&mut Value)>,
    damaged: bool,
}

impl Default for OciArchive {
    fn default() -> Self {
        Self::new()
    }
}

impl OciArchive {
    /// Without layers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            blobs: Vec::new(),
            layers: Vec::new(),
            diff_ids: Vec::new(),
            config: json!({}),
            edit: None,
            damaged: false,
        }
    }

    /// Adds a layer that is not compressed.
    #[must_use]
    pub fn layer(self, layer: &[u8]) -> Self {
        let identity = sha256(layer);
        self.blob_layer(layer, "application/vnd.oci.image.layer.v1.tar", &identity)
    }

    /// Adds a layer's blob of this media type, with what the configuration says that it is unpacked.
    #[must_use]
    pub fn blob_layer(mut self, blob: &[u8], media: &str, diff_id: &str) -> Self {
        let digest = sha256(blob);
        self.layers.push(json!({
            "mediaType": media, "digest": format!("sha256:{digest}"), "size": blob.len(),
        }));
        self.diff_ids.push(format!("sha256:{diff_id}"));
        self.put(digest, blob.to_vec());
        self
    }

    /// Says of the last layer that it has another size than it has.
    #[must_use]
    pub fn with_size(mut self, size: u64) -> Self {
        if let Some(layer) = self.layers.last_mut() {
            layer["size"] = json!(size);
        }
        self
    }

    /// Sets the program and its arguments.
    #[must_use]
    pub fn cmd(mut self, words: &[&str]) -> Self {
        self.config["Cmd"] = json!(words);
        self
    }

    /// Sets something else of how it is run.
    #[must_use]
    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Changes the index before it is written.
    pub fn edit_index(&mut self, edit: fn(&mut Value)) {
        self.edit = Some(edit);
    }

    /// Changes a bit of each layer after its digest was taken.
    #[must_use]
    pub fn with_damaged_blobs(mut self) -> Self {
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
    #[must_use]
    pub fn blobs(mut self) -> (String, Vec<Vec<u8>>) {
        let (digest, _) = self.finish();
        let digest = digest.strip_prefix("sha256:").unwrap().to_owned();
        (digest, self.blobs.into_iter().map(|(_, bytes)| bytes).collect())
    }

    /// The files of the layout.
    #[must_use]
    pub fn files(mut self) -> Vec<(String, Vec<u8>)> {
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
        let mut files =
            vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let blob = |(digest, blob)| (format!("blobs/sha256/{digest}"), blob);
        files.extend(self.blobs.into_iter().map(blob));
        // The index comes last here, to show that order does not matter.
        files.push(("index.json".to_owned(), index.to_string().into_bytes()));
        files
    }

    /// The archive.
    #[must_use]
    pub fn tar(self) -> Vec<u8> {
        let add = |tar: Layer, (path, bytes): (String, Vec<u8>)| tar.program(&path, &bytes);
        self.files().into_iter().fold(Layer::default(), add).end()
    }
}

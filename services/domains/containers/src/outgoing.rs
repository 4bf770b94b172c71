//! What an archive of a container image holds, file by file.
//!
//! | form | files |
//! |---|---|
//! | OCI | `blobs/sha256/<digest>` of manifest, configuration and layers, `index.json`, `oci-layout` |
//! | docker | `<digest>.json` (the configuration), `<digest>.tar` (each layer), `manifest.json` |
//!
//! Files are sorted by name, each is there once, and nothing tells when the archive was made: the same image gives the
//! same archive each time. Only the image for this machine is in it, so of an index there is its manifest alone. Layers
//! go out as they came, compressed or not, which docker, podman and skopeo all take. It opens and writes nothing.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skerry_model::{ImageArchiveForm, ImageReference};

use crate::oci::{self, Blob, Compression, Manifest, OciError};

/// How an archive's index tells the name of an image (OCI image specification 1.1, annotations).
const NAMED: &str = "org.opencontainers.image.ref.name";

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveContent {
    /// These.
    Bytes(Vec<u8>),
    /// Those of a blob, which must have its digest.
    Blob(Blob),
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its path.
    pub name: String,
    /// Its bytes.
    pub content: ArchiveContent,
}

impl ArchiveFile {
    fn bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), content: ArchiveContent::Bytes(bytes) }
    }

    fn blob(name: String, blob: &Blob) -> Self {
        Self { name, content: ArchiveContent::Blob(blob.clone()) }
    }

    fn json(name: &str, value: &Value) -> Self {
        Self::bytes(name, value.to_string().into_bytes())
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match &self.content {
            ArchiveContent::Bytes(bytes) => bytes.len() as u64,
            ArchiveContent::Blob(blob) => blob.size,
        }
    }
}

/// The files of an archive of the image with this manifest, under this name.
pub fn archive_files(
    form: ImageArchiveForm,
    manifest: &[u8],
    name: &ImageReference,
) -> Result<Vec<ArchiveFile>, OciError> {
    let parts = oci::manifest(manifest)?;
    let mut files = match form {
        ImageArchiveForm::Oci => oci_files(manifest, &parts, name),
        ImageArchiveForm::Docker => docker_files(&parts, name),
    };
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files.dedup_by(|one, other| one.name == other.name);
    Ok(files)
}

fn oci_files(manifest: &[u8], parts: &Manifest, name: &ImageReference) -> Vec<ArchiveFile> {
    let digest = hex::encode(Sha256::digest(manifest));
    let path = |digest: &str| format!("blobs/sha256/{digest}");
    let index = json!({
        "schemaVersion": 2,
        "mediaType": oci::OCI_INDEX,
        "manifests": [{
            "mediaType": oci::media_type(manifest),
            "digest": format!("sha256:{digest}"),
            "size": manifest.len(),
            "annotations": { NAMED: shown(name) },
            "platform": { "architecture": "amd64", "os": "linux" },
        }],
    });
    let mut files: Vec<ArchiveFile> =
        parts.blobs().iter().map(|blob| ArchiveFile::blob(path(&blob.digest), blob)).collect();
    files.push(ArchiveFile::bytes(path(&digest), manifest.to_vec()));
    files.push(ArchiveFile::json("index.json", &index));
    files.push(ArchiveFile::json("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" })));
    files
}

fn docker_files(parts: &Manifest, name: &ImageReference) -> Vec<ArchiveFile> {
    let config = format!("{}.json", parts.config.digest);
    let layer = |blob: &Blob| format!("{}.tar", blob.digest);
    // A name without a tag is none that docker could give it.
    let tags: Vec<String> = name.tag().map(|_| shown(name)).into_iter().collect();
    let layers: Vec<String> = parts.layers.iter().map(|(blob, _)| layer(blob)).collect();
    let list = json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
    let mut files: Vec<ArchiveFile> =
        parts.layers.iter().map(|(blob, _)| ArchiveFile::blob(layer(blob), blob)).collect();
    files.push(ArchiveFile::blob(config, &parts.config));
    files.push(ArchiveFile::json("manifest.json", &list));
    files
}

/// The name with its tag, or else with its digest.
fn shown(name: &ImageReference) -> String {
    let (host, path) = (name.host(), name.path());
    match (name.tag(), name.digest()) {
        (Some(tag), _) => format!("{host}/{path}:{tag}"),
        (None, Some(digest)) => format!("{host}/{path}@sha256:{digest}"),
        (None, None) => format!("{host}/{path}"),
    }
}

/// A manifest for an image that came without one. The same parts give the same bytes.
pub fn composed_manifest(config: &Blob, layers: &[(Blob, Compression)]) -> Vec<u8> {
    let descriptor = |media: &str, blob: &Blob| {
        json!({
            "mediaType": media, "digest": format!("sha256:{}", blob.digest), "size": blob.size,
        })
    };
    let layer = |(blob, compression): &(Blob, Compression)| {
        let media = match compression {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        descriptor(media, blob)
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": oci::OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    manifest.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(digit: &str, size: u64) -> Blob {
        Blob { digest: digit.repeat(64), size }
    }

    fn manifest() -> Vec<u8> {
        let layers = [
            (blob("b", 7), Compression::Gzip),
            (blob("a", 5), Compression::None),
            (blob("b", 7), Compression::Gzip),
        ];
        composed_manifest(&blob("c", 100), &layers)
    }

    fn files(form: ImageArchiveForm, name: &str) -> Vec<ArchiveFile> {
        archive_files(form, &manifest(), &name.parse().unwrap()).unwrap()
    }

    fn document(files: &[ArchiveFile], name: &str) -> Value {
        let file = files.iter().find(|file| file.name == name).unwrap();
        let ArchiveContent::Bytes(bytes) = &file.content else { panic!("{name} is a blob") };
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn an_oci_layout_names_its_image_and_holds_each_part_once() {
        let files = files(ImageArchiveForm::Oci, "x.y/lab/app:1");
        let digest = hex::encode(Sha256::digest(manifest()));
        let mut names: Vec<String> = ["a", "b", "c"].iter().map(|digit| digit.repeat(64)).collect();
        names.push(digest.clone());
        let mut names: Vec<String> =
            names.iter().map(|digest| format!("blobs/sha256/{digest}")).collect();
        names.extend(["index.json", "oci-layout"].map(str::to_owned));
        names.sort();
        assert_eq!(files.iter().map(|file| file.name.clone()).collect::<Vec<_>>(), names);
        let index = document(&files, "index.json");
        assert_eq!(index["manifests"][0]["digest"], format!("sha256:{digest}"));
        assert_eq!(index["manifests"][0]["size"], manifest().len());
        assert_eq!(index["manifests"][0]["mediaType"], oci::OCI_MANIFEST);
        assert_eq!(index["manifests"][0]["annotations"][NAMED], "x.y/lab/app:1");
        assert_eq!(document(&files, "oci-layout")["imageLayoutVersion"], "1.0.0");
        let described = oci::describe(index.to_string().as_bytes(), None).unwrap();
        let size = manifest().len() as u64;
        assert_eq!(described, oci::Described::Index(Blob { digest, size }));
    }

    #[test]
    fn a_docker_archive_lists_layers_in_their_order() {
        let files = files(ImageArchiveForm::Docker, "x.y/lab/app:1");
        let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        assert_eq!(
            document(&files, "manifest.json"),
            json!([{ "Config": format!("{c}.json"), "RepoTags": ["x.y/lab/app:1"],
                "Layers": [format!("{b}.tar"), format!("{a}.tar"), format!("{b}.tar")] }])
        );
        assert_eq!(files.len(), 4);
        assert_eq!(files.iter().map(ArchiveFile::size).take(3).sum::<u64>(), 112);
    }

    #[test]
    fn a_name_has_its_tag_or_its_digest() {
        let digest = "d".repeat(64);
        let named = |text: &str| {
            let oci = files(ImageArchiveForm::Oci, text);
            let docker = files(ImageArchiveForm::Docker, text);
            let name = document(&oci, "index.json")["manifests"][0]["annotations"][NAMED].clone();
            (name, document(&docker, "manifest.json")[0]["RepoTags"].clone())
        };
        let full = "docker.io/library/a:latest";
        assert_eq!(named("a"), (json!(full), json!([full])));
        assert_eq!(named(&format!("a:latest@sha256:{digest}")), (json!(full), json!([full])));
        let plain = format!("docker.io/library/a@sha256:{digest}");
        assert_eq!(named(&plain), (json!(plain), json!([])));
    }

    #[test]
    fn what_is_no_manifest_gives_no_archive() {
        let name = "a".parse().unwrap();
        assert!(archive_files(ImageArchiveForm::Oci, b"{}", &name).is_err());
        assert!(archive_files(ImageArchiveForm::Docker, b"x", &name).is_err());
    }
}

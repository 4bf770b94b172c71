//! Reads what describes an image: indexes, manifests and configurations, in their OCI and docker forms.
//!
//! Both ways in use it, registries and archives, so both take and refuse the same images. It looks at bytes
//! that the caller has checked against a digest, and at their meaning only: it opens nothing.

use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Most bytes of an index, a manifest or a configuration.
pub const MAX_JSON: u64 = 4 << 20;
/// Most layers of an image, as many as Docker makes. Told when an image is pulled or imported.
pub const MAX_LAYERS: usize = 127;
/// Most bytes of one layer as it is stored, which is also what a registry may send for one.
pub const MAX_LAYER: u64 = 8 << 30;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a registry is asked for, the forms that are understood.
pub const MANIFEST_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// An image that cannot be used, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the image is not usable: {why}")]
pub struct OciError {
    why: String,
}

fn invalid(why: impl Into<String>) -> OciError {
    OciError { why: why.into() }
}

/// A blob as another one names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blob {
    /// SHA-256, 64 lower-case hex digits.
    pub digest: String,
    /// Size in bytes.
    pub size: u64,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// What a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// How to run it.
    pub config: Blob,
    /// Its layers, lowest first.
    pub layers: Vec<(Blob, Compression)>,
}

impl Manifest {
    /// Every blob, each once.
    pub fn blobs(&self) -> Vec<Blob> {
        let mut blobs: Vec<Blob> = self.layers.iter().map(|(blob, _)| blob.clone()).collect();
        blobs.push(self.config.clone());
        blobs.sort();
        blobs.dedup_by(|one, other| one.digest == other.digest);
        blobs
    }

    /// Bytes of all blobs.
    pub fn size(&self) -> u64 {
        self.blobs().iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
}

/// What the name of an image may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// The image.
    Manifest(Manifest),
    /// A choice, and the manifest in it that is for this machine, or the one index in it.
    Index(Blob),
}

/// Whether a text is 64 lower-case hex digits. Digests become file names, so nothing else may pass.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Reads an index or a manifest. `media_type` is what its source calls it; the document's own word comes first.
pub fn describe(bytes: &[u8], media_type: Option<&str>) -> Result<Described, OciError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        schema_version: u32,
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let head: Head = json(bytes, "the manifest")?;
    if head.schema_version != 2 {
        return Err(invalid(format!(
            "its manifest has version {}; only version 2 can be used, so push it again with a newer tool",
            head.schema_version
        )));
    }
    let named = head.media_type.as_deref().or(media_type.filter(|t| MANIFEST_TYPES.contains(t)));
    match named {
        Some(OCI_INDEX | DOCKER_INDEX) => index(bytes),
        Some(OCI_MANIFEST | DOCKER_MANIFEST) => manifest(bytes).map(Described::Manifest),
        Some(other) => Err(invalid(format!("its manifest is a {}", printable(other)))),
        None if head.manifests.is_some() => index(bytes),
        None => manifest(bytes).map(Described::Manifest),
    }
}

/// What a manifest that has been read calls itself; without a word of its own it is OCI's.
pub(crate) fn media_type(manifest: &[u8]) -> &'static str {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        media_type: Option<String>,
    }
    let named: Option<Named> = serde_json::from_slice(manifest).ok();
    match named.and_then(|named| named.media_type).as_deref() {
        Some(DOCKER_MANIFEST) => DOCKER_MANIFEST,
        _ => OCI_MANIFEST,
    }
}

/// Reads a manifest.
pub fn manifest(bytes: &[u8]) -> Result<Manifest, OciError> {
    let manifest: ImageManifest = json(bytes, "the manifest")?;
    let config = blob(manifest.config(), MAX_JSON)?;
    let count = manifest.layers().len();
    if count == 0 || count > MAX_LAYERS {
        return Err(invalid(format!("it has {count} layers; 1 to {MAX_LAYERS} can be used")));
    }
    let layers = manifest.layers().iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Manifest { config, layers })
}

/// Reads a configuration and checks that it is for this machine and has the identities of `layers` layers.
pub fn configuration(
    bytes: &[u8],
    layers: usize,
) -> Result<(ImageConfiguration, Vec<String>), OciError> {
    let found: ImageConfiguration = json(bytes, "the configuration")?;
    if *found.os() != Os::Linux || *found.architecture() != Arch::Amd64 {
        return Err(invalid("it is not for Linux on x86-64"));
    }
    let identities = found.rootfs().diff_ids();
    if identities.len() != layers {
        return Err(invalid("manifest and configuration name different numbers of layers"));
    }
    let identity = |text: &String| {
        let hex = text.strip_prefix("sha256:").filter(|digest| is_sha256(digest));
        hex.map(str::to_owned).ok_or_else(|| invalid("a layer's identity is not a SHA-256 digest"))
    };
    let identities = identities.iter().map(identity).collect::<Result<_, _>>()?;
    Ok((found, identities))
}

/// The manifest for this machine: the first that says so, as others choose too, or the only one that says nothing.
fn index(bytes: &[u8]) -> Result<Described, OciError> {
    let index: ImageIndex = json(bytes, "the index")?;
    let usable =
        |descriptor: &&Descriptor| MANIFEST_TYPES.contains(&descriptor.media_type().as_ref());
    let fits = |descriptor: &&Descriptor| {
        descriptor.platform().as_ref().is_some_and(|platform| {
            *platform.os() == Os::Linux && *platform.architecture() == Arch::Amd64
        })
    };
    let images: Vec<&Descriptor> = index.manifests().iter().filter(usable).collect();
    let chosen = match images.as_slice() {
        [only] if only.platform().is_none() => Some(*only),
        list => list.iter().copied().find(fits),
    };
    let chosen = chosen.ok_or_else(|| invalid("it holds no image for Linux on x86-64"))?;
    blob(chosen, MAX_JSON).map(Described::Index)
}

fn layer(descriptor: &Descriptor) -> Result<(Blob, Compression), OciError> {
    let compression = match descriptor.media_type().as_ref() {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Compression::None,
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Compression::Gzip,
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Compression::Zstd,
        other => {
            let other = printable(other);
            return Err(invalid(format!("a layer is a {other}, which is not supported")));
        }
    };
    Ok((blob(descriptor, MAX_LAYER)?, compression))
}

fn blob(descriptor: &Descriptor, limit: u64) -> Result<Blob, OciError> {
    let digest = descriptor.as_digest_sha256().filter(|digest| is_sha256(digest));
    let digest = digest.ok_or_else(|| {
        invalid(format!("`{}` is not a SHA-256 digest", printable(descriptor.digest().as_ref())))
    })?;
    let size = descriptor.size();
    if size > limit {
        return Err(invalid(format!("a part of it has {size} bytes; {limit} are allowed")));
    }
    Ok(Blob { digest: digest.to_owned(), size })
}

fn json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, OciError> {
    if bytes.len() as u64 > MAX_JSON {
        return Err(invalid(format!("{what} is larger than 4 MiB")));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("{what}: {}", printable(&error.to_string()))))
}

/// Words of a stranger as text for a log: escaped and cut.
fn printable(text: &str) -> String {
    text.chars().flat_map(char::escape_default).take(200).collect()
}

#[cfg(test)]
#[path = "oci_tests.rs"]
mod tests;

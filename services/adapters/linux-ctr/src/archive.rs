//! An OCI image layout in one tar archive (OCI image specification 1.1, image-layout).
//!
//! The archive is read twice: once for where its blobs lie, then each blob by its place, hashed while it is
//! read. A blob is taken for what its digest says, or refused. Only SHA-256 is accepted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use oci_spec::image::{
    Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os,
};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

/// Most bytes of an index, a manifest or a configuration.
const MAX_JSON: u64 = 4 << 20;
/// Most files in an archive.
const MAX_FILES: usize = 10_000;
/// Most layers of an image: more would not fit into the options of one mount.
pub const MAX_LAYERS: usize = 60;

/// Why an archive is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("the image archive {path} cannot be read")]
    Read {
        /// The archive.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The archive is not what an image archive should be.
    #[error("the image archive is not usable: {why}")]
    Invalid {
        /// What is wrong.
        why: String,
    },
    /// Bytes are not those that a digest names.
    #[error("{what} does not have the bytes that its digest {digest} names")]
    Digest {
        /// Which part.
        what: String,
        /// The digest, as hex digits.
        digest: String,
    },
}

fn invalid(why: impl Into<String>) -> ArchiveError {
    ArchiveError::Invalid { why: why.into() }
}

/// Where a file of the archive lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    size: u64,
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

/// One layer of the chosen image.
#[derive(Debug, Clone)]
pub struct LayerBlob {
    /// SHA-256 of the blob.
    pub digest: String,
    /// SHA-256 of the unpacked stream: the layer's identity.
    pub diff_id: String,
    /// How it is compressed.
    pub compression: Compression,
}

/// What an archive holds for this machine.
pub struct OpenImage {
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// How to run it.
    pub configuration: ImageConfiguration,
    /// Its layers, lowest first.
    pub layers: Vec<LayerBlob>,
}

/// An archive whose bytes are those that its record names.
pub struct ImageArchiveFile {
    path: String,
    file: File,
    places: HashMap<String, Place>,
}

impl ImageArchiveFile {
    /// Opens an archive and checks that it has the bytes that `sha256` names.
    pub fn open(path: &Path, sha256: &str) -> Result<Self, ArchiveError> {
        let shown = path.display().to_string();
        let read = |source| ArchiveError::Read { path: shown.clone(), source };
        let mut file = File::open(path).map_err(read)?;
        let found = hash(&mut file).map_err(read)?;
        if found != sha256 {
            return Err(ArchiveError::Digest { what: shown, digest: sha256.to_owned() });
        }
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        let places = places(&file)?;
        Ok(Self { path: shown, file, places })
    }

    /// Finds the image for this machine.
    pub fn image(&self) -> Result<OpenImage, ArchiveError> {
        let layout: serde_json::Value = self.json(self.place("oci-layout")?, "oci-layout")?;
        if layout.get("imageLayoutVersion").and_then(|v| v.as_str()) != Some("1.0.0") {
            return Err(invalid("its oci-layout is not version 1.0.0"));
        }
        let index: ImageIndex = self.json(self.place("index.json")?, "index.json")?;
        let descriptor = self.choose(&index, 0)?;
        let digest = sha256_of(&descriptor)?;
        let manifest: ImageManifest = self.blob_json(&digest, "the manifest")?;
        let configuration: ImageConfiguration =
            self.blob_json(&sha256_of(manifest.config())?, "the configuration")?;
        if *configuration.os() != Os::Linux || *configuration.architecture() != Arch::Amd64 {
            return Err(invalid("it is not for Linux on x86-64"));
        }
        let layers = layers(&manifest, &configuration)?;
        Ok(OpenImage { manifest: digest, configuration, layers })
    }

    /// The manifest for this machine: the one that says so, or the only one.
    fn choose(&self, index: &ImageIndex, depth: usize) -> Result<Descriptor, ArchiveError> {
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform().as_ref().is_none_or(|platform| {
                *platform.os() == Os::Linux && *platform.architecture() == Arch::Amd64
            })
        };
        let candidates: Vec<&Descriptor> = index.manifests().iter().filter(fits).collect();
        let descriptor = match candidates.as_slice() {
            [] => return Err(invalid("it holds no image for Linux on x86-64")),
            [only] => *only,
            _ => return Err(invalid("it holds several images; export one")),
        };
        match descriptor.media_type() {
            MediaType::ImageManifest => Ok(descriptor.clone()),
            MediaType::ImageIndex if depth == 0 => {
                let inner = self.blob_json(&sha256_of(descriptor)?, "the index")?;
                self.choose(&inner, depth + 1)
            }
            other => Err(invalid(format!("its index names a {other}, not an image"))),
        }
    }

    fn place(&self, name: &str) -> Result<Place, ArchiveError> {
        self.places.get(name).copied().ok_or_else(|| invalid(format!("it has no {name}")))
    }

    fn reader(&self, place: Place) -> Result<impl Read, ArchiveError> {
        let failed = |source| ArchiveError::Read { path: self.path.clone(), source };
        let mut file = self.file.try_clone().map_err(failed)?;
        file.seek(SeekFrom::Start(place.at)).map_err(failed)?;
        Ok(BufReader::new(file.take(place.size)))
    }

    fn bytes(&self, place: Place, what: &str) -> Result<Vec<u8>, ArchiveError> {
        if place.size > MAX_JSON {
            return Err(invalid(format!("{what} is larger than 4 MiB")));
        }
        let mut bytes = Vec::new();
        self.reader(place)?
            .read_to_end(&mut bytes)
            .map_err(|source| ArchiveError::Read { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    fn json<T: DeserializeOwned>(&self, place: Place, what: &str) -> Result<T, ArchiveError> {
        let bytes = self.bytes(place, what)?;
        serde_json::from_slice(&bytes).map_err(|error| invalid(format!("{what}: {error}")))
    }

    fn blob_json<T: DeserializeOwned>(&self, digest: &str, what: &str) -> Result<T, ArchiveError> {
        let bytes = self.bytes(self.place(&blob_name(digest))?, what)?;
        if hex::encode(Sha256::digest(&bytes)) != digest {
            let (what, digest) = (what.to_owned(), digest.to_owned());
            return Err(ArchiveError::Digest { what, digest });
        }
        serde_json::from_slice(&bytes).map_err(|error| invalid(format!("{what}: {error}")))
    }

    /// A layer's blob as it lies in the archive; whoever reads it must check its digest.
    pub fn blob(&self, digest: &str) -> Result<impl Read, ArchiveError> {
        self.reader(self.place(&blob_name(digest))?)
    }
}

fn blob_name(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn hash(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut BufReader::with_capacity(1 << 16, file), &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

/// The places of the files that an image layout has. Others are passed over; two of one name are refused.
fn places(file: &File) -> Result<HashMap<String, Place>, ArchiveError> {
    let damaged = |error: io::Error| invalid(format!("damaged tar archive: {error}"));
    let mut places = HashMap::new();
    let mut archive = Archive::new(file);
    let entries = archive.entries_with_seek().map_err(damaged)?;
    for (count, entry) in entries.raw(true).enumerate() {
        if count > MAX_FILES {
            return Err(invalid("it holds more than 10000 files"));
        }
        let entry = entry.map_err(damaged)?;
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let path = entry.header().path_bytes();
        let name = String::from_utf8_lossy(&path);
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if name != "oci-layout" && name != "index.json" && !name.starts_with("blobs/sha256/") {
            continue;
        }
        let place = Place { at: entry.raw_file_position(), size: entry.size() };
        if places.insert(name, place).is_some() {
            return Err(invalid("it holds a file twice"));
        }
    }
    Ok(places)
}

fn sha256_of(descriptor: &Descriptor) -> Result<String, ArchiveError> {
    descriptor
        .as_digest_sha256()
        .filter(|digest| is_sha256(digest))
        .map(str::to_owned)
        .ok_or_else(|| invalid(format!("`{}` is not a SHA-256 digest", descriptor.digest())))
}

/// Whether a text is 64 lower-case hex digits. Digests become file names, so nothing else may pass.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn layers(
    manifest: &ImageManifest,
    configuration: &ImageConfiguration,
) -> Result<Vec<LayerBlob>, ArchiveError> {
    let blobs = manifest.layers();
    let diff_ids = configuration.rootfs().diff_ids();
    if blobs.len() != diff_ids.len() {
        return Err(invalid("manifest and configuration name different numbers of layers"));
    }
    if blobs.is_empty() || blobs.len() > MAX_LAYERS {
        return Err(invalid(format!(
            "it has {} layers; 1 to {MAX_LAYERS} can be used",
            blobs.len()
        )));
    }
    blobs.iter().zip(diff_ids).map(|(blob, diff_id)| layer(blob, diff_id)).collect()
}

fn layer(blob: &Descriptor, diff_id: &str) -> Result<LayerBlob, ArchiveError> {
    let compression = match blob.media_type() {
        MediaType::ImageLayer => Compression::None,
        MediaType::ImageLayerGzip => Compression::Gzip,
        MediaType::ImageLayerZstd => Compression::Zstd,
        other => return Err(invalid(format!("a layer is a {other}, which is not supported"))),
    };
    let diff_id = diff_id
        .strip_prefix("sha256:")
        .filter(|digest| is_sha256(digest))
        .ok_or_else(|| invalid("a layer's identity is not a SHA-256 digest"))?;
    Ok(LayerBlob { digest: sha256_of(blob)?, diff_id: diff_id.to_owned(), compression })
}

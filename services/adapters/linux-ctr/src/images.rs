//! The library of unpacked images below `layers/` on the data partition.
//!
//! ```text
//! layers/<first 32 digits of the layer's identity>/   one unpacked layer, shared by all images that have it
//! layers/images/<SHA-256 of the archive>.json         which layers an image has, and how to run it
//! layers/tmp/                                          what is being unpacked; swept at start
//! ```
//!
//! A layer and a record appear under their names by one rename, after everything below is on disk: whatever
//! has a name is whole. The library is only read by mounts, and nobody but root may enter it.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skerry_containers::ImageArchive;

use crate::archive::{ArchiveError, Compression, ImageArchiveFile, LayerBlob, is_sha256};
use crate::folders;
use crate::unpack::{Limits, UnpackError, unpack};

/// Digits of a layer's identity in its directory's name: short, since a mount's options have a limit, and
/// with 128 bits still nothing that two layers could share.
const NAME_DIGITS: usize = 32;

/// What went wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A layer of it.
    #[error("layer {digest} cannot be unpacked")]
    Layer {
        /// The blob.
        digest: String,
        /// Why.
        source: UnpackError,
    },
    /// The library itself.
    #[error("cannot {action} {path}")]
    Library {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The record of an image that should be there.
    #[error("image {sha256} is not in the library")]
    Missing {
        /// SHA-256 of its archive.
        sha256: String,
    },
}

impl ImageError {
    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Layer { source, .. } => source.is_no_space(),
            Self::Library { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Archive(_) | Self::Missing { .. } => false,
        }
    }

    /// Whether the image itself is at fault.
    pub fn is_images_fault(&self) -> bool {
        matches!(self, Self::Archive(ArchiveError::Invalid { .. } | ArchiveError::Digest { .. }))
            || matches!(self, Self::Layer { source, .. }
                if !matches!(source, UnpackError::System { .. }))
    }
}

/// What is known of an unpacked image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// Version of this form.
    pub schema: u32,
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// Identities of its layers, lowest first.
    pub layers: Vec<String>,
    /// Program and leading arguments.
    pub entrypoint: Vec<String>,
    /// Arguments, if no others are given.
    pub cmd: Vec<String>,
    /// Environment, as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// User, as the image names it.
    pub user: String,
    /// Signal that asks it to end.
    pub stop_signal: String,
}

/// The library.
#[derive(Debug, Clone)]
pub struct ImageLibrary {
    root: PathBuf,
    limits: Limits,
}

impl ImageLibrary {
    /// Opens the library below `root`, making its folders and sweeping what an earlier run left half done.
    pub fn open(root: PathBuf) -> Result<Self, ImageError> {
        let library = Self { root, limits: Limits::default() };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let temporary = library.temporary();
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(|e| failed("sweep", &temporary, e))?;
        }
        for folder in [library.root.join("images"), temporary] {
            builder.create(&folder).map_err(|e| failed("make", &folder, e))?;
        }
        Ok(library)
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn record_path(&self, sha256: &str) -> PathBuf {
        self.root.join("images").join(format!("{sha256}.json"))
    }

    /// The directory of a layer.
    pub fn layer(&self, diff_id: &str) -> PathBuf {
        self.root.join(diff_id.get(..NAME_DIGITS).unwrap_or(diff_id))
    }

    /// Archives whose images are whole in the library.
    pub fn present(&self) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.root.join("images")) else { return BTreeSet::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
            .filter(|sha256| self.record(sha256).is_ok())
            .collect()
    }

    /// The record of an image all of whose layers are there.
    pub fn record(&self, sha256: &str) -> Result<ImageRecord, ImageError> {
        let missing = || ImageError::Missing { sha256: sha256.to_owned() };
        if !is_sha256(sha256) {
            return Err(missing());
        }
        let text = fs::read(self.record_path(sha256)).map_err(|_| missing())?;
        let record: ImageRecord = serde_json::from_slice(&text).map_err(|_| missing())?;
        let whole = record.schema == 1
            && record.layers.iter().all(|layer| is_sha256(layer) && self.layer(layer).is_dir());
        if whole { Ok(record) } else { Err(missing()) }
    }

    /// Checks and unpacks an image, unless it is there. Blocking, and as long as its layers take.
    pub fn import(&self, image: &ImageArchive) -> Result<(), ImageError> {
        if self.record(&image.sha256).is_ok() {
            return Ok(());
        }
        let archive = ImageArchiveFile::open(Path::new(&image.path), &image.sha256)?;
        let found = archive.image()?;
        for layer in &found.layers {
            if !self.layer(&layer.diff_id).is_dir() {
                self.unpack_layer(&archive, layer)?;
            }
        }
        let config = found.configuration.config().clone().unwrap_or_default();
        let record = ImageRecord {
            schema: 1,
            manifest: found.manifest,
            layers: found.layers.into_iter().map(|layer| layer.diff_id).collect(),
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            env: config.env().clone().unwrap_or_default(),
            working_dir: config.working_dir().clone().unwrap_or_default(),
            user: config.user().clone().unwrap_or_default(),
            stop_signal: config.stop_signal().clone().unwrap_or_default(),
        };
        self.write_record(&image.sha256, &record)
    }

    fn unpack_layer(
        &self,
        archive: &ImageArchiveFile,
        layer: &LayerBlob,
    ) -> Result<(), ImageError> {
        let temporary = self.temporary();
        let folder = tempfile::Builder::new()
            .prefix("layer-")
            .tempdir_in(&temporary)
            .map_err(|e| failed("make a folder in", &temporary, e))?;
        let tree = folder.path().join("tree");
        // Readable for the container's users; the library around it is not for the host's.
        folders::make(&tree, 0o755).map_err(|e| failed("make", &tree, e))?;
        let root = File::open(&tree).map_err(|e| failed("open", &tree, e))?;
        self.unpack_checked(archive, layer, &root)?;
        nix::unistd::syncfs(&root).map_err(|e| failed("write out", &tree, e.into()))?;
        let target = self.layer(&layer.diff_id);
        match fs::rename(&tree, &target) {
            // Another image with the same layer was faster.
            Err(error) if target.is_dir() => drop(error),
            other => other.map_err(|e| failed("name", &target, e))?,
        }
        sync_folder(&self.root)
    }

    /// Unpacks while hashing both the blob and the stream in it, and compares both digests at the end.
    fn unpack_checked(
        &self,
        archive: &ImageArchiveFile,
        layer: &LayerBlob,
        root: &File,
    ) -> Result<(), ImageError> {
        let unpackable = |source| ImageError::Layer { digest: layer.digest.clone(), source };
        let damaged =
            |error: io::Error| unpackable(UnpackError::Damaged { why: error.to_string() });
        let mut blob = Hashing::new(archive.blob(&layer.digest)?);
        let diff_id = {
            let plain: Box<dyn Read + '_> = match layer.compression {
                Compression::None => Box::new(&mut blob),
                Compression::Gzip => {
                    Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(&mut blob)))
                }
                Compression::Zstd => {
                    Box::new(zstd::stream::read::Decoder::new(&mut blob).map_err(damaged)?)
                }
            };
            let mut stream = Hashing::new(plain);
            unpack(&mut stream, root, self.limits).map_err(unpackable)?;
            // What follows the end of the archive belongs to the digest too.
            drain(&mut stream, self.limits.bytes).map_err(damaged)?;
            stream.digest()
        };
        drain(&mut blob, self.limits.bytes).map_err(damaged)?;
        let wrong = |what: &str, digest: &str| ArchiveError::Digest {
            what: what.to_owned(),
            digest: digest.to_owned(),
        };
        if blob.digest() != layer.digest {
            return Err(wrong("a layer", &layer.digest).into());
        }
        if diff_id != layer.diff_id {
            return Err(wrong("an unpacked layer", &layer.diff_id).into());
        }
        Ok(())
    }

    fn write_record(&self, sha256: &str, record: &ImageRecord) -> Result<(), ImageError> {
        let path = self.record_path(sha256);
        let folder = self.root.join("images");
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.temporary())?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|e| failed("write", &path, e))?;
        sync_folder(&folder)
    }
}

/// Reads to the end, up to a limit.
fn drain(stream: &mut impl Read, limit: u64) -> io::Result<()> {
    if io::copy(&mut stream.take(limit), &mut io::sink())? == limit {
        return Err(io::Error::other("bytes without end after the archive"));
    }
    Ok(())
}

fn sync_folder(path: &Path) -> Result<(), ImageError> {
    let sync = || File::open(path)?.sync_all();
    sync().map_err(|e| failed("write out", path, e))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ImageError {
    ImageError::Library { action, path: path.display().to_string(), source }
}

/// A reader that hashes what passes.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    fn digest(self) -> String {
        hex::encode(self.hasher.finalize())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..got).unwrap_or_default());
        Ok(got)
    }
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;

//! The library of unpacked images below `layers/` on the data partition.
//!
//! ```text
//! layers/<first 32 digits of the blob's SHA-256>/   one unpacked layer, shared by all images that have it
//! layers/images/<SHA-256>.json                      which layers an image has, and how to run it
//! layers/owners/<the same 32 digits>                the highest user or group that a file of the layer has, once asked for
//! layers/tmp/                                       what is being unpacked; swept at start
//! ```
//!
//! An image goes by the SHA-256 of its archive, or of its manifest if it lies in the store of blobs.
//!
//! A layer and a record appear under their names by one rename, after everything below is on disk: whatever
//! has a name is whole. The library is only read by mounts, and nobody but root may enter it.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skerry_containers::ImageArchive;
use skerry_containers::oci::{self, is_sha256};

use crate::archive::{ArchiveError, LayerBlob};
use crate::blobs::{BlobError, BlobStore};
use crate::claims::Claim;
use crate::folders;
use crate::owners;
use crate::refusals::Refusals;
use crate::source::{Source, SourceError};
use crate::unpack::UnpackError;
use crate::unpacker::Unpacking;

/// Version of the form of records. Version 1 named layers by the digest of the unpacked stream.
const SCHEMA: u32 = 2;

/// Digits of a layer's digest in its directory's name: short, since a mount's options have a limit, and
/// with 128 bits still nothing that two layers could share.
const NAME_DIGITS: usize = 32;

/// What went wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Where it comes from.
    #[error(transparent)]
    Source(#[from] SourceError),
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
            Self::Source(_) | Self::Missing { .. } => false,
        }
    }

    /// Whether the image itself is at fault. A damaged blob is not the image's fault: it is fetched again.
    pub fn is_images_fault(&self) -> bool {
        match self {
            Self::Source(SourceError::Archive(error)) => {
                !matches!(error, ArchiveError::Read { .. })
            }
            Self::Source(SourceError::Oci(_)) => true,
            Self::Source(SourceError::Blob(error)) => {
                matches!(error, BlobError::Name | BlobError::Large { .. })
            }
            Self::Layer { source, .. } => !matches!(source, UnpackError::System { .. }),
            Self::Library { .. } | Self::Missing { .. } => false,
        }
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
    /// Digests of its layers' blobs, lowest first.
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
    unpacking: Unpacking,
    blobs: BlobStore,
    refusals: Refusals,
}

impl ImageLibrary {
    /// Opens the library below `root`, making its folders and sweeping what an earlier run left half done.
    pub fn open(root: PathBuf, blobs: BlobStore, unpacking: Unpacking) -> Result<Self, ImageError> {
        let library = Self::unswept(root, blobs, unpacking);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let temporary = library.temporary();
        folders::sweep(&temporary).map_err(|e| failed("sweep", &temporary, e))?;
        for folder in [library.root.join("images"), temporary] {
            builder.create(&folder).map_err(|e| failed("make", &folder, e))?;
        }
        Ok(library)
    }

    /// The library that somebody else has opened.
    pub fn unswept(root: PathBuf, blobs: BlobStore, unpacking: Unpacking) -> Self {
        Self { root, unpacking, blobs, refusals: Refusals::default() }
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn record_path(&self, sha256: &str) -> PathBuf {
        self.root.join("images").join(format!("{sha256}.json"))
    }

    /// The directory of a layer.
    pub fn layer(&self, digest: &str) -> PathBuf {
        self.root.join(digest.get(..NAME_DIGITS).unwrap_or(digest))
    }

    /// Images that are whole in the library.
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
        let whole = record.schema == SCHEMA
            && record.layers.iter().all(|layer| is_sha256(layer) && self.layer(layer).is_dir());
        if whole { Ok(record) } else { Err(missing()) }
    }

    /// Checks and unpacks an image, unless it is there. Blocking, and as long as its layers take.
    pub fn import(&self, image: &ImageArchive) -> Result<(), ImageError> {
        if self.record(&image.sha256).is_ok() {
            return Ok(());
        }
        let source = Source::open(image, &self.blobs)?;
        let found = source.image()?;
        // From before it is looked for until the record names it, no layer may be taken away.
        let digests = found.layers.iter().map(|layer| &layer.digest);
        let _claim = self.blobs.claims().claim(digests.chain([&image.sha256]));
        for layer in &found.layers {
            if !self.layer(&layer.digest).is_dir() {
                self.unpack_layer(&source, layer)?;
            }
        }
        let config = found.configuration.config().clone().unwrap_or_default();
        let record = ImageRecord {
            schema: SCHEMA,
            manifest: found.manifest,
            layers: found.layers.into_iter().map(|layer| layer.digest).collect(),
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            env: config.env().clone().unwrap_or_default(),
            working_dir: config.working_dir().clone().unwrap_or_default(),
            user: config.user().clone().unwrap_or_default(),
            stop_signal: config.stop_signal().clone().unwrap_or_default(),
        };
        self.write_record(&image.sha256, &record)
    }

    /// The highest number of a user or group that a file of the image has. Of a layer that nobody has asked about yet
    /// every file is looked at. Blocking.
    pub fn highest_owner(&self, record: &ImageRecord) -> Result<u32, ImageError> {
        let mut highest = record.layers.iter().map(|digest| self.highest_owner_of(digest));
        highest.try_fold(0, |most, found| Ok(most.max(found?)))
    }

    fn highest_owner_of(&self, digest: &str) -> Result<u32, ImageError> {
        let layer = self.layer(digest);
        let path = self.owners_path(&layer);
        let known = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        if let Some(known) = known {
            return Ok(known);
        }
        let highest = owners::highest_below(&layer).map_err(|e| failed("look at", &layer, e))?;
        // One that is cut short has no number in it, or is not there.
        let write = || {
            folders::make_all(&self.root.join("owners"))?;
            let mut file = tempfile::NamedTempFile::new_in(self.temporary())?;
            writeln!(file, "{highest}")?;
            file.persist(&path).map_err(|error| error.error)
        };
        if let Err(error) = write() {
            // It saves time, and a full disk must not keep a container from its start.
            tracing::warn!(path = %path.display(), %error, "owners of a layer will be looked at again");
        }
        Ok(highest)
    }

    fn owners_path(&self, layer: &Path) -> PathBuf {
        self.root.join("owners").join(layer.file_name().unwrap_or_default())
    }

    /// The record of an image, which stays with all its layers for as long as the claim is held.
    pub fn hold(&self, sha256: &str) -> Result<(ImageRecord, Claim), ImageError> {
        let record = self.record(sha256)?;
        let own = sha256.to_owned();
        let claim = self.blobs.claims().claim(record.layers.iter().chain([&own]));
        // Something may have gone before it was claimed.
        Ok((self.record(sha256)?, claim))
    }

    /// The layers that an image is to have, though not all of them may be unpacked yet.
    fn named_layers(&self, sha256: &str) -> Vec<String> {
        let known = fs::read(self.record_path(sha256)).ok();
        let known = known.and_then(|text| serde_json::from_slice::<ImageRecord>(&text).ok());
        if let Some(record) = known.filter(|record| record.schema == SCHEMA) {
            return record.layers;
        }
        let bytes = self.blobs.document(sha256).ok();
        let manifest = bytes.and_then(|bytes| oci::manifest(&bytes).ok());
        manifest.into_iter().flat_map(|it| it.layers).map(|(blob, _)| blob.digest).collect()
    }

    /// Removes what is unpacked of images that are not in `keep`, and layers that no image of `keep` has. A layer
    /// that something is mounted from, or that somebody is about to use, stays, whoever has it. Gives how many layers
    /// went.
    pub fn sweep(&self, keep: &BTreeSet<String>) -> Result<usize, ImageError> {
        let needed: BTreeSet<PathBuf> = keep
            .iter()
            .filter(|sha256| is_sha256(sha256))
            .flat_map(|sha256| self.named_layers(sha256))
            .map(|layer| self.layer(&layer))
            .collect();
        for name in folders::names(&self.root.join("images")) {
            let Some(sha256) = name.strip_suffix(".json") else { continue };
            let turn = self.blobs.claims().turn();
            let stays = keep.contains(sha256) && self.record(sha256).is_ok();
            if !stays && !turn.is_claimed(sha256) {
                let path = self.record_path(sha256);
                let removed = folders::absent_is_fine(fs::remove_file(&path));
                removed.map_err(|e| failed("remove", &path, e))?;
            }
        }
        let mut removed = 0;
        for name in folders::names(&self.root) {
            let is_layer = name.len() == NAME_DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit());
            if is_layer && !needed.contains(&self.root.join(&name)) {
                removed += usize::from(self.remove_unused(&name)?);
            }
        }
        Ok(removed)
    }

    /// Removes a layer unless somebody uses it or is about to.
    fn remove_unused(&self, name: &str) -> Result<bool, ImageError> {
        let path = self.root.join(name);
        let doomed = self.temporary().join(name);
        let turn = self.blobs.claims().turn();
        // Read within the turn: whoever gives up a claim may have mounted what it was for.
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| failed("read", Path::new("/proc/self/mountinfo"), e))?;
        if turn.is_claimed(name) || mounts.contains(name) {
            return Ok(false);
        }
        let owners = self.owners_path(&path);
        let forgotten = folders::absent_is_fine(fs::remove_file(&owners));
        forgotten.map_err(|e| failed("remove", &owners, e))?;
        // Under another name first, so that half of it is never taken for a layer.
        fs::rename(&path, &doomed).map_err(|e| failed("remove", &path, e))?;
        // What takes time holds up nobody.
        drop(turn);
        fs::remove_dir_all(&doomed).map_err(|e| failed("remove", &doomed, e))?;
        Ok(true)
    }

    fn unpack_layer(&self, source: &Source<'_>, layer: &LayerBlob) -> Result<(), ImageError> {
        let digest = layer.digest.clone();
        if let Some(source) = self.refusals.of(layer) {
            return Err(ImageError::Layer { digest, source });
        }
        let unpacked = self.unpack_anew(source, layer);
        if let Err(ImageError::Layer { source, .. }) = &unpacked {
            self.refusals.remember(layer, source);
        }
        unpacked
    }

    fn unpack_anew(&self, source: &Source<'_>, layer: &LayerBlob) -> Result<(), ImageError> {
        let temporary = self.temporary();
        let folder = tempfile::Builder::new()
            .prefix("layer-")
            .tempdir_in(&temporary)
            .map_err(|e| failed("make a folder in", &temporary, e))?;
        let tree = folder.path().join("tree");
        // Readable for the container's users; the library around it is not for the host's.
        folders::make(&tree, 0o755).map_err(|e| failed("make", &tree, e))?;
        let root = File::open(&tree).map_err(|e| failed("open", &tree, e))?;
        self.unpack_checked(source, layer, &root)?;
        nix::unistd::syncfs(&root).map_err(|e| failed("write out", &tree, e.into()))?;
        let target = self.layer(&layer.digest);
        match fs::rename(&tree, &target) {
            // Another image with the same layer was faster.
            Err(error) if target.is_dir() => drop(error),
            other => other.map_err(|e| failed("name", &target, e))?,
        }
        sync_folder(&self.root)
    }

    /// Unpacks and compares both digests, the blob's first: a damaged blob may look like a harmful layer.
    fn unpack_checked(
        &self,
        source: &Source<'_>,
        layer: &LayerBlob,
        root: &File,
    ) -> Result<(), ImageError> {
        let blob = source.blob(&layer.digest)?;
        let (digest, told) = self
            .unpacking
            .unpack(blob, layer.compression, root)
            .map_err(|e| failed("unpack into", &self.temporary(), e))?;
        if digest != layer.digest {
            return Err(source.damaged(&layer.digest).into());
        }
        let layer_failed = |source| ImageError::Layer { digest: digest.clone(), source };
        if told.map_err(layer_failed)? != layer.diff_id {
            let why = "unpacked it is not what the image's configuration names".to_owned();
            return Err(ImageError::Layer { digest, source: UnpackError::Damaged { why } });
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

fn sync_folder(path: &Path) -> Result<(), ImageError> {
    let sync = || File::open(path)?.sync_all();
    sync().map_err(|e| failed("write out", path, e))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ImageError {
    ImageError::Library { action, path: path.display().to_string(), source }
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;

//! The port to the store of blobs that container images from registries are made of.
//!
//! An adapter implements it. Each blob goes by its SHA-256 and is shared by all images that name it; which of them
//! are still needed is for this domain to say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::stream::BoxStream;
use skerry_model::{ImageArchiveForm, ImageFile, ImageReference};
use tokio::sync::broadcast;
use uuid::Uuid;

/// What sort of trouble the store met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobTrouble {
    /// May heal by itself.
    Passing,
    /// What was brought in is not what it should be.
    Wrong,
    /// The disk is full.
    NoSpace,
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BlobFault {
    /// What sort of trouble.
    pub trouble: BlobTrouble,
    /// What happened, to what, and what to do.
    pub message: String,
}

/// What an image in the store is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobContents {
    /// Its files: `index` if it came by one, `manifest`, `config`, and each `layer` once, lowest first.
    pub files: Vec<ImageFile>,
}

/// What is still needed. Everything else may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlobKeep {
    /// Digests that records of images name.
    pub digests: BTreeSet<String>,
    /// Identities of images whose unpacked layers are kept: of a manifest or an archive.
    pub images: BTreeSet<String>,
    /// Jobs whose folders for downloads are kept.
    pub jobs: BTreeSet<Uuid>,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Unpacked layers.
    pub layers: usize,
    /// Folders for downloads.
    pub folders: usize,
}

/// An archive of an image on its way out.
pub struct ImageExport {
    /// Its bytes.
    pub size: u64,
    /// What it is made of, in pieces of at most 64 KiB. Every part of the image is compared with its digest while it is
    /// read: one that is not right ends the stream with [`BlobTrouble::Wrong`].
    pub pieces: BoxStream<'static, Result<Vec<u8>, BlobFault>>,
}

/// The store of blobs. Every step bears being repeated.
#[async_trait]
pub trait ImageBlobs: Send + Sync + 'static {
    /// The digests of all blobs.
    async fn present(&self) -> Result<BTreeSet<String>, BlobFault>;

    /// Makes the folder into which the north side downloads for a job.
    async fn open_folder(&self, job: Uuid) -> Result<PathBuf, BlobFault>;

    /// Removes a job's folder.
    async fn remove_folder(&self, job: Uuid) -> Result<(), BlobFault>;

    /// Takes over a file if it has this many bytes and this SHA-256.
    async fn adopt(&self, from: &Path, sha256: &str, size: u64) -> Result<(), BlobFault>;

    /// Reads a blob whole. One with other bytes is set aside and counts as missing. Whether it is there and right.
    async fn check(&self, sha256: &str) -> Result<bool, BlobFault>;

    /// Reads what the index or manifest `named` leads to. All of it must be there.
    async fn contents(&self, named: &str) -> Result<BlobContents, BlobFault>;

    /// Makes an archive of the container image with these files, under this name. The same each time.
    async fn export(
        &self,
        files: &[ImageFile],
        form: ImageArchiveForm,
        name: &ImageReference,
    ) -> Result<ImageExport, BlobFault>;

    /// Removes what is not needed. Layers that something is mounted from stay.
    async fn sweep(&self, keep: &BlobKeep) -> Result<Swept, BlobFault>;

    /// Digests of blobs that were found damaged and set aside, from now on.
    fn lost(&self) -> broadcast::Receiver<String>;
}

//! Where an image's bytes come from: an archive that came with the system, or the node's store of blobs.

use std::io::Read;
use std::path::Path;

use skerry_containers::ImageArchive;
use skerry_containers::oci::{self, OciError};

use crate::archive::{ArchiveError, ImageArchiveFile, LayerBlob, OpenImage};
use crate::blobs::{BlobError, BlobStore};

/// Why an image cannot be read from its source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A blob.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What the blobs say.
    #[error(transparent)]
    Oci(#[from] OciError),
}

/// An image's source.
pub enum Source<'a> {
    /// One file.
    Archive(ImageArchiveFile),
    /// The store, and the digest of the manifest.
    Blobs(&'a BlobStore, String),
}

impl<'a> Source<'a> {
    /// Opens what an image names.
    pub fn open(image: &ImageArchive, blobs: &'a BlobStore) -> Result<Self, SourceError> {
        if image.is_stored() {
            return Ok(Self::Blobs(blobs, image.sha256.clone()));
        }
        Ok(Self::Archive(ImageArchiveFile::open(Path::new(&image.path), &image.sha256)?))
    }

    /// Finds the image for this machine.
    pub fn image(&self) -> Result<OpenImage, SourceError> {
        match self {
            Self::Archive(archive) => Ok(archive.image()?),
            Self::Blobs(blobs, digest) => {
                let manifest = oci::manifest(&blobs.document(digest)?)?;
                let bytes = blobs.document(&manifest.config.digest)?;
                let (configuration, ids) = oci::configuration(&bytes, manifest.layers.len())?;
                let layers = LayerBlob::list(&manifest, ids);
                Ok(OpenImage { manifest: digest.clone(), configuration, layers })
            }
        }
    }

    /// A layer's blob; whoever reads it must check its digest.
    pub fn blob(&self, digest: &str) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        Ok(match self {
            Self::Archive(archive) => Box::new(archive.blob(digest)?),
            Self::Blobs(blobs, _) => Box::new(blobs.read(digest)?),
        })
    }

    /// Says that a blob was read and had other bytes than its digest says.
    pub fn damaged(&self, digest: &str) -> SourceError {
        match self {
            Self::Archive(_) => {
                ArchiveError::Digest { what: "a layer".to_owned(), digest: digest.to_owned() }
                    .into()
            }
            Self::Blobs(blobs, _) => {
                if let Err(error) = blobs.quarantine(digest) {
                    tracing::warn!(%error, digest, "a damaged part of an image cannot be set aside");
                }
                BlobError::Damaged { digest: digest.to_owned() }.into()
            }
        }
    }
}

//! The store of blobs behind the port of the domain, with the folders into which images are downloaded.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use nix::unistd::{Gid, Uid, chown};
use skerry_containers::oci::{self, Blob, Described};
use skerry_model::{ImageArchiveForm, ImageFile, ImageReference};
use skerry_upkeep::{
    BlobContents, BlobFault, BlobKeep, BlobTrouble, ImageBlobs, ImageExport, Swept,
};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::blobs::{BlobError, BlobStore};
use crate::folders;
use crate::images::ImageLibrary;
use crate::leaving::Leaving;
use crate::places::Places;
use crate::unpacker::Unpacking;

/// Blobs on this machine.
#[derive(Debug, Clone)]
pub struct LinuxBlobs {
    places: Places,
    blobs: BlobStore,
    /// Who downloads: user and group.
    owner: Option<(u32, u32)>,
}

impl LinuxBlobs {
    /// Over this store. Folders for downloads are given to `owner`.
    pub const fn new(places: Places, blobs: BlobStore, owner: Option<(u32, u32)>) -> Self {
        Self { places, blobs, owner }
    }

    /// Runs work on files where it holds up nobody.
    async fn off<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, BlobFault> + Send + 'static,
    ) -> Result<T, BlobFault> {
        let own = self.clone();
        match tokio::task::spawn_blocking(move || work(own)).await {
            Ok(result) => result,
            Err(error) => Err(passing(format!("the work on files broke off: {error}"))),
        }
    }

    fn folder(&self, job: Uuid) -> PathBuf {
        self.places.pulls().join(job.to_string())
    }

    fn make_folder(&self, job: Uuid) -> io::Result<PathBuf> {
        // Passed through by the one who downloads, and listed by nobody.
        DirBuilder::new().recursive(true).mode(0o711).create(self.places.pulls())?;
        let folder = self.folder(job);
        folders::make(&folder, 0o700)?;
        if let Some((uid, gid)) = self.owner {
            chown(&folder, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(folder)
    }

    fn read_contents(&self, named: &str) -> Result<BlobContents, BlobFault> {
        let wrong = |error: oci::OciError| fault(BlobTrouble::Wrong, error.to_string());
        let mut files = Vec::new();
        let bytes = self.blobs.document(named)?;
        let (digest, manifest) = match oci::describe(&bytes, None).map_err(wrong)? {
            Described::Manifest(manifest) => (named.to_owned(), manifest),
            Described::Index(chosen) => {
                files.push(self.file("index", named)?);
                let bytes = self.blobs.document(&chosen.digest)?;
                (chosen.digest, oci::manifest(&bytes).map_err(wrong)?)
            }
        };
        files.push(self.file("manifest", &digest)?);
        let config = self.blobs.document(&manifest.config.digest)?;
        oci::configuration(&config, manifest.layers.len()).map_err(wrong)?;
        files.push(self.file("config", &manifest.config.digest)?);
        let mut seen = BTreeSet::new();
        for (blob, _) in &manifest.layers {
            if seen.insert(&blob.digest) {
                let file = self.file("layer", &blob.digest)?;
                if file.size != blob.size {
                    let message =
                        format!("a layer has {} bytes instead of {}", file.size, blob.size);
                    return Err(fault(BlobTrouble::Wrong, message));
                }
                files.push(file);
            }
        }
        Ok(BlobContents { files })
    }

    fn file(&self, role: &str, digest: &str) -> Result<ImageFile, BlobFault> {
        let missing = || BlobError::Missing { digest: digest.to_owned() };
        let size = self.blobs.size(digest).ok_or_else(missing)?;
        let path = self.blobs.place(digest)?.display().to_string();
        Ok(ImageFile::new(role, path, digest, size))
    }

    fn sweep_all(&self, keep: &BlobKeep) -> Result<Swept, BlobFault> {
        let (blobs, bytes) = self.blobs.sweep(&keep.digests)?;
        let mut swept = Swept { blobs, bytes, ..Swept::default() };
        if self.places.layers().exists() {
            let unpacking = Unpacking::new(self.places.unpack.clone());
            let library =
                ImageLibrary::unswept(self.places.layers(), self.blobs.clone(), unpacking);
            swept.layers =
                library.sweep(&keep.images).map_err(|error| passing(error.to_string()))?;
        }
        for name in folders::names(&self.places.pulls()) {
            if !name.parse::<Uuid>().is_ok_and(|job| keep.jobs.contains(&job)) {
                remove(&self.places.pulls().join(name))?;
                swept.folders += 1;
            }
        }
        Ok(swept)
    }
}

fn remove(folder: &Path) -> Result<(), BlobFault> {
    folders::absent_is_fine(fs::remove_dir_all(folder))
        .map_err(|error| passing(format!("cannot remove {}: {error}", folder.display())))
}

#[async_trait]
impl ImageBlobs for LinuxBlobs {
    async fn present(&self) -> Result<BTreeSet<String>, BlobFault> {
        self.off(|own| Ok(own.blobs.present())).await
    }

    async fn open_folder(&self, job: Uuid) -> Result<PathBuf, BlobFault> {
        self.off(move |own| {
            own.make_folder(job).map_err(|error| {
                passing(format!("cannot make the folder {}: {error}", own.folder(job).display()))
            })
        })
        .await
    }

    async fn remove_folder(&self, job: Uuid) -> Result<(), BlobFault> {
        self.off(move |own| remove(&own.folder(job))).await
    }

    async fn adopt(&self, from: &Path, sha256: &str, size: u64) -> Result<(), BlobFault> {
        let (from, blob) = (from.to_owned(), Blob { digest: sha256.to_owned(), size });
        self.off(move |own| Ok(own.blobs.adopt(&from, &blob)?)).await
    }

    async fn check(&self, sha256: &str) -> Result<bool, BlobFault> {
        let digest = sha256.to_owned();
        self.off(move |own| match own.blobs.check(&digest) {
            Ok(_) => Ok(true),
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        })
        .await
    }

    async fn contents(&self, named: &str) -> Result<BlobContents, BlobFault> {
        let named = named.to_owned();
        self.off(move |own| own.read_contents(&named)).await
    }

    async fn export(
        &self,
        files: &[ImageFile],
        form: ImageArchiveForm,
        name: &ImageReference,
    ) -> Result<ImageExport, BlobFault> {
        let (files, name) = (files.to_vec(), name.clone());
        let leaving = self.off(move |own| Leaving::of(&own.blobs, &files, form, &name)).await?;
        Ok(leaving.stream())
    }

    async fn sweep(&self, keep: &BlobKeep) -> Result<Swept, BlobFault> {
        let keep = keep.clone();
        self.off(move |own| own.sweep_all(&keep)).await
    }

    fn lost(&self) -> broadcast::Receiver<String> {
        self.blobs.lost()
    }
}

fn fault(trouble: BlobTrouble, message: String) -> BlobFault {
    BlobFault { trouble, message }
}

fn passing(message: String) -> BlobFault {
    fault(BlobTrouble::Passing, message)
}

impl From<BlobError> for BlobFault {
    fn from(error: BlobError) -> Self {
        let trouble = match &error {
            BlobError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                BlobTrouble::NoSpace
            }
            BlobError::Io { .. } => BlobTrouble::Passing,
            _ => BlobTrouble::Wrong,
        };
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        fault(trouble, format!("{error}{}", source.unwrap_or_default()))
    }
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;

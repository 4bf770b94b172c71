//! From a job's files to an image's: into the library, and into the record, as one.
//!
//! Nobody may remove a file between the two, and no abort may come there: nobody would find the file. So it is done on a
//! task of its own, which goes on when the job's run is dropped.

use std::path::Path;
use std::sync::Arc;

use skerry_model::{Id, Image, ImageFile, ImageSpec};
use skerry_store::{Store, Transaction};
use skerry_upkeep::{FileDigest, ImageController, ImageLibrary};
use uuid::Uuid;

use super::import::{failure, store_failure};
use crate::jobs::JobFailure;

/// What is needed for it.
#[derive(Clone)]
pub(super) struct Placing {
    pub store: Store,
    pub library: Arc<dyn ImageLibrary>,
    pub images: Arc<ImageController>,
}

/// What a job's file is.
pub(super) struct Found {
    pub role: String,
    pub digest: FileDigest,
    pub virtual_size: Option<u64>,
    /// Which of the parts that the job's file was taken apart into.
    part: Option<&'static str>,
}

impl Found {
    /// A disk, or whatever else is one file.
    pub fn new(role: &str, digest: FileDigest, virtual_size: Option<u64>) -> Self {
        Self { role: role.to_owned(), digest, virtual_size, part: None }
    }

    /// One of several files that came in as one.
    pub fn part(role: &'static str, digest: FileDigest) -> Self {
        Self { role: role.to_owned(), digest, virtual_size: None, part: Some(role) }
    }
}

impl Placing {
    /// Makes the job's files the image's; `false` if the image has been deleted meanwhile. The spec is the present one, for
    /// labels or a description may have been changed, with what `change` says.
    pub async fn place(
        &self,
        image: Id<Image>,
        job: Uuid,
        found: Vec<Found>,
        change: impl FnOnce(ImageSpec) -> ImageSpec + Send + 'static,
    ) -> Result<bool, JobFailure> {
        let this = self.clone();
        let task = tokio::spawn(async move {
            let _turn = this.images.turn().await;
            let mut files = Vec::new();
            let done = this.place_now(image, job, found, change, &mut files).await;
            if !matches!(done, Ok(true)) {
                this.drop_unnamed(&files).await;
            }
            done
        });
        task.await.map_err(|_| JobFailure::retry("BrokenOff", "the node's service ended"))?
    }

    /// `files` are those that have been put into the library, whatever comes of it.
    async fn place_now(
        &self,
        image: Id<Image>,
        job: Uuid,
        found: Vec<Found>,
        change: impl FnOnce(ImageSpec) -> ImageSpec,
        files: &mut Vec<ImageFile>,
    ) -> Result<bool, JobFailure> {
        for Found { role, digest: FileDigest { sha256, size }, virtual_size, part } in found {
            let path = match part {
                Some(part) => self.library.adopt_part(job, part, &sha256).await,
                None => self.library.adopt(job, &sha256).await,
            };
            let path = path.map_err(failure)?;
            let path = path.display().to_string();
            files.push(ImageFile { virtual_size, ..ImageFile::new(role, path, sha256, size) });
        }
        self.record(image, files.clone(), change).await
    }

    async fn record(
        &self,
        id: Id<Image>,
        files: Vec<ImageFile>,
        change: impl FnOnce(ImageSpec) -> ImageSpec,
    ) -> Result<bool, JobFailure> {
        let Some(image) = self.store.get(id).map_err(store_failure)? else { return Ok(false) };
        let spec = ImageSpec { files, ..change(image.spec) };
        let mut tx = Transaction::new();
        tx.put_spec(id, Some(image.meta.revision), spec);
        // The bytes were read a moment ago; reading them again would only take time.
        self.images.vouch(image.meta.id, image.meta.generation.saturating_add(1));
        self.store.commit(tx).await.map_err(store_failure)?;
        Ok(true)
    }

    /// Removes files of the library that no image has.
    async fn drop_unnamed(&self, files: &[ImageFile]) {
        let Ok(images) = self.store.list::<Image>() else { return };
        let named = |path: &str| {
            images.iter().any(|image| image.spec.files.iter().any(|file| file.path == path))
        };
        for file in files.iter().filter(|file| !named(&file.path)) {
            if let Err(error) = self.library.remove(Path::new(&file.path)).await {
                tracing::warn!(%error, "a file that no image has could not be removed");
            }
        }
    }
}

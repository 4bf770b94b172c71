//! From a job's file to an image's: into the library, and into the record, as one.
//!
//! Nobody may remove the file between the two, and no abort may come there: nobody would find the file. So it is done on
//! a task of its own, which goes on when the job's run is dropped.

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

/// What the job's file is.
pub(super) struct Found {
    pub job: Uuid,
    pub role: String,
    pub digest: FileDigest,
    pub virtual_size: Option<u64>,
}

impl Placing {
    /// Makes the job's file the image's; `false` if the image has been deleted meanwhile. The spec is the present one, for
    /// labels or a description may have been changed, with what `change` says.
    pub async fn place(
        &self,
        image: Id<Image>,
        found: Found,
        change: impl FnOnce(ImageSpec) -> ImageSpec + Send + 'static,
    ) -> Result<bool, JobFailure> {
        let this = self.clone();
        let task = tokio::spawn(async move { this.place_now(image, found, change).await });
        task.await.map_err(|_| JobFailure::retry("BrokenOff", "the node's service ended"))?
    }

    async fn place_now(
        &self,
        image: Id<Image>,
        found: Found,
        change: impl FnOnce(ImageSpec) -> ImageSpec,
    ) -> Result<bool, JobFailure> {
        let _turn = self.images.turn().await;
        let Found { job, role, digest: FileDigest { sha256, size }, virtual_size } = found;
        let path = self.library.adopt(job, &sha256).await.map_err(failure)?;
        let text = path.display().to_string();
        let file = ImageFile { virtual_size, ..ImageFile::new(role, text, sha256, size) };
        let done = self.record(image, file, change).await;
        if !matches!(done, Ok(true)) {
            self.drop_unnamed(&path).await;
        }
        done
    }

    async fn record(
        &self,
        id: Id<Image>,
        file: ImageFile,
        change: impl FnOnce(ImageSpec) -> ImageSpec,
    ) -> Result<bool, JobFailure> {
        let Some(image) = self.store.get(id).map_err(store_failure)? else { return Ok(false) };
        let spec = ImageSpec { files: vec![file], ..change(image.spec) };
        let mut tx = Transaction::new();
        tx.put_spec(id, Some(image.meta.revision), spec);
        // The bytes were read a moment ago; reading them again would only take time.
        self.images.vouch(image.meta.id, image.meta.generation.saturating_add(1));
        self.store.commit(tx).await.map_err(store_failure)?;
        Ok(true)
    }

    /// Removes a file of the library unless an image has it.
    async fn drop_unnamed(&self, path: &Path) {
        let Ok(images) = self.store.list::<Image>() else { return };
        let text = path.display().to_string();
        if images.iter().any(|image| image.spec.files.iter().any(|file| file.path == text)) {
            return;
        }
        if let Err(error) = self.library.remove(path).await {
            tracing::warn!(%error, "a file that no image has could not be removed");
        }
    }
}

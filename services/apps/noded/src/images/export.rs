//! `volume.export`: from a volume, or a volume as a snapshot has it, to an image of the library.
//!
//! copy -> convert -> inspect -> adopt. The volume is kept from its virtual machine for the first step only, which takes
//! moments; every run begins anew with a fresh copy.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skerry_model::{Id, Image, ImageFormat, ImageSource, ImageSpec, Kind, LocalRef, Resource};
use skerry_storage::{CopyOutError, DiskFormat, StorageController};
use skerry_store::Store;
use skerry_upkeep::{DiskBase, ImageController, ImageLibrary, JobClass, LibraryError};

use super::import::{JobMeter, THIN, failure, store_failure};
use super::place::{Found, Placing};
use crate::jobs::{JobContext, JobFailure, Operation};

/// The operation's name.
pub const EXPORT: &str = "volume.export";

/// Makes an image of a volume. The job's subject is the image; its record says everything else.
pub struct ExportVolume {
    store: Store,
    library: Arc<dyn ImageLibrary>,
    storage: Arc<StorageController>,
    images: Arc<ImageController>,
}

impl ExportVolume {
    /// From these volumes to this library.
    pub const fn new(
        store: Store,
        library: Arc<dyn ImageLibrary>,
        storage: Arc<StorageController>,
        images: Arc<ImageController>,
    ) -> Self {
        Self { store, library, storage, images }
    }

    fn image(&self, job: &JobContext) -> Result<Option<Resource<Image>>, JobFailure> {
        let Some(LocalRef { kind: Kind::Image, id }) = job.subject else {
            return Err(JobFailure::bug("the job names no image"));
        };
        self.store.get(Id::<Image>::new(id)).map_err(store_failure)
    }

    /// Copies the volume's file, and tells what it is based on.
    async fn copy(
        &self,
        job: &JobContext,
        spec: &ImageSpec,
    ) -> Result<Option<DiskBase>, JobFailure> {
        let ImageSource::Volume { volume, snapshot } = &spec.source else {
            return Err(JobFailure::bug("the image is not made of a volume"));
        };
        job.progress.stage("copy");
        let place = self.library.lend(job.id).await.map_err(failure)?;
        let base = self.storage.copy_out(volume, snapshot.as_ref(), &place).await;
        let base = base.map_err(|error| match error {
            CopyOutError::Waits(why) => JobFailure::retry("VolumeInUse", why),
            CopyOutError::Refused(why) => JobFailure::refused("NotThere", why),
            other => JobFailure::retry("DiskFailed", other.to_string()),
        })?;
        Ok(base.map(|(path, format)| {
            let format = match format {
                DiskFormat::Qcow2 => ImageFormat::Qcow2,
                DiskFormat::Raw => ImageFormat::Raw,
            };
            DiskBase { path, format }
        }))
    }

    /// Makes the job's file of the copy.
    async fn work(&self, job: &JobContext, base: Option<&DiskBase>) -> Result<Found, LibraryError> {
        job.progress.stage("convert");
        self.library.flatten(job.id, base, JobMeter::of(job)).await?;
        job.progress.stage("inspect");
        let limit = self.library.room().await?.total.saturating_mul(THIN);
        let virtual_size = self.library.inspect(job.id, ImageFormat::Qcow2, limit).await?;
        let digest = self.library.digest(job.id, JobMeter::of(job)).await?;
        Ok(Found::new("disk", digest, virtual_size))
    }

    fn placing(&self) -> Placing {
        Placing {
            store: self.store.clone(),
            library: Arc::clone(&self.library),
            images: Arc::clone(&self.images),
        }
    }
}

#[async_trait]
impl Operation for ExportVolume {
    fn name(&self) -> &'static str {
        EXPORT
    }

    fn class(&self) -> JobClass {
        JobClass::Bulk
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(24 * 3600)
    }

    fn retries(&self) -> u32 {
        20
    }

    async fn run(&self, job: &JobContext) -> Result<String, JobFailure> {
        let gone = || Ok("the image was deleted meanwhile".to_owned());
        let Some(image) = self.image(job)? else { return gone() };
        let _promise = self.library.promises().open(job.id);
        if image.spec.files.is_empty() {
            let base = self.copy(job, &image.spec).await?;
            let found = self.work(job, base.as_ref()).await.map_err(failure)?;
            job.progress.stage("adopt");
            if !self.placing().place(image.id(), job.id, vec![found], |spec| spec).await? {
                self.undo(job).await?;
                return gone();
            }
        }
        self.undo(job).await?;
        Ok("the image is in the library".to_owned())
    }

    async fn undo(&self, job: &JobContext) -> Result<(), JobFailure> {
        // What has begun to be placed is placed.
        let _turn = self.images.turn().await;
        self.library.discard(job.id).await.map_err(failure)
    }
}

//! `image.import`: from what came in to a file of the library.
//!
//! receive -> copy -> verify -> inspect -> convert -> adopt. Until the last step the image cannot be used, and
//! every run begins anew with a fresh copy of what came in, so a power cut at any step costs time only.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skerry_ipc::{FetchOrder, FetchReport};
use skerry_model::{Id, Image, ImageFormat, ImageSource, ImageSpec, Kind, LocalRef, Resource};
use skerry_store::{Store, StoreError};
use skerry_upkeep::{
    BootParts, ImageController, ImageLibrary, Incoming, IntakeRefusal, JobClass, LibraryError,
    Meter,
};
use tokio_util::sync::CancellationToken;

use super::desk::FetchDesk;
use super::place::{Found, Placing};
use crate::jobs::{JobContext, JobFailure, Operation, Progress};

/// The operation's name.
pub const IMPORT: &str = "image.import";

/// How much larger than the data partition a disk inside an image may be: disks are thin.
pub(super) const THIN: u64 = 2;

/// Brings an image in. The job's subject is the image; its record says everything else.
pub struct ImportImage {
    store: Store,
    library: Arc<dyn ImageLibrary>,
    desk: FetchDesk,
    images: Arc<ImageController>,
}

/// What an import has found in a file that came in.
struct Taken {
    found: Vec<Found>,
    /// The command line of a kernel that came along with it.
    arguments: String,
}

impl ImportImage {
    /// Over this library; what has to be fetched is ordered at the desk.
    pub const fn new(
        store: Store,
        library: Arc<dyn ImageLibrary>,
        desk: FetchDesk,
        images: Arc<ImageController>,
    ) -> Self {
        Self { store, library, desk, images }
    }

    fn image(&self, job: &JobContext) -> Result<Option<Resource<Image>>, JobFailure> {
        let Some(LocalRef { kind: Kind::Image, id }) = job.subject else {
            return Err(JobFailure::bug("the job names no image"));
        };
        self.store.get(Id::<Image>::new(id)).map_err(store_failure)
    }

    fn placing(&self) -> Placing {
        Placing {
            store: self.store.clone(),
            library: Arc::clone(&self.library),
            images: Arc::clone(&self.images),
        }
    }

    /// Where the bytes come from.
    fn incoming(job: &JobContext, spec: &ImageSpec) -> Result<Incoming, JobFailure> {
        match &spec.source {
            ImageSource::Upload(id) => Ok(Incoming::Spooled(*id)),
            ImageSource::Url(_) => Ok(Incoming::Spooled(job.id)),
            ImageSource::Folder(path) => Ok(Incoming::Medium(path.clone())),
            ImageSource::BuiltIn | ImageSource::Registry { .. } | ImageSource::Volume { .. } => {
                Err(JobFailure::bug("the image does not come as a file"))
            }
        }
    }

    /// Has the north side fetch the file, and waits until it is there.
    async fn fetch(&self, job: &JobContext, url: &str) -> Result<(), JobFailure> {
        let here = Incoming::Spooled(job.id);
        if self.library.incoming(&here).await.map_err(failure)?.is_some() {
            return Ok(());
        }
        job.progress.stage("receive");
        // What has come already takes its room.
        let there = self.library.fetched(job.id).await.map_err(failure)?;
        let free = self.library.free_for(job.id).await.map_err(failure)?;
        let limit = free.saturating_add(there);
        let mut ticket = self.desk.order(FetchOrder { id: job.id, url: url.to_owned(), limit });
        loop {
            match ticket.next().await {
                FetchReport::Progress { done, total } => {
                    job.progress.bytes(done, total);
                    // Of a file whose size is not told, only what is free at all can be kept to.
                    let missing = total.map_or(1, |total| total.saturating_sub(done));
                    self.library.claim(job.id, missing).await.map_err(no_room)?;
                }
                FetchReport::Done => {
                    self.library.promises().release(job.id);
                    return Ok(());
                }
                FetchReport::Failed { detail, retry: true } => {
                    return Err(JobFailure::waiting("FetchFailed", detail));
                }
                FetchReport::Failed { detail, retry: false } => {
                    return Err(JobFailure::refused("FetchRefused", detail));
                }
            }
        }
    }

    /// Takes a copy, and checks that it is what it should be. Tells what it is.
    async fn work(
        &self,
        job: &JobContext,
        spec: &ImageSpec,
        incoming: &Incoming,
    ) -> Result<Taken, LibraryError> {
        let meter = || JobMeter::of(job);
        job.progress.stage("copy");
        self.library.take(job.id, incoming, meter()).await?;
        job.progress.stage("verify");
        let mut digest = self.library.digest(job.id, meter()).await?;
        if let Some(expected) = spec.sha256.as_ref().filter(|expected| **expected != digest.sha256)
        {
            let (expected, found) = (expected.clone(), digest.sha256);
            return Err(IntakeRefusal::Digest { expected, found }.into());
        }
        job.progress.stage("inspect");
        let limit = self.library.room().await?.total.saturating_mul(THIN);
        let mut virtual_size = self.library.inspect(job.id, spec.format, limit).await?;
        if spec.format == ImageFormat::KernelInitrd {
            return self.work_on_boot(job).await;
        }
        if !spec.format.is_kept() {
            job.progress.stage("convert");
            self.library.convert(job.id, spec.format, meter()).await?;
            job.progress.stage("inspect");
            virtual_size = self.library.inspect(job.id, spec.format.kept(), limit).await?;
            digest = self.library.digest(job.id, meter()).await?;
        }
        let role = spec.format.roles().first().copied().unwrap_or("disk");
        let found = vec![Found::new(role, digest, virtual_size)];
        Ok(Taken { found, arguments: String::new() })
    }

    /// The same for a kernel with its initial file system, which are kept apart.
    async fn work_on_boot(&self, job: &JobContext) -> Result<Taken, LibraryError> {
        let BootParts { kernel, initrd, arguments } =
            self.library.take_apart(job.id, JobMeter::of(job)).await?;
        let found = vec![Found::part("kernel", kernel), Found::part("initrd", initrd)];
        Ok(Taken { found, arguments })
    }

    /// Removes what is no longer needed of what came in. It is found again by age if this fails.
    async fn clear(&self, job: &JobContext, incoming: &Incoming) {
        let spooled = match incoming {
            Incoming::Spooled(id) => self.library.drop_spooled(*id).await,
            Incoming::Medium(_) => Ok(()),
        };
        for result in [spooled, self.library.discard(job.id).await] {
            if let Err(error) = result {
                tracing::warn!(%error, "what an import left could not be removed");
            }
        }
    }
}

#[async_trait]
impl Operation for ImportImage {
    fn name(&self) -> &'static str {
        IMPORT
    }

    fn class(&self) -> JobClass {
        JobClass::Bulk
    }

    /// Since the last byte that came: a server may be away for days.
    fn deadline(&self) -> Duration {
        Duration::from_secs(7 * 24 * 3600)
    }

    fn brings_in(&self) -> bool {
        true
    }

    fn retries(&self) -> u32 {
        20
    }

    async fn run(&self, job: &JobContext) -> Result<String, JobFailure> {
        let Some(image) = self.image(job)? else {
            return Ok("the image was deleted meanwhile".to_owned());
        };
        let incoming = Self::incoming(job, &image.spec)?;
        let _promise = self.library.promises().open(job.id);
        if !image.spec.files.is_empty() {
            self.clear(job, &incoming).await;
            return Ok("the image is there".to_owned());
        }
        if let ImageSource::Url(url) = &image.spec.source {
            self.fetch(job, url).await?;
        }
        let Taken { found, arguments } = match self.work(job, &image.spec, &incoming).await {
            Ok(done) => done,
            Err(LibraryError::Refused(refusal)) => {
                self.clear(job, &incoming).await;
                return Err(JobFailure::refused(refusal.reason(), refusal.to_string()));
            }
            // What was fetched, perhaps over days, stays until there is room for it.
            Err(error) if matches!(image.spec.source, ImageSource::Url(_)) => {
                return Err(no_room(error));
            }
            Err(error) => return Err(failure(error)),
        };
        job.progress.stage("adopt");
        let size = found.iter().fold(0_u64, |sum, file| sum.saturating_add(file.digest.size));
        let kept = |mut spec: ImageSpec| {
            // What was said of it, also meanwhile, comes before what came along.
            if spec.kernel_arguments.is_empty() {
                spec.kernel_arguments = arguments;
            }
            ImageSpec { format: spec.format.kept(), ..spec }
        };
        let there = self.placing().place(image.id(), job.id, found, kept).await?;
        self.clear(job, &incoming).await;
        if !there {
            return Ok("the image was deleted meanwhile".to_owned());
        }
        Ok(format!("the image is in the library, {size} bytes"))
    }

    async fn undo(&self, job: &JobContext) -> Result<(), JobFailure> {
        // What has begun to be placed is placed.
        let _turn = self.images.turn().await;
        self.library.discard(job.id).await.map_err(failure)?;
        // What was fetched for this job; an upload stays, so that it can be used for another try.
        self.library.drop_spooled(job.id).await.map_err(failure)
    }
}

/// Passes on how far the work is.
pub(super) struct JobMeter {
    progress: Progress,
    stopped: CancellationToken,
}

impl JobMeter {
    /// Of this job.
    pub(super) fn of(job: &JobContext) -> Arc<dyn Meter> {
        Arc::new(Self { progress: job.progress.clone(), stopped: job.stopped() })
    }
}

impl Meter for JobMeter {
    fn bytes(&self, done: u64, total: u64) {
        self.progress.bytes(done, Some(total));
    }
    fn is_stopped(&self) -> bool {
        self.stopped.is_cancelled()
    }
}

/// The same where something has come already: it waits for room and stays.
fn no_room(error: LibraryError) -> JobFailure {
    match error {
        LibraryError::NoSpace { .. } => JobFailure::waiting("NoSpace", error.to_string()),
        other => failure(other),
    }
}

pub(super) fn failure(error: LibraryError) -> JobFailure {
    match error {
        LibraryError::Refused(refusal) => {
            JobFailure::refused(refusal.reason(), refusal.to_string())
        }
        LibraryError::Missing { .. } => JobFailure::refused("NotThere", error.to_string()),
        LibraryError::NoSpace { .. } => JobFailure::refused("NoSpace", error.to_string()),
        LibraryError::Tool { .. } => JobFailure::retry("ToolFailed", error.to_string()),
        LibraryError::Stopped => JobFailure::retry("BrokenOff", error.to_string()),
        LibraryError::Io { ref source, .. } => {
            JobFailure::retry("DiskFailed", format!("{error}: {source}"))
        }
    }
}

pub(super) fn store_failure(error: StoreError) -> JobFailure {
    JobFailure::retry("StoreFailed", format!("the image's record could not be changed: {error}"))
}

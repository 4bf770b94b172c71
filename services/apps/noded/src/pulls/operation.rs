//! `image.pull`: from a reference to an image in the store of blobs; the same again for one that was damaged.
//!
//! check what is there -> receive -> judge its signatures -> adopt -> commit. A tag is looked up once: when the image
//! is there, its record names the digest, and whatever is fetched again later is fetched by that.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skerry_ipc::{PullEndpoint, PullOrder, PullReport, PulledSignature};
use skerry_model::{
    Id, Image, ImageReference, ImageSignature, ImageSource, ImageSpec, Kind, LocalRef, Registry,
    RegistryHost, RegistrySpec, Resource,
};
use skerry_store::{Store, StoreError, Transaction};
use skerry_upkeep::{
    BlobFault, BlobTrouble, ImageBlobs, ImageController, ImageLibrary, JobClass, LibraryError,
};
use tokio::sync::Mutex;

use super::desk::PullDesk;
use super::trusted::{SIGNATURE_REFUSED, Trusted};
use crate::jobs::{JobContext, JobFailure, Operation};

/// The operation's name.
pub const PULL: &str = "image.pull";

/// What the north side brought.
struct Received {
    /// SHA-256 of what the reference names.
    named: String,
    blobs: Vec<(String, u64)>,
    signatures: Vec<PulledSignature>,
}

/// Pulls an image. The job's subject is the image; its record says everything else.
pub struct PullImage {
    store: Store,
    blobs: Arc<dyn ImageBlobs>,
    /// Knows the room on the data partition.
    library: Arc<dyn ImageLibrary>,
    desk: PullDesk,
    images: Arc<ImageController>,
    /// Held from the first blob that is taken over until a record names them all: a sweep waits for it.
    turn: Arc<Mutex<()>>,
}

impl PullImage {
    /// Over this store of blobs; what has to be fetched is ordered at the desk.
    pub const fn new(
        store: Store,
        blobs: Arc<dyn ImageBlobs>,
        library: Arc<dyn ImageLibrary>,
        desk: PullDesk,
        images: Arc<ImageController>,
        turn: Arc<Mutex<()>>,
    ) -> Self {
        Self { store, blobs, library, desk, images, turn }
    }

    fn image(&self, job: &JobContext) -> Result<Option<Resource<Image>>, JobFailure> {
        let Some(LocalRef { kind: Kind::Image, id }) = job.subject else {
            return Err(JobFailure::bug("the job names no image"));
        };
        self.store.get(Id::<Image>::new(id)).map_err(store_failure)
    }

    /// Whether every file of the image is there and right; what is not is set aside.
    async fn is_whole(&self, job: &JobContext, spec: &ImageSpec) -> Result<bool, JobFailure> {
        if spec.files.is_empty() {
            return Ok(false);
        }
        job.progress.stage("check");
        let mut whole = true;
        for file in &spec.files {
            whole &= self.blobs.check(&file.sha256).await.map_err(failure)?;
        }
        Ok(whole)
    }

    async fn receive(
        &self,
        job: &JobContext,
        reference: &ImageReference,
        folder: &Path,
    ) -> Result<Received, JobFailure> {
        job.progress.stage("receive");
        let trusted = self.trusted(reference)?;
        let have = self.blobs.present().await.map_err(failure)?;
        let mut ticket = self.desk.order(PullOrder {
            job: job.id,
            reference: reference.to_string(),
            endpoints: endpoints(&self.store, reference.host()).map_err(store_failure)?,
            folder: folder.display().to_string(),
            have: have.into_iter().collect(),
            // If that cannot be told, the disk will say so itself.
            limit: self.library.free_for(job.id).await.unwrap_or(u64::MAX),
            signatures: trusted.wanted(),
        });
        loop {
            match ticket.next().await {
                PullReport::Progress { done, total, missing } => {
                    job.progress.bytes(done, Some(total).filter(|total| *total > 0));
                    if let Some(missing) = missing {
                        self.library.claim(job.id, missing).await.map_err(no_room)?;
                    }
                }
                PullReport::Done { named, blobs, signatures } => {
                    self.library.promises().release(job.id);
                    return Ok(Received { named, blobs, signatures });
                }
                PullReport::Failed { detail, unsigned: true, .. } => {
                    return Err(JobFailure::refused(SIGNATURE_REFUSED, detail));
                }
                PullReport::Failed { detail, wait: true, .. } => {
                    return Err(JobFailure::waiting("PullFailed", detail));
                }
                PullReport::Failed { detail, retry: true, .. } => {
                    return Err(JobFailure::retry("PullFailed", detail));
                }
                PullReport::Failed { detail, .. } => {
                    return Err(JobFailure::refused("PullRefused", detail));
                }
            }
        }
    }

    /// What is wanted of the signatures of this image now.
    fn trusted(&self, reference: &ImageReference) -> Result<Trusted, JobFailure> {
        let registries = self.store.list::<Registry>().map_err(store_failure)?;
        let specs = registries.iter().map(|registry| &registry.spec);
        Ok(Trusted::of(specs, reference))
    }

    /// Takes over what came. What is there already costs nothing.
    async fn adopt(
        &self,
        job: &JobContext,
        folder: &Path,
        blobs: &[(String, u64)],
    ) -> Result<(), JobFailure> {
        job.progress.stage("adopt");
        let present = self.blobs.present().await.map_err(failure)?;
        let total = blobs.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        let mut done = 0_u64;
        for (digest, size) in blobs {
            if !present.contains(digest) {
                self.blobs.adopt(&folder.join(digest), digest, *size).await.map_err(failure)?;
            }
            done = done.saturating_add(*size);
            job.progress.bytes(done, Some(total));
        }
        Ok(())
    }

    /// Makes the blobs the image's, in one commit.
    async fn commit(
        &self,
        image: &Resource<Image>,
        named: &str,
        signature: Option<ImageSignature>,
    ) -> Result<u64, JobFailure> {
        let (reference, resolved) = source(&image.spec)?;
        let wanted = resolved.unwrap_or(reference);
        if wanted.digest().is_some_and(|digest| digest != named) {
            return Err(JobFailure::refused(
                "WrongDigest",
                "the registry gave another image than the digest in the reference names",
            ));
        }
        let contents = self.blobs.contents(named).await.map_err(failure)?;
        let size = contents.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
        if image.spec.files != contents.files || image.spec.signature != signature {
            let mut tx = Transaction::new();
            let (reference, resolved) = (reference.clone(), Some(reference.at(named)));
            let source = ImageSource::Registry { reference, resolved };
            let files = contents.files;
            let spec = ImageSpec { files, source, signature, ..image.spec.clone() };
            tx.put_spec(image.id(), Some(image.meta.revision), spec);
            self.store.commit(tx).await.map_err(store_failure)?;
        }
        Ok(size)
    }

    async fn take(&self, job: &JobContext, image: &Resource<Image>) -> Result<String, JobFailure> {
        let (reference, resolved) = source(&image.spec)?;
        let reference = resolved.unwrap_or(reference);
        let folder = self.blobs.open_folder(job.id).await.map_err(failure)?;
        let Received { named, blobs, signatures } = self.receive(job, reference, &folder).await?;
        let signature = self.trusted(reference)?.judge(&named, reference, &signatures)?;
        let _turn = self.turn.lock().await;
        self.adopt(job, &folder, &blobs).await?;
        // A description may have been changed meanwhile.
        let Some(image) = self.image(job)? else {
            return Ok("the image was deleted meanwhile".to_owned());
        };
        let size = self.commit(&image, &named, signature).await?;
        Ok(format!("the image is there, {size} bytes, sha256:{named}"))
    }
}

#[async_trait]
impl Operation for PullImage {
    fn name(&self) -> &'static str {
        PULL
    }

    fn class(&self) -> JobClass {
        JobClass::Bulk
    }

    /// Since the last byte that came: a registry may be away for days.
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
        if self.is_whole(job, &image.spec).await? {
            self.images.doubt(image.meta.id);
            return Ok("the image is there".to_owned());
        }
        let _promise = self.library.promises().open(job.id);
        let told = self.take(job, &image).await?;
        self.images.doubt(image.meta.id);
        if let Err(error) = self.blobs.remove_folder(job.id).await {
            // It goes with the next sweep.
            tracing::warn!(%error, "what a pull left could not be removed");
        }
        Ok(told)
    }

    async fn undo(&self, job: &JobContext) -> Result<(), JobFailure> {
        self.blobs.remove_folder(job.id).await.map_err(failure)
    }
}

/// What was asked for, and what it turned out to be.
fn source(spec: &ImageSpec) -> Result<(&ImageReference, Option<&ImageReference>), JobFailure> {
    match &spec.source {
        ImageSource::Registry { reference, resolved } => Ok((reference, resolved.as_ref())),
        _ => Err(JobFailure::bug("the image is not from a registry")),
    }
}

/// How to reach a registry: its mirrors, then itself, each as its own record says.
fn endpoints(store: &Store, host: &RegistryHost) -> Result<Vec<PullEndpoint>, StoreError> {
    let known: Vec<RegistrySpec> =
        store.list::<Registry>()?.into_iter().map(|registry| registry.spec).collect();
    let find = |host: &RegistryHost| known.iter().find(|spec| spec.host == *host);
    let mut hosts: Vec<&RegistryHost> = Vec::new();
    let mirrors = find(host).map(|spec| spec.mirrors.iter()).unwrap_or_default();
    let mut seen = BTreeSet::new();
    hosts.extend(mirrors.chain([host]).filter(|host| seen.insert((*host).clone())));
    Ok(hosts.into_iter().map(|host| endpoint(host, find(host))).collect())
}

fn endpoint(host: &RegistryHost, spec: Option<&RegistrySpec>) -> PullEndpoint {
    let credentials = spec
        .and_then(|spec| Some((spec.username.clone()?, spec.password.clone().unwrap_or_default())));
    PullEndpoint {
        host: host.to_string(),
        plain_http: spec.is_some_and(|spec| spec.plain_http),
        ca_pem: spec.and_then(|spec| spec.ca_pem.clone()),
        credentials,
    }
}

fn failure(fault: BlobFault) -> JobFailure {
    match fault.trouble {
        BlobTrouble::Passing => JobFailure::retry("DiskFailed", fault.message),
        // Fetched again it may be right.
        BlobTrouble::Wrong => JobFailure::retry("WrongBytes", fault.message),
        // What has come stays, and waits for room to be taken over.
        BlobTrouble::NoSpace => JobFailure::waiting("NoSpace", fault.message),
    }
}

/// What has come stays, and waits for room for the rest.
fn no_room(error: LibraryError) -> JobFailure {
    match error {
        LibraryError::NoSpace { .. } => JobFailure::waiting("NoSpace", error.to_string()),
        other => JobFailure::retry("DiskFailed", other.to_string()),
    }
}

fn store_failure(error: StoreError) -> JobFailure {
    JobFailure::retry("StoreFailed", format!("the image's record could not be changed: {error}"))
}

#[cfg(test)]
mod tests {
    use skerry_engine::ErrorClass;

    use super::*;

    #[test]
    fn what_has_come_is_not_given_up_for_want_of_room() {
        let of = |trouble| failure(BlobFault { trouble, message: "x".to_owned() });
        let full = of(BlobTrouble::NoSpace);
        assert_eq!((full.class, full.waits, full.reason), (ErrorClass::Retry, true, "NoSpace"));
        let room = no_room(LibraryError::NoSpace { needed: 2, free: 1 });
        assert!(room.waits && room.message.contains("2 bytes are needed"), "{room}");
        // Fetched again for ever it would cost somebody else's traffic.
        assert!(!of(BlobTrouble::Wrong).waits && !of(BlobTrouble::Passing).waits);
    }
}

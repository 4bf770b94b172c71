//! Keeps watch over images: whether their bytes are what was recorded, who uses them, and what their import came to.
//!
//! Every image is read whole once at each start of the node and once a day. A file that is missing or has other
//! bytes makes the image `quarantined`: workloads that run are not touched by that, and none is started from it
//! until the file is mended, by importing the same bytes again or by the disk's return.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use skerry_engine::{Controller, Failure, Key, Outcome};
use skerry_model::{
    ConditionState, Document, Id, Image, ImageFormat, ImageState, ImageStatus, Job, Kind, LocalRef,
    Name, Phase, Resource, Timestamp,
};
use skerry_store::{Change, Store, StoreError, Transaction};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Host, ImageLibrary};

/// How often every image is read.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// How soon a damaged image is read again: a disk that was away may be back.
const DAMAGED: Duration = Duration::from_secs(300);

/// Of images that were brought in: their file goes before their record.
pub const IMAGE_FINALIZER: &str = "images";

/// Writes the status of images.
pub struct ImageController {
    store: Store,
    host: Arc<dyn Host>,
    library: Arc<dyn ImageLibrary>,
    now: fn() -> Timestamp,
    /// Generation that was read, and when.
    seen: Mutex<BTreeMap<Uuid, (u64, Instant)>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl ImageController {
    /// Over this store, machine and library.
    pub fn new(
        store: Store,
        host: Arc<dyn Host>,
        library: Arc<dyn ImageLibrary>,
        now: fn() -> Timestamp,
    ) -> Self {
        Self { store, host, library, now, seen: Mutex::default(), turn: Arc::default() }
    }

    /// To be held from the moment when a file is put into the library until a record names it, and while a file is removed
    /// that no record names: images of the same bytes have the same file.
    pub async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Says that the bytes of an image at this generation have just been read and are as recorded.
    pub fn vouch(&self, image: Uuid, generation: u64) {
        self.seen().insert(image, (generation, Instant::now()));
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Uuid, (u64, Instant)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the image read at the next look, however lately that was done.
    pub fn doubt(&self, image: Uuid) {
        self.seen().remove(&image);
    }

    /// How long until the image has to be read; `None` if that is now.
    fn rest(&self, image: &Resource<Image>) -> Option<Duration> {
        let (generation, at) = self.seen().get(&image.meta.id).copied()?;
        let age = Instant::now().saturating_duration_since(at);
        let rest = EVERY.saturating_sub(age);
        (generation == image.meta.generation && !rest.is_zero()).then_some(rest)
    }

    /// What is wrong with the files; nothing if all are as recorded.
    async fn faults(&self, image: &Resource<Image>) -> Vec<String> {
        let mut faults = Vec::new();
        for file in &image.spec.files {
            match self.host.hash_file(Path::new(&file.path)).await {
                Ok(found) if found.sha256 == file.sha256 && found.size == file.size => {}
                Ok(found) if found.size != file.size => faults.push(format!(
                    "{} has {} bytes instead of {}",
                    file.path, found.size, file.size
                )),
                Ok(_) => faults.push(format!("{} has other bytes than recorded", file.path)),
                Err(error) => faults.push(error.to_string()),
            }
        }
        faults
    }

    /// Removes the files that no other image has, then the record.
    async fn take_down(&self, image: &Resource<Image>) -> Result<Outcome, Failure> {
        let _turn = self.turn().await;
        let all = self.store.list::<Image>().map_err(store_failure)?;
        let others = || all.iter().filter(|other| other.id() != image.id());
        for file in image.spec.files.iter().filter(|_| image.spec.source.is_brought_in()) {
            let shared = others().any(|o| o.spec.files.iter().any(|f| f.path == file.path));
            if !shared {
                let removed = self.library.remove(Path::new(&file.path)).await;
                removed.map_err(|error| {
                    Failure::retry("the image's file could not be removed").because(error)
                })?;
            }
        }
        let mut tx = Transaction::new();
        tx.drop_finalizer(image.id(), IMAGE_FINALIZER);
        self.store.commit(tx).await.map_err(store_failure)?;
        Ok(Outcome::Done)
    }

    /// The state of an image whose bytes are not there yet: what its job says.
    fn follow_import(&self, status: &mut ImageStatus) {
        let now = (self.now)();
        let job = status.job.and_then(|id| self.store.get(Id::<Job>::new(id)).ok().flatten());
        let Some(job) = job else {
            status.state = ImageState::Failed;
            let message =
                "the job that was to bring it in is gone; delete the image and import it anew";
            status.conditions.set("Imported", ConditionState::False, "NoJob", message, now);
            return;
        };
        if job.status.state.is_final() {
            status.state = ImageState::Failed;
            let (reason, message) = (&job.status.reason, job.status.message.clone());
            status.conditions.set("Imported", ConditionState::False, reason, message, now);
        } else {
            status.state = ImageState::Receiving;
            status.conditions.clear("Imported");
        }
    }

    /// Reads the files if that is due, and says how they are. Gives the time until the next look.
    async fn look(&self, image: &Resource<Image>, status: &mut ImageStatus) -> Duration {
        let (now, rest) = ((self.now)(), self.rest(image));
        let faults = if rest.is_some() { Vec::new() } else { self.faults(image).await };
        status.conditions.clear("Imported");
        if !faults.is_empty() {
            status.state = ImageState::Quarantined;
            let message = faults.join("; ");
            status.conditions.set("Intact", ConditionState::False, "Damaged", message, now);
            return DAMAGED;
        }
        status.state = ImageState::Available;
        status.conditions.set("Intact", ConditionState::True, "AsRecorded", "", now);
        if rest.is_none() {
            self.vouch(image.meta.id, image.meta.generation);
        }
        if rest.is_none() || status.verified.is_none() {
            status.verified = Some(now);
        }
        rest.unwrap_or(EVERY)
    }
}

/// Who uses an image of this name.
pub fn image_users(store: &Store, name: &Name) -> Vec<LocalRef> {
    let kinds = [Kind::Vm, Kind::Pod, Kind::Volume];
    let documents = kinds.into_iter().flat_map(|kind| store.documents(kind));
    let is_disc = store
        .find::<Image>(name)
        .is_ok_and(|image| image.is_some_and(|image| image.spec.format == ImageFormat::Iso));
    let uses = |document: &Document| {
        // A CD that a machine was installed from is not needed any more once it is out of the drive.
        let names = if is_disc { discs(document) } else { named_images(document) };
        names.contains(&name.as_str())
    };
    let users = documents.filter(|document| uses(document));
    users.map(|d| LocalRef { kind: d.kind, id: d.metadata.id }).collect()
}

/// The names of images in what is wanted of a workload or a volume, and in what a pod can go back to.
fn named_images(document: &Document) -> Vec<&str> {
    let spec = &document.spec;
    let history = document.status.get("history").and_then(Value::as_array);
    let templates = history.into_iter().flatten().filter_map(|kept| kept.get("template"));
    let containers = [spec].into_iter().chain(templates).flat_map(|template| {
        let lists = ["containers", "init"].into_iter().filter_map(|list| template.get(list));
        lists.filter_map(Value::as_array).flatten()
    });
    let discs = discs(document);
    let own = spec.get("image").into_iter();
    let source = spec.get("source").and_then(|source| source.get("image"));
    own.chain(source)
        .chain(containers.filter_map(|c| c.get("image")))
        .filter_map(Value::as_str)
        .chain(discs)
        .collect()
}

/// The names of CD images that lie or are to lie in the drives of a machine.
fn discs(document: &Document) -> Vec<&str> {
    fn list(of: &Value) -> impl Iterator<Item = &Value> {
        of.get("media").and_then(Value::as_array).into_iter().flatten()
    }
    let wanted = list(&document.spec).filter_map(|drive| drive.get("image"));
    wanted.chain(list(&document.status)).filter_map(Value::as_str).collect()
}

#[async_trait]
impl Controller for ImageController {
    fn name(&self) -> &'static str {
        "images"
    }

    fn watches(&self) -> &'static [Kind] {
        &[Kind::Image, Kind::Job, Kind::Vm, Kind::Pod, Kind::Volume]
    }

    fn writes(&self) -> &'static [Kind] {
        &[Kind::Image]
    }

    fn keys(&self, change: &Change) -> Vec<Key> {
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        let image = |id| LocalRef { kind: Kind::Image, id };
        match change.subject.kind {
            Kind::Image => vec![change.subject],
            Kind::Job => {
                let job = after.or(before).and_then(|d| d.to_resource::<Job>().ok());
                // Its progress is nothing to read a damaged image again for.
                let job = job.filter(|job| job.status.state.is_final() || before.is_none());
                let subject = job.and_then(|job| job.spec.subject);
                subject.filter(|subject| subject.kind == Kind::Image).into_iter().collect()
            }
            _ if before.map(named_images) == after.map(named_images) => Vec::new(),
            _ => {
                let names = before.into_iter().chain(after).flat_map(named_images);
                let found =
                    names.filter_map(|name| self.store.named(Kind::Image, &Name::new(name).ok()?));
                found.map(|document| image(document.metadata.id)).collect()
            }
        }
    }

    fn all_keys(&self) -> Vec<Key> {
        let documents = self.store.documents(Kind::Image);
        documents.iter().map(|d| LocalRef { kind: Kind::Image, id: d.metadata.id }).collect()
    }

    async fn reconcile(&self, key: Key) -> Result<Outcome, Failure> {
        let Some(image) = self.store.get(Id::<Image>::new(key.id)).map_err(store_failure)? else {
            self.seen().remove(&key.id);
            return Ok(Outcome::Done);
        };
        if image.meta.phase == Phase::Removing {
            return self.take_down(&image).await;
        }
        let mut status = image.status.clone();
        let next = if image.spec.files.is_empty() && image.spec.source.is_brought_in() {
            self.follow_import(&mut status);
            None
        } else {
            Some(self.look(&image, &mut status).await)
        };
        status.observed_generation = image.meta.generation;
        let users = image_users(&self.store, &image.meta.name);
        let came_in = status.last_used.is_none() && !image.spec.files.is_empty();
        if came_in || users != status.used_by {
            status.last_used = Some((self.now)());
        }
        status.used_by = users;
        let mut tx = Transaction::new();
        tx.put_status(image.id(), status);
        self.store.commit(tx).await.map_err(store_failure)?;
        Ok(next.map_or(Outcome::Done, Outcome::Again))
    }
}

fn store_failure(error: StoreError) -> Failure {
    Failure::retry("the image's record could not be read or written").because(error)
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;

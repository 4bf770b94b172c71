//! Keeps watch over the bytes of images: what a workload starts from is what was recorded.
//!
//! Every image is read whole once at each start of the node and once a day. A file that is missing or has other
//! bytes makes the image `damaged`; workloads that run are not touched by that.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use skerry_engine::{Controller, Failure, Key, Outcome};
use skerry_model::{ConditionState, Id, Image, ImageState, Kind, LocalRef, Resource, Timestamp};
use skerry_store::{Change, Store, StoreError, Transaction};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Host;

/// How often every image is read.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// How soon a damaged image is read again: a disk that was away may be back.
const DAMAGED: Duration = Duration::from_secs(300);

/// Writes the status of images.
pub struct ImageController {
    store: Store,
    host: Arc<dyn Host>,
    now: fn() -> Timestamp,
    /// Generation that was read, and when.
    seen: Mutex<BTreeMap<Uuid, (u64, Instant)>>,
}

impl ImageController {
    /// Over this store and machine.
    pub fn new(store: Store, host: Arc<dyn Host>, now: fn() -> Timestamp) -> Self {
        Self { store, host, now, seen: Mutex::default() }
    }

    /// How long until the image has to be read; `None` if that is now.
    fn rest(&self, image: &Resource<Image>) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, at) = seen.get(&image.meta.id).copied()?;
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
}

#[async_trait]
impl Controller for ImageController {
    fn name(&self) -> &'static str {
        "images"
    }

    fn watches(&self) -> &'static [Kind] {
        &[Kind::Image]
    }

    fn writes(&self) -> &'static [Kind] {
        &[Kind::Image]
    }

    fn keys(&self, change: &Change) -> Vec<Key> {
        vec![change.subject]
    }

    fn all_keys(&self) -> Vec<Key> {
        let documents = self.store.documents(Kind::Image);
        documents.iter().map(|d| LocalRef { kind: Kind::Image, id: d.metadata.id }).collect()
    }

    async fn reconcile(&self, key: Key) -> Result<Outcome, Failure> {
        let Some(image) = self.store.get(Id::<Image>::new(key.id)).map_err(store_failure)? else {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.id);
            return Ok(Outcome::Done);
        };
        if let Some(rest) = self.rest(&image) {
            return Ok(Outcome::Again(rest));
        }
        let faults = self.faults(&image).await;
        let mut status = image.status.clone();
        status.observed_generation = image.meta.generation;
        let now = (self.now)();
        let good = faults.is_empty();
        if good {
            status.state = ImageState::Available;
            status.conditions.set("Intact", ConditionState::True, "AsRecorded", "", now);
        } else {
            status.state = ImageState::Damaged;
            let message = faults.join("; ");
            status.conditions.set("Intact", ConditionState::False, "Damaged", message, now);
        }
        let mut tx = Transaction::new();
        tx.put_status(image.id(), status);
        self.store.commit(tx).await.map_err(store_failure)?;
        if !good {
            return Ok(Outcome::Again(DAMAGED));
        }
        let read = (image.meta.generation, Instant::now());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id, read);
        Ok(Outcome::Again(EVERY))
    }
}

fn store_failure(error: StoreError) -> Failure {
    Failure::retry("the image's record could not be read or written").because(error)
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;

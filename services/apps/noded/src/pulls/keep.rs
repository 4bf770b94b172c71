//! Keeps the store of blobs in order: damaged images are fetched again, and what nobody names goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skerry_engine::EngineHandle;
use skerry_model::{Id, Image, ImageSource, ImageState, Job, JobState, Kind, Resource};
use skerry_store::{Store, StoreError, Transaction};
use skerry_upkeep::{BlobKeep, ImageBlobs, ImageController};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::operation::PULL;
use crate::jobs::Jobs;
use crate::node::Node;

/// How often everything is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How often what nobody names is removed, besides after each image that goes.
const SWEEP: Duration = Duration::from_secs(600);
/// The pause before an image is fetched again whose last try failed for good.
const AGAIN: Duration = Duration::from_secs(600);

/// A try to mend an image.
struct Tried {
    at: Instant,
    /// Whether the image has been read again since.
    read: bool,
}

/// What the keeping needs.
pub struct Keeper {
    store: Store,
    blobs: Arc<dyn ImageBlobs>,
    jobs: Jobs,
    images: Arc<ImageController>,
    engine: EngineHandle,
    turn: Arc<Mutex<()>>,
    recovered: bool,
}

impl Keeper {
    /// Of this node. After a recovery of the store its records may be of yesterday, so nothing is removed then.
    pub fn of(node: &Node, recovered: bool) -> Self {
        Self {
            store: node.store.clone(),
            blobs: Arc::clone(&node.machine.blobs),
            jobs: node.jobs.clone(),
            images: Arc::clone(&node.images),
            engine: node.engine.clone(),
            turn: Arc::clone(&node.pull_turn),
            recovered,
        }
    }

    /// Keeps order until dropped.
    pub async fn run(self) {
        let mut lost = self.blobs.lost();
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tried = BTreeMap::new();
        let mut swept: Option<Instant> = None;
        let mut known = BTreeSet::new();
        loop {
            // Both may be dropped: a tick looks at everything again.
            tokio::select! {
                _ = tick.tick() => {}
                digest = lost.recv() => match digest {
                    Ok(digest) => self.doubt(&digest),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
            if let Err(error) = self.mend(&mut tried).await {
                tracing::warn!(%error, "damaged images could not be looked for");
            }
            let present = self.images_present();
            let gone = known.difference(&present).next().is_some();
            known = present;
            let due = gone || swept.is_none_or(|at| at.elapsed() >= SWEEP);
            if due && !self.recovered {
                self.sweep().await;
                swept = Some(Instant::now());
            }
        }
    }

    fn images_present(&self) -> BTreeSet<Uuid> {
        self.store.documents(Kind::Image).iter().map(|d| d.metadata.id).collect()
    }

    /// Has every image read again that names a blob which was found damaged.
    fn doubt(&self, digest: &str) {
        for image in self.store.list::<Image>().unwrap_or_default() {
            if image.spec.files.iter().any(|file| file.sha256 == *digest) {
                self.images.doubt(image.meta.id);
                self.engine.wake("images", image.local_ref());
            }
        }
    }

    /// Orders every damaged image again that comes from a registry and is not being fetched, and has it read again
    /// when that has ended.
    async fn mend(&self, tried: &mut BTreeMap<Uuid, Tried>) -> Result<(), StoreError> {
        let images = self.store.list::<Image>()?;
        tried.retain(|id, _| images.iter().any(|image| image.meta.id == *id));
        for image in images {
            let damaged = image.status.state == ImageState::Quarantined;
            if !damaged || self.jobs.active_on(image.local_ref()).is_some() {
                continue;
            }
            match tried.get_mut(&image.meta.id) {
                Some(last) if !last.read => {
                    last.read = true;
                    self.engine.wake("images", image.local_ref());
                }
                Some(last) if last.at.elapsed() < AGAIN => {}
                _ => {
                    if repair(&self.store, &self.jobs, &image).await? {
                        tried.insert(image.meta.id, Tried { at: Instant::now(), read: false });
                    }
                }
            }
        }
        Ok(())
    }

    async fn sweep(&self) {
        let _turn = self.turn.lock().await;
        let keep = match keep(&self.store) {
            Ok(keep) => keep,
            Err(error) => {
                tracing::warn!(%error, "nothing is removed: what is needed cannot be told");
                return;
            }
        };
        match self.blobs.sweep(&keep).await {
            Ok(swept) if swept != Default::default() => {
                tracing::info!(?swept, "removed what no image names");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "what no image names could not be removed"),
        }
    }
}

/// Makes the job that fetches an image again, if it is from a registry.
async fn repair(store: &Store, jobs: &Jobs, image: &Resource<Image>) -> Result<bool, StoreError> {
    if !matches!(image.spec.source, ImageSource::Registry { .. }) {
        return Ok(false);
    }
    let job = match jobs.prepare(PULL, Some(image.local_ref()), serde_json::Value::Null) {
        Ok(job) => job,
        Err(error) => {
            tracing::error!(%error, "a damaged image cannot be fetched again");
            return Ok(false);
        }
    };
    tracing::warn!(image = %image.meta.name, "the image is damaged and is fetched again");
    let mut tx = Transaction::new();
    tx.create(job);
    store.commit(tx).await?;
    Ok(true)
}

/// What is needed: every file that a record of an image names, and the folders of jobs that have not ended.
/// A record that cannot be read makes this an error, so that nothing of it is taken for unneeded.
fn keep(store: &Store) -> Result<BlobKeep, StoreError> {
    let mut keep = BlobKeep::default();
    for document in store.documents(Kind::Image) {
        let Some(image) = store.get(Id::<Image>::new(document.metadata.id))? else { continue };
        for file in &image.spec.files {
            keep.digests.insert(file.sha256.to_ascii_lowercase());
            if matches!(file.role.as_str(), "manifest" | "archive") {
                keep.images.insert(file.sha256.to_ascii_lowercase());
            }
        }
    }
    let unfinished = |state: JobState| !state.is_final();
    let jobs = store.list::<Job>()?;
    let jobs: BTreeSet<Uuid> =
        jobs.iter().filter(|job| unfinished(job.status.state)).map(|job| job.meta.id).collect();
    keep.jobs = jobs;
    Ok(keep)
}

//! A pool's own copies of images: read once a day, renewed where they are damaged, and removed when nothing builds on them.
//!
//! Volumes read what they have not written from such a copy, so damage in one is damage in all of them. Each copy is named
//! by the SHA-256 of its bytes; a fresh one put in its place heals every volume on it, from the next start of its machine
//! on. Where there is no image any more to take it from, the pool says so.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use skerry_engine::{Failure, planned};
use skerry_model::{
    ConditionState, Id, Image, ImageState, Pool, PoolState, PoolStatus, Resource, Timestamp,
};
use tokio::time::Instant;

use crate::controller::{StorageController, failure, pool_ref, store_failure};
use crate::image::base_image;
use crate::{BaseImage, PoolRef, StorageStep, plan_bases};

/// How often every copy is read.
const EVERY: Duration = Duration::from_secs(24 * 3600);

/// How often it is looked for copies that have not been read, and for images to renew damaged ones from.
const LOOK: Duration = Duration::from_secs(300);

/// What is known of one copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    at: Instant,
    damaged: bool,
}

/// What is known of all copies, by pool and SHA-256.
pub(crate) type Reads = BTreeMap<(Id<Pool>, String), Read>;

impl StorageController {
    /// Keeps watch over the copies of images in all pools, for as long as the node runs.
    pub async fn keep_bases(&self) {
        loop {
            for pool in self.store.list::<Pool>().unwrap_or_default() {
                if pool.status.state != PoolState::Ready {
                    continue;
                }
                if let Err(failure) = self.read_bases(&pool).await {
                    let message = failure.message;
                    tracing::debug!(pool = %pool.meta.name, message, "copies of images not read");
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads the copies whose turn it is.
    pub(crate) async fn read_bases(&self, pool: &Resource<Pool>) -> Result<(), Failure> {
        let place = pool_ref(pool);
        let there = self.host.observe(&place).await.map_err(failure)?.bases;
        self.reads().retain(|(of, sha256), _| *of != place.id || there.contains(sha256));
        for sha256 in there {
            let known = self.reads().get(&(place.id, sha256.clone())).copied();
            if known.is_some_and(|read| !read.damaged && read.at.elapsed() < EVERY) {
                continue;
            }
            let intact = self.host.check_base(&place, &sha256).await.map_err(failure)?;
            self.note(&place, &sha256, !intact);
            if !intact {
                tracing::warn!(pool = %place.name, sha256, "a copy of an image is damaged");
                if let Some(image) = self.image_of(&sha256)? {
                    let _turn = self.bases.read().await;
                    self.renew(&place, &image).await?;
                }
            }
        }
        Ok(())
    }

    /// Sees to it that no volume is made on a copy that is known to be damaged.
    pub(crate) async fn mend_base(&self, pool: &PoolRef, image: &BaseImage) -> Result<(), Failure> {
        let damaged = |read: &Read| read.damaged;
        let known = self.reads().get(&(pool.id, image.sha256.clone())).is_some_and(damaged);
        if known { self.renew(pool, image).await } else { Ok(()) }
    }

    async fn renew(&self, pool: &PoolRef, image: &BaseImage) -> Result<(), Failure> {
        let step = StorageStep::RenewBase { image: image.clone() };
        planned(step.name());
        self.host.apply(pool, &step).await.map_err(failure)?;
        self.note(pool, &image.sha256, false);
        tracing::info!(pool = %pool.name, sha256 = image.sha256, "a copy of an image is renewed");
        Ok(())
    }

    /// An image whose disk has these bytes, and has them still as far as is known.
    fn image_of(&self, sha256: &str) -> Result<Option<BaseImage>, Failure> {
        let images = self.store.list::<Image>().map_err(store_failure)?;
        let usable = images.iter().filter(|image| image.status.state == ImageState::Available);
        let mut bases = usable.filter_map(|image| base_image(&image.spec));
        Ok(bases.find(|base| base.sha256 == sha256))
    }

    /// Says in a pool's status whether all copies are as they should be.
    pub(crate) fn describe_bases(&self, pool: Id<Pool>, status: &mut PoolStatus, now: Timestamp) {
        let reads = self.reads();
        let damaged: Vec<&str> = reads
            .iter()
            .filter(|((of, _), read)| *of == pool && read.damaged)
            .map(|((_, sha256), _)| sha256.as_str())
            .collect();
        let (state, reason, message) = if damaged.is_empty() {
            (ConditionState::True, "AsRecorded", String::new())
        } else {
            let list = damaged.join(", ");
            let message = format!(
                "the pool's copy of the image with SHA-256 {list} is damaged, and with it the volumes made from it; import the image again, and the copy is renewed"
            );
            (ConditionState::False, "Damaged", message)
        };
        status.conditions.set("ImagesIntact", state, reason, message, now);
    }

    /// Images that no volume shares data with any more. While volumes are being made it is left for a later pass: a copy
    /// may take long, and the pool's figures do not wait for it.
    pub(crate) async fn drop_bases(&self, pool: &Resource<Pool>) -> Result<(), Failure> {
        let Ok(_turn) = self.bases.try_write() else { return Ok(()) };
        let seen = self.host.observe(&pool_ref(pool)).await.map_err(failure)?;
        for step in plan_bases(&seen) {
            planned(step.name());
            self.host.apply(&pool_ref(pool), &step).await.map_err(failure)?;
        }
        Ok(())
    }

    fn note(&self, pool: &PoolRef, sha256: &str, damaged: bool) {
        let read = Read { at: Instant::now(), damaged };
        self.reads().insert((pool.id, sha256.to_owned()), read);
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

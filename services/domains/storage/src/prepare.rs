//! The places of pools that do not lie on the data partition: made ready, mounted, given back.

use skerry_engine::{Failure, planned};
use skerry_model::{Id, Pool, PoolFileSystem, PoolSource, PoolStatus, Resource};
use skerry_store::Transaction;

use crate::controller::{StorageController, failure, pool_ref};
use crate::{PlaceStep, StorageError, plan_kept, plan_place, plan_release};

/// More steps than a place needs, so that one that comes and goes does not hold a pass up.
const MOST_STEPS: usize = 4;

impl StorageController {
    /// Makes the place of a pool ready, if it has one of its own, and mounts it.
    pub(crate) async fn prepare_place(
        &self,
        pool: &Resource<Pool>,
    ) -> Result<Result<(), StorageError>, Failure> {
        let place = pool_ref(pool);
        let away = |message: String| {
            Ok(Err(StorageError::PoolAway { pool: pool.meta.name.clone(), message }))
        };
        let (mut prepared, mut tidied) = (pool.status.prepared, true);
        for _ in 0..MOST_STEPS {
            let step = match self.next_step(pool, prepared).await {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(why) => return away(why),
            };
            planned(step.name());
            if let Err(error) = self.host.apply_place(&place, step).await {
                return away(error.to_string());
            }
            tracing::info!(pool = %pool.meta.name, step = step.name(), "step done");
            let makes =
                step == PlaceStep::Settle || matches!(pool.spec.source, PoolSource::Disk(_));
            if makes && !prepared {
                prepared = true;
                self.put_prepared(pool).await?;
            }
            tidied = false;
        }
        // Made, and then the power went before that was written down.
        if !prepared && matches!(pool.spec.source, PoolSource::FileSystem(_)) {
            self.put_prepared(pool).await?;
        }
        if !tidied && let Err(error) = self.host.recover(&place).await {
            tracing::warn!(pool = %pool.meta.name, %error, "the pool could not be tidied");
        }
        Ok(Ok(()))
    }

    /// What is to be done next to a pool's place, or what keeps it away.
    async fn next_step(
        &self,
        pool: &Resource<Pool>,
        prepared: bool,
    ) -> Result<Option<PlaceStep>, String> {
        let place = pool_ref(pool);
        match &pool.spec.source {
            PoolSource::DataPartition => Ok(None),
            PoolSource::Disk(disk) => {
                let seen = self.host.place(&place).await.map_err(|error| error.to_string())?;
                plan_place(disk, prepared, &seen).map_err(|why| why.to_string())
            }
            PoolSource::FileSystem(kept) => {
                let seen = self.host.kept(&place).await.map_err(|error| error.to_string())?;
                plan_kept(kept, prepared, &seen).map_err(|why| why.to_string())
            }
        }
    }

    async fn put_prepared(&self, pool: &Resource<Pool>) -> Result<(), Failure> {
        let id: Id<Pool> = pool.id();
        let mut tx = Transaction::new();
        tx.put_status(id, PoolStatus { prepared: true, ..pool.status.clone() });
        self.commit(tx).await
    }

    /// Gives the place of a pool back. Of a disk of its own nothing is removed; on a kept file system the pool's empty
    /// folders are.
    pub(crate) async fn release_place(&self, pool: &Resource<Pool>) -> Result<(), Failure> {
        match &pool.spec.source {
            PoolSource::DataPartition => Ok(()),
            PoolSource::Disk(_) => {
                planned(PlaceStep::Unmount.name());
                let done = self.host.apply_place(&pool_ref(pool), PlaceStep::Unmount).await;
                done.map_err(failure)
            }
            PoolSource::FileSystem(kept) => self.release_kept(pool, kept).await,
        }
    }

    /// What cannot be mounted or cleared any more is left as it is: a disk that is broken holds up no deletion.
    async fn release_kept(
        &self,
        pool: &Resource<Pool>,
        kept: &PoolFileSystem,
    ) -> Result<(), Failure> {
        let place = pool_ref(pool);
        let seen = self.host.kept(&place).await.map_err(failure)?;
        for step in plan_release(kept, pool.status.prepared, &seen) {
            if step == PlaceStep::Clear
                && let Err(error) = self.drop_bases(pool).await
            {
                tracing::warn!(pool = %pool.meta.name, %error.message, "unused images stay");
            }
            planned(step.name());
            match self.host.apply_place(&place, step).await {
                Err(error) if step == PlaceStep::Unmount => return Err(failure(error)),
                Err(error) => {
                    tracing::warn!(pool = %pool.meta.name, step = step.name(), %error, "left as it is");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

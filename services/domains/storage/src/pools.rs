//! A pass over a pool: its space, what it has promised, what lies in it without a record.

use std::time::Duration;

use skerry_engine::{Failure, Outcome};
use skerry_model::{
    Condition, ConditionState, Id, Image, Name, Phase, Pool, PoolState, PoolStatus, Resource,
    Snapshot, UnmanagedFile, Volume,
};
use skerry_store::Transaction;

use crate::admission::committed;
use crate::controller::{FINALIZER, StorageController, failure, pool_ref, store_failure};
use crate::{Level, PoolObserved, Space, StorageError, VolumeFile, reserve, unmanaged};

/// How often a pool's space is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Figures are kept in such units, so that the store is not written for every block.
const GRAIN: u64 = 16 * 1024 * 1024;

/// The soonest a reserve is looked after again.
const SOONEST: Duration = Duration::from_millis(200);

/// More than guests are thought to write over shared data in a second, in bytes.
const FASTEST: u64 = 1 << 30;

/// Files without a record that are named.
const MOST_NAMED: usize = 100;

impl StorageController {
    pub(crate) async fn pool_pass(&self, id: Id<Pool>) -> Result<Outcome, Failure> {
        let Some(pool) = self.store.get(id).map_err(store_failure)? else {
            return Ok(Outcome::Done);
        };
        if pool.meta.phase == Phase::Removing {
            return self.remove_pool(&pool).await;
        }
        let seen = match self.prepare_place(&pool).await? {
            Ok(()) => self.host.observe(&pool_ref(&pool)).await,
            Err(error) => Err(error),
        };
        // Preparing has been written down.
        let Some(pool) = self.store.get(id).map_err(store_failure)? else {
            return Ok(Outcome::Done);
        };
        let volumes = self.store.list::<Volume>().map_err(store_failure)?;
        let snapshots = self.store.list::<Snapshot>().map_err(store_failure)?;
        let volumes: Vec<_> =
            volumes.into_iter().filter(|v| v.spec.pool == pool.meta.name).collect();
        let mut status = self.pool_status(&pool, &seen, &volumes, &snapshots);
        if seen.is_ok() {
            self.describe_reserve(&pool, &mut status).await;
            self.describe_bases(pool.id(), &mut status, (self.clock)());
        }
        let mut tx = Transaction::new();
        tx.put_status(id, status);
        self.commit(tx).await?;
        match seen {
            // A disk may come back at any moment.
            Err(StorageError::PoolAway { .. }) => return Ok(Outcome::Again(LOOK)),
            seen => seen.map_err(failure)?,
        };
        self.drop_bases(&pool).await?;
        Ok(Outcome::Again(LOOK))
    }

    /// Nothing is removed of what lies in it; the disk keeps its file system, and a kept one all other files.
    async fn remove_pool(&self, pool: &Resource<Pool>) -> Result<Outcome, Failure> {
        let volumes = self.store.list::<Volume>().map_err(store_failure)?;
        if let Some(volume) = volumes.iter().find(|v| v.spec.pool == pool.meta.name) {
            return Ok(Outcome::Blocked(volume.local_ref()));
        }
        self.release_place(pool).await?;
        let mut tx = Transaction::new();
        tx.drop_finalizer(pool.id(), FINALIZER);
        self.commit(tx).await?;
        Ok(Outcome::Done)
    }

    /// Keeps what guests write from the reserve of each pool, for as long as the node runs. Passes are too far apart
    /// for that when little is left.
    pub async fn keep_reserves(&self) {
        loop {
            let mut pause = LOOK;
            for pool in self.store.list::<Pool>().unwrap_or_default() {
                if pool.status.state != PoolState::Ready {
                    continue;
                }
                let reserve = reserve(pool.status.size_bytes);
                match self.host.keep_reserve(&pool_ref(&pool), reserve).await {
                    Ok(room) => pause = pause.min(room.map_or(LOOK, next_look)),
                    Err(error) => {
                        tracing::debug!(pool = %pool.meta.name, %error, "the reserve is not kept");
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn describe_reserve(&self, pool: &Resource<Pool>, status: &mut PoolStatus) {
        let room = self.host.keep_reserve(&pool_ref(pool), status.reserve_bytes).await;
        let now = (self.clock)();
        status.guest_room_bytes =
            room.as_ref().ok().copied().flatten().map(|room| room - room % GRAIN);
        let (state, reason, message) = match room {
            Ok(Some(_)) => (ConditionState::True, "Quota", String::new()),
            Ok(None) => {
                let message = "the file system knows no quota: guests may fill all of it";
                (ConditionState::False, "NoQuota", message.to_owned())
            }
            Err(error) => (ConditionState::Unknown, "NotKnown", error.to_string()),
        };
        status.conditions.set("ReserveHeld", state, reason, message, now);
    }

    fn pool_status(
        &self,
        pool: &Resource<Pool>,
        seen: &Result<PoolObserved, StorageError>,
        volumes: &[Resource<Volume>],
        snapshots: &[Resource<Snapshot>],
    ) -> PoolStatus {
        let now = (self.clock)();
        let mut status = pool.status.clone();
        status.observed_generation = pool.meta.generation;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                status.state = PoolState::Failed;
                status.reason = error.to_string();
                let (state, message) = (ConditionState::False, error.to_string());
                status.conditions.set("Ready", state, "Away", message, now);
                return status;
            }
        };
        status.state = PoolState::Ready;
        status.reason = String::new();
        status.conditions.set("Ready", ConditionState::True, "Usable", "", now);
        status.size_bytes = seen.usage.size;
        status.free_bytes = seen.usage.free - seen.usage.free % GRAIN;
        status.used_bytes = seen.usage.size.saturating_sub(status.free_bytes);
        status.reserve_bytes = reserve(seen.usage.size);
        status.committed_bytes = volumes.iter().map(committed).fold(0, u64::saturating_add);
        status.volumes = u32::try_from(seen.volumes.len()).unwrap_or(u32::MAX);
        status.snapshots = u32::try_from(seen.snapshots.len()).unwrap_or(u32::MAX);
        let space = Space {
            size: seen.usage.size,
            free: seen.usage.free,
            committed: status.committed_bytes,
            overcommit_percent: pool.spec.overcommit_percent,
        };
        status.limit_bytes = space.limit();
        let before = status.conditions.get("SpaceLow").map(|c| Level::of_reason(&c.reason));
        let level = Level::now(before.unwrap_or_default(), space.used_percent());
        let (state, message) = space_message(level, &space);
        status.conditions.set("SpaceLow", state, level.reason(), message, now);
        status.unmanaged = strangers(seen, volumes, snapshots);
        let (state, message) = unmanaged_message(&status.unmanaged);
        status.conditions.set("Unmanaged", state, "WithoutRecord", message, now);
        status
    }

    /// The image that a name stands for, if volumes can be made from it.
    pub(crate) fn image(&self, name: &Name) -> Result<Option<Resource<Image>>, Failure> {
        self.store.find::<Image>(name).map_err(store_failure)
    }
}

/// When the reserve is looked after again: before guests can have written over what is left. When nothing is left,
/// they cannot write, and what comes free shows in the next pass.
fn next_look(room: u64) -> Duration {
    if room == 0 {
        return Duration::from_secs(1);
    }
    Duration::from_millis(room.saturating_mul(1000) / FASTEST).clamp(SOONEST, LOOK)
}

fn space_message(level: Level, space: &Space) -> (ConditionState, String) {
    match level {
        Level::Enough => (ConditionState::False, String::new()),
        _ => (
            ConditionState::True,
            format!(
                "{} % of the space is used; delete volumes, snapshots or images that are not needed",
                // In steps, so that the message does not change with every file.
                space.used_percent() / 5 * 5
            ),
        ),
    }
}

fn unmanaged_message(files: &[UnmanagedFile]) -> (ConditionState, String) {
    match files {
        [] => (ConditionState::False, String::new()),
        files => (
            ConditionState::True,
            format!("{} files lie in the pool without a record; they are left alone", files.len()),
        ),
    }
}

fn strangers(
    seen: &PoolObserved,
    volumes: &[Resource<Volume>],
    snapshots: &[Resource<Snapshot>],
) -> Vec<UnmanagedFile> {
    let known: Vec<_> = volumes.iter().map(Resource::id).collect();
    let taken: Vec<_> = snapshots.iter().map(Resource::id).collect();
    let (files, sets) = unmanaged(seen, &known, &taken);
    let one = |path: String, name: &Option<String>, used_bytes: u64| UnmanagedFile {
        path,
        name: name.clone(),
        used_bytes: used_bytes - used_bytes % GRAIN,
    };
    let files = files
        .into_iter()
        .map(|file| one(format!("volumes/{}", file.volume), &file.name, file.used_bytes));
    let sets = sets.into_iter().map(|set| {
        let used = |file: &VolumeFile| file.used_bytes;
        let sum = set.volumes.iter().map(used).fold(0, u64::saturating_add);
        one(format!("snapshots/{}", set.snapshot), &set.name, sum)
    });
    files.chain(sets).take(MOST_NAMED).collect()
}

/// Whether a condition says that a pool's space is scarce, and how much.
pub fn level_of(condition: Option<&Condition>) -> Level {
    condition.map(|c| Level::of_reason(&c.reason)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_is_left_the_sooner_it_is_looked_again() {
        assert_eq!(next_look(u64::MAX), LOOK);
        assert_eq!(next_look(4 << 30), Duration::from_secs(4));
        assert_eq!(next_look(1), SOONEST);
        assert_eq!(next_look(0), Duration::from_secs(1));
    }
}

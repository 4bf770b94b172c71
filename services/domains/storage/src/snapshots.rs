//! A pass over a snapshot: taken, gone back to, removed.
//!
//! A snapshot is a copy of each volume's file; on the file systems that pools lie on a copy shares all
//! data with its origin, so it takes moments and no space. There are no chains of overlays: any
//! snapshot can be removed at any time, and guests read no slower for having many.
//!
//! A guest that runs is held for the moment of the copy. Held, its QEMU has written out all that it
//! had in memory of the volumes' structure, so the copies are whole, and they are of one instant. If an
//! agent in the guest does so (see [`crate::rest`]), the guest's file systems are at rest in them too.

use std::time::Duration;

use skerry_engine::{ErrorClass, Failure, Outcome, planned};
use skerry_model::{
    ConditionState, Id, Name, Phase, Pool, PoolSource, PoolState, Resource, Snapshot,
    SnapshotState, SnapshotStatus, SnapshotVolume, Vm, Volume, VolumeOperation, VolumeStatus,
};
use skerry_store::Transaction;

use crate::content::Runner;
use crate::controller::{FINALIZER, StorageController, failure, pool_ref, store_failure};
use crate::volumes::{Note, Stop, busy};
use crate::{
    GuestPower, PoolRef, SnapshotFiles, SnapshotWanted, StorageError, StorageStep, holders,
    is_usable, plan_snapshot,
};

/// How soon it is tried again when another pass works on one of the volumes.
const SOON: Duration = Duration::from_millis(300);

/// How soon a guest is asked again to let its file systems go on.
const THAW_AGAIN: Duration = Duration::from_secs(30);

/// How soon it is tried again when something else has to happen first.
const LATER: Duration = Duration::from_secs(5);

pub(crate) struct Pass<'a> {
    pub(crate) controller: &'a StorageController,
    pub(crate) snapshot: Resource<Snapshot>,
    pub(crate) status: SnapshotStatus,
    pub(crate) pool: PoolRef,
    seen: Option<SnapshotFiles>,
}

impl StorageController {
    pub(crate) async fn snapshot_pass(&self, id: Id<Snapshot>) -> Result<Outcome, Failure> {
        let Some(snapshot) = self.store.get(id).map_err(store_failure)? else {
            return Ok(Outcome::Done);
        };
        let Some(pool) = self.pool_of(&snapshot)? else {
            return self.nowhere(&snapshot).await;
        };
        let lost = pool.status.state == PoolState::Failed;
        let pool = pool_ref(&pool);
        let seen = match self.host.observe(&pool).await {
            Ok(seen) => seen.snapshot(id).cloned(),
            Err(away @ StorageError::PoolAway { .. }) => {
                return self.snapshot_away(&snapshot, lost, &away).await;
            }
            Err(error) => return Err(failure(error)),
        };
        let status = snapshot.status.clone();
        Pass { controller: self, snapshot, status, pool, seen }.run().await
    }

    /// The snapshot stays what it is until its pool is back; as with volumes, deleting one does not wait for a disk that
    /// may be lost.
    async fn snapshot_away(
        &self,
        snapshot: &Resource<Snapshot>,
        lost: bool,
        away: &StorageError,
    ) -> Result<Outcome, Failure> {
        if lost && snapshot.meta.phase == Phase::Removing {
            tracing::warn!(snapshot = %snapshot.meta.name, %away, "deleted without its files");
            self.forget_tpm(snapshot).await?;
            let mut tx = Transaction::new();
            tx.drop_finalizer(snapshot.id(), FINALIZER);
            self.commit(tx).await?;
            return Ok(Outcome::Done);
        }
        let mut status = snapshot.status.clone();
        status.reason = away.to_string();
        let (state, message) = (ConditionState::False, away.to_string());
        status.conditions.set("Ready", state, "PoolAway", message, (self.clock)());
        let mut tx = Transaction::new();
        tx.put_status(snapshot.id(), status);
        self.commit(tx).await?;
        Ok(Outcome::Again(LATER))
    }

    /// The pool that a snapshot's volumes lie in; its files lie there too.
    pub(crate) fn pool_of(
        &self,
        snapshot: &Resource<Snapshot>,
    ) -> Result<Option<Resource<Pool>>, Failure> {
        if let Some(pool) = &snapshot.status.pool {
            return self.pool(pool);
        }
        for name in &snapshot.spec.volumes {
            if let Some(volume) = self.volume(name)? {
                return self.pool(&volume.spec.pool);
            }
        }
        // Its volumes are gone, and it was taken when there was one pool only.
        let pools = self.store.list::<Pool>().map_err(store_failure)?;
        let is_first = |pool: &Resource<Pool>| pool.spec.source == PoolSource::DataPartition;
        Ok(pools.into_iter().find(is_first))
    }

    async fn nowhere(&self, snapshot: &Resource<Snapshot>) -> Result<Outcome, Failure> {
        let mut tx = Transaction::new();
        if snapshot.meta.phase == Phase::Removing {
            self.forget_tpm(snapshot).await?;
            tx.drop_finalizer(snapshot.id(), FINALIZER);
        } else {
            let reason = "there is no pool for it".to_owned();
            let state = SnapshotState::Failed;
            tx.put_status(
                snapshot.id(),
                SnapshotStatus { state, reason, ..snapshot.status.clone() },
            );
        }
        self.commit(tx).await?;
        Ok(Outcome::Done)
    }
}

impl Pass<'_> {
    pub(crate) fn id(&self) -> Id<Snapshot> {
        self.snapshot.id()
    }

    async fn run(mut self) -> Result<Outcome, Failure> {
        // What an earlier pass has left at rest, before anything else.
        if !self.status.frozen.is_empty() {
            let _turn = self.controller.resting.lock().await;
            self.thaw_all().await;
        }
        if self.snapshot.meta.phase == Phase::Removing {
            return self.remove().await;
        }
        let worked = match (self.status.state, &self.seen) {
            (SnapshotState::Creating, _) => self.take().await,
            (_, None) => {
                self.status.state = SnapshotState::Lost;
                // Machines do not wait for that; should its files come back, nothing is set back unasked.
                self.status.reverts = self.snapshot.spec.reverts;
                let note = Note::new("Lost", "its files are gone; bring them back, or delete it");
                Err(Stop::Wait(note, LATER))
            }
            _ if self.status.reverts < self.snapshot.spec.reverts => self.revert().await,
            _ => {
                self.status.state = SnapshotState::Ready;
                Ok(())
            }
        };
        let (note, outcome) = match worked {
            Ok(()) => (None, Ok(Outcome::Done)),
            Err(Stop::Wait(note, pause)) => (Some(note), Ok(Outcome::Again(pause))),
            Err(Stop::Fail(failure)) => {
                (Some(Note::new("Failed", failure.message.clone())), Err(failure))
            }
        };
        if self.status.state == SnapshotState::Ready
            && self.status.reverts >= self.snapshot.spec.reverts
        {
            self.status.observed_generation = self.snapshot.meta.generation;
        }
        self.describe(note);
        self.note_frozen();
        self.put().await?;
        match outcome {
            Ok(Outcome::Done) if !self.status.frozen.is_empty() => Ok(Outcome::Again(THAW_AGAIN)),
            outcome => outcome,
        }
    }

    fn describe(&mut self, note: Option<Note>) {
        let now = (self.controller.clock)();
        let ready = note.is_none() && self.status.state == SnapshotState::Ready;
        let (reason, message) = match note {
            Some(note) => (note.reason, note.message),
            None if ready => ("Usable", String::new()),
            None => ("NotReady", String::new()),
        };
        self.status.reason.clone_from(&message);
        let state = if ready { ConditionState::True } else { ConditionState::False };
        self.status.conditions.set("Ready", state, reason, message, now);
    }

    pub(crate) async fn put(&self) -> Result<(), Failure> {
        let mut tx = Transaction::new();
        tx.put_status(self.id(), self.status.clone());
        self.controller.commit(tx).await
    }

    /// Its volumes by name, all usable and in the same pool.
    fn volumes(&self) -> Result<Vec<Resource<Volume>>, Stop> {
        let mut found = Vec::new();
        for name in &self.snapshot.spec.volumes {
            let volume = self.controller.volume(name)?;
            let usable = volume.filter(|v| {
                is_usable(v.status.state) && v.status.checked && v.spec.pool == self.pool.name
            });
            let waiting = || {
                let message = format!("waits for the volume `{name}` to be usable");
                Stop::Wait(Note::new("WaitingForVolume", message), LATER)
            };
            found.push(usable.ok_or_else(waiting)?);
        }
        Ok(found)
    }

    async fn take(&mut self) -> Result<(), Stop> {
        let volumes = self.volumes()?;
        let ids: Vec<_> = volumes.iter().map(Resource::id).collect();
        let _claim = self.controller.claims.take(&ids).ok_or_else(busy)?;
        let _room = self.controller.long_work.try_acquire().map_err(|_| busy())?;
        // Again, now that nobody else writes them.
        let volumes = self.volumes()?;
        if self.seen.is_none() {
            self.note_tpm().await?;
            self.note_operation(&volumes, VolumeOperation::Snapshotting).await?;
            let copied = self.copy(&volumes).await;
            if copied.is_err() {
                self.note_operation(&volumes, VolumeOperation::None).await?;
            }
            copied?;
        }
        self.status.state = SnapshotState::Ready;
        self.taken(&volumes).await?;
        Ok(())
    }

    /// Holds the guests, copies, and lets them run on.
    async fn copy(&mut self, volumes: &[Resource<Volume>]) -> Result<(), Stop> {
        let _turn = self.controller.resting.lock().await;
        let guests = self.guests(volumes).await?;
        let of = |power| guests.iter().filter(move |(_, p)| *p == power).map(|(vm, _)| *vm);
        let up: Vec<_> = of(GuestPower::Running).chain(of(GuestPower::Held)).collect();
        let running: Vec<_> = of(GuestPower::Running).collect();
        self.status.guest_running = !up.is_empty();
        let asleep = up.len() > running.len();
        self.freeze(&running, asleep).await?;
        let copied = self.copy_held(volumes, &up).await;
        let mut released = Ok(());
        for vm in running {
            planned("release guest");
            released = released.and(self.controller.guests.release(vm).await);
        }
        // Whatever came of it: a guest that stays at rest stands still.
        self.thaw_all().await;
        released.map_err(failure)?;
        copied
    }

    async fn copy_held(
        &mut self,
        volumes: &[Resource<Volume>],
        guests: &[Id<Vm>],
    ) -> Result<(), Stop> {
        for vm in guests {
            planned("hold guest");
            self.controller.guests.hold(*vm).await.map_err(failure)?;
        }
        for step in plan_snapshot(&self.wanted(volumes), None) {
            self.carry_out(step).await?;
        }
        for vm in guests {
            if self.controller.guests.power(*vm).await.map_err(failure)? != GuestPower::Held {
                return self.void().await;
            }
        }
        Ok(())
    }

    /// Somebody let a guest go, or ended it, while it was copied: the copies are worth nothing.
    async fn void(&self) -> Result<(), Stop> {
        let step = StorageStep::Drop { snapshot: self.id() };
        planned(step.name());
        self.controller.host.apply(&self.pool, &step).await.map_err(failure)?;
        let note = Note::new("GuestMoved", "the guest did not hold still; it is tried again");
        Err(Stop::Wait(note, SOON))
    }

    /// The virtual machines that have the volumes, and whether they run.
    async fn guests(
        &self,
        volumes: &[Resource<Volume>],
    ) -> Result<Vec<(Id<Vm>, GuestPower)>, Stop> {
        let mut found: Vec<(Id<Vm>, GuestPower)> = Vec::new();
        for volume in volumes {
            let holders =
                holders(&self.controller.store, &volume.meta.name).map_err(store_failure)?;
            for holder in holders.into_iter().filter(|holder| !holder.read_only) {
                let power = self.controller.guests.power(holder.id).await.map_err(failure)?;
                if holder.is_starting() && power == GuestPower::Off {
                    let message = format!("waits while `{}` starts", holder.name);
                    return Err(Stop::Wait(Note::new("Starting", message), SOON));
                }
                if found.iter().all(|(vm, _)| *vm != holder.id) {
                    found.push((holder.id, power));
                }
            }
        }
        Ok(found)
    }

    async fn note_operation(
        &self,
        volumes: &[Resource<Volume>],
        operation: VolumeOperation,
    ) -> Result<(), Failure> {
        let mut tx = Transaction::new();
        for volume in volumes {
            tx.put_status(volume.id(), VolumeStatus { operation, ..volume.status.clone() });
        }
        self.controller.commit(tx).await
    }

    /// Writes down, in one, that it is taken and that the volumes' history goes on from it.
    async fn taken(&mut self, volumes: &[Resource<Volume>]) -> Result<(), Failure> {
        let seen = self.controller.host.observe(&self.pool).await.map_err(failure)?;
        let files = seen.snapshot(self.id());
        let part = |volume: &Resource<Volume>| {
            let file = files.and_then(|f| f.volumes.iter().find(|v| v.volume == volume.id()));
            SnapshotVolume {
                name: volume.meta.name.clone(),
                volume: volume.id(),
                parent: volume.status.snapshot,
                size_bytes: file.map_or(0, |file| file.size_bytes),
                used_bytes: file.map_or(0, |file| file.used_bytes),
            }
        };
        self.status.volumes = volumes.iter().map(part).collect();
        self.status.pool = Some(self.pool.name.clone());
        self.status.taken = Some((self.controller.clock)());
        let mut tx = Transaction::new();
        for volume in volumes {
            let (operation, snapshot) = (VolumeOperation::None, Some(self.id()));
            let status = VolumeStatus { operation, snapshot, ..volume.status.clone() };
            tx.put_status(volume.id(), status);
        }
        tx.put_status(self.id(), self.status.clone());
        self.controller.commit(tx).await
    }

    async fn revert(&mut self) -> Result<(), Stop> {
        if self.earlier_ones_wait()? {
            return Err(busy());
        }
        let volumes = self.volumes()?;
        let ids: Vec<_> = volumes.iter().map(Resource::id).collect();
        let _claim = self.controller.claims.take(&ids).ok_or_else(busy)?;
        let _room = self.controller.long_work.try_acquire().map_err(|_| busy())?;
        let volumes = self.volumes()?;
        self.status.state = SnapshotState::Reverting;
        self.note_operation(&volumes, VolumeOperation::Reverting).await?;
        let runner = self.runner(&volumes).await;
        // It sees this wish and gives its start up; see `Snapshot::sets_back`.
        let only_starts = matches!(&runner, Ok(Some(runner)) if runner.only_starts);
        let done = match runner {
            Ok(None) => self.set_back(&volumes).await,
            Ok(Some(_)) if only_starts => Err(busy()),
            Ok(Some(runner)) => Err(runner.stop()),
            Err(failure) => Err(failure.into()),
        };
        let mut tx = Transaction::new();
        for volume in &volumes {
            let mut status = volume.status.clone();
            status.operation = VolumeOperation::None;
            if done.is_ok() {
                status.snapshot = Some(self.id());
            }
            tx.put_status(volume.id(), status);
        }
        self.status.state = SnapshotState::Ready;
        // What cannot be done now is given up: set back hours later, when the guest happens to be off,
        // it would be a surprise. What may be done soon is kept, and no machine starts until then.
        let may_heal = only_starts
            || matches!(&done, Err(Stop::Fail(failure)) if failure.class == ErrorClass::Retry);
        if !may_heal {
            self.status.reverts = self.snapshot.spec.reverts;
        }
        tx.put_status(self.id(), self.status.clone());
        self.controller.commit(tx).await?;
        done
    }

    async fn runner(&self, volumes: &[Resource<Volume>]) -> Result<Option<Runner>, Failure> {
        for volume in volumes {
            if let Some(runner) = self.controller.runner(volume).await? {
                return Ok(Some(runner));
            }
        }
        self.tpm_runner().await
    }

    async fn set_back(&mut self, volumes: &[Resource<Volume>]) -> Result<(), Stop> {
        let tpm = self.tpm_machine()?.map(|vm| vm.id());
        // Whoever takes a snapshot copies the TPM in this turn.
        let _turn = self.controller.resting.lock().await;
        let wanted = SnapshotWanted { revert: true, tpm, ..self.wanted(volumes) };
        for step in plan_snapshot(&wanted, self.seen.as_ref()) {
            self.carry_out(step).await?;
        }
        Ok(())
    }

    /// Whether a snapshot of one of the volumes is still being taken: what it is to keep must not be
    /// replaced before.
    fn earlier_ones_wait(&self) -> Result<bool, Failure> {
        let mine = |name: &Name| self.snapshot.spec.volumes.contains(name);
        let snapshots = self.controller.store.list::<Snapshot>().map_err(store_failure)?;
        Ok(snapshots.iter().any(|other| {
            other.id() != self.id()
                && other.meta.phase == Phase::Present
                && other.status.state == SnapshotState::Creating
                && other.spec.volumes.iter().any(mine)
        }))
    }

    fn wanted(&self, volumes: &[Resource<Volume>]) -> SnapshotWanted {
        SnapshotWanted {
            id: self.id(),
            name: self.snapshot.meta.name.clone(),
            volumes: volumes.iter().map(|v| (v.id(), v.meta.name.clone())).collect(),
            tpm: self.status.tpm,
            taken: self.status.taken.is_some(),
            revert: false,
            removing: self.snapshot.meta.phase == Phase::Removing,
        }
    }

    async fn remove(mut self) -> Result<Outcome, Failure> {
        self.status.state = SnapshotState::Deleting;
        self.put().await?;
        if !self.status.frozen.is_empty() {
            return Ok(Outcome::Again(THAW_AGAIN));
        }
        for step in plan_snapshot(&self.wanted(&[]), self.seen.as_ref()) {
            self.carry_out(step).await?;
        }
        let mut tx = Transaction::new();
        self.forget(&mut tx)?;
        tx.drop_finalizer(self.id(), FINALIZER);
        self.controller.commit(tx).await?;
        Ok(Outcome::Done)
    }

    /// Whatever followed this snapshot follows the one before it from now on.
    fn forget(&self, tx: &mut Transaction) -> Result<(), Failure> {
        let parent = |volume: Id<Volume>| {
            self.status.volumes.iter().find(|part| part.volume == volume).and_then(|p| p.parent)
        };
        let gone = Some(self.id());
        let store = &self.controller.store;
        for other in store.list::<Snapshot>().map_err(store_failure)? {
            let mut status = other.status.clone();
            for part in status.volumes.iter_mut().filter(|part| part.parent == gone) {
                part.parent = parent(part.volume);
            }
            if status != other.status {
                tx.put_status(other.id(), status);
            }
        }
        for volume in store.list::<Volume>().map_err(store_failure)? {
            if volume.status.snapshot == gone {
                let snapshot = parent(volume.id());
                tx.put_status(volume.id(), VolumeStatus { snapshot, ..volume.status.clone() });
            }
        }
        Ok(())
    }
}

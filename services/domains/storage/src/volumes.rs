//! A pass over a volume: made, checked, grown, attached, removed.
//!
//! What is about to be done to its data is written into its status first. Whoever starts a virtual
//! machine writes that down first too, and each looks at the other's note afterwards, so that at most
//! one of them goes on.

use std::time::Duration;

use skerry_engine::{ErrorClass, Failure, Outcome, planned};
use skerry_model::{
    ConditionState, Id, Phase, Pool, PoolState, Resource, Timestamp, Volume, VolumeForm,
    VolumeOperation, VolumeState, VolumeStatus,
};
use skerry_store::Transaction;

use crate::attach::users;
use crate::controller::{FINALIZER, StorageController, failure, pool_ref, store_failure};
use crate::{
    Content, Event, GuestPower, Holder, PodUser, PoolRef, Shape, StorageError, StorageStep,
    VolumeFile, VolumeWanted, holders, is_usable, next, plan_volume, pod_users,
};

const MIB: u64 = 1024 * 1024;

/// How often it is looked whether the file is still there.
const LOOK: Duration = Duration::from_secs(60);

/// How soon it is tried again when another pass works on the volume.
const SOON: Duration = Duration::from_millis(300);

/// How soon it is tried again when something else has to happen first.
const LATER: Duration = Duration::from_secs(5);

/// What a pass waits for, in words.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub reason: &'static str,
    pub message: String,
}

impl Note {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// How a part of a pass ended, if it is not the end of the pass.
pub(crate) enum Stop {
    /// Wait, with a note.
    Wait(Note, Duration),
    /// Give up for now.
    Fail(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

struct Pass<'a> {
    controller: &'a StorageController,
    volume: Resource<Volume>,
    status: VolumeStatus,
    pool: PoolRef,
    seen: Option<VolumeFile>,
    holders: Vec<Holder>,
    pods: Vec<PodUser>,
}

impl StorageController {
    pub(crate) async fn volume_pass(&self, id: Id<Volume>) -> Result<Outcome, Failure> {
        let Some(_claim) = self.claims.take(&[id]) else { return Ok(Outcome::Again(SOON)) };
        // Read after the claim: what another pass wrote must be seen.
        let Some(volume) = self.store.get(id).map_err(store_failure)? else {
            return Ok(Outcome::Done);
        };
        let Some(pool) = self.pool(&volume.spec.pool)? else {
            return self.without_pool(&volume).await;
        };
        match Pass::begin(self, volume.clone(), &pool).await? {
            Ok(pass) => pass.run().await,
            Err(away) => self.pool_away(&volume, &pool, &away).await,
        }
    }

    /// The volume stays what it is until its pool is back; it has to be checked then before it is used. One that is
    /// being deleted does not wait for a disk that may never come back: should it, the file is reported as one without
    /// a record. What has to be overwritten is waited for.
    async fn pool_away(
        &self,
        volume: &Resource<Volume>,
        pool: &Resource<Pool>,
        away: &StorageError,
    ) -> Result<Outcome, Failure> {
        let is_lost = pool.status.state == PoolState::Failed && !volume.spec.erase_on_delete;
        if volume.meta.phase == Phase::Removing && is_lost {
            tracing::warn!(volume = %volume.meta.name, %away, "deleted without its file");
            let mut tx = Transaction::new();
            tx.drop_finalizer(volume.id(), FINALIZER);
            self.commit(tx).await?;
            return Ok(Outcome::Done);
        }
        let mut status = volume.status.clone();
        status.reason = away.to_string();
        status.checked = false;
        let (state, message) = (ConditionState::False, away.to_string());
        status.conditions.set("Ready", state, "PoolAway", message, (self.clock)());
        self.put_volume(volume.id(), &status).await?;
        Ok(Outcome::Again(LATER))
    }

    async fn without_pool(&self, volume: &Resource<Volume>) -> Result<Outcome, Failure> {
        let mut status = volume.status.clone();
        status.reason = format!("there is no pool `{}`", volume.spec.pool);
        self.put_volume(volume.id(), &status).await?;
        Ok(Outcome::Again(LATER))
    }
}

impl<'a> Pass<'a> {
    async fn begin(
        controller: &'a StorageController,
        volume: Resource<Volume>,
        pool: &Resource<Pool>,
    ) -> Result<Result<Self, StorageError>, Failure> {
        let pool = pool_ref(pool);
        let holders = holders(&controller.store, &volume.meta.name).map_err(store_failure)?;
        let pods = pod_users(&controller.store, &volume.meta.name).map_err(store_failure)?;
        let status = volume.status.clone();
        let mut pass = Self { controller, status, pool, seen: None, holders, pods, volume };
        match controller.host.observe_volume(&pass.pool, pass.id()).await {
            Ok(seen) => pass.seen = seen,
            Err(away @ StorageError::PoolAway { .. }) => return Ok(Err(away)),
            Err(error) => return Err(failure(error)),
        }
        Ok(Ok(pass))
    }

    fn id(&self) -> Id<Volume> {
        self.volume.id()
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let host = &self.controller.host;
        self.seen = host.observe_volume(&self.pool, self.id()).await.map_err(failure)?;
        Ok(())
    }

    async fn run(mut self) -> Result<Outcome, Failure> {
        if self.volume.meta.phase == Phase::Removing {
            return self.remove().await;
        }
        let worked = self.work().await;
        self.status.operation = VolumeOperation::None;
        let waits = matches!(&worked, Err(Stop::Wait(..)));
        if !waits {
            self.status.observed_generation = self.volume.meta.generation;
        }
        let (note, outcome) = match worked {
            Ok(()) => (None, Ok(Outcome::Again(LOOK))),
            Err(Stop::Wait(note, pause)) => (Some(note), Ok(Outcome::Again(pause))),
            Err(Stop::Fail(failure)) => {
                (Some(Note::new("Failed", failure.message.clone())), Err(failure))
            }
        };
        self.describe(note);
        self.controller.put_volume(self.id(), &self.status).await?;
        outcome
    }

    async fn work(&mut self) -> Result<(), Stop> {
        if self.seen.is_none() {
            self.make_or_miss().await?;
        }
        self.check().await?;
        if self.seen.is_some() && self.status.checked && !is_usable(self.status.state) {
            self.take(Event::Made);
        }
        self.follow_attachment();
        self.grow().await
    }

    /// Without a file: it is made, or it is lost.
    async fn make_or_miss(&mut self) -> Result<(), Stop> {
        match self.status.state {
            VolumeState::Creating => self.make().await,
            VolumeState::Lost => Err(Stop::Wait(
                Note::new("Lost", "its file is gone; bring it back, or delete the volume"),
                LATER,
            )),
            // It could not be made, or is damaged: what is missing may be there by now.
            VolumeState::Error if self.status.path.is_empty() => {
                self.status.state = VolumeState::Creating;
                self.make().await
            }
            _ => {
                self.take(Event::Vanished);
                self.status.checked = false;
                Err(Stop::Wait(
                    Note::new("Lost", "its file is gone; bring it back, or delete the volume"),
                    LATER,
                ))
            }
        }
    }

    async fn make(&mut self) -> Result<(), Stop> {
        let controller = self.controller;
        let source = controller.content(&self.volume)?;
        let _claim = match &source.reads {
            Some(other) => Some(controller.claims.take(&[other.id()]).ok_or_else(busy)?),
            None => None,
        };
        let _room = controller.long_work.try_acquire().map_err(|_| busy())?;
        let _base = match &source.content {
            Content::Empty { .. } | Content::Folder => None,
            _ => Some(controller.bases.read().await),
        };
        self.set_operation(VolumeOperation::Creating).await?;
        if let Content::Image(image) = &source.content {
            controller.mend_base(&self.pool, image).await?;
        }
        if let Some(other) = &source.reads {
            controller.quiet(other, VolumeOperation::Cloning).await?;
        }
        let steps = plan_volume(&self.wanted(source.content.clone()), None);
        let done = self.apply(&steps).await;
        if let Some(other) = &source.reads {
            controller.clear_operation(other.id()).await?;
        }
        if let Err(Stop::Fail(failure)) = &done
            && failure.class == ErrorClass::NeedsOperator
        {
            self.take(Event::Refused);
        }
        done?;
        self.look().await?;
        // Its structure has just been written, by a program that checks what it reads.
        self.status.checked = true;
        self.status.checked_in_boot.clone_from(&self.controller.boot);
        Ok(())
    }

    /// Once in every boot, before a virtual machine may use it.
    async fn check(&mut self) -> Result<(), Stop> {
        if self.status.checked || self.seen.is_none() {
            return Ok(());
        }
        self.be_quiet(VolumeOperation::Checking).await?;
        planned("check");
        match self.controller.host.check(&self.pool, self.id()).await {
            Ok(soundness) => {
                tracing::info!(volume = %self.volume.meta.name, ?soundness, "volume checked");
                self.status.checked = true;
                self.status.checked_in_boot.clone_from(&self.controller.boot);
                Ok(())
            }
            Err(error) => {
                if matches!(error, StorageError::Damaged { .. }) {
                    self.take(Event::Damaged);
                }
                Err(failure(error).into())
            }
        }
    }

    fn follow_attachment(&mut self) {
        let vm = self.holders.first().map(|holder| holder.name.clone());
        let name = vm.or_else(|| self.pods.first().map(|pod| pod.name.clone()));
        self.status.used_by = users(&self.holders, &self.pods);
        match (self.status.state, &name) {
            (VolumeState::Available, Some(_)) => self.take(Event::Attached),
            (VolumeState::InUse, None) => self.take(Event::Detached),
            _ => {}
        }
        self.status.attached_to = name;
    }

    async fn grow(&mut self) -> Result<(), Stop> {
        if !is_usable(self.status.state) {
            return Ok(());
        }
        let content = Content::Empty { preallocated: false };
        let steps = plan_volume(&self.wanted(content), self.seen.as_ref());
        let Some(StorageStep::Grow { size_bytes, .. }) = steps.first().cloned() else {
            return Ok(());
        };
        let controller = self.controller;
        self.set_operation(VolumeOperation::Growing).await?;
        match self.running().await? {
            _ if self.is_folder() => self.apply(&steps).await?,
            Some(holder) => {
                planned("grow live");
                let path = controller.host.path(&self.pool, self.id());
                let done = controller.guests.grow(holder.id, &path, size_bytes).await;
                done.map_err(failure)?;
            }
            None => {
                self.be_quiet(VolumeOperation::Growing).await?;
                self.apply(&steps).await?;
            }
        }
        self.look().await?;
        Ok(())
    }

    async fn apply(&self, steps: &[StorageStep]) -> Result<(), Stop> {
        for step in steps {
            planned(step.name());
            self.controller.host.apply(&self.pool, step).await.map_err(failure)?;
            tracing::info!(volume = %self.volume.meta.name, step = step.name(), "step done");
        }
        Ok(())
    }

    /// The virtual machine that runs with it.
    async fn running(&self) -> Result<Option<&Holder>, Failure> {
        for holder in &self.holders {
            let power = self.controller.guests.power(holder.id).await.map_err(failure)?;
            if power != GuestPower::Off {
                return Ok(Some(holder));
            }
        }
        Ok(None)
    }

    async fn set_operation(&mut self, operation: VolumeOperation) -> Result<(), Failure> {
        self.status.operation = operation;
        self.controller.put_volume(self.id(), &self.status).await
    }

    /// Notes the operation and makes sure that no virtual machine runs with it.
    async fn be_quiet(&mut self, operation: VolumeOperation) -> Result<(), Stop> {
        self.set_operation(operation).await?;
        self.controller.nobody_runs(&self.volume).await
    }

    fn take(&mut self, event: Event) {
        if let Ok(to) = next(self.status.state, event) {
            let (name, from) = (&self.volume.meta.name, self.status.state);
            tracing::info!(volume = %name, ?from, %event, ?to, "volume");
            self.status.state = to;
        }
    }

    fn wanted(&self, content: Content) -> VolumeWanted {
        let spec = &self.volume.spec;
        VolumeWanted {
            id: self.id(),
            name: self.volume.meta.name.clone(),
            size_bytes: spec.size_mib.map(|size| size.saturating_mul(MIB)),
            content,
            erase: spec.erase_on_delete,
            made: self.status.state != VolumeState::Creating,
            removing: self.volume.meta.phase == Phase::Removing,
        }
    }

    async fn remove(mut self) -> Result<Outcome, Failure> {
        self.take(Event::Delete);
        self.follow_attachment();
        if let (Some(user), Some(name)) = (self.status.used_by.first(), &self.status.attached_to) {
            let user = *user;
            self.status.reason = format!("waits until `{name}` is gone");
            self.controller.put_volume(self.id(), &self.status).await?;
            return Ok(Outcome::Blocked(user));
        }
        self.status.reason = String::new();
        self.controller.put_volume(self.id(), &self.status).await?;
        let Ok(_room) = self.controller.long_work.try_acquire() else {
            return Ok(Outcome::Again(SOON));
        };
        let steps =
            plan_volume(&self.wanted(Content::Empty { preallocated: false }), self.seen.as_ref());
        match self.apply(&steps).await {
            Ok(()) => {}
            Err(Stop::Fail(failure)) => return Err(failure),
            Err(Stop::Wait(_, pause)) => return Ok(Outcome::Again(pause)),
        }
        let mut tx = Transaction::new();
        tx.drop_finalizer(self.id(), FINALIZER);
        self.controller.commit(tx).await?;
        Ok(Outcome::Done)
    }

    fn is_folder(&self) -> bool {
        self.volume.spec.form == VolumeForm::Folder
    }

    fn describe_limit(&mut self, shape: Shape, now: Timestamp) {
        let Shape::Folder { limited } = shape else { return };
        let (state, reason, message) = if limited {
            (ConditionState::True, "Quota", "")
        } else {
            let message = "the file system below knows no quota: more may be written than that";
            (ConditionState::False, "NoQuota", message)
        };
        self.status.conditions.set("SizeLimit", state, reason, message, now);
    }

    /// What the status says beside state and operation.
    fn describe(&mut self, note: Option<Note>) {
        let now = (self.controller.clock)();
        if let Some(file) = self.seen.clone() {
            self.status.size_bytes = file.size_bytes;
            self.status.used_bytes = file.used_bytes - file.used_bytes % MIB;
            self.status.base.clone_from(&file.base);
            let host = &self.controller.host;
            let path = match file.shape {
                Shape::Disk => host.path(&self.pool, self.id()),
                Shape::Folder { .. } => host.folder(&self.pool, self.id()),
            };
            self.status.path = path.display().to_string();
            self.describe_limit(file.shape, now);
        }
        self.status.serial = serial(self.id());
        let ready = note.is_none() && is_usable(self.status.state) && self.status.checked;
        let (reason, message) = match note {
            Some(note) => (note.reason, note.message),
            None if ready => ("Usable", String::new()),
            None => ("NotReady", String::new()),
        };
        self.status.reason.clone_from(&message);
        let state = if ready { ConditionState::True } else { ConditionState::False };
        self.status.conditions.set("Ready", state, reason, message, now);
    }
}

/// The serial number by which a guest finds a volume: the first 20 digits of its id, which is what
/// virtio-blk has room for.
pub(crate) fn serial(volume: Id<Volume>) -> String {
    volume.uuid().simple().to_string().chars().take(20).collect()
}

pub(crate) fn busy() -> Stop {
    Stop::Wait(Note::new("Busy", "waits for other work in the pool"), SOON)
}

//! Starts jobs when it is their turn, ends them on request, and clears away old ones.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use skerry_model::{
    Document, Id, Job, JobSpec, JobState, JobStatus, Kind, LocalRef, Name, NameError, NewResource,
    Node, Owner, Resource, Timestamp,
};
use skerry_store::{Change, Store, StoreError, Transaction, Watch};
use skerry_upkeep::{
    JobClass, JobEvent, JobPlaces, JobTurn, choose_jobs, job_retry_pause, next_job, outdated_jobs,
};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::operation::Operation;

/// The node's condition that says whether it is on a network.
const CONNECTED: &str = "NetworkConnected";
/// How often old jobs are looked for.
const TIDY: Duration = Duration::from_secs(600);

/// Why a job could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The node knows no such operation.
    #[error("there is no operation `{operation}`")]
    NoOperation {
        /// Its name.
        operation: String,
    },
    /// It stands against the job's state.
    #[error("the job {name} {state}")]
    State {
        /// The job.
        name: Name,
        /// How it stands, as the rest of a sentence.
        state: &'static str,
    },
    /// The operation's name makes no name for a job.
    #[error("the operation's name cannot be used")]
    Name(#[from] NameError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The node's jobs. Clones are the same.
#[derive(Clone)]
pub struct Jobs {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub store: Store,
    pub now: fn() -> Timestamp,
    operations: RwLock<HashMap<&'static str, Arc<dyn Operation>>>,
    /// Jobs that a task of this process takes care of.
    live: Mutex<HashMap<Uuid, Live>>,
    /// How the jobs go that this process has begun.
    begun: Mutex<HashMap<Uuid, Course>>,
    tasks: TaskTracker,
    kick: Notify,
    /// The network has come back.
    back: Notify,
    places: JobPlaces,
}

/// How a job goes, as far as no status tells.
struct Course {
    /// When it was first begun, or brought something new in.
    since: Instant,
    /// Most bytes that it had.
    most: u64,
    /// Failures that count as tries.
    tries: u32,
    /// Failures since it brought something in.
    idle: u32,
}

impl Course {
    fn begin() -> Self {
        Self { since: Instant::now(), most: 0, tries: 0, idle: 0 }
    }
}

/// What a failure comes to.
pub(super) struct Verdict {
    /// Whether it may be tried again.
    pub again: bool,
    /// The pause before that.
    pub pause: Duration,
}

struct Live {
    abort: CancellationToken,
    /// The place that it takes; none while it only waits or undoes.
    class: Option<JobClass>,
    subject: Option<LocalRef>,
}

impl Jobs {
    /// Jobs of this store. Nothing runs before [`Jobs::run`].
    pub fn new(store: Store, now: fn() -> Timestamp) -> Self {
        Self::with_places(store, now, JobPlaces::default())
    }

    /// The same, with another number of jobs at work.
    pub fn with_places(store: Store, now: fn() -> Timestamp, places: JobPlaces) -> Self {
        let inner = Inner {
            store,
            now,
            operations: RwLock::default(),
            live: Mutex::default(),
            begun: Mutex::default(),
            tasks: TaskTracker::new(),
            kick: Notify::new(),
            back: Notify::new(),
            places,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same operations over another store, to prepare jobs for it. It is not for running.
    #[must_use]
    pub fn rehearsal(&self, store: Store) -> Self {
        let other = Self::new(store, self.inner.now);
        let known = self.inner.operations.read().unwrap_or_else(PoisonError::into_inner);
        known.values().for_each(|operation| other.register(Arc::clone(operation)));
        other
    }

    /// Makes an operation known. The last one of a name counts.
    pub fn register(&self, operation: Arc<dyn Operation>) {
        let mut known = self.inner.operations.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(operation.name(), operation);
    }

    /// A job, to be committed by the caller together with what it is about. It starts when it is committed and
    /// it is its turn.
    pub fn prepare(
        &self,
        operation: &str,
        subject: Option<LocalRef>,
        params: serde_json::Value,
    ) -> Result<NewResource<Job>, JobError> {
        let known = self.inner.operation(operation);
        let known =
            known.ok_or_else(|| JobError::NoOperation { operation: operation.to_owned() })?;
        let id = Id::<Job>::new(Uuid::new_v4());
        let spec = JobSpec {
            operation: operation.to_owned(),
            subject,
            deadline_s: u32::try_from(known.deadline().as_secs()).unwrap_or(u32::MAX),
            abort: false,
            params,
        };
        let mut new = NewResource::new(id, job_name(operation, id)?, spec);
        new.owner = Owner::System;
        Ok(new)
    }

    /// The job that has begun or is queued on a resource, the first if there are several.
    pub fn active_on(&self, subject: LocalRef) -> Option<Resource<Job>> {
        let on = |job: &Resource<Job>| job.spec.subject == Some(subject);
        self.inner.unfinished().into_iter().find(on)
    }

    /// Ends a job; it is `aborted` when what it has half done is undone.
    pub async fn abort(&self, job: &Resource<Job>) -> Result<(), JobError> {
        if next_job(job.status.state, JobEvent::Abort).is_err() {
            let state = match job.status.state {
                state if state.is_final() => "has ended already",
                _ => "is being ended already",
            };
            return Err(JobError::State { name: job.meta.name.clone(), state });
        }
        let mut tx = Transaction::new();
        tx.put_spec(job.id(), None, JobSpec { abort: true, ..job.spec.clone() });
        self.inner.store.commit(tx).await?;
        Ok(())
    }

    /// Has a failed job tried again from its start.
    pub async fn retry(&self, job: &Resource<Job>) -> Result<(), JobError> {
        let refused = |state| JobError::State { name: job.meta.name.clone(), state };
        let (state, _) = next_job(job.status.state, JobEvent::Retry)
            .map_err(|_| refused("has not failed; only a failed job can be tried again"))?;
        if !job.status.retryable {
            return Err(refused("cannot be tried again; make the request anew"));
        }
        let mut tx = Transaction::new();
        let started = job.status.started;
        tx.put_spec(job.id(), None, JobSpec { abort: false, ..job.spec.clone() });
        tx.put_status(job.id(), JobStatus { state, started, ..JobStatus::default() });
        self.inner.forget(job.meta.id);
        self.inner.store.commit(tx).await?;
        self.inner.kick.notify_one();
        Ok(())
    }

    /// Runs jobs until cancelled. Those at work are then broken off where they stand; they begin anew at the
    /// next start.
    pub async fn run(&self, cancel: CancellationToken) {
        let inner = &self.inner;
        let mut watch = inner.store.watch(None).ok();
        for job in inner.unfinished() {
            inner.adopt(job, &cancel).await;
        }
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            inner.pass(&cancel).await;
            // Every arm may be dropped: a change is told again by the next pass's own look.
            tokio::select! {
                () = cancel.cancelled() => break,
                () = inner.kick.notified() => {}
                () = new_work(inner, &mut watch) => {}
                _ = tidy.tick() => inner.tidy().await,
            }
        }
        inner.tasks.close();
        inner.tasks.wait().await;
    }
}

impl Inner {
    pub fn operation(&self, name: &str) -> Option<Arc<dyn Operation>> {
        self.operations.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Jobs that are not final, in the order in which they were made.
    fn unfinished(&self) -> Vec<Resource<Job>> {
        let documents = self.store.documents(Kind::Job);
        let typed = documents.iter().filter_map(|document| document.to_resource::<Job>().ok());
        let mut jobs: Vec<_> = typed.filter(|job| !job.status.state.is_final()).collect();
        jobs.sort_by_key(|job| (job.meta.created, job.meta.id));
        jobs
    }

    /// What an earlier process left: back into the queue, or on with the undoing.
    async fn adopt(self: &Arc<Self>, job: Resource<Job>, cancel: &CancellationToken) {
        let Ok((state, _)) = next_job(job.status.state, JobEvent::Restarted) else { return };
        if state == JobState::Queued {
            tracing::info!(job = %job.meta.name, "a job goes back into the queue after a restart");
            self.write(job.id(), |status| status.state = state).await;
        } else {
            self.spawn(job, None, cancel);
        }
    }

    /// One look at everything: ends what is to end, starts what has its turn.
    async fn pass(self: &Arc<Self>, cancel: &CancellationToken) {
        let mut queued = Vec::new();
        for job in self.unfinished() {
            let live = self.is_live(job.meta.id);
            if job.spec.abort {
                if live {
                    self.abort_live(job.meta.id);
                } else if next_job(job.status.state, JobEvent::Abort).is_ok() {
                    self.spawn(job, None, cancel);
                }
            } else if job.status.state == JobState::Queued && !live {
                queued.push(job);
            }
        }
        let class = |job: &Resource<Job>| {
            self.operation(&job.spec.operation).map_or(JobClass::Quick, |o| o.class())
        };
        let turns: Vec<JobTurn> = queued
            .iter()
            .map(|job| JobTurn { id: job.meta.id, class: class(job), subject: job.spec.subject })
            .collect();
        let (free, busy) = self.room();
        let chosen = choose_jobs(&turns, free, busy);
        for job in queued.into_iter().filter(|job| chosen.contains(&job.meta.id)) {
            let class = class(&job);
            self.spawn(job, Some(class), cancel);
        }
    }

    fn spawn(
        self: &Arc<Self>,
        job: Resource<Job>,
        class: Option<JobClass>,
        cancel: &CancellationToken,
    ) {
        let (id, abort) = (job.meta.id, CancellationToken::new());
        let live = Live { abort: abort.clone(), class, subject: job.spec.subject };
        self.live().insert(id, live);
        let (inner, cancel) = (Arc::clone(self), cancel.clone());
        self.tasks.spawn(async move {
            // Broken off between or inside steps when the service ends; the next start goes on.
            cancel.run_until_cancelled(inner.drive(job, abort)).await;
            inner.live().remove(&id);
            inner.kick.notify_one();
        });
    }

    /// Places that are left, and resources that are worked on.
    fn room(&self) -> (JobPlaces, BTreeSet<LocalRef>) {
        let live = self.live();
        let taken = |class| live.values().filter(|job| job.class == Some(class)).count();
        let free = JobPlaces {
            quick: self.places.quick.saturating_sub(taken(JobClass::Quick)),
            bulk: self.places.bulk.saturating_sub(taken(JobClass::Bulk)),
        };
        (free, live.values().filter_map(|job| job.subject).collect())
    }

    /// Gives the place of a job back that only waits or undoes from now on.
    pub fn leave_place(&self, id: Uuid) {
        if let Some(live) = self.live().get_mut(&id) {
            live.class = None;
        }
        self.kick.notify_one();
    }

    fn is_live(&self, id: Uuid) -> bool {
        self.live().contains_key(&id)
    }

    fn abort_live(&self, id: Uuid) {
        if let Some(live) = self.live().get(&id) {
            live.abort.cancel();
        }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<Uuid, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a job's time is over.
    pub fn deadline(&self, job: &Resource<Job>) -> Instant {
        let deadline = Duration::from_secs(u64::from(job.spec.deadline_s));
        self.course(job.meta.id, |course| course.since + deadline)
    }

    /// Ends when a job's time is over, which may be put off meanwhile.
    pub async fn expired(&self, job: &Resource<Job>) {
        loop {
            let deadline = self.deadline(job);
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    /// A job that brings things in has so many bytes.
    pub fn came(&self, id: Uuid, bytes: u64) {
        self.course(id, |course| {
            if bytes > course.most {
                *course = Course { most: bytes, tries: course.tries, ..Course::begin() };
            }
        });
    }

    /// Counts a failure of a job that brings things in.
    pub fn stumbled(&self, id: Uuid, waits: bool, retries: u32) -> Verdict {
        self.course(id, |course| {
            course.idle = course.idle.saturating_add(1);
            course.tries = course.tries.saturating_add(u32::from(!waits));
            let again = waits || course.tries <= retries;
            Verdict { again, pause: job_retry_pause(course.idle) }
        })
    }

    /// Ends when the network has come back.
    pub async fn network_back(&self) {
        self.back.notified().await;
    }

    fn course<T>(&self, id: Uuid, with: impl FnOnce(&mut Course) -> T) -> T {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        with(begun.entry(id).or_insert_with(Course::begin))
    }

    /// A job's deadline counts from its next start.
    pub fn forget(&self, id: Uuid) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Changes a job's status. One that cannot be written is only logged: the job goes on, and after a restart
    /// begins anew.
    pub async fn write(&self, id: Id<Job>, change: impl FnOnce(&mut JobStatus)) {
        let Ok(Some(job)) = self.store.get(id) else { return };
        let mut status = job.status;
        change(&mut status);
        let mut tx = Transaction::new();
        tx.put_status(id, status);
        if let Err(error) = self.store.commit(tx).await {
            tracing::error!(job = %job.meta.name, %error, "a job's state could not be written");
        }
    }

    async fn tidy(&self) {
        let Ok(jobs) = self.store.list::<Job>() else { return };
        let gone = outdated_jobs(&jobs, (self.now)());
        if gone.is_empty() {
            return;
        }
        let mut tx = Transaction::new();
        for id in &gone {
            tx.remove(*id);
        }
        match self.store.commit(tx).await {
            Ok(_) => tracing::info!(count = gone.len(), "old finished jobs were removed"),
            Err(error) => tracing::warn!(%error, "old finished jobs could not be removed"),
        }
    }
}

/// Waits until a job was made or its spec changed, or until the network is back. What the runner itself writes is status
/// only.
async fn new_work(inner: &Inner, watch: &mut Option<Watch>) {
    loop {
        let Some(open) = watch else {
            *watch = inner.store.watch(None).ok();
            return;
        };
        match open.next().await {
            Ok(change) if change.subject.kind == Kind::Job && concerns(&change) => return,
            Ok(change) if change.subject.kind == Kind::Node && is_back(&change) => {
                inner.back.notify_waiters();
            }
            Ok(_) => {}
            Err(_) => *watch = None,
        }
    }
}

/// Whether the node has another address than before, or one at last.
fn is_back(change: &Change) -> bool {
    let status = |document: Option<&Arc<Document>>| {
        document.and_then(|document| document.to_resource::<Node>().ok()).map(|node| node.status)
    };
    let Some(after) = status(change.after.as_ref()) else { return false };
    let before = status(change.before.as_ref()).unwrap_or_default();
    let fresh = after.addresses.iter().any(|address| !before.addresses.contains(address));
    after.conditions.holds(CONNECTED) && (fresh || !before.conditions.holds(CONNECTED))
}

fn concerns(change: &Change) -> bool {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => before.spec != after.spec,
        (before, _) => before.is_none(),
    }
}

/// `image-import-0b6d1a52c3d4` for the operation `image.import`.
fn job_name(operation: &str, id: Id<Job>) -> Result<Name, NameError> {
    let digits: String = id.uuid().simple().to_string().chars().take(12).collect();
    let word = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let words: String = operation.chars().take(40).map(word).collect();
    Name::new(format!("{}-{digits}", words.trim_matches('-')))
}

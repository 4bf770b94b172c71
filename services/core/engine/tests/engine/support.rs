//! A controller that does what its test says, and the loop around it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use skerry_engine::{Controller, Engine, EngineHandle, Failure, Key, Outcome, planned};
use skerry_model::{
    Id, Job, JobSpec, JobState, JobStatus, Kind, LocalRef, Name, NewResource, User, UserSpec,
};
use skerry_store::{Change, Store, Transaction};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub fn id(n: u64) -> Id<Job> {
    Id::new(Uuid::from_u128(u128::from(n)))
}

pub fn key(n: u64) -> Key {
    LocalRef { kind: Kind::Job, id: id(n).uuid() }
}

pub fn user_key(n: u64) -> Key {
    LocalRef { kind: Kind::User, id: Uuid::from_u128(u128::from(n)) }
}

pub async fn create(store: &Store, n: u64) {
    let spec = JobSpec { operation: "test".to_owned(), deadline_s: 60, ..JobSpec::default() };
    let mut tx = Transaction::new();
    tx.create(NewResource::<Job>::new(id(n), Name::new(format!("job-{n}")).unwrap(), spec));
    store.commit(tx).await.unwrap();
}

pub async fn create_user(store: &Store, n: u64) {
    let spec = UserSpec { role: skerry_model::Role::Viewer, password_hash: String::new() };
    let mut tx = Transaction::new();
    let id = Id::<User>::new(user_key(n).id);
    tx.create(NewResource::new(id, Name::new(format!("user-{n}")).unwrap(), spec));
    store.commit(tx).await.unwrap();
}

pub async fn want(store: &Store, n: u64, operation: &str) {
    let mut spec = store.get(id(n)).unwrap().unwrap().spec;
    spec.operation = operation.to_owned();
    let mut tx = Transaction::new();
    tx.put_spec(id(n), None, spec);
    store.commit(tx).await.unwrap();
}

pub async fn tell_status(store: &Store, n: u64, message: &str) {
    let status =
        JobStatus { state: JobState::Running, message: message.to_owned(), ..JobStatus::default() };
    let mut tx = Transaction::new();
    tx.put_status(id(n), status);
    store.commit(tx).await.unwrap();
}

/// What one pass is to do.
#[derive(Clone)]
pub enum Act {
    End(Outcome),
    Fail(fn() -> Failure),
    Panic,
    /// Works this long first.
    Work(Duration, Outcome),
    /// Writes this status of its own key, then ends.
    Write(&'static str, Outcome),
    /// Creates the job, then says that it waits for it.
    CreateThenBlock(u64),
    Never,
}

/// When each pass started, and on what.
pub type Passes = Vec<(Key, Duration)>;

pub struct Scripted {
    pub store: Store,
    pub name: &'static str,
    pub watches: &'static [Kind],
    pub writes: &'static [Kind],
    /// Keys though there is no resource for them.
    pub extra: Vec<Key>,
    script: Mutex<HashMap<Key, Vec<Act>>>,
    passes: Mutex<Passes>,
    running: Mutex<(HashMap<Key, u32>, u32)>,
    most: Mutex<u32>,
    start: Instant,
}

impl Scripted {
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            name: "scripted",
            watches: &[Kind::Job],
            writes: &[Kind::Job],
            extra: Vec::new(),
            script: Mutex::default(),
            passes: Mutex::default(),
            running: Mutex::default(),
            most: Mutex::default(),
            start: Instant::now(),
        }
    }

    /// What the next passes over a key do, first to last; after that they end well.
    pub fn script(self, n: u64, acts: &[Act]) -> Self {
        self.script.lock().unwrap().insert(key(n), acts.iter().rev().cloned().collect());
        self
    }

    /// Seconds at which passes over a job started, since the test began.
    pub fn seconds(&self, n: u64) -> Vec<f64> {
        self.times(n).iter().map(Duration::as_secs_f64).collect()
    }

    pub fn times(&self, n: u64) -> Vec<Duration> {
        let passes = self.passes.lock().unwrap();
        passes.iter().filter(|(found, _)| *found == key(n)).map(|(_, at)| *at).collect()
    }

    pub fn count(&self) -> usize {
        self.passes.lock().unwrap().len()
    }

    pub fn most_at_once(&self) -> u32 {
        *self.most.lock().unwrap()
    }

    fn enter(&self, key: Key) {
        self.passes.lock().unwrap().push((key, self.start.elapsed()));
        let mut running = self.running.lock().unwrap();
        let same = running.0.entry(key).or_default();
        *same += 1;
        assert_eq!(*same, 1, "two passes over one key at a time");
        running.1 += 1;
        let mut most = self.most.lock().unwrap();
        *most = (*most).max(running.1);
    }

    fn leave(&self, key: Key) {
        let mut running = self.running.lock().unwrap();
        running.0.remove(&key);
        running.1 -= 1;
    }

    async fn act(&self, key: Key) -> Result<Outcome, Failure> {
        let next = self.script.lock().unwrap().get_mut(&key).and_then(Vec::pop);
        planned("look at the script");
        match next {
            None => Ok(Outcome::Done),
            Some(Act::End(outcome)) => Ok(outcome),
            Some(Act::Fail(failure)) => Err(failure()),
            Some(Act::Panic) => {
                self.leave(key);
                panic!("beside itself")
            }
            Some(Act::Work(time, outcome)) => {
                tokio::time::sleep(time).await;
                Ok(outcome)
            }
            Some(Act::Write(message, outcome)) => {
                let n = u64::try_from(key.id.as_u128()).unwrap();
                tell_status(&self.store, n, message).await;
                Ok(outcome)
            }
            Some(Act::CreateThenBlock(n)) => {
                create(&self.store, n).await;
                // Long enough for the engine to hear of it before this pass ends.
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(Outcome::Blocked(super::support::key(n)))
            }
            Some(Act::Never) => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Controller for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }
    fn watches(&self) -> &'static [Kind] {
        self.watches
    }
    fn writes(&self) -> &'static [Kind] {
        self.writes
    }
    fn keys(&self, change: &Change) -> Vec<Key> {
        vec![change.subject]
    }
    fn all_keys(&self) -> Vec<Key> {
        let jobs = self.store.documents(Kind::Job);
        let keys = jobs.iter().map(|job| LocalRef { kind: Kind::Job, id: job.metadata.id });
        keys.chain(self.extra.iter().copied()).collect()
    }
    async fn reconcile(&self, key: Key) -> Result<Outcome, Failure> {
        self.enter(key);
        let result = self.act(key).await;
        self.leave(key);
        result
    }
}

/// A running engine.
pub struct Running {
    pub controller: Arc<Scripted>,
    pub handle: EngineHandle,
    pub cancel: CancellationToken,
    pub task: JoinHandle<()>,
}

pub fn start(controller: Scripted) -> Running {
    start_with(controller, 8)
}

pub fn start_with(controller: Scripted, concurrency: usize) -> Running {
    let (controller, cancel) = (Arc::new(controller), CancellationToken::new());
    let engine = Engine::builder(controller.store.clone())
        .controller(Arc::clone(&controller) as Arc<dyn Controller>)
        .concurrency(concurrency)
        .seed(1)
        .build()
        .unwrap();
    let handle = engine.handle();
    let task = tokio::spawn(engine.run(cancel.clone()));
    Running { controller, handle, cancel, task }
}

/// Lets so much paused time go by.
pub async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

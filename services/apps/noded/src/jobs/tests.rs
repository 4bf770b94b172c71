//! The runner on a store in memory, with time that stands still unless nothing else can go on.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use skerry_model::{
    ConditionState, Id, Job, JobState, Kind, LocalRef, Name, NewResource, Node, NodeSpec,
    NodeStatus, Resource, Timestamp,
};
use skerry_store::{Store, Transaction};
use skerry_upkeep::{JobClass, JobPlaces};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use std::sync::Arc;

/// Does as each job's parameters say, and remembers what it was asked.
#[derive(Default)]
struct Script {
    runs: AtomicU32,
    undone: AtomicU32,
    at_work: Mutex<BTreeMap<Uuid, Instant>>,
    most_at_work: AtomicU32,
}

struct Leave<'a>(&'a Script, Uuid);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.at_work.lock().unwrap().remove(&self.1);
    }
}

#[async_trait]
impl Operation for Script {
    fn name(&self) -> &'static str {
        "test.script"
    }
    fn class(&self) -> JobClass {
        JobClass::Bulk
    }
    fn deadline(&self) -> Duration {
        Duration::from_secs(100)
    }
    fn retries(&self) -> u32 {
        2
    }
    async fn run(&self, job: &JobContext) -> Result<String, JobFailure> {
        let order: Value = job.params()?;
        let _leave = {
            let mut at_work = self.at_work.lock().unwrap();
            at_work.insert(job.id, Instant::now());
            let count = u32::try_from(at_work.len()).unwrap();
            self.most_at_work.fetch_max(count, Ordering::Relaxed);
            Leave(self, job.id)
        };
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        job.progress.stage("work");
        let seconds = order["seconds"].as_u64().unwrap_or(0);
        for second in 0..seconds {
            job.progress.bytes(second * 100, Some(seconds * 100));
            sleep(Duration::from_secs(1)).await;
        }
        match order["end"].as_str() {
            Some("heals") if run > 2 => Ok("healed".to_owned()),
            // As if each run brought another byte, or none.
            Some("goes on") if run > 100 => Ok("it is there".to_owned()),
            Some("goes on") => {
                job.progress.bytes(u64::from(run), None);
                Err(JobFailure::waiting("Offline", "there is no network"))
            }
            Some("offline") => Err(JobFailure::waiting("Offline", "there is no network")),
            Some("heals" | "never heals") => Err(JobFailure::retry("Away", "the disk is away")),
            Some("fails") => Err(JobFailure::refused("TooLarge", "it is too large")),
            Some("panics") => panic!("as ordered"),
            _ => Ok("it is done".to_owned()),
        }
    }
    async fn undo(&self, job: &JobContext) -> Result<(), JobFailure> {
        assert!(job.is_stopped());
        self.undone.fetch_add(1, Ordering::Relaxed);
        let order: Value = job.params()?;
        match order["undo"].as_str() {
            Some("fails") => Err(JobFailure::retry("Busy", "the file is busy")),
            _ => Ok(()),
        }
    }
}

/// Does the same, and brings things in.
struct Bringing(Arc<Script>);

/// How long nothing may come.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

#[async_trait]
impl Operation for Bringing {
    fn name(&self) -> &'static str {
        "test.bring"
    }
    fn deadline(&self) -> Duration {
        WEEK
    }
    fn retries(&self) -> u32 {
        2
    }
    fn brings_in(&self) -> bool {
        true
    }
    async fn run(&self, job: &JobContext) -> Result<String, JobFailure> {
        self.0.run(job).await
    }
    async fn undo(&self, job: &JobContext) -> Result<(), JobFailure> {
        self.0.undo(job).await
    }
}

struct Ground {
    store: Store,
    script: Arc<Script>,
    jobs: Jobs,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Ground {
    fn start() -> Self {
        Self::over(Store::in_memory_with(|| Timestamp::UNIX_EPOCH), Arc::default())
    }

    fn over(store: Store, script: Arc<Script>) -> Self {
        let places = JobPlaces { quick: 1, bulk: 2 };
        let jobs = Jobs::with_places(store.clone(), || Timestamp::UNIX_EPOCH, places);
        jobs.register(Arc::clone(&script) as Arc<dyn Operation>);
        jobs.register(Arc::new(Bringing(Arc::clone(&script))));
        let cancel = CancellationToken::new();
        let (running, until) = (jobs.clone(), cancel.clone());
        let task = tokio::spawn(async move { running.run(until).await });
        Self { store, script, jobs, cancel, task }
    }

    /// Ends the runner, as the end of the service does, and starts another.
    async fn restart(self) -> Self {
        self.cancel.cancel();
        self.task.await.unwrap();
        Self::over(self.store, self.script)
    }

    async fn make(&self, on: Option<u128>, params: Value) -> Id<Job> {
        self.make_of("test.script", on, params).await
    }

    async fn make_of(&self, operation: &str, on: Option<u128>, params: Value) -> Id<Job> {
        let subject = on.map(|n| LocalRef { kind: Kind::Image, id: Uuid::from_u128(n) });
        let new = self.jobs.prepare(operation, subject, params).unwrap();
        let id = new.id;
        let mut tx = Transaction::new();
        tx.create(new);
        self.store.commit(tx).await.unwrap();
        id
    }

    fn get(&self, id: Id<Job>) -> Resource<Job> {
        self.store.get(id).unwrap().unwrap()
    }

    /// Waits for a state by following the store.
    async fn until(&self, id: Id<Job>, wanted: JobState) -> Resource<Job> {
        let mut watch = self.store.watch(None).unwrap();
        let reached = async {
            while self.get(id).status.state != wanted {
                watch.next().await.unwrap();
            }
        };
        let reached = timeout(WEEK * 2, reached).await;
        let job = self.get(id);
        assert!(reached.is_ok(), "it is {:?}", job.status);
        job
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_tells_how_far_it_is_and_ends() {
    let ground = Ground::start();
    let id = ground.make(None, json!({"seconds": 60})).await;
    let job = ground.until(id, JobState::Running).await;
    assert!(job.meta.name.as_str().starts_with("test-script-"), "{}", job.meta.name);
    sleep(Duration::from_millis(30_500)).await;
    let status = ground.get(id).status;
    assert_eq!((status.stage.as_str(), status.percent), ("work", Some(50)), "{status:?}");
    assert_eq!((status.bytes_done, status.bytes_total), (Some(3000), Some(6000)));
    assert_eq!(status.rate, Some(100));
    assert!(ground.store.revision() < 40, "written more often than once a second");
    let done = ground.until(id, JobState::Completed).await.status;
    assert_eq!((done.message.as_str(), done.percent, done.attempts), ("it is done", Some(100), 1));
    assert!(done.finished.is_some() && done.rate.is_none());
    assert_eq!(ground.script.undone.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn two_at_a_time_and_one_on_each_resource() {
    let ground = Ground::start();
    let mut ids = Vec::new();
    for on in [Some(1), Some(1), None, None, None] {
        ids.push(ground.make(on, json!({"seconds": 5})).await);
    }
    let subject = LocalRef { kind: Kind::Image, id: Uuid::from_u128(1) };
    let active = ground.jobs.active_on(subject).unwrap();
    assert!([ids[0], ids[1]].contains(&active.id()));
    for id in ids {
        ground.until(id, JobState::Completed).await;
    }
    assert_eq!(ground.script.most_at_work.load(Ordering::Relaxed), 2);
    assert!(ground.jobs.active_on(subject).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_may_heal_is_tried_again_and_what_will_not_fails() {
    let ground = Ground::start();
    let heals = ground.make(None, json!({"end": "heals"})).await;
    let waiting = ground.until(heals, JobState::Waiting).await.status;
    assert!(waiting.message.contains("tried again in 2 s"), "{waiting:?}");
    let done = ground.until(heals, JobState::Completed).await.status;
    assert_eq!((done.attempts, done.reason.as_str()), (3, ""));

    let ground = Ground::start();
    let never = ground.make(None, json!({"end": "never heals"})).await;
    let failed = ground.until(never, JobState::Failed).await.status;
    assert_eq!((failed.attempts, failed.reason.as_str(), failed.retryable), (3, "Away", true));
    let refused = ground.make(None, json!({"end": "fails"})).await;
    let failed = ground.until(refused, JobState::Failed).await.status;
    assert_eq!((failed.attempts, failed.message.as_str()), (1, "it is too large"));
    let panics = ground.make(None, json!({"end": "panics"})).await;
    let failed = ground.until(panics, JobState::Failed).await.status;
    assert_eq!((failed.attempts, failed.reason.as_str()), (1, "FaultOfTheNode"));
    assert_eq!(ground.script.undone.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_network_ends_after_a_week_without_a_byte() {
    let ground = Ground::start();
    let begun = Instant::now();
    let id = ground.make_of("test.bring", None, json!({"end": "offline"})).await;
    sleep(WEEK - Duration::from_secs(10)).await;
    let status = ground.get(id).status;
    assert_eq!((status.state, status.reason.as_str()), (JobState::Waiting, "Offline"));
    assert!(status.message.contains("tried again in 300 s"), "{status:?}");
    assert_eq!(ground.script.undone.load(Ordering::Relaxed), 0, "what came is kept");
    let failed = ground.until(id, JobState::Failed).await.status;
    assert_eq!(
        (failed.reason.as_str(), begun.elapsed().as_secs()),
        ("DeadlineOver", WEEK.as_secs())
    );
    assert!(failed.message.contains("there is no network"), "{failed:?}");
    assert_eq!(ground.script.undone.load(Ordering::Relaxed), 1);
    // A fault of its own counts as ever.
    let id = ground.make_of("test.bring", None, json!({"end": "never heals"})).await;
    assert_eq!(ground.until(id, JobState::Failed).await.status.attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn whatever_comes_gives_another_week_and_short_pauses() {
    let ground = Ground::start();
    let begun = Instant::now();
    let id = ground.make_of("test.bring", None, json!({"end": "goes on"})).await;
    let done = ground.until(id, JobState::Completed).await.status;
    assert_eq!(done.attempts, 101);
    assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    // Two bytes in two weeks.
    let course = ground.jobs.inner.clone();
    let id = ground.make_of("test.bring", None, json!({"end": "offline"})).await;
    for bytes in 1..=2 {
        sleep(WEEK - Duration::from_secs(10)).await;
        course.came(id.uuid(), bytes);
    }
    sleep(WEEK - Duration::from_secs(10)).await;
    assert_eq!(ground.get(id).status.state, JobState::Waiting);
    course.came(id.uuid(), 2);
    ground.until(id, JobState::Failed).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_network_is_back_what_waits_for_it_is_tried_at_once() {
    let ground = Ground::start();
    let spec = NodeSpec { hostname: Name::new("node").unwrap() };
    let node =
        NewResource::<Node>::new(Id::new(Uuid::from_u128(1)), Name::new("node").unwrap(), spec);
    let node_id = node.id;
    let mut tx = Transaction::new();
    tx.create(node);
    ground.store.commit(tx).await.unwrap();
    let id = ground.make_of("test.bring", None, json!({"end": "offline"})).await;
    sleep(Duration::from_secs(2000)).await;
    let job = ground.until(id, JobState::Waiting).await;
    let mut status = NodeStatus::default();
    let now = Timestamp::UNIX_EPOCH;
    status.conditions.set("NetworkConnected", ConditionState::True, "AddressPresent", "", now);
    let mut tx = Transaction::new();
    tx.put_status(node_id, status);
    ground.store.commit(tx).await.unwrap();
    let begun = Instant::now();
    while ground.get(id).status.attempts == job.status.attempts {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // And a person ends it whenever it is wished.
    let job = ground.until(id, JobState::Waiting).await;
    ground.jobs.abort(&job).await.unwrap();
    ground.until(id, JobState::Aborted).await;
}

#[tokio::test(start_paused = true)]
async fn a_user_ends_jobs_in_every_state() {
    let ground = Ground::start();
    let running = ground.make(None, json!({"seconds": 90})).await;
    let other = ground.make(None, json!({"seconds": 90})).await;
    let job = ground.until(running, JobState::Running).await;
    ground.until(other, JobState::Running).await;
    let queued = ground.make(None, json!({})).await;
    ground.jobs.abort(&ground.get(queued)).await.unwrap();
    let status = ground.until(queued, JobState::Aborted).await.status;
    assert_eq!((status.reason.as_str(), status.attempts), ("Aborted", 0));
    ground.jobs.abort(&job).await.unwrap();
    let ended = ground.until(running, JobState::Aborted).await;
    assert!(ended.status.finished.is_some());
    assert!(ground.jobs.abort(&ended).await.unwrap_err().to_string().contains("ended already"));
    assert!(ground.jobs.retry(&ended).await.unwrap_err().to_string().contains("has not failed"));
    let waiting = ground.make(None, json!({"end": "never heals"})).await;
    let job = ground.until(waiting, JobState::Waiting).await;
    ground.jobs.abort(&job).await.unwrap();
    ground.until(waiting, JobState::Aborted).await;
    assert_eq!(ground.script.undone.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_run_and_a_retry_begins_anew() {
    let ground = Ground::start();
    let id = ground.make(None, json!({"seconds": 1000})).await;
    let failed = ground.until(id, JobState::Failed).await;
    assert_eq!(failed.status.reason, "DeadlineOver");
    ground.jobs.retry(&failed).await.unwrap();
    let again = ground.until(id, JobState::Running).await.status;
    assert_eq!((again.attempts, again.reason.as_str(), again.finished), (1, "", None));
    sleep(Duration::from_secs(50)).await;
    assert_eq!(ground.get(id).status.state, JobState::Running, "the deadline counts anew");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_running_jobs_begin_anew_and_undoing_goes_on() {
    let ground = Ground::start();
    let running = ground.make(None, json!({"seconds": 50})).await;
    let aborting = ground.make(None, json!({"seconds": 50, "undo": "fails"})).await;
    ground.until(running, JobState::Running).await;
    let job = ground.until(aborting, JobState::Running).await;
    ground.jobs.abort(&job).await.unwrap();
    ground.until(aborting, JobState::Aborting).await;
    sleep(Duration::from_secs(1)).await;
    let undone = ground.script.undone.load(Ordering::Relaxed);
    let ground = ground.restart().await;
    let status = ground.until(aborting, JobState::Aborted).await.status;
    assert!(status.message.contains("could not be removed: the file is busy"), "{status:?}");
    assert!(ground.script.undone.load(Ordering::Relaxed) > undone);
    let done = ground.until(running, JobState::Completed).await.status;
    assert_eq!(done.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_of_an_unknown_operation_fails_with_a_reason() {
    let ground = Ground::start();
    assert!(ground.jobs.prepare("no.such", None, Value::Null).is_err());
    let mut new = ground.jobs.prepare("test.script", None, Value::Null).unwrap();
    new.spec.operation = "no.such".to_owned();
    let id = new.id;
    let mut tx = Transaction::new();
    tx.create(new);
    ground.store.commit(tx).await.unwrap();
    let failed = ground.until(id, JobState::Failed).await.status;
    assert!(failed.message.contains("`no.such`") && !failed.retryable, "{failed:?}");
}

//! The loop itself: turns changes, wake-ups and timers into passes.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use skerry_model::Timestamp;
use skerry_store::{Change, Store, Watch, WatchGap};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::backoff::{self, Jitter};
use crate::builder::EngineBuilder;
use crate::handle::{EngineHandle, Face};
use crate::plan::Plan;
use crate::queue::{End, Queue, Slot, Wake};
use crate::report::{PassEnd, PassReport, millis};
use crate::{Controller, ErrorClass, Failure, Key, Outcome};

/// The loop turns at least this often, so that whoever watches it can tell that it is alive.
const TICK: Duration = Duration::from_secs(2);
/// What a running pass gets when the engine is asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// A pass that takes longer is told in the log: the driver below it hangs.
const LONG_PASS: Duration = Duration::from_secs(120);

/// A set of controllers over one store.
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) controllers: Vec<Arc<dyn Controller>>,
    pub(crate) concurrency: usize,
    pub(crate) jitter: Jitter,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) face: Arc<Face>,
}

impl Engine {
    /// Starts gathering controllers.
    pub fn builder(store: Store) -> EngineBuilder {
        EngineBuilder::new(store)
    }

    /// The engine's face to the rest of the process. It outlives the engine.
    pub fn handle(&self) -> EngineHandle {
        EngineHandle::new(Arc::clone(&self.face))
    }

    /// Runs until cancelled. Passes that run then get five seconds to end and are broken off after
    /// that, which they must bear: they may be broken off by a power cut at any time.
    pub async fn run(self, cancel: CancellationToken) {
        let mut watch = follow(&self.store);
        let mut turn = Turn::new(self);
        turn.resync_all();
        loop {
            turn.begin();
            let deadline = turn.deadline();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(ended) = turn.passes.join_next_with_id() => turn.ended(ended),
                () = turn.face.woken() => turn.take_wakes(),
                change = watch.next() => match change {
                    Ok(change) => turn.changed(&change),
                    Err(gap) => {
                        watch = follow(&turn.store);
                        turn.gap(gap);
                    }
                },
                () = sleep_until(deadline) => {}
            }
        }
        turn.end().await;
    }
}

/// A watch from now on.
fn follow(store: &Store) -> Watch {
    loop {
        // A watch from now on is never too late; the loop only spares an impossible error.
        if let Ok(watch) = store.watch(None) {
            return watch;
        }
    }
}

/// A pass that runs.
struct Running {
    slot: Slot,
    plan: Plan,
    revision: u64,
    started: Timestamp,
    since: Instant,
    told: bool,
}

/// What the loop works on.
struct Turn {
    store: Store,
    controllers: Vec<Arc<dyn Controller>>,
    concurrency: usize,
    jitter: Jitter,
    now: fn() -> Timestamp,
    face: Arc<Face>,
    queue: Queue,
    passes: JoinSet<Result<Outcome, Failure>>,
    running: HashMap<Id, Running>,
    /// When each controller's keys are all looked at next.
    resync: Vec<Instant>,
}

impl Turn {
    fn new(engine: Engine) -> Self {
        let Engine { store, controllers, concurrency, jitter, now, face } = engine;
        let resync = vec![Instant::now(); controllers.len()];
        Self {
            store,
            controllers,
            concurrency,
            jitter,
            now,
            face,
            queue: Queue::default(),
            passes: JoinSet::new(),
            running: HashMap::new(),
            resync,
        }
    }

    /// The start of every turn of the loop.
    fn begin(&mut self) {
        let now = Instant::now();
        self.face.tick(now);
        self.tell_long_passes(now);
        for index in 0..self.controllers.len() {
            if self.resync.get(index).is_some_and(|due| *due <= now) {
                self.resync(index);
            }
        }
        self.queue.advance(now);
        while self.running.len() < self.concurrency {
            let Some(slot) = self.queue.start() else { break };
            self.start(slot);
        }
    }

    /// When the loop turns next, though nothing happens.
    fn deadline(&self) -> Instant {
        let tick = Instant::now() + TICK;
        let resync = self.resync.iter().copied().min().unwrap_or(tick);
        tick.min(resync).min(self.queue.next_timer().unwrap_or(tick))
    }

    fn start(&mut self, slot: Slot) {
        let (index, key) = slot;
        let Some(controller) = self.controllers.get(index).cloned() else { return };
        let (revision, plan) = (self.store.revision(), Plan::default());
        let span = tracing::info_span!(
            "pass", controller = controller.name(), kind = %key.kind, id = %key.id, rev = revision
        );
        let pass = async move { controller.reconcile(key).await };
        let task = self.passes.spawn(plan.clone().record(pass).instrument(span));
        let (started, since) = ((self.now)(), Instant::now());
        let running = Running { slot, plan, revision, started, since, told: false };
        self.running.insert(task.id(), running);
    }

    fn ended(&mut self, ended: Result<(Id, Result<Outcome, Failure>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(broken_off(error))),
        };
        let Some(running) = self.running.remove(&id) else { return };
        let now = Instant::now();
        let (slot, end) = (running.slot, PassEnd::of(&result));
        let failures = if result.is_err() { self.queue.failures(slot) + 1 } else { 0 };
        let queued = match &result {
            Ok(outcome) => End::Good(*outcome),
            Err(failure) => End::Bad(backoff::wait(failure.class, failures, &mut self.jitter)),
        };
        let next = self.queue.finish(slot, queued, now);
        let report = PassReport {
            controller: self.name(slot.0),
            key: slot.1,
            revision: running.revision,
            started: running.started,
            took_ms: millis(now - running.since),
            plan: running.plan.steps(),
            end,
            failures,
            next_ms: next.map(|next| millis(next - now)),
        };
        log(&report);
        self.face.report(slot, report);
    }

    fn changed(&mut self, change: &Change) {
        let now = Instant::now();
        self.queue.changed(change.subject, now);
        for (index, controller) in self.controllers.iter().enumerate() {
            let kind = change.subject.kind;
            if !controller.watches().contains(&kind) {
                continue;
            }
            // What a controller wrote itself is no news to it.
            if controller.writes().contains(&kind) && is_status_only(change) {
                continue;
            }
            let keys = catch_unwind(AssertUnwindSafe(|| controller.keys(change)));
            for key in keys_or_none(controller.name(), keys) {
                let wanted = key == change.subject && is_wanted_anew(change);
                let wake = if wanted { Wake::Wanted } else { Wake::Event };
                self.queue.wake((index, key), wake, now);
            }
        }
    }

    fn take_wakes(&mut self) {
        let now = Instant::now();
        let (keys, all) = self.face.take_wakes();
        for slot in keys {
            self.queue.wake(slot, Wake::Event, now);
        }
        for index in all {
            self.resync(index);
        }
    }

    fn gap(&mut self, gap: WatchGap) {
        tracing::warn!(%gap, "changes were missed; looking at everything");
        self.resync_all();
    }

    fn resync_all(&mut self) {
        for index in 0..self.controllers.len() {
            self.resync(index);
        }
    }

    /// Looks at every key of a controller, and forgets keys that are no longer any.
    fn resync(&mut self, index: usize) {
        let Some(controller) = self.controllers.get(index).cloned() else { return };
        let now = Instant::now();
        if let Some(due) = self.resync.get_mut(index) {
            *due = now + controller.resync().max(TICK);
        }
        let keys = catch_unwind(AssertUnwindSafe(|| controller.all_keys()));
        let keys = keys_or_none(controller.name(), keys);
        for key in &keys {
            self.queue.wake((index, *key), Wake::Event, now);
        }
        let known: HashSet<Key> = keys.into_iter().collect();
        let store = &self.store;
        let gone = self.queue.forget(|(owner, key)| {
            owner != index || known.contains(&key) || store.document(key).is_some()
        });
        self.face.forget(&gone);
    }

    fn tell_long_passes(&mut self, now: Instant) {
        for running in self.running.values_mut() {
            if !running.told && now - running.since > LONG_PASS {
                running.told = true;
                let (name, key) = (self.controllers.get(running.slot.0), running.slot.1);
                let controller = name.map_or("", |controller| controller.name());
                let took_ms = millis(now - running.since);
                tracing::warn!(
                    controller, kind = %key.kind, id = %key.id, took_ms,
                    "a pass takes long; what it waits for may hang"
                );
            }
        }
    }

    /// Lets running passes end, for a while.
    async fn end(mut self) {
        let all = async { while self.passes.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            let left = self.passes.len();
            tracing::warn!(left, "passes did not end in time and are broken off");
            self.passes.shutdown().await;
        }
    }

    fn name(&self, index: usize) -> &'static str {
        self.controllers.get(index).map_or("", |controller| controller.name())
    }
}

fn keys_or_none(controller: &str, keys: std::thread::Result<Vec<Key>>) -> Vec<Key> {
    keys.unwrap_or_else(|panic| {
        let message = panic_message(panic.as_ref());
        tracing::error!(controller, message, "a controller panicked while it named its keys");
        Vec::new()
    })
}

/// A panic inside a pass is a fault of the node, not the end of it.
fn broken_off(error: JoinError) -> Failure {
    match error.try_into_panic() {
        Ok(panic) => Failure::bug(format!("the pass panicked: {}", panic_message(panic.as_ref()))),
        Err(_) => Failure::retry("the pass was broken off"),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Whether nothing but the status differs.
fn is_status_only(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return false };
    let (old, new) = (&before.metadata, &after.metadata);
    before.spec == after.spec
        && old.name == new.name
        && old.labels == new.labels
        && old.phase == new.phase
        && old.finalizers == new.finalizers
        && old.generation == new.generation
}

/// Whether something else is wanted of the resource than before.
fn is_wanted_anew(change: &Change) -> bool {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            let (old, new) = (&before.metadata, &after.metadata);
            old.generation != new.generation || old.phase != new.phase
        }
        _ => true,
    }
}

fn log(report: &PassReport) {
    let PassReport { controller, key, revision: rev, took_ms, failures, next_ms, .. } = report;
    let (kind, id) = (key.kind, key.id);
    match &report.end {
        PassEnd::Failed { class, errors } => {
            let error = errors.join(": ");
            match class {
                ErrorClass::Bug => tracing::error!(
                    controller, %kind, %id, rev, took_ms, failures, next_ms,
                    "{controller} of {kind} {id} failed: {error}"
                ),
                ErrorClass::Retry | ErrorClass::NeedsOperator => tracing::warn!(
                    controller, %kind, %id, rev, took_ms, failures, next_ms,
                    "{controller} of {kind} {id} failed: {error}"
                ),
            }
        }
        end => tracing::debug!(controller, %kind, %id, rev, took_ms, ?end, "pass"),
    }
}

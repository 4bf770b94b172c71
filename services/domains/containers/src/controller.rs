//! The controller of pods: reads the store and the runtime, decides, plans, applies, writes status.
//!
//! It alone writes the status of pods. Rules live in `decide` and `plan`; this file only moves data between
//! them, the store and the runtime.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use skerry_engine::{Controller, Failure, Key, Outcome};
use skerry_model::{
    Id, Kind, LocalRef, Name, Phase, Pod, PodRevision, Power, Resource, RevisionState, Timestamp,
};
use skerry_store::{Change, Store, StoreError, Transaction};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::decide::{Decision, Facts, Missing, decide};
use crate::gather::{Gathered, gather, pods_that_need};
use crate::lifecycle::next;
use crate::memory::{Clocks, PodMemory};
use crate::pages::{self, PageAccount, Pages};
use crate::prober::{self, Prober, Subject};
use crate::status::{Report, status};
use crate::turn::{self, Held};
use crate::{
    ContainerRuntime, FINALIZER, PodEvent, PodObserved, PodStep, RuntimeError, RuntimeEvent,
    RuntimeFault, fitting, plan, rollout, users,
};

/// Looks at a pod within one pass; more would only come of a runtime that never does what it says.
const ROUNDS: usize = 12;
/// How soon to look again while something is on its way up or down, should no event come.
const POLL: Duration = Duration::from_secs(2);
/// How soon to look again for something that has no record to wait for.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Brings pods to what is wanted of them.
pub struct PodController {
    pub(crate) store: Store,
    runtime: Arc<dyn ContainerRuntime>,
    prober: Prober,
    pub(crate) clock: fn() -> Timestamp,
    /// Tells one boot of the node from the next; `None` if the node cannot.
    pub(crate) boot: Option<String>,
    memory: Mutex<HashMap<Id<Pod>, PodMemory>>,
    /// Pods that were let on in their turn after a boot and whose pass has not ended: passes go on at the same time,
    /// and each must know of those that another one has just let on.
    let_on: Mutex<HashSet<Id<Pod>>>,
    /// Held while users of the machine are given to a pod.
    giving: tokio::sync::Mutex<()>,
    /// Where huge pages come from, if the node hands any out.
    pages: Option<Arc<dyn PageAccount>>,
}

impl PodController {
    /// The controller's name in logs, in the graph and for wake-ups.
    pub const NAME: &'static str = "containers";

    /// A controller over this store and runtime. `clock` is for timestamps only; `boot` tells one boot of the node
    /// from the next.
    pub fn new(
        store: Store,
        runtime: Arc<dyn ContainerRuntime>,
        clock: fn() -> Timestamp,
        boot: &str,
    ) -> Self {
        Self {
            boot: (!boot.is_empty()).then(|| boot.to_owned()),
            store,
            prober: Prober::new(Arc::clone(&runtime)),
            runtime,
            clock,
            memory: Mutex::default(),
            let_on: Mutex::default(),
            giving: tokio::sync::Mutex::default(),
            pages: None,
        }
    }

    /// With huge pages from this account.
    #[must_use]
    pub fn with_pages(self, account: Arc<dyn PageAccount>) -> Self {
        Self { pages: Some(account), ..self }
    }

    /// What probes find out, as the runtime's own news come.
    pub fn probe_news(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.prober.news()
    }

    /// The keys to wake when the runtime has news.
    pub fn keys_for(&self, event: RuntimeEvent) -> Vec<Key> {
        match event {
            RuntimeEvent::Pod(pod) => vec![key_of(pod)],
            RuntimeEvent::All => self.all_keys(),
        }
    }

    fn take_memory(&self, pod: Id<Pod>) -> PodMemory {
        lock(&self.memory).remove(&pod).unwrap_or_default()
    }

    async fn pass(&self, id: Id<Pod>, memory: &mut PodMemory) -> Result<Outcome, Failure> {
        for _ in 0..ROUNDS {
            let Some(pod) = self.store.get(id).map_err(store_failure)? else {
                return Ok(Outcome::Done);
            };
            let observed = self.runtime.observe(id).await.map_err(|e| failure(&e, "observe"))?;
            if pod.meta.phase == Phase::Removing && observed.is_empty() {
                self.let_go(id).await?;
                return Ok(Outcome::Done);
            }
            if self.follow_boot(&pod).await? || self.give_users(&pod).await? {
                continue;
            }
            memory.take_request(&pod.spec, &pod.status);
            let clocks = Clocks { now: Instant::now(), wall: (self.clock)() };
            let mut history = rollout::record(&pod.spec, &pod.status, clocks.wall);
            let (pod, revision) = rollout::effective(&pod, &history);
            // An earlier revision that runs instead may have users of its own where the newest has not.
            if self.give_users(&pod).await? {
                continue;
            }
            let boot = self.boot.as_deref();
            let mut gathered = gather(&self.store, &pod, boot).map_err(store_failure)?;
            if turn::is_of_another_boot(&pod, boot) {
                // After a boot of the node all begins in its turn, a few at a time.
                gathered.ahead = None;
            }
            let comes_up = gathered.ready.is_ok() || gathered.ahead.is_some();
            if comes_up && !observed.any_live() {
                self.hold_back(&pod, &mut gathered, memory, clocks.now)?;
            }
            let health = self.health(&pod, &gathered, &observed);
            let short;
            let mut facts = Facts {
                pod: &pod,
                revision,
                ready: &gathered.ready,
                ahead: gathered.ahead.as_deref(),
                volumes: gathered.volumes.as_deref(),
                observed: &observed,
                health: &health,
                clocks,
            };
            let mut decision = decide(&facts, memory);
            match pages::look(self.pages.as_ref(), &facts, &decision).await {
                Pages::Settled => {}
                Pages::Write(huge_pages, _turn) => {
                    let status = skerry_model::PodStatus { huge_pages, ..pod.status.clone() };
                    self.put_status(&pod, status).await?;
                    continue;
                }
                Pages::Short(missing) => {
                    short = Err(missing);
                    (facts.ready, facts.ahead) = (&short, None);
                    decision = decide(&facts, memory);
                }
            }
            let judged = pod.meta.phase != Phase::Removing
                && rollout::judge(&mut history, &facts, &decision, memory);
            // What was learnt of a revision is written in any case.
            memory.broken &= !judged;
            self.settle(&facts, &gathered, &decision, &history, memory).await?;
            let runs = rollout::chosen(&pod.spec, &history).and_then(|index| history.get(index));
            if judged && runs.is_some_and(|runs| runs.number != revision) {
                // Another revision is to run now.
                continue;
            }
            let steps = plan(&decision.wanted, &observed);
            if steps.is_empty() {
                return Ok(outcome(&decision, facts.ready, &observed, memory, clocks.now));
            }
            let view = View { pod: &pod, gathered: &gathered, history: &history, revision };
            let applied = self.apply(&view, &decision, &steps, memory).await;
            if applied.is_err() && memory.refused.is_some() && view.can_give_way() {
                continue;
            }
            if applied.is_err() && decision.event == PodEvent::Waits && decision.wanted.prepares() {
                // It is tried again, and told, when the pod may start.
                return Ok(outcome(&decision, &gathered.ready, &observed, memory, clocks.now));
            }
            applied?;
        }
        Ok(Outcome::Again(POLL))
    }

    /// Lets the probes of what runs be asked, and says what is known of them.
    fn health(
        &self,
        pod: &Resource<Pod>,
        gathered: &Gathered,
        observed: &PodObserved,
    ) -> BTreeMap<Name, prober::Report> {
        let runs: BTreeMap<&Name, &str> = observed
            .containers
            .iter()
            .filter_map(|(name, found)| match &found.run {
                crate::Run::Running { run, .. } => Some((name, run.as_str())),
                _ => None,
            })
            .collect();
        // Without its port nothing new is asked; what is asked already goes on.
        if let Some(network) = &gathered.network {
            let subject = |container| Subject::new(container, &runs, network, &pod.status);
            let subjects: Vec<_> = pod.spec.containers.iter().filter_map(subject).collect();
            self.prober.watch(pod.id(), &subjects);
        }
        let report =
            |(name, run)| Some((Name::clone(name), self.prober.report(pod.id(), name, run)?));
        runs.into_iter().filter_map(report).collect()
    }

    /// Moves the life cycle on and writes the status.
    async fn settle(
        &self,
        facts: &Facts<'_>,
        gathered: &Gathered,
        decision: &Decision,
        history: &[PodRevision],
        memory: &mut PodMemory,
    ) -> Result<(), Failure> {
        let before = facts.pod.status.state;
        let (state, effects) =
            next(before, decision.event).map_err(|refused| Failure::bug(refused.to_string()))?;
        let stop_timeout = Duration::from_secs(facts.pod.spec.stop_timeout_s.into());
        memory.apply(&effects, facts.clocks.now, stop_timeout);
        // A pod whose last start failed keeps saying why while it is tried again.
        if memory.broken && decision.event == PodEvent::Begin {
            return Ok(());
        }
        memory.broken = false;
        if state != before {
            info!(kind = "Pod", id = %facts.pod.meta.id, name = %facts.pod.meta.name,
                from = ?before, to = ?state, reason = %decision.reason, "pod changed state");
        }
        let report = Report {
            state,
            reason: &decision.reason,
            revision: facts.revision,
            history,
            port: gathered.port.as_ref(),
            observed: facts.observed,
            health: facts.health,
            clocks: facts.clocks,
        };
        let mut status = status(facts.pod, &report, memory);
        let (spec, before) = (&facts.pod.spec, &facts.pod.status);
        status.request_done = memory.request_done(spec, before, decision.event);
        if !gathered.waits_for_turn {
            status.boot.clone_from(&self.boot);
            memory.queued_since = None;
            memory.turn_since = None;
        }
        self.put_status(facts.pod, status).await
    }

    /// After a boot of the node a pod may be wanted on or off, whatever it was before. That is written down first.
    async fn follow_boot(&self, pod: &Resource<Pod>) -> Result<bool, Failure> {
        let booted = turn::is_of_another_boot(pod, self.boot.as_deref());
        let Some(power) =
            turn::power_after_boot(pod).filter(|_| booted && pod.meta.phase == Phase::Present)
        else {
            return Ok(false);
        };
        let mut tx = Transaction::new();
        let spec = skerry_model::PodSpec { power, ..pod.spec.clone() };
        tx.put_spec(pod.id(), Some(pod.meta.revision), spec);
        self.store.commit(tx).await.map_err(store_failure)?;
        Ok(true)
    }

    /// A pod that is to have users of its own gets some of the machine's. That is written down first.
    async fn give_users(&self, pod: &Resource<Pod>) -> Result<bool, Failure> {
        let wanted = pod.spec.has_own_users() && pod.meta.phase == Phase::Present;
        if !wanted || pod.status.users.is_some() {
            return Ok(false);
        }
        // Two pods at a time would get the same.
        let _turn = self.giving.lock().await;
        let pods = self.store.list::<Pod>().map_err(store_failure)?;
        let taken: Vec<u32> = pods.iter().filter_map(|other| other.status.users).collect();
        let Some(first) = users::free_range(&taken) else {
            let message = "no users of the machine are left for this pod: delete pods that have users of their own";
            return Err(Failure::needs_operator(message.to_owned()));
        };
        let users = Some(first);
        self.put_status(pod, skerry_model::PodStatus { users, ..pod.status.clone() }).await?;
        Ok(true)
    }

    /// Others may have to be started first.
    fn hold_back(
        &self,
        pod: &Resource<Pod>,
        gathered: &mut Gathered,
        memory: &mut PodMemory,
        now: Instant,
    ) -> Result<(), Failure> {
        let mut let_on = lock(&self.let_on);
        let mut others = self.store.list::<Pod>().map_err(store_failure)?;
        others.retain(|other| other.id() != pod.id());
        let held = turn::held(pod, &others, &let_on, self.boot.as_deref(), memory, now);
        let Some(held) = held else {
            if turn::is_of_another_boot(pod, self.boot.as_deref()) && gathered.ready.is_ok() {
                let_on.insert(pod.id());
            }
            return Ok(());
        };
        gathered.waits_for_turn |= matches!(held, Held::Turn(_));
        let (Held::Dependency(missing) | Held::Turn(missing)) = held;
        gathered.ready = Err(missing);
        gathered.ahead = None;
        Ok(())
    }

    async fn put_status(
        &self,
        pod: &Resource<Pod>,
        status: skerry_model::PodStatus,
    ) -> Result<(), Failure> {
        if self.takes(pod, &status).await? {
            return Ok(());
        }
        for smaller in fitting::smaller(&pod.spec, &status, (self.clock)()) {
            if self.takes(pod, &smaller).await? {
                return Ok(());
            }
        }
        let message = "what is known of the pod does not fit into its record beside what is wanted of it: \
                       make its specification smaller";
        if pod.spec.power == Power::Stopped || pod.meta.phase == Phase::Removing {
            // What cannot be told keeps nothing from being stopped and taken away.
            warn!(kind = "Pod", id = %pod.meta.id, name = %pod.meta.name, "{message}");
            return Ok(());
        }
        Err(Failure::needs_operator(message))
    }

    /// Writes a status, unless it stands there already; whether the pod's record can hold it.
    async fn takes(
        &self,
        pod: &Resource<Pod>,
        status: &skerry_model::PodStatus,
    ) -> Result<bool, Failure> {
        if *status == pod.status {
            return Ok(true);
        }
        let mut tx = Transaction::new();
        tx.put_status::<Pod>(pod.id(), status.clone());
        match self.store.commit(tx).await {
            Ok(_) => Ok(true),
            Err(StoreError::TooLarge { .. }) => Ok(false),
            Err(error) => Err(store_failure(error)),
        }
    }

    async fn apply(
        &self,
        view: &View<'_>,
        decision: &Decision,
        steps: &[PodStep],
        memory: &mut PodMemory,
    ) -> Result<(), Failure> {
        let pod = view.pod;
        for step in steps {
            let began = Instant::now();
            let done = self.runtime.apply(step).await;
            let took_ms = began.elapsed().as_millis();
            let (id, name) = (pod.meta.id, &pod.meta.name);
            let Err(error) = done else {
                memory.started |= matches!(step, PodStep::Start { .. });
                info!(kind = "Pod", %id, %name, %step, took_ms, "step done");
                continue;
            };
            warn!(kind = "Pod", %id, %name, %step, took_ms, error = %error.chain(), "step failed");
            if decision.event == PodEvent::Begin && error.fault != RuntimeFault::Passing {
                self.mark_broken(view, &error, memory).await?;
            }
            return Err(failure(&error, step.word()));
        }
        Ok(())
    }

    /// Records why a pod does not start.
    async fn mark_broken(
        &self,
        view: &View<'_>,
        error: &RuntimeError,
        memory: &mut PodMemory,
    ) -> Result<(), Failure> {
        let id = view.pod.id();
        let Some(found) = self.store.get(id).map_err(store_failure)? else { return Ok(()) };
        // The record as it is now, with the containers that were to be started.
        let pod = Resource { status: found.status, ..view.pod.clone() };
        let event = match error.fault {
            RuntimeFault::Refused => PodEvent::Broken,
            _ => PodEvent::Waits,
        };
        let Ok((state, _)) = next(pod.status.state, event) else { return Ok(()) };
        memory.broken = true;
        if error.fault == RuntimeFault::Refused {
            memory.refused = Some(error.chain());
        }
        let observed = self.runtime.observe(id).await.unwrap_or_default();
        let report = Report {
            state,
            reason: &error.chain(),
            revision: view.revision,
            history: view.history,
            port: view.gathered.port.as_ref(),
            observed: &observed,
            health: &self.health(&pod, view.gathered, &observed),
            clocks: Clocks { now: Instant::now(), wall: (self.clock)() },
        };
        let status = status(&pod, &report, memory);
        self.put_status(&pod, status).await
    }

    /// Nothing of the pod is left: its record may go.
    async fn let_go(&self, id: Id<Pod>) -> Result<(), Failure> {
        let mut tx = Transaction::new();
        tx.drop_finalizer::<Pod>(id, FINALIZER);
        self.store.commit(tx).await.map_err(store_failure)?;
        Ok(())
    }
}

/// A pod as one look has it.
struct View<'a> {
    pod: &'a Resource<Pod>,
    gathered: &'a Gathered,
    history: &'a [PodRevision],
    revision: u32,
}

impl View<'_> {
    /// Whether the revision that runs has failed if it cannot be started, and another one runs instead.
    fn can_give_way(&self) -> bool {
        let newest = self.history.last().map(|revision| revision.state);
        let good = |revision: &PodRevision| revision.state == RevisionState::Good;
        newest == Some(RevisionState::Rolling) && self.history.iter().any(good)
    }
}

/// When to look again after a pass that left nothing to do.
fn outcome(
    decision: &Decision,
    ready: &Result<Vec<crate::ContainerDesired>, Missing>,
    observed: &PodObserved,
    memory: &PodMemory,
    now: Instant,
) -> Outcome {
    let moment = memory.next_moment(now).map(|at| at.duration_since(now));
    // Nobody tells when the first process of a container is known.
    let moving = observed.containers.values().any(|container| {
        use crate::Run::{Running, Starting, Stopping};
        matches!(container.run, Starting | Stopping | Running { pid: None, .. })
    });
    let poll = (moving || decision.event == PodEvent::Remove).then_some(POLL);
    if let Some(wait) = moment.into_iter().chain(poll).min() {
        return Outcome::Again(wait);
    }
    match (decision.event, ready) {
        (PodEvent::Waits, Err(Missing { again: Some(again), .. })) => Outcome::Again(*again),
        (PodEvent::Waits, Err(Missing { on: Some(on), .. })) => Outcome::Blocked(*on),
        (PodEvent::Waits, _) => Outcome::Again(ASK_AGAIN),
        _ => Outcome::Done,
    }
}

fn failure(error: &RuntimeError, step: &str) -> Failure {
    let message = format!("{step}: {}", error.chain());
    match error.fault {
        RuntimeFault::Passing => Failure::retry(message),
        RuntimeFault::Refused | RuntimeFault::NoSpace => Failure::needs_operator(message),
        RuntimeFault::Broken => Failure::bug(message),
    }
}

fn store_failure(error: StoreError) -> Failure {
    Failure::retry("the store did not take or give a pod's record").because(error)
}

fn key_of(pod: Id<Pod>) -> Key {
    LocalRef { kind: Kind::Pod, id: pod.uuid() }
}

/// The maps hold plain data that is whole at any moment, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Controller for PodController {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn watches(&self) -> &'static [Kind] {
        &[
            Kind::Pod,
            Kind::Port,
            Kind::Image,
            Kind::Network,
            Kind::Config,
            Kind::Secret,
            Kind::Volume,
        ]
    }

    fn writes(&self) -> &'static [Kind] {
        &[Kind::Pod]
    }

    fn keys(&self, change: &Change) -> Vec<Key> {
        match change.subject.kind {
            Kind::Pod => vec![change.subject],
            _ => pods_that_need(&self.store, change),
        }
    }

    fn all_keys(&self) -> Vec<Key> {
        self.store
            .documents(Kind::Pod)
            .iter()
            .map(|document| LocalRef { kind: Kind::Pod, id: document.metadata.id })
            .collect()
    }

    fn resync(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn reconcile(&self, key: Key) -> Result<Outcome, Failure> {
        let id = Id::new(key.id);
        let mut memory = self.take_memory(id);
        let result = self.pass(id, &mut memory).await;
        lock(&self.let_on).remove(&id);
        if self.store.document(key).is_some() {
            lock(&self.memory).insert(id, memory);
        } else {
            self.prober.watch(id, &[]);
        }
        result
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;

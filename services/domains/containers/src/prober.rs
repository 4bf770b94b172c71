//! Asks containers' probes, each container in a task of its own, so that no pass ever waits for an answer.
//!
//! What is known belongs to one run of a container; a new run, or a restart of noded, begins anew. News are
//! told as a wake-up of the pod.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skerry_model::{Container, Id, Name, Pod, Probe};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use crate::health::{Count, Health, HealthEvent, health_after};
use crate::{Answer, ContainerRuntime, PodNetwork, Question, RuntimeEvent};

/// Questions asked at the same time over all pods.
const AT_ONCE: usize = 8;

/// What is known of a run, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub health: Health,
    /// The last answer that counted against it.
    pub message: String,
}

/// A run to ask.
pub(crate) struct Subject<'a> {
    pub container: &'a Container,
    pub run: &'a str,
    pub network: &'a PodNetwork,
}

impl<'a> Subject<'a> {
    /// The run of a container, if it has one.
    pub fn new(
        container: &'a Container,
        runs: &BTreeMap<&Name, &'a str>,
        network: &'a PodNetwork,
    ) -> Option<Self> {
        let run = runs.get(&container.name)?;
        Some(Self { container, run, network })
    }
}

/// What a task asks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    pod: Id<Pod>,
    container: Name,
    run: String,
    network: PodNetwork,
    startup: Option<Probe>,
    liveness: Option<Probe>,
    readiness: Option<Probe>,
}

struct Watched {
    asked: Asked,
    report: Arc<Mutex<Report>>,
    _task: AbortOnDropHandle<()>,
}

/// Asks and remembers.
pub(crate) struct Prober {
    runtime: Arc<dyn ContainerRuntime>,
    watched: Mutex<HashMap<(Id<Pod>, Name), Watched>>,
    news: broadcast::Sender<RuntimeEvent>,
    turns: Arc<Semaphore>,
}

impl Prober {
    pub fn new(runtime: Arc<dyn ContainerRuntime>) -> Self {
        Self {
            runtime,
            watched: Mutex::default(),
            news: broadcast::channel(256).0,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    pub fn news(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.news.subscribe()
    }

    /// From now on exactly these runs of a pod are asked. Those that are asked already go on.
    pub fn watch(&self, pod: Id<Pod>, subjects: &[Subject<'_>]) {
        let mut watched = lock(&self.watched);
        watched.retain(|(of, name), _| {
            *of != pod || subjects.iter().any(|subject| subject.container.name == *name)
        });
        for subject in subjects.iter().filter(|s| s.container.probes().next().is_some()) {
            let asked = Asked {
                pod,
                container: subject.container.name.clone(),
                run: subject.run.to_owned(),
                network: subject.network.clone(),
                startup: subject.container.startup.clone(),
                liveness: subject.container.liveness.clone(),
                readiness: subject.container.readiness.clone(),
            };
            let key = (pod, asked.container.clone());
            if watched.get(&key).is_none_or(|found| found.asked != asked) {
                watched.insert(key, self.begin(asked));
            }
        }
    }

    /// What is known of a container's run; `None` if it is not asked.
    pub fn report(&self, pod: Id<Pod>, container: &Name, run: &str) -> Option<Report> {
        let watched = lock(&self.watched);
        let found = watched.get(&(pod, container.clone()))?;
        (found.asked.run == run).then(|| lock(&found.report).clone())
    }

    fn begin(&self, asked: Asked) -> Watched {
        let report = Arc::new(Mutex::new(Report::default()));
        let run = Run {
            asked: asked.clone(),
            runtime: Arc::clone(&self.runtime),
            report: Arc::clone(&report),
            news: self.news.clone(),
            turns: Arc::clone(&self.turns),
            began: Instant::now(),
        };
        Watched { asked, report, _task: AbortOnDropHandle::new(tokio::spawn(run.ask())) }
    }
}

/// The asking of one run.
struct Run {
    asked: Asked,
    runtime: Arc<dyn ContainerRuntime>,
    report: Arc<Mutex<Report>>,
    news: broadcast::Sender<RuntimeEvent>,
    turns: Arc<Semaphore>,
    began: Instant,
}

impl Run {
    async fn ask(self) {
        match &self.asked.startup {
            Some(probe) => {
                let good = Some(HealthEvent::Started);
                self.series("startup", probe, good, HealthEvent::NotStarted).await;
            }
            None => self.note(HealthEvent::Started, String::new()),
        }
        let liveness = async {
            if let Some(probe) = &self.asked.liveness {
                // A success changes nothing that is known.
                self.series("liveness", probe, None, HealthEvent::LivenessBad).await;
            }
        };
        let readiness = async {
            match &self.asked.readiness {
                Some(probe) => {
                    let good = Some(HealthEvent::ReadinessGood);
                    self.series("readiness", probe, good, HealthEvent::ReadinessBad).await;
                }
                None => self.note(HealthEvent::ReadinessGood, String::new()),
            }
        };
        tokio::join!(liveness, readiness);
    }

    /// Asks again and again until there is no more to learn: the run failed, or it has started up.
    async fn series(
        &self,
        name: &'static str,
        probe: &Probe,
        good: Option<HealthEvent>,
        bad: HealthEvent,
    ) {
        let mut count = Count::new(probe);
        let mut next = self.began + seconds(probe.initial_delay_s);
        loop {
            sleep_until(next).await;
            if lock(&self.report).health == Health::Failed {
                return;
            }
            let (answered, message) = match self.question(name, probe).await {
                Answer::Good => (count.answer(true), String::new()),
                Answer::Bad(why) => (count.answer(false), format!("{name} probe: {why}")),
                // It could not be asked: that says nothing of the container.
                Answer::Unknown(why) => {
                    debug!(pod = %self.asked.pod, container = %self.asked.container, probe = name,
                        why, "a probe could not be asked");
                    (None, String::new())
                }
            };
            match answered {
                Some(true) => {
                    if let Some(event) = good {
                        self.note(event, message);
                    }
                }
                Some(false) => self.note(bad, message),
                None => {}
            }
            let over = match bad {
                HealthEvent::NotStarted => answered.is_some(),
                HealthEvent::LivenessBad => answered == Some(false),
                _ => false,
            };
            if over {
                return;
            }
            next = (next + seconds(probe.period_s)).max(Instant::now());
        }
    }

    async fn question(&self, name: &'static str, probe: &Probe) -> Answer {
        let Ok(_turn) = self.turns.acquire().await else {
            return Answer::Unknown("the node is ending".to_owned());
        };
        let question = Question {
            pod: self.asked.pod,
            container: self.asked.container.clone(),
            probe: name,
            check: probe.check.clone(),
            network: self.asked.network.clone(),
            timeout: seconds(probe.timeout_s),
        };
        self.runtime.ask(&question).await
    }

    fn note(&self, event: HealthEvent, message: String) {
        let mut report = lock(&self.report);
        let Some(health) = health_after(report.health, event) else { return };
        let before = std::mem::replace(&mut *report, Report { health, message });
        if before == *report {
            return;
        }
        if before.health != health {
            info!(kind = "Pod", id = %self.asked.pod, container = %self.asked.container,
                from = ?before.health, to = ?health, why = report.message, "container's health");
        }
        drop(report);
        // Nobody listening is no error: the next pass looks by itself.
        let _ = self.news.send(RuntimeEvent::Pod(self.asked.pod));
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// What is locked here is whole at any moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

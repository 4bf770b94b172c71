//! Asks containers' probes, each container in a task of its own, so that no pass ever waits for an answer.
//!
//! What is known belongs to one run of a container; a new run, or a restart of noded, begins anew, but a run that has
//! started up once is not asked again whether it has. News are told as a wake-up of the pod.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skerry_model::{Container, Id, Name, Pod, PodStatus, Probe};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use crate::health::{Count, Health, HealthEvent, health_after};
use crate::{Answer, ContainerRuntime, PodNetwork, Question, RuntimeEvent};

/// Questions asked at the same time over all pods. Each may be held for as long as its probe waits for an answer.
const AT_ONCE: usize = 32;
/// Questions of one pod that are asked at the same time, so that one whose containers do not answer takes no turns of
/// others.
const AT_ONCE_OF_POD: usize = 2;

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
    /// The run has started up, as is known from before.
    pub started: bool,
}

impl<'a> Subject<'a> {
    /// The run of a container, if it has one.
    pub fn new(
        container: &'a Container,
        runs: &BTreeMap<&Name, &'a str>,
        network: &'a PodNetwork,
        status: &PodStatus,
    ) -> Option<Self> {
        let run = runs.get(&container.name)?;
        let name = container.name.as_str();
        let known = status.containers.iter().find(|known| known.name == name);
        let started = known.is_some_and(|known| known.started_run.as_deref() == Some(run));
        Some(Self { container, run, network, started })
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
    /// The turns of its pod.
    turns: Arc<Semaphore>,
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
                let own = watched.iter().find(|((of, _), _)| *of == pod);
                let own = own.map(|(_, found)| Arc::clone(&found.turns));
                let own = own.unwrap_or_else(|| Arc::new(Semaphore::new(AT_ONCE_OF_POD)));
                watched.insert(key, self.begin(asked, own, subject.started));
            }
        }
    }

    /// What is known of a container's run; `None` if it is not asked.
    pub fn report(&self, pod: Id<Pod>, container: &Name, run: &str) -> Option<Report> {
        let watched = lock(&self.watched);
        let found = watched.get(&(pod, container.clone()))?;
        (found.asked.run == run).then(|| lock(&found.report).clone())
    }

    /// `own` are the turns of the pod.
    fn begin(&self, asked: Asked, own: Arc<Semaphore>, started: bool) -> Watched {
        let report = Arc::new(Mutex::new(Report::default()));
        let run = Run {
            asked: asked.clone(),
            runtime: Arc::clone(&self.runtime),
            report: Arc::clone(&report),
            news: self.news.clone(),
            own: Arc::clone(&own),
            turns: Arc::clone(&self.turns),
            began: Instant::now(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(run.ask(started)));
        Watched { asked, report, turns: own, _task: task }
    }
}

/// The asking of one run.
struct Run {
    asked: Asked,
    runtime: Arc<dyn ContainerRuntime>,
    report: Arc<Mutex<Report>>,
    news: broadcast::Sender<RuntimeEvent>,
    own: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    began: Instant,
}

impl Run {
    async fn ask(self, started: bool) {
        match &self.asked.startup {
            Some(probe) if !started => {
                let good = Some(HealthEvent::Started);
                self.series("startup", probe, good, HealthEvent::NotStarted).await;
            }
            _ => self.note(HealthEvent::Started, String::new()),
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
        // Its own turn first: whoever waits for one holds up nobody else.
        let (Ok(_own), Ok(_turn)) = (self.own.acquire().await, self.turns.acquire().await) else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machines, network};

    fn container(name: &str) -> Container {
        let probe = serde_json::json!({"check": {"tcp": {"port": 1}}, "period_s": 1,
            "timeout_s": 600});
        let spec = serde_json::json!({"name": name, "image": "tiny", "liveness": probe,
            "readiness": probe});
        serde_json::from_value(spec).unwrap()
    }

    /// One pod whose containers never answer, each asked for ten minutes at a time, and others beside it.
    #[tokio::test(start_paused = true)]
    async fn a_pod_that_does_not_answer_takes_no_turns_of_others() {
        let runtime = Arc::new(Machines::default());
        let (mute, other) = (Id::<Pod>::new(uuid::Uuid::from_u128(1)), crate::testing::pod());
        runtime.mute.lock().unwrap().insert(mute);
        let prober = Prober::new(runtime.clone());
        let network = network();
        let containers: Vec<Container> = (0..16).map(|n| container(&format!("c-{n}"))).collect();
        let subject =
            |container| Subject { container, run: "1", network: &network, started: false };
        prober.watch(mute, &containers.iter().map(subject).collect::<Vec<_>>());
        tokio::time::sleep(seconds(5)).await;
        prober.watch(other, &[subject(&containers[0])]);
        tokio::time::sleep(seconds(60)).await;
        let answered = runtime.answered.lock().unwrap().len();
        assert!(answered >= 100, "{answered} answers in a minute, to two probes of a second each");
        let report = prober.report(other, &containers[0].name, "1").unwrap();
        assert_eq!(report.health, Health::Ready);
    }
}

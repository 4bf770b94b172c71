//! Values and a machine in memory, for the tests of this crate.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use skerry_model::{Container, ContainerStats, Id, Name, Pod};
use tokio::sync::broadcast;

use crate::{
    Answer, ContainerDesired, ContainerObserved, ContainerRuntime, ImageArchive, LogLines,
    LogRequest, Part, PodNetwork, PodObserved, PodStep, PodWanted, Question, Run, RuntimeError,
    RuntimeEvent, plan,
};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn pod() -> Id<Pod> {
    "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap()
}

pub(crate) fn network() -> PodNetwork {
    PodNetwork {
        namespace: "skerry-pod-0b6d1a52".to_owned(),
        hostname: "web".to_owned(),
        address: Ipv4Addr::new(10, 0, 0, 5),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
    }
}

pub(crate) fn image() -> ImageArchive {
    ImageArchive {
        name: name("tiny"),
        path: "/usr/share/skerry/images/tiny-oci.tar".to_owned(),
        sha256: "a".repeat(64),
    }
}

pub(crate) fn desired(container: &str) -> ContainerDesired {
    let spec = serde_json::json!({"name": container, "image": "tiny"});
    let spec: Container = serde_json::from_value(spec).unwrap();
    ContainerDesired::new(&spec, image(), network(), 30, Vec::new())
}

/// A machine in memory: applies steps as an adapter would.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    pub observed: PodObserved,
    pub runs: u32,
}

impl Machine {
    pub fn at(&mut self, container: &Name) -> &mut ContainerObserved {
        self.observed.containers.entry(container.clone()).or_default()
    }

    /// Applies a step and checks that what it needs is there.
    pub fn apply(&mut self, step: &PodStep) {
        match step {
            PodStep::ImportImage { image } => {
                self.observed.images.insert(image.sha256.clone());
            }
            PodStep::MakeLayer { container, layer, .. } => {
                self.observed.folders = true;
                assert!(!self.at(container).layer.is_there());
                self.at(container).layer = Part::Made(layer.clone());
            }
            PodStep::WriteBundle { container, .. } => {
                self.observed.folders = true;
                assert!(!self.at(&container.name).mounted);
                self.at(&container.name).bundle = Part::Made(container.bundle.clone());
            }
            PodStep::MountRoot { container, .. } => {
                assert!(self.observed.images.contains(&container.image.sha256));
                let found = self.at(&container.name);
                assert!(found.bundle.is(&container.bundle) && found.layer.is(&container.layer));
                found.mounted = true;
            }
            PodStep::Start { container, .. } => {
                self.runs += 1;
                let run = self.runs.to_string();
                let found = self.at(&container.name);
                assert!(found.mounted && found.run == Run::Absent);
                assert!(found.bundle.is(&container.bundle));
                found.run = Run::Running { run, pid: Some(1), started_at: None };
            }
            PodStep::Stop { container, .. } => self.at(container).run = Run::Stopping,
            PodStep::Kill { container, .. } => self.at(container).run = Run::Absent,
            PodStep::Forget { container, .. } => {
                assert!(!self.at(container).run.is_live());
                self.at(container).run = Run::Absent;
            }
            PodStep::UnmountRoot { container, .. } => {
                assert!(!self.at(container).run.is_live());
                self.at(container).mounted = false;
            }
            PodStep::RemoveBundle { container, .. } => {
                assert!(!self.at(container).mounted);
                self.at(container).bundle = Part::Absent;
            }
            PodStep::RemoveLayer { container, .. } => {
                assert!(!self.at(container).mounted);
                self.at(container).layer = Part::Absent;
            }
            PodStep::MakeVolume { volume, .. } => {
                self.observed.folders = true;
                let found = self.observed.volumes.get(&volume.name);
                let live = self.observed.any_live();
                if let (true, Some(Part::Made(from))) = (live, found) {
                    assert!(volume.fits(from), "a volume is exchanged under a container");
                }
                let made = Part::Made(volume.made_from.clone());
                self.observed.volumes.insert(volume.name.clone(), made);
            }
            PodStep::RemoveVolume { volume, .. } => {
                assert!(!self.observed.any_live(), "a volume is taken from under a container");
                self.observed.volumes.remove(volume);
            }
            PodStep::RemoveFolders { .. } => {
                assert!(self.observed.volumes.is_empty());
                assert!(!self.observed.containers.values().any(ContainerObserved::is_there));
                self.observed.folders = false;
            }
        }
    }

    /// Plans and applies until nothing is left to do; stopping processes end in between.
    pub fn settle(&mut self, wanted: &PodWanted) -> usize {
        for round in 0..10 {
            let steps = plan(wanted, &self.observed);
            if steps.is_empty()
                && !self.observed.containers.values().any(|c| c.run == Run::Stopping)
            {
                return round;
            }
            for step in steps {
                self.apply(&step);
            }
            for found in self.observed.containers.values_mut() {
                if found.run == Run::Stopping {
                    found.run = Run::Absent;
                }
            }
        }
        panic!("not settled: {:?}", self.observed);
    }
}

/// A runtime of as many pods as there are, each with a machine of its own. Every call gives way to others first.
#[derive(Default)]
pub(crate) struct Machines {
    pods: Mutex<HashMap<Id<Pod>, Machine>>,
    /// Pods whose probes are never answered.
    pub mute: Mutex<HashSet<Id<Pod>>>,
    /// Questions that were answered.
    pub answered: Mutex<Vec<Question>>,
    /// Containers whose starts go on, and the most of them at once.
    pub starting: Mutex<(usize, usize)>,
}

#[async_trait]
impl ContainerRuntime for Machines {
    async fn observe(&self, pod: Id<Pod>) -> Result<PodObserved, RuntimeError> {
        tokio::task::yield_now().await;
        Ok(self.pods.lock().unwrap().entry(pod).or_default().observed.clone())
    }

    async fn present(&self) -> Result<Vec<Id<Pod>>, RuntimeError> {
        Ok(self.pods.lock().unwrap().keys().copied().collect())
    }

    async fn apply(&self, step: &PodStep) -> Result<(), RuntimeError> {
        let is_start = matches!(step, PodStep::Start { .. });
        if is_start {
            let mut starting = self.starting.lock().unwrap();
            starting.0 += 1;
            starting.1 = starting.1.max(starting.0);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        if is_start {
            self.starting.lock().unwrap().0 -= 1;
        }
        let mut pods = self.pods.lock().unwrap();
        match step {
            // The library is one for all.
            PodStep::ImportImage { .. } => pods.values_mut().for_each(|it| it.apply(step)),
            PodStep::MakeLayer { pod, .. }
            | PodStep::WriteBundle { pod, .. }
            | PodStep::MountRoot { pod, .. }
            | PodStep::Start { pod, .. } => pods.entry(*pod).or_default().apply(step),
            other => panic!("{other}"),
        }
        Ok(())
    }

    async fn logs(&self, _request: LogRequest) -> Result<LogLines, RuntimeError> {
        Ok(Box::pin(futures::stream::empty()))
    }

    async fn stats(&self, _pod: Id<Pod>) -> Result<Vec<ContainerStats>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn ask(&self, question: &Question) -> Answer {
        if self.mute.lock().unwrap().contains(&question.pod) {
            tokio::time::sleep(question.timeout).await;
            return Answer::Bad("no answer".to_owned());
        }
        self.answered.lock().unwrap().push(question.clone());
        Answer::Good
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        broadcast::channel(1).1
    }
}

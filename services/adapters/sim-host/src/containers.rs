//! The simulated container runtime. Its containers start at once, write a line, and end when they are told to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use skerry_containers::{
    Answer, ContainerDesired, ContainerObserved, ContainerRuntime, Exit, LogLines, LogRequest,
    Part, PodObserved, PodStep, Question, Run, RuntimeError, RuntimeEvent, RuntimeFault,
};
use skerry_model::{ContainerStats, Id, Name, Pod, Timestamp};
use tokio::sync::broadcast;

use crate::logs::SimLogs;
use crate::world::{SimHost, World};

/// What a run is said to have taken if nobody says more.
const SHORT_RUN: Duration = Duration::from_secs(1);

/// Pods as the machine has them.
#[derive(Default)]
pub(crate) struct SimContainers {
    pods: BTreeMap<Id<Pod>, PodObserved>,
    images: BTreeSet<String>,
    pub(crate) logs: SimLogs,
    /// What probes are answered, where it is not as it should be.
    answers: BTreeMap<(Id<Pod>, Name), Answer>,
    runs: u32,
    /// What the container that was started last under a name was to be.
    started: BTreeMap<(Id<Pod>, Name), ContainerDesired>,
}

impl SimContainers {
    /// Layers and logs are on disk; processes, mounts and bundles are not.
    pub(crate) fn power_cut(&mut self) {
        for pod in self.pods.values_mut() {
            pod.volumes.retain(|_, part| *part == Part::Made("disk".to_owned()));
            for container in pod.containers.values_mut() {
                container.run = Run::Absent;
                container.mounted = false;
                container.bundle = Part::Absent;
            }
        }
    }

    pub(crate) fn running(&self) -> usize {
        let containers = self.pods.values().flat_map(|pod| pod.containers.values());
        containers.filter(|c| matches!(c.run, Run::Running { .. })).count()
    }

    /// Whether a container runs.
    pub(crate) fn run(&self, pod: Id<Pod>, name: &Name) -> Run {
        let found = self.pods.get(&pod).and_then(|pod| pod.containers.get(name));
        found.map_or(Run::Absent, |container| container.run.clone())
    }

    fn container(&mut self, pod: Id<Pod>, name: &Name) -> &mut ContainerObserved {
        let pod = self.pods.entry(pod).or_default();
        pod.folders = true;
        pod.containers.entry(name.clone()).or_default()
    }

    fn end(&mut self, pod: Id<Pod>, name: &Name, exit: Exit) {
        self.end_after(pod, name, exit, SHORT_RUN);
    }

    fn end_after(&mut self, pod: Id<Pod>, name: &Name, exit: Exit, ran_for: Duration) {
        let container = self.container(pod, name);
        if let Run::Running { run, .. } = &container.run {
            container.run = Run::Ended { run: run.clone(), exit, ran_for };
        }
    }
}

impl SimHost {
    /// A container's process ends by itself.
    pub fn end_container(&self, pod: Id<Pod>, container: &Name, exit: Exit) {
        self.end_container_after(pod, container, exit, SHORT_RUN);
    }

    /// The same, and the machine says that it ran so long: after a long run there is no wait before the next start.
    pub fn end_container_after(
        &self,
        pod: Id<Pod>,
        container: &Name,
        exit: Exit,
        ran_for: Duration,
    ) {
        self.world().containers.end_after(pod, container, exit, ran_for);
        self.container_news(RuntimeEvent::Pod(pod));
    }

    /// What the container that was started last under this name was to be.
    pub fn started(&self, pod: Id<Pod>, container: &Name) -> Option<ContainerDesired> {
        self.world().containers.started.get(&(pod, container.clone())).cloned()
    }

    /// From now on the probes of a container are answered so.
    pub fn answer_probes(&self, pod: Id<Pod>, container: &Name, answer: Answer) {
        self.world().containers.answers.insert((pod, container.clone()), answer);
    }
}

#[async_trait]
impl ContainerRuntime for SimHost {
    async fn observe(&self, pod: Id<Pod>) -> Result<PodObserved, RuntimeError> {
        let world = self.world();
        let mut found = world.containers.pods.get(&pod).cloned().unwrap_or_default();
        found.images.clone_from(&world.containers.images);
        Ok(found)
    }

    async fn present(&self) -> Result<Vec<Id<Pod>>, RuntimeError> {
        let world = self.world();
        let there = world.containers.pods.iter().filter(|(_, pod)| !pod.is_empty());
        Ok(there.map(|(id, _)| *id).collect())
    }

    async fn apply(&self, step: &PodStep) -> Result<(), RuntimeError> {
        let failed = |message: String| RuntimeError::new(RuntimeFault::Passing, message);
        self.step(step.word(), |world| take(world, step)).await.map_err(failed)?.map_err(failed)?;
        self.container_news(RuntimeEvent::All);
        Ok(())
    }

    async fn logs(&self, request: LogRequest) -> Result<LogLines, RuntimeError> {
        Ok(self.world().containers.logs.read(request))
    }

    async fn stats(&self, pod: Id<Pod>) -> Result<Vec<ContainerStats>, RuntimeError> {
        let world = self.world();
        let containers = world.containers.pods.get(&pod).map(|pod| &pod.containers);
        let mut running: Vec<&Name> = containers
            .into_iter()
            .flatten()
            .filter(|(_, found)| matches!(found.run, Run::Running { pid: Some(_), .. }))
            .map(|(name, _)| name)
            .collect();
        running.sort();
        Ok(running.into_iter().map(simulated_stats).collect())
    }

    async fn ask(&self, question: &Question) -> Answer {
        let world = self.world();
        let key = (question.pod, question.container.clone());
        world.containers.answers.get(&key).cloned().unwrap_or(Answer::Good)
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.container_events()
    }
}

/// What every simulated container takes.
fn simulated_stats(name: &Name) -> ContainerStats {
    ContainerStats {
        name: name.clone(),
        cpu_us: 1000,
        throttled_us: None,
        memory_bytes: 1 << 20,
        memory_peak_bytes: 2 << 20,
        memory_limit_bytes: None,
        oom_kills: 0,
        tasks: 1,
        read_bytes: Some(0),
        written_bytes: None,
    }
}

fn take(world: &mut World, step: &PodStep) -> Result<(), String> {
    let pid = world.pid();
    let state = &mut world.containers;
    match step {
        PodStep::ImportImage { image } => {
            state.images.insert(image.sha256.clone());
        }
        PodStep::MakeLayer { pod, container, layer } => {
            state.container(*pod, container).layer = Part::Made(layer.clone());
        }
        PodStep::WriteBundle { pod, container } => {
            let bundle = Part::Made(container.bundle.clone());
            state.container(*pod, &container.name).bundle = bundle;
        }
        PodStep::MountRoot { pod, container } => {
            let found = state.container(*pod, &container.name);
            if !found.layer.is_there() {
                return Err("there is no layer to mount".to_owned());
            }
            found.mounted = true;
        }
        PodStep::Start { pod, container } => {
            let wired = world.network.attachments.get(&container.network.namespace);
            let owner = wired.and_then(Option::as_ref).and_then(|wired| wired.users);
            if container.users.is_some() && container.users != owner {
                return Err("there is no network of these users to join".to_owned());
            }
            start(state, *pod, container, pid)?;
        }
        PodStep::Stop { pod, container } => state.end(*pod, container, Exit::Code(0)),
        PodStep::Kill { pod, container } => state.end(*pod, container, Exit::Signal(9)),
        PodStep::Forget { pod, container } => {
            let found = state.container(*pod, container);
            if !found.run.is_live() {
                found.run = Run::Absent;
            }
        }
        PodStep::UnmountRoot { pod, container } => {
            state.container(*pod, container).mounted = false;
        }
        PodStep::RemoveBundle { pod, container } => {
            state.container(*pod, container).bundle = Part::Absent;
        }
        PodStep::RemoveLayer { pod, container } => {
            state.container(*pod, container).layer = Part::Absent;
        }
        PodStep::MakeVolume { pod, volume } => {
            let pod = state.pods.entry(*pod).or_default();
            pod.folders = true;
            pod.volumes.insert(volume.name.clone(), Part::Made(volume.made_from.clone()));
        }
        PodStep::RemoveVolume { pod, volume } => {
            state.pods.entry(*pod).or_default().volumes.remove(volume);
        }
        PodStep::RemoveFolders { pod } => {
            state.pods.remove(pod);
            state.logs.forget(*pod);
        }
    }
    Ok(())
}

fn start(
    state: &mut SimContainers,
    pod: Id<Pod>,
    desired: &ContainerDesired,
    pid: u32,
) -> Result<(), String> {
    let name = &desired.name;
    state.runs = state.runs.saturating_add(1);
    let run = format!("run-{}", state.runs);
    let found = state.container(pod, name);
    if !found.mounted || !found.bundle.is_there() {
        return Err("root file system or bundle is missing".to_owned());
    }
    if !found.run.is_live() {
        found.run = Run::Running { run, pid: Some(pid), started_at: None };
        state.started.insert((pod, name.clone()), desired.clone());
        state.logs.limit(pod, name, desired.log_rate.unwrap_or_default());
        state.logs.write(pod, name, Timestamp::now(), "simulated container: up");
    }
    Ok(())
}

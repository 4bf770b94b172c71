//! One look at a pod: what it comes to, and where each container should be now.
//!
//! Pure but for the memory that it keeps up: no store, no machine, clocks given. The order of questions is
//! fixed: is it to go, is it to be off, is it to be taken down first, may it start.

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_model::{
    ContainerState, LocalRef, Name, Phase, Pod, PodState, Power, Resource, RestartPolicy,
    are_as_many,
};

use crate::desired::same_definition;
use crate::memory::{Clocks, PodMemory};
use crate::pages::rests;
use crate::prober::Report;
use crate::{
    ContainerDesired, ContainerObserved, Exit, Health, Part, PodEvent, PodObserved, PodWanted, Run,
    VolumeDesired, Want,
};

/// Something that a pod needs and that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The resource to wait for, if there is one.
    pub on: Option<LocalRef>,
    /// What is missing, for people.
    pub reason: String,
    /// How soon to look again, if it is known.
    pub again: Option<Duration>,
}

impl Missing {
    /// Something that is waited for by looking again now and then, or by the changes of a resource.
    pub fn new(on: Option<LocalRef>, reason: impl Into<String>) -> Self {
        Self { on, reason: reason.into(), again: None }
    }
}

/// All that a decision is made from.
pub(crate) struct Facts<'a> {
    /// The record, with the containers of the revision that is to run.
    pub pod: &'a Resource<Pod>,
    /// That revision.
    pub revision: u32,
    /// The containers with their images and network, or what is missing.
    pub ready: &'a Result<Vec<ContainerDesired>, Missing>,
    /// The containers, if all that is missing is that their network is still being wired.
    pub ahead: Option<&'a [ContainerDesired]>,
    /// Its volumes, unless something of them is missing.
    pub volumes: Option<&'a [VolumeDesired]>,
    /// What is there.
    pub observed: &'a PodObserved,
    /// What probes say of the runs that are there.
    pub health: &'a BTreeMap<Name, Report>,
    /// Now.
    pub clocks: Clocks,
}

/// What a look came to.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// Where everything should be.
    pub wanted: PodWanted,
    /// What happened, for the life cycle.
    pub event: PodEvent,
    /// Why, for people; empty if there is nothing to say.
    pub reason: String,
}

impl Facts<'_> {
    fn names(&self) -> impl DoubleEndedIterator<Item = &Name> {
        self.pod.spec.all_containers().map(|container| &container.name)
    }

    fn is_init(&self, name: &Name) -> bool {
        self.pod.spec.init.iter().any(|container| container.name == *name)
    }

    /// An init container that ended well is done, whatever the pod's policy.
    fn policy(&self, name: &Name) -> RestartPolicy {
        match self.pod.spec.restart {
            RestartPolicy::Always if self.is_init(name) => RestartPolicy::OnFailure,
            policy => policy,
        }
    }

    /// Whether a container that does not run before others has a process.
    fn any_main_live(&self) -> bool {
        let mut names = self.pod.spec.containers.iter().map(|container| &container.name);
        names.any(|name| self.observed.container(name).run.is_live())
    }

    /// Whether it is known to be made from something else than is wanted.
    fn is_stale(&self, name: &Name, found: &ContainerObserved) -> bool {
        self.desired(name).is_some_and(
            |desired| matches!(&found.bundle, Part::Made(bundle) if !same_definition(bundle, &desired.bundle)),
        )
    }

    /// Whether a volume is to become something that it cannot become while containers look at it.
    fn volumes_differ(&self) -> bool {
        let differs = |volume: &VolumeDesired| match self.observed.volumes.get(&volume.name) {
            Some(Part::Made(from)) => !volume.fits(from),
            _ => false,
        };
        self.volumes.is_some_and(|volumes| volumes.iter().any(differs))
    }

    /// Whether other huge pages are set aside for it than it is to have.
    fn pages_differ(&self) -> bool {
        !are_as_many(&self.pod.status.huge_pages, &self.pod.spec.huge_pages())
    }

    /// Whether any of its volumes may hold huge pages.
    pub fn has_pages_in_folders(&self) -> bool {
        let holds =
            |part: &Part| matches!(part, Part::Made(from) if VolumeDesired::is_of_pages(from));
        self.observed.volumes.values().any(holds)
    }

    /// Whether its processes and folders have to go before other huge pages can be set aside for it.
    fn has_to_give_back(&self) -> bool {
        let had_some = !self.pod.status.huge_pages.is_empty();
        let in_use = self.observed.any_live() || (had_some && self.has_pages_in_folders());
        self.pages_differ() && in_use
    }

    /// Whether what it was made from, its surroundings aside, is known to be something else than is wanted.
    fn is_redefined(&self, name: &Name, found: &ContainerObserved) -> bool {
        self.desired(name).is_some_and(
            |desired| matches!(&found.layer, Part::Made(layer) if *layer != desired.layer),
        )
    }

    fn stop_deadline(&self) -> tokio::time::Instant {
        self.clocks.now + Duration::from_secs(self.pod.spec.stop_timeout_s.into())
    }

    fn is_listed(&self, name: &Name) -> bool {
        self.names().any(|other| other == name)
    }

    fn desired(&self, name: &Name) -> Option<&ContainerDesired> {
        let list = self.ready.as_ref().ok()?;
        list.iter().find(|desired| desired.name == *name)
    }

    fn wanted(&self, containers: Vec<(Name, Want)>, memory: &PodMemory, gone: bool) -> PodWanted {
        let kill_strays = memory.kill_now(self.clocks.now);
        // What a removed pod has goes; of a pod that is down nothing is exchanged.
        let volumes = if gone { Some(Vec::new()) } else { self.volumes.map(<[_]>::to_vec) };
        PodWanted { pod: self.pod.id(), containers, volumes, gone, kill_strays }
    }
}

/// Decides what to do with a pod.
pub(crate) fn decide(facts: &Facts<'_>, memory: &mut PodMemory) -> Decision {
    let mut decision = consider(facts, memory);
    if rests(decision.event)
        && let Some(volumes) = &mut decision.wanted.volumes
    {
        // Of a pod that is down nothing holds huge pages back from others.
        volumes.retain(|volume| !VolumeDesired::is_of_pages(&volume.made_from));
    }
    decision
}

fn consider(facts: &Facts<'_>, memory: &mut PodMemory) -> Decision {
    if facts.pod.meta.phase == Phase::Removing {
        return Decision {
            wanted: facts.wanted(Vec::new(), memory, true),
            event: PodEvent::Remove,
            reason: String::new(),
        };
    }
    memory.keep_only(|name| facts.is_listed(name));
    memory.note_generation(facts.pod.meta.generation, facts.revision);
    for name in facts.names() {
        let run = facts.observed.container(name).run;
        memory.note_end(name, &run, facts.policy(name), &facts.pod.status, facts.clocks);
    }
    if facts.pod.spec.power == Power::Stopped {
        memory.restart = false;
        memory.start = false;
        return down(facts, memory);
    }
    if std::mem::take(&mut memory.start) {
        memory.fresh = true;
        memory.forget_failures();
    }
    if memory.restart {
        if facts.observed.any_live() {
            return down(facts, memory);
        }
        memory.restart = false;
        memory.fresh = true;
        memory.forget_failures();
    }
    if facts.observed.any_live() && facts.volumes_differ() {
        return down(facts, memory);
    }
    if facts.has_to_give_back() {
        let mut decision = down(facts, memory);
        if let Some(volumes) = &mut decision.wanted.volumes {
            volumes.retain(|volume| !VolumeDesired::is_of_pages(&volume.made_from));
        }
        // It is on its way, not off.
        decision.event = PodEvent::Stop;
        return decision;
    }
    up(facts, memory)
}

fn down(facts: &Facts<'_>, memory: &mut PodMemory) -> Decision {
    let live = facts.observed.any_live();
    if !live {
        memory.kill = false;
    }
    let kill = memory.kill_now(facts.clocks.now);
    for name in facts.names() {
        if facts.observed.container(name).run.is_live() {
            memory.container(name, &facts.pod.status).expected_end = true;
        }
    }
    let containers = facts.names().map(|name| (name.clone(), Want::Down { kill })).collect();
    Decision {
        wanted: facts.wanted(containers, memory, false),
        event: if live { PodEvent::Stop } else { PodEvent::Down },
        reason: String::new(),
    }
}

/// How far a pod that is wanted on has come.
#[derive(Default)]
struct Tally {
    stopping: bool,
    starting: bool,
    running: bool,
    missing: bool,
    waiting: Option<Name>,
    /// Taken down because of what a probe was answered, and that.
    unhealthy: Option<(Name, String)>,
    ended_badly: Option<Name>,
}

fn up(facts: &Facts<'_>, memory: &mut PodMemory) -> Decision {
    let rested = !memory.fresh && is_finished(facts);
    // Containers that are there though not wanted any more have their stop time too.
    let is_stray =
        |name: &Name, found: &ContainerObserved| !facts.is_listed(name) && found.run.is_live();
    let stopping = facts.observed.containers.iter().any(|(name, found)| is_stray(name, found));
    let mut tally = Tally { stopping, ..Tally::default() };
    let mut containers = Vec::new();
    if rested {
        containers.extend(facts.names().map(|name| (name.clone(), Want::Hold)));
    } else if before_others(facts, memory, &mut containers, &mut tally) {
        for container in &facts.pod.spec.containers {
            let name = &container.name;
            let found = facts.observed.container(name);
            containers.push((name.clone(), one(facts, memory, name, &found, &mut tally)));
        }
    } else {
        hold_back(facts, memory, &mut containers, &mut tally);
    }
    if tally.running {
        memory.fresh = false;
    }
    let (event, reason) = if rested { rest(facts) } else { sum_up(facts, memory, &tally) };
    Decision { wanted: facts.wanted(containers, memory, false), event, reason }
}

/// Where the containers that run before the others should be; whether all of them are done.
fn before_others(
    facts: &Facts<'_>,
    memory: &mut PodMemory,
    containers: &mut Vec<(Name, Want)>,
    tally: &mut Tally,
) -> bool {
    let mut done = true;
    let others_live = facts.any_main_live();
    for container in &facts.pod.spec.init {
        let name = &container.name;
        let found = facts.observed.container(name);
        let want = if !done {
            // Its turn comes after another one's: what is left of an earlier turn goes.
            tally.stopping |= found.run.is_live();
            Want::Down { kill: memory.kill_now(facts.clocks.now) }
        } else if is_done(facts, name, &found, others_live) {
            Want::Hold
        } else if others_live {
            // It has to run while none of the others does.
            done = false;
            Want::Hold
        } else {
            done = false;
            if found.run == Run::Absent || facts.is_redefined(name, &found) {
                memory.container(name, &facts.pod.status).begin_anew();
            }
            one(facts, memory, name, &found, tally)
        };
        containers.push((name.clone(), want));
    }
    done
}

/// Whether a container that runs before the others has ended well in this life of the pod. While the others
/// run, its record says so even if what systemd knew of it is lost.
fn is_done(facts: &Facts<'_>, name: &Name, found: &ContainerObserved, others_live: bool) -> bool {
    match &found.run {
        Run::Ended { exit, .. } => exit.is_success() && !facts.is_redefined(name, found),
        Run::Absent if others_live => {
            let status = facts.pod.status.init.iter().find(|status| status.name == name.as_str());
            status.is_some_and(|status| {
                status.state == ContainerState::Exited && status.exit_code == Some(0)
            })
        }
        _ => false,
    }
}

/// The others wait for those that run before them; what of them runs is taken down first.
fn hold_back(
    facts: &Facts<'_>,
    memory: &mut PodMemory,
    containers: &mut Vec<(Name, Want)>,
    tally: &mut Tally,
) {
    let kill = memory.kill_now(facts.clocks.now);
    for container in &facts.pod.spec.containers {
        let name = &container.name;
        let live = facts.observed.container(name).run.is_live();
        if live {
            memory.container(name, &facts.pod.status).expected_end = true;
        }
        tally.stopping |= live;
        let want = if live { Want::Down { kill } } else { Want::Hold };
        containers.push((name.clone(), want));
    }
    if tally.running {
        // The pod as a whole is not up before the others are.
        tally.starting = true;
    }
}

/// Whether all containers had ended for good before they were taken away, as by a power cut. A finished task
/// does not run again because the machine was restarted.
fn is_finished(facts: &Facts<'_>) -> bool {
    let status = &facts.pod.status;
    let for_good = matches!(status.state, PodState::Succeeded | PodState::Failed)
        && facts.pod.spec.restart != RestartPolicy::Always
        && status.observed_generation == facts.pod.meta.generation;
    let all_ended = !status.containers.is_empty()
        && status.containers.iter().all(|container| container.state == ContainerState::Exited);
    let stuck = status.init.iter().any(|container| {
        container.state == ContainerState::Exited && container.exit_code != Some(0)
    });
    let gone = facts.names().all(|name| facts.observed.container(name).run == Run::Absent);
    for_good && (all_ended || stuck) && gone
}

fn rest(facts: &Facts<'_>) -> (PodEvent, String) {
    let event = match facts.pod.status.state {
        PodState::Succeeded => PodEvent::EndedWell,
        _ => PodEvent::EndedBadly,
    };
    (event, facts.pod.status.reason.clone())
}

/// Where one container of a pod that is wanted on should be.
fn one(
    facts: &Facts<'_>,
    memory: &mut PodMemory,
    name: &Name,
    found: &ContainerObserved,
    tally: &mut Tally,
) -> Want {
    if found.run.is_live() {
        return live(facts, memory, name, found, tally);
    }
    let remembered = memory.container(name, &facts.pod.status);
    if let Some(well) = remembered.finished {
        if !well {
            tally.ended_badly = Some(name.clone());
        }
        return Want::Hold;
    }
    let Some(desired) = facts.desired(name) else {
        tally.missing = true;
        let ahead = facts.ahead.and_then(|list| list.iter().find(|it| it.name == *name));
        return ahead.map_or(Want::Hold, |desired| Want::Prepare(Box::new(desired.clone())));
    };
    if remembered.waits(facts.clocks.now) {
        tally.waiting = Some(name.clone());
        return Want::Hold;
    }
    tally.starting = true;
    Want::Run(Box::new(desired.clone()))
}

/// Where a container should be whose process is there.
fn live(
    facts: &Facts<'_>,
    memory: &mut PodMemory,
    name: &Name,
    found: &ContainerObserved,
    tally: &mut Tally,
) -> Want {
    // Only what is known to be made from something else is replaced: a process whose bundle cannot be read
    // is left alone.
    let stale = facts.is_stale(name, found);
    let kill = memory.kill_now(facts.clocks.now);
    let remembered = memory.container(name, &facts.pod.status);
    if let Run::Running { run, .. } = &found.run {
        remembered.note_run(run, facts.clocks.now);
        if let Some(report) = facts.health.get(name).filter(|r| r.health == Health::Failed) {
            remembered.note_unhealthy(run, &report.message, facts.stop_deadline());
        }
    }
    if !stale && let Some((why, time_over)) = remembered.unhealthy(facts.clocks.now) {
        tally.unhealthy = Some((name.clone(), why.to_owned()));
        return Want::Down { kill: kill || time_over };
    }
    if stale || found.run == Run::Stopping {
        remembered.expected_end |= stale;
        tally.stopping = true;
        // What is on its way down already is only killed at the deadline.
        return Want::Down { kill };
    }
    remembered.expected_end = false;
    match found.run {
        Run::Starting => tally.starting = true,
        _ => tally.running = true,
    }
    Want::Hold
}

fn sum_up(facts: &Facts<'_>, memory: &PodMemory, tally: &Tally) -> (PodEvent, String) {
    if tally.stopping {
        return (PodEvent::Stop, String::new());
    }
    if tally.missing {
        let reason = facts.ready.as_ref().err().map_or_else(String::new, |m| m.reason.clone());
        return (PodEvent::Waits, reason);
    }
    if tally.starting {
        return (PodEvent::Begin, String::new());
    }
    if let Some((name, why)) = &tally.unhealthy {
        return (PodEvent::Ended, format!("container `{name}` is unhealthy and is stopped: {why}"));
    }
    if let Some(name) = &tally.waiting {
        let why = ending(memory, name);
        return (PodEvent::Ended, format!("container `{name}` {why} and waits for its next start"));
    }
    if tally.running {
        return (PodEvent::Up, String::new());
    }
    match &tally.ended_badly {
        Some(name) => {
            (PodEvent::EndedBadly, format!("container `{name}` {}", ending(memory, name)))
        }
        None => (PodEvent::EndedWell, String::new()),
    }
}

fn ending(memory: &PodMemory, name: &Name) -> String {
    let exit = memory.peek(name).and_then(|container| container.last_exit.as_ref());
    match exit {
        Some(Exit::Code(code)) => format!("ended with exit code {code}"),
        Some(exit) => format!("ended ({})", exit.reason()),
        None => "ended".to_owned(),
    }
}

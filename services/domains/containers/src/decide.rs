//! One look at a pod: what it comes to, and where each container should be now.
//!
//! Pure but for the memory that it keeps up: no store, no machine, clocks given. The order of questions is
//! fixed: is it to go, is it to be off, is it to be taken down first, may it start.

use skerry_model::{
    ContainerState, LocalRef, Name, Phase, Pod, PodState, Power, Resource, RestartPolicy,
};

use crate::memory::{Clocks, PodMemory};
use crate::{
    ContainerDesired, ContainerObserved, Part, PodEvent, PodObserved, PodWanted, Run, Want,
};

/// Something that a pod needs and that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The resource to wait for, if there is one.
    pub on: Option<LocalRef>,
    /// What is missing, for people.
    pub reason: String,
}

/// All that a decision is made from.
pub(crate) struct Facts<'a> {
    /// The record.
    pub pod: &'a Resource<Pod>,
    /// The containers with their images and network, or what is missing.
    pub ready: &'a Result<Vec<ContainerDesired>, Missing>,
    /// What is there.
    pub observed: &'a PodObserved,
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
        self.pod.spec.containers.iter().map(|container| &container.name)
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
        PodWanted { pod: self.pod.id(), containers, gone, kill_strays }
    }
}

/// Decides what to do with a pod.
pub(crate) fn decide(facts: &Facts<'_>, memory: &mut PodMemory) -> Decision {
    if facts.pod.meta.phase == Phase::Removing {
        return Decision {
            wanted: facts.wanted(Vec::new(), memory, true),
            event: PodEvent::Remove,
            reason: String::new(),
        };
    }
    memory.keep_only(|name| facts.is_listed(name));
    memory.note_generation(facts.pod.meta.generation);
    for name in facts.names() {
        let run = facts.observed.container(name).run;
        memory.note_end(name, &run, facts.pod.spec.restart, &facts.pod.status, facts.clocks);
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
    for name in facts.names() {
        let found = facts.observed.container(name);
        let want = if rested { Want::Hold } else { one(facts, memory, name, &found, &mut tally) };
        containers.push((name.clone(), want));
    }
    if tally.running {
        memory.fresh = false;
    }
    let (event, reason) = if rested { rest(facts) } else { sum_up(facts, memory, &tally) };
    Decision { wanted: facts.wanted(containers, memory, false), event, reason }
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
    let gone = facts.names().all(|name| facts.observed.container(name).run == Run::Absent);
    for_good && all_ended && gone
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
        return Want::Hold;
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
    let stale = facts.desired(name).is_some_and(
        |desired| matches!(&found.bundle, Part::Made(bundle) if *bundle != desired.bundle),
    );
    let kill = memory.kill_now(facts.clocks.now);
    let remembered = memory.container(name, &facts.pod.status);
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
        Some(crate::Exit::Code(code)) => format!("ended with exit code {code}"),
        Some(exit) => format!("ended ({})", exit.reason()),
        None => "ended".to_owned(),
    }
}

//! What the controller remembers of a pod between passes: deadlines, waits, requests.
//!
//! Nothing here is needed to go on after a restart of noded: what is lost are the waits of a crash loop,
//! which then begin at zero again, and a stop deadline, which is armed anew.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use skerry_model::{ContainerState, Name, PodStatus, RestartPolicy, Timestamp};
use tokio::time::Instant;

use crate::backoff::{Backoff, CRASH_LOOP_EXITS, CRASH_LOOP_WINDOW};
use crate::{Effect, Exit, Run};

/// What is remembered of one container.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerMemory {
    backoff: Backoff,
    /// The run whose end has been counted.
    counted: Option<String>,
    /// When it may start again.
    pub due: Option<Instant>,
    /// The same for people.
    pub due_at: Option<Timestamp>,
    /// How the last run ended.
    pub last_exit: Option<Exit>,
    /// It ended and is not to be started again; whether it ended well.
    pub finished: Option<bool>,
    /// How often it was started again.
    pub restarts: u32,
    /// It is being taken down on purpose: its end counts as no failure.
    pub expected_end: bool,
    exits: VecDeque<Instant>,
}

/// The two clocks, read once for a look at a pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    /// For deadlines.
    pub now: Instant,
    /// For people.
    pub wall: Timestamp,
}

impl ContainerMemory {
    /// Notes that a run ended, once per run. `known` says that an earlier noded has already counted it.
    fn note_end(&mut self, run: &Run, policy: RestartPolicy, known: bool, clocks: Clocks) {
        if *run == Run::Absent {
            self.expected_end = false;
        }
        let Run::Ended { run, exit, ran_for } = run else { return };
        let expected = std::mem::take(&mut self.expected_end);
        if self.counted.as_ref() == Some(run) {
            return;
        }
        self.counted = Some(run.clone());
        self.last_exit = Some(exit.clone());
        if expected {
            return;
        }
        let again = match policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !exit.is_success(),
            RestartPolicy::Never => false,
        };
        if !again {
            self.finished = Some(exit.is_success());
            return;
        }
        self.exits.push_back(clocks.now);
        let wait = self.backoff.ended(*ran_for);
        self.due = Some(clocks.now + wait);
        self.due_at = clocks.wall.checked_add(wait).ok();
        if !known {
            self.restarts = self.restarts.saturating_add(1);
        }
    }

    /// Whether it still has to wait for its next start.
    pub fn waits(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due > now)
    }

    fn in_crash_loop(&mut self, now: Instant) -> bool {
        while self.exits.front().is_some_and(|at| now.duration_since(*at) > CRASH_LOOP_WINDOW) {
            self.exits.pop_front();
        }
        // Kept short however long a loop lasts.
        while self.exits.len() > CRASH_LOOP_EXITS * 4 {
            self.exits.pop_front();
        }
        self.exits.len() > CRASH_LOOP_EXITS
    }

    fn forget_failures(&mut self) {
        self.backoff.reset();
        self.exits.clear();
        self.due = None;
        self.due_at = None;
        self.finished = None;
    }
}

/// What is remembered of a pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodMemory {
    containers: BTreeMap<Name, ContainerMemory>,
    /// When what still runs is killed.
    pub stop_by: Option<Instant>,
    /// Kill without waiting.
    pub kill: bool,
    /// Start what has ended or waits, now.
    pub start: bool,
    /// Take down and bring up again.
    pub restart: bool,
    /// A person asked for a start: that the pod was finished before does not hold it back.
    pub fresh: bool,
    /// The last start failed for a reason that stands in the status.
    pub broken: bool,
    generation: Option<u64>,
}

impl PodMemory {
    /// What is remembered of a container; at first what its status says.
    pub fn container(&mut self, name: &Name, status: &PodStatus) -> &mut ContainerMemory {
        self.containers.entry(name.clone()).or_insert_with(|| {
            let known = status.containers.iter().find(|found| found.name == name.as_str());
            ContainerMemory {
                restarts: known.map_or(0, |found| found.restarts),
                ..ContainerMemory::default()
            }
        })
    }

    /// Another specification is another pod: earlier failures say nothing of it.
    pub fn note_generation(&mut self, generation: u64) {
        if self.generation.replace(generation).is_some_and(|before| before != generation) {
            self.forget_failures();
            self.broken = false;
        }
    }

    /// What is remembered of a container, if anything.
    pub fn peek(&self, name: &Name) -> Option<&ContainerMemory> {
        self.containers.get(name)
    }

    /// Counts the end of a run.
    pub fn note_end(
        &mut self,
        name: &Name,
        run: &Run,
        policy: RestartPolicy,
        status: &PodStatus,
        clocks: Clocks,
    ) {
        let met = self.containers.contains_key(name);
        let known = !met
            && status
                .containers
                .iter()
                .any(|found| found.name == name.as_str() && found.state == ContainerState::Exited);
        self.container(name, status).note_end(run, policy, known, clocks);
    }

    /// Drops what is remembered of containers that are no longer wanted.
    pub fn keep_only(&mut self, wanted: impl Fn(&Name) -> bool) {
        self.containers.retain(|name, _| wanted(name));
    }

    /// Whether the stop time is over, or nobody wants to wait for it.
    pub fn kill_now(&self, now: Instant) -> bool {
        self.kill || self.stop_by.is_some_and(|at| at <= now)
    }

    /// Whether any container ended too often lately.
    pub fn in_crash_loop(&mut self, now: Instant) -> bool {
        let mut found = false;
        for container in self.containers.values_mut() {
            found |= container.in_crash_loop(now);
        }
        found
    }

    /// Carries out the effects of a transition.
    pub fn apply(&mut self, effects: &[Effect], now: Instant, stop_timeout: Duration) {
        for effect in effects {
            match effect {
                Effect::ArmStopDeadline => self.stop_by = Some(now + stop_timeout),
                Effect::DropStopDeadline => {
                    self.stop_by = None;
                    self.kill = false;
                }
                Effect::ForgetFailures => self.forget_failures(),
            }
        }
    }

    /// Starts as if nothing had failed before.
    pub fn forget_failures(&mut self) {
        self.containers.values_mut().for_each(ContainerMemory::forget_failures);
    }

    /// The earliest moment at which time alone changes what is to be done.
    pub fn next_moment(&self, now: Instant) -> Option<Instant> {
        let dues = self.containers.values().filter_map(|container| container.due);
        dues.chain(self.stop_by).filter(|at| *at > now).min()
    }

    /// The earliest next start, for people.
    pub fn next_try(&self, now: Instant) -> Option<Timestamp> {
        let waiting = self.containers.values().filter(|container| container.waits(now));
        waiting.filter_map(|container| container.due_at).min()
    }
}

//! What the controller remembers of a pod between passes: deadlines, waits, requests.
//!
//! Nothing here is needed to go on after a restart of noded: what is lost are the waits of a crash loop,
//! which then begin at zero again, and a stop deadline, which is armed anew.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use skerry_model::{
    ContainerState, ContainerStatus, Name, PodRequest, PodRequestKind, PodSpec, PodStatus, Power,
    RestartPolicy, Timestamp,
};
use tokio::time::Instant;

use crate::backoff::{Backoff, CRASH_LOOP_EXITS, CRASH_LOOP_WINDOW};
use crate::rollout::Rollout;
use crate::status::{CRASH_LOOP, OUT_OF_MEMORY};
use crate::{Effect, Exit, PodEvent, Run};

/// A run that is taken down because a probe said so.
#[derive(Debug, Clone)]
struct Unhealthy {
    run: String,
    why: String,
    kill_at: Instant,
}

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
    unhealthy: Option<Unhealthy>,
    /// The run that is there, and since when it is seen.
    seen: Option<(String, Instant)>,
    exits: VecDeque<Instant>,
    /// It ended too often, and has not had a good run since.
    looping: bool,
    /// It was killed for want of memory, and has not had a good run since.
    out_of_memory: bool,
    /// How it ended badly first in this revision, if it did.
    failed: Option<Exit>,
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
    /// Which run ended, how, and after how long. A unit that was stopped and ended well is forgotten by systemd:
    /// then what was to be stopped is gone.
    fn ended(&mut self, run: &Run, now: Instant) -> Option<(String, Exit, Duration)> {
        match (run, self.unhealthy.take()) {
            (Run::Absent, Some(unhealthy)) => {
                let seen = self.seen.take().filter(|(run, _)| *run == unhealthy.run);
                let ran_for = seen.map_or(Duration::ZERO, |(_, since)| now.duration_since(since));
                Some((unhealthy.run, Exit::Unhealthy(unhealthy.why), ran_for))
            }
            (Run::Ended { run, exit, ran_for }, unhealthy) => {
                let stopped = unhealthy.filter(|unhealthy| unhealthy.run == *run);
                let exit = stopped.map_or_else(|| exit.clone(), |it| Exit::Unhealthy(it.why));
                Some((run.clone(), exit, *ran_for))
            }
            (_, unhealthy) => {
                self.unhealthy = unhealthy;
                None
            }
        }
    }

    /// Notes that a run ended, once per run. `known` says that an earlier noded has already counted it.
    fn note_end(&mut self, run: &Run, policy: RestartPolicy, known: bool, clocks: Clocks) {
        let ended = self.ended(run, clocks.now);
        if ended.is_none() && *run == Run::Absent {
            self.expected_end = false;
        }
        let Some((run, exit, ran_for)) = ended else { return };
        let expected = std::mem::take(&mut self.expected_end);
        if self.counted.as_ref() == Some(&run) {
            return;
        }
        self.counted = Some(run);
        self.last_exit = Some(exit.clone());
        if expected {
            return;
        }
        self.out_of_memory |= exit == Exit::OutOfMemory;
        if !exit.is_success() && self.failed.is_none() {
            self.failed = Some(exit.clone());
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
        self.count_exit(clocks.now);
        let wait = self.backoff.ended(ran_for);
        self.due = Some(clocks.now + wait);
        self.due_at = clocks.wall.checked_add(wait).ok();
        if !known {
            self.restarts = self.restarts.saturating_add(1);
        }
    }

    fn count_exit(&mut self, now: Instant) {
        self.exits.push_back(now);
        while self.exits.front().is_some_and(|at| now.duration_since(*at) > CRASH_LOOP_WINDOW) {
            self.exits.pop_front();
        }
        // Kept short however long a loop lasts.
        while self.exits.len() > CRASH_LOOP_EXITS * 4 {
            self.exits.pop_front();
        }
        self.looping |= self.exits.len() > CRASH_LOOP_EXITS;
    }

    /// Notes that a run is there. A good one ends what is said of earlier ones.
    pub fn note_run(&mut self, run: &str, now: Instant) {
        match &self.seen {
            Some((seen, since)) if seen == run => {
                if now.duration_since(*since) >= CRASH_LOOP_WINDOW {
                    self.looping = false;
                    self.out_of_memory = false;
                }
            }
            _ => self.seen = Some((run.to_owned(), now)),
        }
    }

    /// Notes that a run is to be taken down because a probe said so. Its time to end begins once.
    pub fn note_unhealthy(&mut self, run: &str, why: &str, kill_at: Instant) {
        if self.unhealthy.as_ref().is_none_or(|found| found.run != run) {
            self.unhealthy = Some(Unhealthy { run: run.to_owned(), why: why.to_owned(), kill_at });
        }
    }

    /// Whether it is being taken down because a probe said so: why, and whether its time to end is over.
    pub fn unhealthy(&self, now: Instant) -> Option<(&str, bool)> {
        self.unhealthy.as_ref().map(|found| (found.why.as_str(), found.kill_at <= now))
    }

    /// When its present run will have been a good one, if that changes anything.
    fn good_at(&self) -> Option<Instant> {
        let (_, since) = self.seen.as_ref().filter(|_| self.looping || self.out_of_memory)?;
        since.checked_add(CRASH_LOOP_WINDOW)
    }

    /// Whether it still has to wait for its next start.
    pub fn waits(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due > now)
    }

    /// A container that runs before the others has its turn again: that it was finished counts no more.
    pub fn begin_anew(&mut self) {
        if self.finished == Some(true) {
            self.finished = None;
        }
    }

    fn forget_failures(&mut self) {
        self.backoff.reset();
        self.exits.clear();
        self.looping = false;
        self.out_of_memory = false;
        self.due = None;
        self.due_at = None;
        self.finished = None;
    }
}

/// What a status says of all containers.
pub(crate) fn all(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init.iter().chain(&status.containers)
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
    generation: Option<(u64, u32)>,
    /// Why this revision cannot be started at all.
    pub refused: Option<String>,
    /// The revision that is not good yet.
    pub rollout: Option<Rollout>,
    /// The last request that was taken up.
    asked: u64,
    /// Whether a container has been started since.
    pub started: bool,
    /// Since when it waits for others to be started first.
    pub queued_since: Option<Instant>,
    /// Since when it is its turn.
    pub turn_since: Option<Instant>,
}

impl PodMemory {
    /// What is remembered of a container; at first what its status says.
    pub fn container(&mut self, name: &Name, status: &PodStatus) -> &mut ContainerMemory {
        self.containers.entry(name.clone()).or_insert_with(|| {
            let known = all(status).find(|found| found.name == name.as_str());
            let restarts = known.map_or(0, |found| found.restarts);
            let was_killed = known.is_some_and(|found| found.exit_reason == "oom");
            ContainerMemory {
                restarts,
                looping: restarts > 0 && status.conditions.holds(CRASH_LOOP),
                out_of_memory: was_killed && status.conditions.holds(OUT_OF_MEMORY),
                ..ContainerMemory::default()
            }
        })
    }

    /// Takes a request up that stands in the record and has not been seen to.
    pub fn take_request(&mut self, spec: &PodSpec, status: &PodStatus) {
        let new = |it: &PodRequest| it.number > status.request_done && it.number != self.asked;
        let Some(request) = spec.request.filter(new) else { return };
        self.asked = request.number;
        self.started = false;
        match request.what {
            PodRequestKind::Start => self.start = true,
            PodRequestKind::Restart => self.restart = true,
            // One that was wanted on again since is not killed.
            PodRequestKind::Kill => self.kill |= spec.power == Power::Stopped,
        }
    }

    /// The number of the last request that has been seen to, as things stand after a look.
    pub fn request_done(&self, spec: &PodSpec, status: &PodStatus, event: PodEvent) -> u64 {
        let open = |it: &PodRequest| it.number > status.request_done && it.number == self.asked;
        let Some(request) = spec.request.filter(open) else { return status.request_done };
        let done = match (request.what, spec.power) {
            (PodRequestKind::Kill, Power::Stopped) => event == PodEvent::Down,
            // Something else was wanted since.
            (PodRequestKind::Kill, Power::Running) | (_, Power::Stopped) => true,
            (PodRequestKind::Start | PodRequestKind::Restart, Power::Running) => {
                !self.start && !self.restart && (self.started || event == PodEvent::Up)
            }
        };
        if done { request.number } else { status.request_done }
    }

    /// Another specification or revision is another pod: earlier failures say nothing of it.
    pub fn note_generation(&mut self, generation: u64, revision: u32) {
        let before = self.generation.replace((generation, revision));
        if before.is_some_and(|before| before != (generation, revision)) {
            self.forget_failures();
            self.broken = false;
        }
        if before.is_some_and(|before| before.1 != revision) {
            self.refused = None;
            self.containers.values_mut().for_each(|container| container.failed = None);
        }
    }

    /// What failed first in this revision, for people.
    pub fn what_failed(&self) -> Option<String> {
        if let Some(why) = &self.refused {
            return Some(why.clone());
        }
        let mut failed =
            self.containers.iter().filter_map(|(name, it)| Some((name, it.failed.as_ref()?)));
        failed.next().map(|(name, exit)| match exit {
            Exit::Code(code) => format!("container `{name}` ended with exit code {code}"),
            exit => format!("container `{name}` ended ({})", exit.reason()),
        })
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
            && all(status)
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

    /// Whether any container ended too often, and has not had a good run since.
    pub fn in_crash_loop(&self) -> bool {
        self.containers.values().any(|container| container.looping)
    }

    /// A container that was killed for want of memory, and has not had a good run since.
    pub fn out_of_memory(&self) -> Option<&Name> {
        self.containers.iter().find(|(_, found)| found.out_of_memory).map(|(name, _)| name)
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
        let of_containers = self.containers.values().flat_map(|container| {
            let kill = container.unhealthy.as_ref().map(|found| found.kill_at);
            [container.due, kill, container.good_at()]
        });
        let rollout = self.rollout.as_ref().and_then(|rollout| rollout.moment);
        of_containers.flatten().chain(self.stop_by).chain(rollout).filter(|at| *at > now).min()
    }

    /// The earliest next start, for people.
    pub fn next_try(&self, now: Instant) -> Option<Timestamp> {
        let waiting = self.containers.values().filter(|container| container.waits(now));
        waiting.filter_map(|container| container.due_at).min()
    }
}

//! The status of a pod out of what one look at it came to.

use std::collections::BTreeMap;

use skerry_model::{
    ConditionState, ContainerState, ContainerStatus, Id, Name, Pod, PodRevision, PodState,
    PodStatus, Port, Resource, Timestamp, UserNamespace,
};

use crate::fitting::cut;
use crate::memory::{Clocks, PodMemory, all};
use crate::prober;
use crate::{Exit, Health, PodObserved, Run};

/// True while every container that is not finished runs and is ready.
pub(crate) const READY: &str = "Ready";
/// True while a container ends again and again, until it has had a good run.
pub(crate) const CRASH_LOOP: &str = "CrashLoop";
/// True from when a container was killed for want of memory until it has had a good run.
pub(crate) const OUT_OF_MEMORY: &str = "OutOfMemory";

/// True while another revision runs than the one that is wanted, because that one failed.
pub(crate) const ROLLED_BACK: &str = "RolledBack";

/// True from when revisions were dropped because they were too large, until as many are kept as are wanted.
pub(crate) const HISTORY_CUT: &str = "HistoryCut";

/// What a status is made from, besides the pod's record.
pub(crate) struct Report<'a> {
    /// The new state.
    pub state: PodState,
    /// Why, for people.
    pub reason: &'a str,
    /// The revision that is to run, of these.
    pub revision: u32,
    /// All of them.
    pub history: &'a [PodRevision],
    /// The pod's port, if found.
    pub port: Option<&'a Resource<Port>>,
    /// What is there.
    pub observed: &'a PodObserved,
    /// What probes say of the runs that are there.
    pub health: &'a BTreeMap<Name, prober::Report>,
    /// Now.
    pub clocks: Clocks,
}

/// The status as it should be.
pub(crate) fn status(
    pod: &Resource<Pod>,
    report: &Report<'_>,
    memory: &mut PodMemory,
) -> PodStatus {
    let now = report.clocks.wall;
    let mut status = PodStatus {
        observed_generation: pod.meta.generation,
        state: report.state,
        reason: cut(report.reason),
        port: report.port.map(|port| Id::new(port.meta.id)),
        addresses: report.port.map(|port| port.spec.address.into()).into_iter().collect(),
        containers: Vec::new(),
        init: Vec::new(),
        revision: report.revision,
        history: report.history.to_vec(),
        risks: pod.spec.risks(),
        user_namespace: Some(match pod.spec.has_own_users() {
            true => UserNamespace::Pod,
            false => UserNamespace::Host,
        }),
        users: pod.status.users,
        huge_pages: pod.status.huge_pages.clone(),
        next_try: memory.next_try(report.clocks.now),
        request_done: pod.status.request_done,
        boot: pod.status.boot.clone(),
        conditions: pod.status.conditions.clone(),
    };
    for container in &pod.spec.containers {
        status.containers.push(one(pod, &container.name, report, memory));
    }
    for container in &pod.spec.init {
        status.init.push(one(pod, &container.name, report, memory));
    }
    ready(&mut status, report, now);
    crash_loop(&mut status, memory.in_crash_loop(), now);
    out_of_memory(&mut status, memory.out_of_memory(), now);
    rolled_back(&mut status, now);
    history_cut(&mut status, &pod.status.history, pod.spec.update.history, now);
    status
}

fn one(
    pod: &Resource<Pod>,
    name: &Name,
    report: &Report<'_>,
    memory: &PodMemory,
) -> ContainerStatus {
    let before = all(&pod.status).find(|found| found.name == name.as_str());
    let mut status = before.cloned().unwrap_or_default();
    status.name = name.to_string();
    status.pid = None;
    status.ready = false;
    if let Some(remembered) = memory.peek(name) {
        status.restarts = remembered.restarts;
        if let Some(exit) = &remembered.last_exit {
            set_exit(&mut status, exit);
        }
    }
    match report.observed.container(name).run {
        Run::Running { pid, started_at, run } => {
            status.state = ContainerState::Running;
            status.pid = pid;
            let report = report.health.get(name);
            status.ready = report.is_none_or(|report| report.health == Health::Ready);
            status.started_at = started_at.or(status.started_at);
            let up = report.is_some_and(|it| matches!(it.health, Health::Unready | Health::Ready));
            let of_run = status.started_run.take().filter(|known| *known == run);
            // Only who is asked whether it has started can be asked anew.
            let asked =
                pod.spec.containers.iter().any(|it| it.name == *name && it.startup.is_some());
            status.started_run = if up && asked { Some(run) } else { of_run };
        }
        // What is being stopped still runs.
        Run::Stopping => status.state = ContainerState::Running,
        Run::Starting => status.state = ContainerState::Waiting,
        Run::Ended { exit, .. } => {
            status.state = ContainerState::Exited;
            // What is remembered of this end says more: that it was stopped because it was unhealthy, for one.
            if memory.peek(name).is_none_or(|remembered| remembered.last_exit.is_none()) {
                set_exit(&mut status, &exit);
            }
        }
        Run::Absent => {
            let rests =
                matches!(report.state, PodState::Stopped | PodState::Succeeded | PodState::Failed);
            let ran = status.started_at.is_some() || status.state == ContainerState::Exited;
            status.state =
                if rests && ran { ContainerState::Exited } else { ContainerState::Waiting };
        }
    }
    status
}

fn set_exit(status: &mut ContainerStatus, exit: &Exit) {
    status.exit_code = exit.code();
    status.exit_reason = cut(&exit.reason());
}

fn ready(status: &mut PodStatus, report: &Report<'_>, now: Timestamp) {
    let unready = status.containers.iter().find(|c| c.state == ContainerState::Running && !c.ready);
    if let Some(container) = unready.filter(|_| status.state == PodState::Running) {
        let known = report.health.iter().find(|(name, _)| name.as_str() == container.name);
        let message = match known {
            Some((name, report)) if !report.message.is_empty() => {
                format!("container `{name}` is not ready: {}", report.message)
            }
            _ => format!("container `{}` is not ready yet", container.name),
        };
        status.conditions.set(READY, ConditionState::False, "NotReady", message, now);
        return;
    }
    let (state, reason) = match status.state {
        PodState::Running => (ConditionState::True, "Running"),
        PodState::Pending => (ConditionState::False, "Pending"),
        PodState::Starting => (ConditionState::False, "Starting"),
        PodState::Backoff => (ConditionState::False, "Backoff"),
        PodState::Stopping => (ConditionState::False, "Stopping"),
        PodState::Stopped => (ConditionState::False, "Stopped"),
        PodState::Succeeded => (ConditionState::False, "Succeeded"),
        PodState::Failed => (ConditionState::False, "Failed"),
        PodState::Deleting => (ConditionState::False, "Deleting"),
    };
    let message = status.reason.clone();
    status.conditions.set(READY, state, reason, message, now);
}

fn crash_loop(status: &mut PodStatus, looping: bool, now: Timestamp) {
    if looping {
        let message = "a container ended more than 5 times in 10 minutes; see the pod's logs";
        status.conditions.set(CRASH_LOOP, ConditionState::True, "EndsAgain", message, now);
    } else {
        status.conditions.clear(CRASH_LOOP);
    }
}

fn out_of_memory(status: &mut PodStatus, container: Option<&Name>, now: Timestamp) {
    if let Some(name) = container {
        let message =
            format!("container `{name}` was killed at its memory limit; give it more memory");
        status.conditions.set(OUT_OF_MEMORY, ConditionState::True, "Killed", message, now);
    } else {
        status.conditions.clear(OUT_OF_MEMORY);
    }
}

/// Says which revisions went that were there `before`, if fewer are left than are wanted.
pub(crate) fn history_cut(
    status: &mut PodStatus,
    before: &[PodRevision],
    most: u32,
    now: Timestamp,
) {
    let kept = |number| status.history.iter().any(|revision| revision.number == number);
    let lost = before.iter().map(|revision| revision.number).rfind(|number| !kept(*number));
    if usize::try_from(most).is_ok_and(|most| status.history.len() >= most) {
        status.conditions.clear(HISTORY_CUT);
    } else if let Some(number) = lost {
        let message = format!(
            "revisions up to {number} were dropped that were not needed: all together were too large for the pod's record"
        );
        status.conditions.set(HISTORY_CUT, ConditionState::True, "TooLarge", message, now);
    }
}

fn rolled_back(status: &mut PodStatus, now: Timestamp) {
    let newest = status.history.last().filter(|newest| newest.number != status.revision);
    let Some(newest) = newest else {
        return status.conditions.clear(ROLLED_BACK);
    };
    let message = format!(
        "revision {} failed and revision {} runs instead: {}",
        newest.number, status.revision, newest.reason
    );
    status.conditions.set(ROLLED_BACK, ConditionState::True, "Failed", message, now);
}

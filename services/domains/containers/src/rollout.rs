//! Revisions of a pod: when there is a new one, which one runs, when it is good and when it has failed.
//!
//! A revision's way is this table, which [`revision_table`] gives:
//!
//! ```text
//! event \ from    rolling   good      failed
//! proven          good      good      -
//! broken          failed    good      -
//! ```
//!
//! The newest revision runs, unless it has failed and there is a good one before it. Nothing here changes what is
//! wanted: the specification stays as it was given, and the status says that another revision runs, and why.

use skerry_model::{
    Pod, PodRevision, PodSpec, PodStatus, Power, Resource, RevisionState, Timestamp, UpdatePolicy,
    json_bytes,
};
use tokio::time::Instant;

use std::time::Duration;

use crate::decide::{Decision, Facts};
use crate::fitting::cut;
use crate::memory::PodMemory;
use crate::{Health, PodEvent, Run};

/// What was learnt of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevisionEvent {
    /// It has been ready long enough, or has done its work.
    Proven,
    /// A container of it ended badly, could not be started, or it was not ready in time.
    Broken,
}

/// How far a revision has come after an event; none if the event means nothing there.
pub fn revision_after(state: RevisionState, event: RevisionEvent) -> Option<RevisionState> {
    match (state, event) {
        (RevisionState::Rolling | RevisionState::Good, RevisionEvent::Proven)
        | (RevisionState::Good, RevisionEvent::Broken) => Some(RevisionState::Good),
        (RevisionState::Rolling, RevisionEvent::Broken) => Some(RevisionState::Failed),
        (RevisionState::Failed, _) => None,
    }
}

/// The table above, made from [`revision_after`].
pub fn revision_table() -> String {
    let states = [
        (RevisionState::Rolling, "rolling"),
        (RevisionState::Good, "good"),
        (RevisionState::Failed, "failed"),
    ];
    let word = |state| states.iter().find(|(other, _)| *other == state).map_or("?", |row| row.1);
    let line = |first: &str, cells: Vec<&str>| {
        let mut line = format!("{first:<16}");
        cells.into_iter().for_each(|cell| line.push_str(&format!("{cell:<10}")));
        line.trim_end().to_owned()
    };
    let mut table = vec![line("event \\ from", states.iter().map(|row| row.1).collect())];
    for (event, text) in [(RevisionEvent::Proven, "proven"), (RevisionEvent::Broken, "broken")] {
        let cells = states.iter().map(|(state, _)| revision_after(*state, event).map_or("-", word));
        table.push(line(text, cells.collect()));
    }
    table.join("\n")
}

/// A pod's revisions with what is wanted now as the newest, unless it is paused.
pub(crate) fn record(spec: &PodSpec, status: &PodStatus, now: Timestamp) -> Vec<PodRevision> {
    let mut history = status.history.clone();
    let template = spec.template();
    let newest = history.last();
    let is_new = newest.is_none_or(|newest| !spec.update.paused && newest.template != template);
    if is_new {
        let number = newest.map_or(0, |newest| newest.number).saturating_add(1);
        let state = RevisionState::Rolling;
        history.push(PodRevision { number, at: now, state, reason: String::new(), template });
    }
    prune(spec, &mut history, UpdatePolicy::MOST_HISTORY_BYTES);
    history
}

/// Lets the oldest go while there are more than are wanted, or than take so many bytes; but neither the one that runs
/// nor the last good one.
pub(crate) fn prune(spec: &PodSpec, history: &mut Vec<PodRevision>, most_bytes: usize) {
    let most = usize::try_from(spec.update.history).unwrap_or(usize::MAX).max(1);
    let mut bytes: usize = history.iter().map(json_bytes).sum();
    while history.len() > most || bytes > most_bytes {
        let good = history.iter().rposition(|revision| revision.state == RevisionState::Good);
        let runs = chosen(spec, history);
        let last = history.len().saturating_sub(1);
        let free = (0..last).find(|index| Some(*index) != good && Some(*index) != runs);
        match free {
            Some(index) => bytes -= json_bytes(&history.remove(index)),
            None => return,
        }
    }
}

/// The revision that is to run.
pub(crate) fn chosen(spec: &PodSpec, history: &[PodRevision]) -> Option<usize> {
    let newest = history.len().checked_sub(1)?;
    let failed = history.get(newest).is_some_and(|it| it.state == RevisionState::Failed);
    if failed && spec.update.rollback {
        let good = history.iter().rposition(|revision| revision.state == RevisionState::Good);
        return good.or(Some(newest));
    }
    Some(newest)
}

/// The pod as the revision that is to run has it.
pub(crate) fn effective(pod: &Resource<Pod>, history: &[PodRevision]) -> (Resource<Pod>, u32) {
    let mut effective = pod.clone();
    let Some(revision) = chosen(&pod.spec, history).and_then(|index| history.get(index)) else {
        return (effective, 0);
    };
    effective.spec.containers.clone_from(&revision.template.containers);
    effective.spec.init.clone_from(&revision.template.init);
    effective.spec.volumes.clone_from(&revision.template.volumes);
    (effective, revision.number)
}

/// What is remembered of a revision that is not good yet.
#[derive(Debug, Clone)]
pub(crate) struct Rollout {
    number: u32,
    since: Instant,
    ready_since: Option<Instant>,
    /// When time alone changes what is known.
    pub moment: Option<Instant>,
}

/// Looks whether the newest revision has become good or has failed; whether anything changed.
pub(crate) fn judge(
    history: &mut [PodRevision],
    facts: &Facts<'_>,
    decision: &Decision,
    memory: &mut PodMemory,
) -> bool {
    let fallback = history.iter().any(|revision| revision.state == RevisionState::Good);
    let Some(newest) = history.last_mut().filter(|it| it.state == RevisionState::Rolling) else {
        memory.rollout = None;
        return false;
    };
    let now = facts.clocks.now;
    let fresh = || Rollout { number: newest.number, since: now, ready_since: None, moment: None };
    let mut rollout = memory.rollout.take().filter(|it| it.number == newest.number);
    if facts.pod.spec.power == Power::Stopped {
        rollout = None;
    }
    let mut rollout = rollout.unwrap_or_else(fresh);
    let learnt = learn(facts, decision, memory, fallback, &mut rollout);
    memory.rollout = Some(rollout);
    let Some((event, reason)) = learnt else { return false };
    let Some(state) = revision_after(newest.state, event) else { return false };
    memory.rollout = None;
    newest.state = state;
    newest.reason = cut(&reason);
    true
}

fn learn(
    facts: &Facts<'_>,
    decision: &Decision,
    memory: &PodMemory,
    fallback: bool,
    rollout: &mut Rollout,
) -> Option<(RevisionEvent, String)> {
    let now = facts.clocks.now;
    let policy = &facts.pod.spec.update;
    if facts.pod.spec.power == Power::Stopped {
        rollout.moment = None;
        return None;
    }
    // Without another revision to give way to it goes on until it is good.
    if let Some(why) = memory.what_failed().filter(|_| fallback) {
        return Some((RevisionEvent::Broken, why));
    }
    if decision.event == PodEvent::EndedWell {
        return Some((RevisionEvent::Proven, String::new()));
    }
    let seconds = |count: u32| Duration::from_secs(count.into());
    let proven_at = if decision.event == PodEvent::Up && all_ready(facts) {
        Some(*rollout.ready_since.get_or_insert(now) + seconds(policy.min_ready_s))
    } else {
        rollout.ready_since = None;
        None
    };
    if proven_at.is_some_and(|at| at <= now) {
        return Some((RevisionEvent::Proven, String::new()));
    }
    if !fallback {
        rollout.moment = proven_at;
        return None;
    }
    let late_at = rollout.since + seconds(policy.deadline_s);
    if late_at <= now {
        let why = format!("it was not ready within {} s", policy.deadline_s);
        let known = Some(&decision.reason).filter(|reason| !reason.is_empty());
        let why = known.map_or_else(|| why.clone(), |reason| format!("{why}: {reason}"));
        return Some((RevisionEvent::Broken, why));
    }
    rollout.moment = Some(proven_at.map_or(late_at, |at| at.min(late_at)));
    None
}

fn all_ready(facts: &Facts<'_>) -> bool {
    facts.pod.spec.containers.iter().all(|container| {
        let name = &container.name;
        let healthy = facts.health.get(name).is_none_or(|report| report.health == Health::Ready);
        match facts.observed.container(name).run {
            Run::Running { .. } => healthy,
            Run::Ended { exit, .. } => exit.is_success(),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_the_real_one() {
        let source = include_str!("rollout.rs");
        let documented: Vec<&str> = source
            .lines()
            .skip_while(|line| !line.contains("```text"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//! ").trim_end())
            .collect();
        assert_eq!(documented.join("\n"), revision_table());
    }

    fn spec(memory: u64, history: u32, paused: bool) -> PodSpec {
        let spec = serde_json::json!({"update": {"history": history, "paused": paused},
            "containers": [{"name": "a", "image": "tiny", "memory_mib": memory}]});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn history_is_kept_short_but_never_loses_what_is_needed() {
        let mut status = PodStatus::default();
        for memory in 10..20 {
            status.history = record(&spec(memory, 3, false), &status, Timestamp::UNIX_EPOCH);
            let newest = status.history.last_mut().unwrap();
            newest.state = if memory == 11 { RevisionState::Good } else { RevisionState::Failed };
        }
        let numbers: Vec<u32> = status.history.iter().map(|revision| revision.number).collect();
        assert_eq!(numbers, [2, 9, 10], "the last good one stays");
        let now = spec(19, 3, false);
        assert_eq!(chosen(&now, &status.history), Some(0));
        let again = record(&now, &status, Timestamp::UNIX_EPOCH);
        assert_eq!(again, status.history, "a failed one is not tried again by itself");
        let stubborn = PodSpec {
            update: skerry_model::UpdatePolicy { rollback: false, ..now.update.clone() },
            ..now
        };
        assert_eq!(chosen(&stubborn, &status.history), Some(2));
    }

    #[test]
    fn history_is_kept_small_but_never_loses_what_is_needed() {
        let with = |round: u32| {
            let mut spec = spec(64, 50, false);
            spec.containers[0].args = vec![format!("{round:05}").repeat(6000)];
            spec
        };
        let mut status = PodStatus::default();
        for round in 1..=20 {
            status.history = record(&with(round), &status, Timestamp::UNIX_EPOCH);
            let newest = status.history.last_mut().unwrap();
            newest.state = if round == 3 { RevisionState::Good } else { RevisionState::Failed };
        }
        let numbers: Vec<u32> = status.history.iter().map(|revision| revision.number).collect();
        assert_eq!(numbers, [3, 19, 20], "the last good one stays");
        let bytes: usize = status.history.iter().map(json_bytes).sum();
        assert!(bytes <= UpdatePolicy::MOST_HISTORY_BYTES, "{bytes}");
        prune(&with(20), &mut status.history, 0);
        let numbers: Vec<u32> = status.history.iter().map(|revision| revision.number).collect();
        assert_eq!(numbers, [3, 20], "what is needed stays, however large");
    }

    #[test]
    fn a_paused_pod_keeps_its_revision() {
        let mut status = PodStatus::default();
        status.history = record(&spec(10, 3, true), &status, Timestamp::UNIX_EPOCH);
        assert_eq!(status.history.len(), 1, "there must be something to run");
        let paused = record(&spec(11, 3, true), &status, Timestamp::UNIX_EPOCH);
        assert_eq!(paused, status.history);
        let resumed = record(&spec(11, 3, false), &status, Timestamp::UNIX_EPOCH);
        assert_eq!(resumed.len(), 2);
    }
}

//! Waiting until a workload is as wanted, showing what happens on the way.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use skerry_ipc::{RefusalClass, Request, StreamItem};
use skerry_model::Kind;

use crate::columns::workload_state;
use crate::shell::{Failure, Shell};
use crate::text::cell;
use crate::transport::CallError;

/// How long to wait before a watch that ended is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It runs.
    Running,
    /// It runs, and started later than this (empty: it did not run before).
    Restarted { started: String },
    /// It is off, or ended well.
    Stopped,
    /// It is held.
    Paused,
    /// It is off, and its memory on disk.
    Suspended,
    /// What was asked has been dealt with.
    Dealt,
    /// A volume or snapshot: it can be used.
    Usable,
    /// It is no longer there.
    Gone,
    /// A job: it has ended well.
    Completed,
    /// A job: it has ended, well or not.
    Ended,
}

/// How far a document is from a goal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Reached,
    NotYet,
    Lost(String),
}

impl Goal {
    /// The goal of a restart of what this document shows.
    pub(crate) fn restarted(before: Option<&Value>) -> Self {
        Self::Restarted { started: before.map(start_mark).unwrap_or_default() }
    }

    fn progress(&self, document: &Value, removed: bool) -> Progress {
        let state = workload_state(document);
        let name = cell(document, "/metadata/name");
        let reason = cell(document, "/status/reason");
        match self {
            Self::Gone if removed => Progress::Reached,
            Self::Gone => Progress::NotYet,
            _ if removed => Progress::Lost(format!("{name} was deleted meanwhile")),
            Self::Completed | Self::Ended if state == "completed" => Progress::Reached,
            Self::Ended if matches!(state.as_str(), "failed" | "aborted") => Progress::Reached,
            Self::Completed if matches!(state.as_str(), "failed" | "aborted") => {
                Progress::Lost(format!("{name} {state}: {}", cell(document, "/status/message")))
            }
            Self::Completed | Self::Ended => Progress::NotYet,
            _ if state == "deleting" => Progress::Lost(format!("{name} is being deleted")),
            // The status may still speak of what was wanted before.
            _ if !is_current(document) => Progress::NotYet,
            Self::Usable if matches!(state.as_str(), "available" | "in_use" | "ready") => {
                Progress::Reached
            }
            Self::Usable if matches!(state.as_str(), "error" | "lost") => {
                Progress::Lost(format!("{name} is {state}: {reason}"))
            }
            Self::Stopped if matches!(state.as_str(), "stopped" | "succeeded") => Progress::Reached,
            Self::Running if state == "running" => Progress::Reached,
            Self::Paused if state == "paused" => Progress::Reached,
            Self::Suspended if state == "suspended" => Progress::Reached,
            Self::Dealt if is_dealt_with(document) => Progress::Reached,
            Self::Paused | Self::Suspended | Self::Dealt if state == "stopped" => {
                Progress::Lost(format!("{name} went off meanwhile"))
            }
            Self::Restarted { started }
                if state == "running" && start_mark(document) != *started =>
            {
                Progress::Reached
            }
            _ if state == "failed" => Progress::Lost(format!("{name} failed: {reason}")),
            Self::Running if state == "succeeded" => Progress::Reached,
            _ => Progress::NotYet,
        }
    }

    fn sentence(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Restarted { .. } => "running again",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::Dealt => "done with it",
            Self::Usable => "usable",
            Self::Gone => "deleted",
            Self::Completed => "completed",
            Self::Ended => "ended",
        }
    }
}

/// What tells one run from the next: start times of a virtual machine or of all containers.
fn start_mark(document: &Value) -> String {
    let own = cell(document, "/status/started_at");
    let containers = document.pointer("/status/containers").and_then(Value::as_array);
    let starts = containers.into_iter().flatten().map(|c| cell(c, "/started_at"));
    std::iter::once(own).chain(starts).collect::<Vec<_>>().join(" ")
}

/// Whether the newest request of a virtual machine has been dealt with.
fn is_dealt_with(document: &Value) -> bool {
    let number = |pointer| document.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    number("/status/request_done") >= number("/spec/request/number")
}

fn is_current(document: &Value) -> bool {
    let number = |pointer| document.pointer(pointer).and_then(Value::as_u64);
    match (number("/metadata/generation"), number("/status/observed_generation")) {
        (Some(wanted), Some(seen)) => seen >= wanted,
        _ => true,
    }
}

/// Waits until `document`'s resource reaches the goal; returns the last document.
pub(crate) async fn wait_for(
    shell: &mut Shell<'_, '_>,
    kind: Kind,
    document: &Value,
    goal: Goal,
) -> Result<Value, Failure> {
    let mut waiting = Waiting {
        kind,
        goal,
        key: cell(document, "/metadata/id"),
        last: document.clone(),
        shown: String::new(),
    };
    let timeout = shell.timeout;
    match tokio::time::timeout(timeout, waiting.run(shell)).await {
        Ok(result) => result.map(|()| waiting.last),
        Err(_) => Err(Failure::TimedOut(format!(
            "{} is not {} after {} s; it is {}. The node goes on; see `skerry explain {} {}`.",
            cell(&waiting.last, "/metadata/name"),
            waiting.goal.sentence(),
            timeout.as_secs(),
            workload_state(&waiting.last),
            kind.name().to_lowercase(),
            cell(&waiting.last, "/metadata/name"),
        ))),
    }
}

struct Waiting {
    kind: Kind,
    goal: Goal,
    /// The resource's id: its name may be given to another one meanwhile.
    key: String,
    last: Value,
    shown: String,
}

impl Waiting {
    async fn run(&mut self, shell: &mut Shell<'_, '_>) -> Result<(), Failure> {
        loop {
            match self.follow(shell).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // The node's services may restart meanwhile; what was asked for goes on.
                Err(Failure::Call(CallError::Unreachable { node, .. })) => {
                    self.show(shell, format!("{node} does not answer; trying again"))?;
                }
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Follows the resource for as long as one watch lasts; true if the goal is reached.
    async fn follow(&mut self, shell: &mut Shell<'_, '_>) -> Result<bool, Failure> {
        // The watch is opened before the look, so that no change falls between the two.
        let mut items = shell.items(Request::Watch { kinds: vec![self.kind], after: None }).await?;
        if self.look(shell).await? {
            return Ok(true);
        }
        while let Some(item) = items.next().await {
            match item {
                Ok(StreamItem::Change { document, removed, .. }) => {
                    let document = shell.parse(&document.0)?;
                    if cell(&document, "/metadata/id") == self.key
                        && self.seen(shell, document, removed)?
                    {
                        return Ok(true);
                    }
                }
                Ok(_) => {}
                // The watch fell behind: look again and open a new one.
                Err(CallError::Refused(refusal)) if refusal.class == RefusalClass::Gone => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Shows a line of progress unless it was the last one.
    fn show(&mut self, shell: &mut Shell<'_, '_>, line: String) -> Result<(), Failure> {
        if line != self.shown {
            shell.progress(&line)?;
            self.shown = line;
        }
        Ok(())
    }

    /// Reads the resource as it is now.
    async fn look(&mut self, shell: &mut Shell<'_, '_>) -> Result<bool, Failure> {
        let request = Request::Get { kind: self.kind, key: self.key.clone() };
        match shell.document(request).await {
            Ok(document) => self.seen(shell, document, false),
            Err(failure)
                if failure.refusal().is_some_and(|r| r.class == RefusalClass::NotFound) =>
            {
                let last = self.last.clone();
                self.seen(shell, last, true)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Takes a document in; true if the goal is reached.
    fn seen(
        &mut self,
        shell: &mut Shell<'_, '_>,
        document: Value,
        removed: bool,
    ) -> Result<bool, Failure> {
        self.show(shell, describe(&document, removed))?;
        let progress = self.goal.progress(&document, removed);
        self.last = document;
        match progress {
            Progress::Reached => Ok(true),
            Progress::NotYet => Ok(false),
            Progress::Lost(why) => Err(Failure::Outcome(why)),
        }
    }
}

/// `web: starting (pulling the image)`.
fn describe(document: &Value, removed: bool) -> String {
    let name = cell(document, "/metadata/name");
    if removed {
        return format!("{name}: gone");
    }
    let state = workload_state(document);
    if let Some(step) = job_step(document) {
        return format!("{name}: {state}, {step}");
    }
    match cell(document, "/status/reason").as_str() {
        "-" | "" => format!("{name}: {state}"),
        reason => format!("{name}: {state} ({reason})"),
    }
}

/// `receive 42 %`, for a job that is at a step.
fn job_step(document: &Value) -> Option<String> {
    let stage = document.pointer("/status/stage")?.as_str().filter(|stage| !stage.is_empty())?;
    let percent = document.pointer("/status/percent").and_then(Value::as_u64);
    Some(percent.map_or_else(|| stage.to_owned(), |percent| format!("{stage} {percent} %")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(state: &str, generation: u64, seen: u64) -> Value {
        json!({
            "metadata": { "id": "x", "name": "web", "generation": generation, "phase": "present" },
            "status": { "state": state, "observed_generation": seen, "reason": "no image",
                        "started_at": "2026-01-01T00:00:00Z" },
        })
    }

    #[test]
    fn a_status_of_an_older_wish_does_not_count() {
        assert_eq!(Goal::Running.progress(&document("running", 2, 1), false), Progress::NotYet);
        assert_eq!(Goal::Running.progress(&document("running", 2, 2), false), Progress::Reached);
        assert_eq!(Goal::Stopped.progress(&document("stopped", 1, 1), false), Progress::Reached);
    }

    #[test]
    fn what_failed_or_went_away_is_lost() {
        let lost = |goal: Goal, removed| match goal.progress(&document("failed", 1, 1), removed) {
            Progress::Lost(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(lost(Goal::Running, false), "web failed: no image");
        assert_eq!(lost(Goal::Running, true), "web was deleted meanwhile");
        assert_eq!(Goal::Gone.progress(&document("failed", 1, 1), true), Progress::Reached);
    }

    #[test]
    fn a_job_is_followed_to_its_end() {
        let job = |state: &str| {
            json!({ "metadata": { "name": "import" },
                    "status": { "state": state, "stage": "receive", "percent": 42, "message": "m" } })
        };
        assert_eq!(describe(&job("running"), false), "import: running, receive 42 %");
        assert_eq!(Goal::Completed.progress(&job("completed"), false), Progress::Reached);
        assert_eq!(Goal::Completed.progress(&job("undoing"), false), Progress::NotYet);
        let lost = Progress::Lost("import failed: m".to_owned());
        assert_eq!(Goal::Completed.progress(&job("failed"), false), lost);
        assert_eq!(Goal::Ended.progress(&job("aborted"), false), Progress::Reached);
        assert_eq!(Goal::Ended.progress(&job("aborting"), false), Progress::NotYet);
    }

    #[test]
    fn a_restart_is_reached_by_a_later_start_only() {
        let before = document("running", 1, 1);
        let goal = Goal::restarted(Some(&before));
        assert_eq!(goal.progress(&before, false), Progress::NotYet);
        let mut after = before.clone();
        after["status"]["started_at"] = json!("2026-01-01T00:00:09Z");
        assert_eq!(goal.progress(&after, false), Progress::Reached);
    }
}

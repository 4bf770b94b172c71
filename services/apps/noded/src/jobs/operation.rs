//! What an operation is, and what it may end with.

use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skerry_engine::ErrorClass;
use skerry_model::LocalRef;
use skerry_upkeep::JobClass;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::progress::Progress;

/// A sort of long work. See the module's text for how to add one.
#[async_trait]
pub trait Operation: Send + Sync + 'static {
    /// Its name, `<kind>.<what>`, such as `image.import`.
    fn name(&self) -> &'static str;

    /// Which places it takes.
    fn class(&self) -> JobClass {
        JobClass::Quick
    }

    /// A job that takes longer than this, pauses between tries included, has failed. That of one that brings things in
    /// ([`Self::brings_in`]) counts from the last byte that was new.
    fn deadline(&self) -> Duration {
        Duration::from_secs(600)
    }

    /// How often it is tried again by itself after a failure that may heal.
    fn retries(&self) -> u32 {
        0
    }

    /// Whether it brings bytes in from elsewhere. How long that takes is not the node's to say, so its time is over only
    /// when nothing more has come for so long.
    fn brings_in(&self) -> bool {
        false
    }

    /// Whether a failed job may be tried again by a user.
    fn retryable(&self) -> bool {
        true
    }

    /// Does the work and tells in a sentence what came of it.
    ///
    /// May be begun again from its start at any time, and may be dropped at any `await`. Work on a thread of
    /// its own has to look at [`JobContext::is_stopped`] by itself.
    async fn run(&self, job: &JobContext) -> Result<String, JobFailure>;

    /// Removes what a failed or aborted run has left. Run again until it succeeds, a few times at most, and
    /// after a restart; finding nothing to undo is success.
    async fn undo(&self, _job: &JobContext) -> Result<(), JobFailure> {
        Ok(())
    }
}

/// What an operation knows of its job.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// The job.
    pub id: Uuid,
    /// What it works on.
    pub subject: Option<LocalRef>,
    /// How far it is; the operation says so here.
    pub progress: Progress,
    pub(super) params: Value,
    pub(super) stopped: CancellationToken,
}

impl JobContext {
    /// The job's parameters in the operation's own shape.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, JobFailure> {
        serde_json::from_value(self.params.clone()).map_err(|error| {
            JobFailure::bug(format!("the job's parameters cannot be read: {error}"))
        })
    }

    /// Whether the run has been broken off: for loops on a thread of their own.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_cancelled()
    }

    /// Ends when the run has been broken off.
    pub fn stopped(&self) -> CancellationToken {
        self.stopped.clone()
    }
}

/// Why an operation did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JobFailure {
    /// Whether trying again may help.
    pub class: ErrorClass,
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// What happened, to what, and what to do.
    pub message: String,
    /// Whether something outside is waited for, such as a network. Then it is tried again until the deadline, and does not
    /// count as one of the operation's tries.
    pub waits: bool,
}

impl JobFailure {
    /// A failure that may heal by itself.
    pub fn retry(reason: &'static str, message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Retry, reason, message: message.into(), waits: false }
    }

    /// A failure that heals as soon as something outside has changed, nobody knows when.
    pub fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self { waits: true, ..Self::retry(reason, message) }
    }

    /// A failure that would come again: somebody has to do something.
    pub fn refused(reason: &'static str, message: impl Into<String>) -> Self {
        Self { class: ErrorClass::NeedsOperator, ..Self::retry(reason, message) }
    }

    /// A fault of the node.
    pub fn bug(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Bug, ..Self::retry("FaultOfTheNode", message) }
    }
}

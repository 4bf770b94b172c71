//! Jobs: long work that can be watched, aborted, and that survives a restart of the node.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Invalid, Kind, LocalRef, ResourceKind, Timestamp, Validate};

/// Marks [`crate::Resource`]s that are jobs.
#[derive(Debug, Clone, Copy)]
pub enum Job {}

impl ResourceKind for Job {
    const KIND: Kind = Kind::Job;
    type Spec = JobSpec;
    type Status = JobStatus;
}

/// What a job is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The operation, such as `image.import`.
    pub operation: String,
    /// What it works on. Of the jobs on one resource, one is at work at a time.
    pub subject: Option<LocalRef>,
    /// Seconds after which it counts as failed; counted anew after a restart of the node's service.
    pub deadline_s: u32,
    /// Set by a user who wants it ended.
    #[serde(default)]
    pub abort: bool,
    /// What the operation needs to know, in its own shape.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: Value,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted; waits for its turn.
    #[default]
    Queued,
    /// At work.
    Running,
    /// Failed in a way that may heal; tried again at a later time.
    Waiting,
    /// Is being ended on request: what was half done is undone.
    Aborting,
    /// Has failed: what was half done is undone.
    Undoing,
    /// Finished well.
    Completed,
    /// Ended without success.
    Failed,
    /// Ended on request.
    Aborted,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Aborting,
        Self::Undoing,
        Self::Completed,
        Self::Failed,
        Self::Aborted,
    ];

    /// Whether nothing more happens by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Aborted)
    }
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct JobStatus {
    /// State.
    pub state: JobState,
    /// The step it is at, such as `convert`.
    pub stage: String,
    /// 0 to 100, if it can be told.
    pub percent: Option<u8>,
    /// Bytes dealt with in this stage, if it is about bytes.
    pub bytes_done: Option<u64>,
    /// Bytes that there are to deal with, if known.
    pub bytes_total: Option<u64>,
    /// Bytes per second, over the last seconds.
    pub rate: Option<u64>,
    /// For people: what it does, what came of it, or why it failed.
    pub message: String,
    /// Why it failed, as one CamelCase word for programs; empty if it did not.
    pub reason: String,
    /// Whether the action `retry` would be taken.
    pub retryable: bool,
    /// How often it was begun.
    pub attempts: u32,
    /// First start.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started: Option<Timestamp>,
    /// End.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub finished: Option<Timestamp>,
}

impl Validate for JobSpec {
    fn validate(&self, _found: &mut Invalid) {}
}

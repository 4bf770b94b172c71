//! Jobs: long work that can be watched, aborted, and that survives a restart of the node.

use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The operation, such as `vm.delete`.
    pub operation: String,
    /// What it works on.
    pub subject: Option<LocalRef>,
    /// Seconds after which it counts as failed.
    pub deadline_s: u32,
    /// Set by a user who wants it ended.
    #[serde(default)]
    pub abort: bool,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted.
    #[default]
    Queued,
    /// At work.
    Running,
    /// Finished well.
    Completed,
    /// Ended without success; what was half done has been undone.
    Failed,
    /// Ended on request.
    Aborted,
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct JobStatus {
    /// State.
    pub state: JobState,
    /// 0 to 100, if it can be told.
    pub percent: Option<u8>,
    /// The step it is at, or why it failed.
    pub message: String,
    /// Start.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started: Option<Timestamp>,
    /// End.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub finished: Option<Timestamp>,
}

impl Validate for JobSpec {
    fn validate(&self, _found: &mut Invalid) {}
}

//! Revisions of a pod: what its containers are at one time, kept so that it can be gone back to.

use serde::{Deserialize, Serialize};

use crate::{Container, Invalid, PodVolume, Timestamp};

/// How a pod goes from one revision to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct UpdatePolicy {
    /// Seconds without a break for which a new revision must be ready to count as good, 0 to 3600.
    pub min_ready_s: u32,
    /// Seconds within which it must have come so far, 10 to 86400.
    pub deadline_s: u32,
    /// A revision that fails before it is good gives way to the last good one by itself.
    pub rollback: bool,
    /// Changes of the containers are kept for later: what runs stays.
    pub paused: bool,
    /// Revisions that are kept, 1 to 50; fewer if they take more than 112 KiB as JSON.
    pub history: u32,
}

impl UpdatePolicy {
    /// Most bytes that a pod's revisions take as JSON; the one that runs and the last good one are kept in any case.
    pub const MOST_HISTORY_BYTES: usize = 112 * 1024;
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self { min_ready_s: 10, deadline_s: 600, rollback: true, paused: false, history: 10 }
    }
}

impl UpdatePolicy {
    pub(crate) fn validate(&self, found: &mut Invalid) {
        for (part, value, from, to) in [
            ("min_ready_s", self.min_ready_s, 0, 3600),
            ("deadline_s", self.deadline_s, 10, 86_400),
            ("history", self.history, 1, 50),
        ] {
            if !(from..=to).contains(&value) {
                found.add(format!("spec.update.{part}"), format!("must be {from} to {to}"));
            }
        }
        found.require(
            self.min_ready_s < self.deadline_s,
            "spec.update.deadline_s",
            "must be more than `min_ready_s`",
        );
    }
}

/// What a revision is: a change of anything here makes a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PodTemplate {
    /// The pod's containers.
    pub containers: Vec<Container>,
    /// Those that run before the others.
    pub init: Vec<Container>,
    /// Its volumes.
    pub volumes: Vec<PodVolume>,
}

/// How far a revision has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RevisionState {
    /// It has not been ready long enough yet.
    #[default]
    Rolling,
    /// It has been ready long enough.
    Good,
    /// It failed before it was good.
    Failed,
}

/// A revision of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PodRevision {
    /// Counts from 1.
    pub number: u32,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// How far it has come.
    pub state: RevisionState,
    /// Why it failed, if it did.
    pub reason: String,
    /// What it is.
    pub template: PodTemplate,
}

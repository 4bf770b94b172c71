//! The life of a pod as its record tells it: what is asked of it, what comes before it, what a boot makes of it.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Name};

/// What is asked of a pod beside its wanted power, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PodRequestKind {
    /// Start what has ended or waits, now. What runs is left alone.
    Start,
    /// Off and on again.
    Restart,
    /// Off at once, without waiting for its own end.
    Kill,
}

/// A request with its number. It stands in the record before anything is done about it, so it is not
/// forgotten when a service or the machine ends; `status.request_done` tells how far things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PodRequest {
    /// Counts requests of this pod, from 1.
    pub number: u64,
    /// What is asked.
    pub what: PodRequestKind,
}

/// How far a pod must be before another one starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// All of its containers run.
    Running,
    /// All of its containers run and are ready.
    #[default]
    Ready,
}

/// A pod that has to be there before another one starts. What becomes of it later does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PodDependency {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub pod: Name,
    /// How far it must be.
    #[serde(default)]
    pub condition: DependencyCondition,
}

impl PodDependency {
    pub(crate) fn validate_all(list: &[Self], found: &mut Invalid) {
        found.require(list.len() <= 16, "spec.depends_on", "must be at most 16 pods");
        for (index, one) in list.iter().enumerate() {
            if list.iter().take(index).any(|other| other.pod == one.pod) {
                let field = format!("spec.depends_on[{index}].pod");
                found.add(field, format!("`{}` is given twice", one.pod));
            }
        }
    }
}

//! Conditions: named facts about a resource, each with a reason and the moment it last changed.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConditionState {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known, for example before the first observation.
    Unknown,
}

/// One named fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Condition {
    /// The fact's name, such as `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub state: ConditionState,
    /// One CamelCase word for programs.
    pub reason: String,
    /// A sentence for people: what happened, to what, what to do.
    pub message: String,
    /// When `state` last changed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
}

/// The conditions of one resource; at most one of each type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    /// Sets a condition. `since` moves only when the state changes, so a repeated report changes nothing.
    pub fn set(
        &mut self,
        kind: &str,
        state: ConditionState,
        reason: &str,
        message: impl Into<String>,
        now: Timestamp,
    ) {
        let message = message.into();
        if let Some(found) = self.0.iter_mut().find(|c| c.kind == kind) {
            if found.state != state {
                found.since = now;
            }
            found.state = state;
            found.reason = reason.to_owned();
            found.message = message;
        } else {
            self.0.push(Condition {
                kind: kind.to_owned(),
                state,
                reason: reason.to_owned(),
                message,
                since: now,
            });
        }
    }

    /// Removes a condition that no longer means anything.
    pub fn clear(&mut self, kind: &str) {
        self.0.retain(|c| c.kind != kind);
    }

    /// The condition of this type, if set.
    pub fn get(&self, kind: &str) -> Option<&Condition> {
        self.0.iter().find(|c| c.kind == kind)
    }

    /// True only if the condition is set and holds.
    pub fn holds(&self, kind: &str) -> bool {
        self.get(kind).is_some_and(|c| c.state == ConditionState::True)
    }

    /// All conditions, in the order in which they were first set.
    pub fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_moves_only_with_the_state() {
        let mut conditions = Conditions::default();
        let first = Timestamp::from_second(10).unwrap();
        let second = Timestamp::from_second(20).unwrap();
        conditions.set("Ready", ConditionState::False, "Starting", "", first);
        conditions.set("Ready", ConditionState::False, "StillStarting", "", second);
        assert_eq!(conditions.get("Ready").unwrap().since, first);
        conditions.set("Ready", ConditionState::True, "Up", "", second);
        assert_eq!(conditions.get("Ready").unwrap().since, second);
        assert!(conditions.holds("Ready"));
        assert_eq!(conditions.iter().count(), 1);
    }
}

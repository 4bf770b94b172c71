//! What came of a pass: kept for `explain`, so that a person can see what the node thought.

use serde::Serialize;
use skerry_model::{LocalRef, Timestamp};

use crate::{ErrorClass, Failure, Key, Outcome};

/// One pass of one controller over one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassReport {
    /// The controller.
    pub controller: &'static str,
    /// What the pass was about.
    pub key: Key,
    /// The store's revision when it started.
    pub revision: u64,
    /// When it started.
    pub started: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// The steps that it said it would take (see [`crate::planned`]).
    pub plan: Vec<String>,
    /// How it ended.
    pub end: PassEnd,
    /// Failures in a row, this pass included.
    pub failures: u32,
    /// Milliseconds until the next pass, as set when this one ended.
    pub next_ms: Option<u64>,
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum PassEnd {
    /// Nothing left to do.
    Done,
    /// It wants to look again.
    Again {
        /// After so many milliseconds.
        after_ms: u64,
    },
    /// It waits for another resource.
    Blocked {
        /// For which.
        on: LocalRef,
    },
    /// It failed.
    Failed {
        /// What kind of trouble.
        class: ErrorClass,
        /// What happened, to what, and what to do; then what lies behind, outermost first.
        errors: Vec<String>,
    },
}

/// Errors behind an error that are still told.
const CHAIN: usize = 8;

impl PassEnd {
    pub(crate) fn of(result: &Result<Outcome, Failure>) -> Self {
        match result {
            Ok(Outcome::Done) => Self::Done,
            Ok(Outcome::Again(after)) => Self::Again { after_ms: millis(*after) },
            Ok(Outcome::Blocked(on)) => Self::Blocked { on: *on },
            Err(failure) => Self::Failed { class: failure.class, errors: chain(failure) },
        }
    }
}

fn chain(failure: &Failure) -> Vec<String> {
    let mut errors = vec![failure.to_string()];
    let mut next = std::error::Error::source(failure);
    while let Some(error) = next.filter(|_| errors.len() < CHAIN) {
        errors.push(error.to_string());
        next = error.source();
    }
    errors
}

pub(crate) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

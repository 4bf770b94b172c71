//! Why a request is refused, in the same words for every face.

use serde::{Deserialize, Serialize};
use skerry_model::Violation;

/// Why a request was not done. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// What sort of refusal, for programs.
    pub class: RefusalClass,
    /// What happened, to what, and what to do.
    pub detail: String,
    /// Every fault of a document, for [`RefusalClass::Invalid`].
    pub violations: Vec<Violation>,
}

impl Refusal {
    /// A refusal without violations.
    pub fn new(class: RefusalClass, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), violations: Vec::new() }
    }
}

/// Sorts of refusal, each with its HTTP status (RFC 9110) in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalClass {
    /// No or a wrong token (401).
    Unauthenticated,
    /// Known, but not allowed (403).
    Forbidden,
    /// No such resource (404).
    NotFound,
    /// The document is wrong (400 if it cannot be read, 422 with violations).
    Invalid,
    /// Stands against the present state, such as a name in use (409).
    Conflict,
    /// The resource changed since the caller read it (412).
    Stale,
    /// The machine cannot hold it; the detail gives the numbers (409).
    Capacity,
    /// Too many tries; seconds to wait (429).
    TooMany {
        /// Seconds.
        retry_after_s: u32,
    },
    /// Larger than allowed (413).
    TooLarge,
    /// A watch from a revision that is no longer kept (410).
    Gone,
    /// Cannot be done now; trying later may work (503).
    Unavailable,
    /// A fault of the node (500).
    Internal,
}

//! What a controller is, and what one pass of it may come to.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use skerry_model::{Kind, LocalRef};
use skerry_store::Change;

/// What one pass is about: a resource, or the node for a controller that does one pass over everything.
pub type Key = LocalRef;

/// The end of a pass without error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Wanted and observed agree, as far as this controller can bring it.
    Done,
    /// Look again after this time.
    Again(Duration),
    /// Waits for another resource; the next change of it wakes this key.
    Blocked(LocalRef),
}

/// What kind of trouble a failure is, and thereby when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// May heal by itself: tried again after 1 s, 2 s, … 5 min, with jitter.
    Retry,
    /// Somebody has to do something: condition and alarm, tried again slowly.
    NeedsOperator,
    /// A fault of the node: condition, alarm and a mark for support; tried again slowly.
    Bug,
}

/// The end of a pass with an error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of trouble.
    pub class: ErrorClass,
    /// What happened, to what, and what to do.
    pub message: String,
    /// What lies behind it.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure that may heal by itself.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Retry, message: message.into(), source: None }
    }

    /// A failure that waits for somebody.
    pub fn needs_operator(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::NeedsOperator, message: message.into(), source: None }
    }

    /// A fault of the node.
    pub fn bug(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Bug, message: message.into(), source: None }
    }

    /// Adds what lies behind.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// Brings one sort of thing to what is wanted of it.
///
/// A pass reads the store and the driver, makes a plan, applies it and writes status. It must be
/// idempotent: it may be run at any time, and twice.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Name in logs and in the graph.
    fn name(&self) -> &'static str;

    /// Kinds whose changes wake it. A change of nothing but the status of a kind that it writes
    /// itself does not: it wrote that.
    fn watches(&self) -> &'static [Kind];

    /// Kinds whose status it writes. The engine refuses two writers of one kind.
    fn writes(&self) -> &'static [Kind];

    /// Keys to look at when this change has happened.
    fn keys(&self, change: &Change) -> Vec<Key>;

    /// Keys to look at on start, and at every resync.
    fn all_keys(&self) -> Vec<Key>;

    /// How often every key is looked at though nothing was heard.
    fn resync(&self) -> Duration {
        Duration::from_secs(300)
    }

    /// One pass.
    async fn reconcile(&self, key: Key) -> Result<Outcome, Failure>;
}

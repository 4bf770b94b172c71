//! Carrying out a plan: one step after the other, leaving out what would build on a failure.

use std::sync::Arc;

use skerry_engine::Failure;

use crate::{NetworkHost, NetworkStep};

/// A step that was not done.
#[derive(Debug)]
pub struct Undone {
    /// The step.
    pub step: NetworkStep,
    /// Why; `None` if it waits for another step that failed.
    pub failure: Option<Failure>,
}

impl Undone {
    /// A sentence for the condition of what is concerned.
    pub fn message(&self) -> String {
        match &self.failure {
            Some(failure) => format!("could not {}: {failure}", self.step.summary()),
            None => format!(
                "could not {}: it waits for an earlier step that failed",
                self.step.summary()
            ),
        }
    }
}

/// Applies the steps and says which were not done.
pub async fn apply_all(host: &Arc<dyn NetworkHost>, steps: Vec<NetworkStep>) -> Vec<Undone> {
    let mut undone: Vec<Undone> = Vec::new();
    for step in steps {
        if undone.iter().any(|earlier| step.waits_for(&earlier.step)) {
            undone.push(Undone { step, failure: None });
            continue;
        }
        tracing::info!(step = step.summary(), "network");
        if let Err(failure) = host.apply(&step).await {
            tracing::warn!(step = step.summary(), error = %failure, source = ?failure.source, "network step failed");
            undone.push(Undone { step, failure: Some(failure) });
        }
    }
    undone
}

//! How a pass tells what it is going to do, for logs and for `explain`.

use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    static PLAN: Plan;
}

/// Steps of one pass that are kept.
const STEPS: usize = 64;
/// Characters of a step that are kept.
const LENGTH: usize = 256;

/// The steps of a pass, told while it runs; they outlive it if it panics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan(Arc<Mutex<Vec<String>>>);

impl Plan {
    /// Runs a pass that tells its steps to this plan.
    pub async fn record<T>(self, pass: impl Future<Output = T>) -> T {
        PLAN.scope(self, pass).await
    }

    /// What was told so far.
    pub fn steps(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells a step of the running pass's plan. Outside a pass, and in tasks that a pass spawns, it does
/// nothing.
pub fn planned(step: impl std::fmt::Display) {
    // Outside a pass there is nobody to tell.
    let _ = PLAN.try_with(|plan| {
        let mut steps = plan.0.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() < STEPS {
            steps.push(step.to_string().chars().take(LENGTH).collect());
        }
    });
}

//! Turns passes that fail for good into an alarm, and ends it when they succeed again.

use std::collections::{BTreeMap, BTreeSet};

use skerry_engine::{EngineHandle, ErrorClass, Key, PassEnd, PassReport};
use skerry_faults::{Faults, FaultsError};
use tokio::sync::broadcast::error::RecvError;

const ALARM: &str = "CONTROLLER_FAULT";

/// Which controllers fail, by what they fail at.
#[derive(Default)]
struct Failing(BTreeMap<Key, BTreeSet<&'static str>>);

/// What a report means for the alarm.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Raise(String),
    Clear,
    Nothing,
}

impl Failing {
    /// A failure that heals by itself says nothing; the alarm of an earlier run of the daemon is cleared by the
    /// first success.
    fn verdict(&mut self, report: &PassReport) -> Verdict {
        match &report.end {
            PassEnd::Failed { class: ErrorClass::Retry, .. } => Verdict::Nothing,
            PassEnd::Failed { errors, .. } => {
                self.0.entry(report.key).or_default().insert(report.controller);
                Verdict::Raise(format!("{}: {}", report.controller, errors.join(": ")))
            }
            _ => {
                let seen = self.0.contains_key(&report.key);
                let left = self.0.entry(report.key).or_default();
                let was_failing = left.remove(report.controller);
                let over = left.is_empty() && (was_failing || !seen);
                if over { Verdict::Clear } else { Verdict::Nothing }
            }
        }
    }
}

/// Listens until the engine is gone.
pub async fn watch_faults(engine: EngineHandle, faults: Faults) {
    let mut reports = engine.reports();
    let mut failing = Failing::default();
    loop {
        let report = match reports.recv().await {
            Ok(report) => report,
            // What is missed comes again with the next pass over the same key.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if let Err(error) = tell(&faults, report.key, failing.verdict(&report)).await {
            tracing::warn!(%error, "an alarm could not be recorded");
        }
    }
}

async fn tell(faults: &Faults, key: Key, verdict: Verdict) -> Result<(), FaultsError> {
    match verdict {
        Verdict::Raise(message) => faults.raise(ALARM, Some(key), &message).await,
        Verdict::Clear => faults.clear(ALARM, Some(key)).await,
        Verdict::Nothing => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_model::{Kind, Timestamp};
    use uuid::Uuid;

    fn report(controller: &'static str, end: PassEnd) -> PassReport {
        PassReport {
            controller,
            key: Key { kind: Kind::Vm, id: Uuid::nil() },
            revision: 1,
            started: Timestamp::UNIX_EPOCH,
            took_ms: 1,
            plan: Vec::new(),
            end,
            failures: 1,
            next_ms: None,
        }
    }

    fn failed(class: ErrorClass) -> PassEnd {
        PassEnd::Failed { class, errors: vec!["no".to_owned()] }
    }

    #[test]
    fn the_alarm_stands_until_every_controller_is_well() {
        let mut failing = Failing::default();
        let raise = |who: &str| Verdict::Raise(format!("{who}: no"));
        assert_eq!(failing.verdict(&report("a", failed(ErrorClass::Bug))), raise("a"));
        assert_eq!(failing.verdict(&report("b", failed(ErrorClass::NeedsOperator))), raise("b"));
        assert_eq!(failing.verdict(&report("a", PassEnd::Done)), Verdict::Nothing);
        assert_eq!(failing.verdict(&report("b", failed(ErrorClass::Retry))), Verdict::Nothing);
        assert_eq!(failing.verdict(&report("b", PassEnd::Done)), Verdict::Clear);
        assert_eq!(failing.verdict(&report("b", PassEnd::Done)), Verdict::Nothing);
    }

    #[test]
    fn the_first_success_clears_what_an_earlier_run_left() {
        let mut failing = Failing::default();
        assert_eq!(failing.verdict(&report("a", PassEnd::Done)), Verdict::Clear);
        assert_eq!(failing.verdict(&report("a", PassEnd::Done)), Verdict::Nothing);
    }
}

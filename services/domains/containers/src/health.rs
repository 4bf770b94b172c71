//! What probes say of a container, as a table: what is known, what was answered, what is known then.
//!
//! Single answers do not count: [`Count`] waits for as many in a row as the probe asks for, then gives the
//! event. Startup is asked first; only once it has succeeded are liveness and readiness asked. The table that
//! [`health_table`] gives is:
//!
//! ```text
//! event \ from        starting    unready     ready       failed
//! started             unready     -           -           -
//! not_started         failed      -           -           -
//! readiness_good      -           ready       ready       -
//! readiness_bad       -           unready     unready     -
//! liveness_bad        -           failed      failed      -
//! ```
//!
//! `failed` is the end: the run is taken down, and the next run begins anew.

use skerry_model::Probe;

/// What is known of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    /// Its startup probe has not succeeded yet.
    #[default]
    Starting,
    /// It has started up and cannot do its work.
    Unready,
    /// It can do its work.
    Ready,
    /// It has to be started again.
    Failed,
}

/// What enough answers in a row say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthEvent {
    /// The startup probe succeeded.
    Started,
    /// The startup probe failed for good.
    NotStarted,
    /// The readiness probe succeeded.
    ReadinessGood,
    /// The readiness probe failed.
    ReadinessBad,
    /// The liveness probe failed.
    LivenessBad,
}

/// What is known after an event; none if the event cannot happen there.
pub fn health_after(health: Health, event: HealthEvent) -> Option<Health> {
    use HealthEvent::{LivenessBad, NotStarted, ReadinessBad, ReadinessGood, Started};
    match (health, event) {
        (Health::Starting, Started) => Some(Health::Unready),
        (Health::Starting, NotStarted) => Some(Health::Failed),
        (Health::Unready | Health::Ready, ReadinessGood) => Some(Health::Ready),
        (Health::Unready | Health::Ready, ReadinessBad) => Some(Health::Unready),
        (Health::Unready | Health::Ready, LivenessBad) => Some(Health::Failed),
        _ => None,
    }
}

/// Counts answers in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    failures: u32,
    successes: u32,
    good: u32,
    bad: u32,
}

impl Count {
    /// For this probe.
    pub const fn new(probe: &Probe) -> Self {
        Self {
            failures: probe.failure_threshold,
            successes: probe.success_threshold,
            good: 0,
            bad: 0,
        }
    }

    /// Takes an answer. `Some(true)` once enough in a row were good, `Some(false)` once enough were bad.
    pub fn answer(&mut self, good: bool) -> Option<bool> {
        if good {
            self.bad = 0;
            self.good = self.good.saturating_add(1);
            (self.good >= self.successes).then_some(true)
        } else {
            self.good = 0;
            self.bad = self.bad.saturating_add(1);
            (self.bad >= self.failures).then_some(false)
        }
    }
}

const STATES: [(Health, &str); 4] = [
    (Health::Starting, "starting"),
    (Health::Unready, "unready"),
    (Health::Ready, "ready"),
    (Health::Failed, "failed"),
];

const EVENTS: [(HealthEvent, &str); 5] = [
    (HealthEvent::Started, "started"),
    (HealthEvent::NotStarted, "not_started"),
    (HealthEvent::ReadinessGood, "readiness_good"),
    (HealthEvent::ReadinessBad, "readiness_bad"),
    (HealthEvent::LivenessBad, "liveness_bad"),
];

/// The table above, made from [`health_after`].
pub fn health_table() -> String {
    let word = |state| STATES.iter().find(|(other, _)| *other == state).map_or("?", |row| row.1);
    let line = |first: &str, cells: Vec<&str>| {
        let mut line = format!("{first:<20}");
        for cell in cells {
            line.push_str(&format!("{cell:<12}"));
        }
        line.trim_end().to_owned()
    };
    let mut table = vec![line("event \\ from", STATES.iter().map(|row| row.1).collect())];
    for (event, text) in EVENTS {
        let cells = STATES.iter().map(|(state, _)| health_after(*state, event).map_or("-", word));
        table.push(line(text, cells.collect()));
    }
    table.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_the_real_one() {
        let source = include_str!("health.rs");
        let documented: Vec<&str> = source
            .lines()
            .skip_while(|line| !line.contains("```text"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//! ").trim_end())
            .collect();
        assert_eq!(documented.join("\n"), health_table());
    }

    #[test]
    fn only_answers_in_a_row_count() {
        let probe = serde_json::json!({"check": {"tcp": {"port": 1}},
            "failure_threshold": 3, "success_threshold": 2});
        let mut count = Count::new(&serde_json::from_value(probe).unwrap());
        let answers = [false, false, true, false, false, true, true, true, false, false, false];
        let events: Vec<Option<bool>> = answers.map(|good| count.answer(good)).into();
        let mut expected = vec![None; 6];
        expected.extend([Some(true), Some(true), None, None, Some(false)]);
        assert_eq!(events, expected);
    }
}

//! How long to wait before a container is started again: 0, 10, 20, 40 … 300 s.

use std::time::Duration;

/// A run of this length ends a series of failures.
const GOOD_RUN: Duration = Duration::from_secs(600);
/// The first wait that is not zero.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait.
const CAP: Duration = Duration::from_secs(300);

/// More exits than this within [`CRASH_LOOP_WINDOW`] are a crash loop.
pub const CRASH_LOOP_EXITS: usize = 5;
/// The time over which exits are counted.
pub const CRASH_LOOP_WINDOW: Duration = GOOD_RUN;

/// The series of waits of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    ended: u32,
}

impl Backoff {
    /// A run has ended after `ran_for`: the wait before the next one.
    pub fn ended(&mut self, ran_for: Duration) -> Duration {
        if ran_for >= GOOD_RUN {
            self.ended = 0;
        }
        let wait = match self.ended {
            0 => Duration::ZERO,
            count => FIRST.saturating_mul(1_u32 << (count - 1).min(16)).min(CAP),
        };
        self.ended = self.ended.saturating_add(1);
        wait
    }

    /// Starts the series anew, as when a person asks for a start.
    pub fn reset(&mut self) {
        self.ended = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_anew_after_a_good_run() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u64> = (0..9).map(|_| backoff.ended(short).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(backoff.ended(GOOD_RUN), Duration::ZERO);
        assert_eq!(backoff.ended(short), FIRST);
        backoff.reset();
        assert_eq!(backoff.ended(short), Duration::ZERO);
    }

    #[test]
    fn a_long_series_never_overflows() {
        let mut backoff = Backoff { ended: u32::MAX };
        assert_eq!(backoff.ended(Duration::ZERO), CAP);
        assert_eq!(backoff.ended(Duration::ZERO), CAP);
    }
}

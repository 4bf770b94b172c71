//! How fast a job goes, and how long it waits before it is tried again.

use std::time::Duration;

/// The span over which a rate is taken.
const SPAN: Duration = Duration::from_secs(10);

/// Bytes per second over the last seconds. Fed with the count of bytes and the monotonic time since any zero.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Oldest first; the first is at most one sample older than the span.
    samples: Vec<(Duration, u64)>,
}

impl Pace {
    /// Takes a sample and tells the rate; none before two samples. A count that goes back starts anew.
    pub fn sample(&mut self, at: Duration, bytes: u64) -> Option<u64> {
        if self.samples.last().is_some_and(|(_, last)| bytes < *last) {
            self.samples.clear();
        }
        self.samples.push((at, bytes));
        let from = at.saturating_sub(SPAN);
        let old = self.samples.iter().take_while(|(time, _)| *time < from).count();
        self.samples.drain(..old.saturating_sub(1));
        let (first, before) = self.samples.first().copied()?;
        let millis = u64::try_from(at.saturating_sub(first).as_millis()).ok()?;
        (bytes - before).saturating_mul(1000).checked_div(millis)
    }
}

/// The pause before try number `attempt` + 1: 2 s, 4 s, … 300 s.
pub fn retry_pause(attempt: u32) -> Duration {
    Duration::from_secs(1_u64.checked_shl(attempt.max(1)).unwrap_or(300).min(300))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_rate_is_of_the_last_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.sample(at(0), 0), None);
        assert_eq!(pace.sample(at(1), 1000), Some(1000));
        for second in 2..=20 {
            pace.sample(at(second), 1000 + (second - 1) * 5000);
        }
        assert_eq!(pace.sample(at(21), 1000 + 20 * 5000), Some(5000));
        // It stands still.
        for second in 22..=32 {
            pace.sample(at(second), 101_000);
        }
        assert_eq!(pace.sample(at(33), 101_000), Some(0));
        assert_eq!(pace.sample(at(34), 5), None, "another count begins");
    }

    #[test]
    fn pauses_grow_and_end_at_five_minutes() {
        let pauses: Vec<_> = (1..=10).map(|n| retry_pause(n).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!((retry_pause(0).as_secs(), retry_pause(u32::MAX).as_secs()), (2, 300));
    }

    proptest! {
        #[test]
        fn no_sample_overflows_and_memory_is_bounded(
            samples in prop::collection::vec((0_u64..100, any::<u64>()), 0..200),
        ) {
            let (mut pace, mut time) = (Pace::default(), Duration::ZERO);
            for (step, bytes) in samples {
                time += Duration::from_millis(step * 100);
                pace.sample(time, bytes);
            }
            prop_assert!(pace.samples.iter().filter(|(t, _)| *t + SPAN < time).count() <= 1);
        }
    }
}

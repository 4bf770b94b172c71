//! When a failed pass is tried again. Pure but for the seed of its jitter.

use std::time::Duration;

use crate::ErrorClass;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Random numbers that only spread retries, from the SplitMix64 sequence. Not for secrets.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number of thousandths, 0 to 999.
    fn thousandths(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) % 1000).unwrap_or(0)
    }
}

/// The wait after the `failures`th failure in a row: 1 s, 2 s, 4 s up to 5 min for trouble that may
/// heal by itself, 5 min at once for the rest. Up to a quarter is added, so that keys which failed
/// together do not all come back together; it is never more than 5 min.
pub(crate) fn wait(class: ErrorClass, failures: u32, jitter: &mut Jitter) -> Duration {
    let base = match class {
        ErrorClass::Retry => {
            let doublings = failures.saturating_sub(1).min(16);
            FIRST.saturating_mul(1 << doublings).min(LONGEST)
        }
        ErrorClass::NeedsOperator | ErrorClass::Bug => LONGEST,
    };
    let spread = base.min(LONGEST.saturating_sub(base)) / 4;
    base + spread * jitter.thousandths() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_from_a_second_to_five_minutes() {
        let mut jitter = Jitter::new(1);
        let mut last = Duration::ZERO;
        for failures in 1..12 {
            let wait = wait(ErrorClass::Retry, failures, &mut jitter);
            let base = Duration::from_secs(1 << (failures - 1)).min(LONGEST);
            assert!(wait >= base && wait <= base + base / 4, "{failures}: {wait:?}");
            assert!(wait >= last);
            last = wait;
        }
        assert_eq!(last, LONGEST);
    }

    #[test]
    fn jitter_spreads() {
        let mut jitter = Jitter::new(7);
        let waits: std::collections::HashSet<_> =
            (0..100).map(|_| wait(ErrorClass::Retry, 5, &mut jitter)).collect();
        assert!(waits.len() > 50);
    }

    proptest! {
        #[test]
        fn a_wait_is_always_within_its_limits(seed: u64, failures: u32, bug: bool) {
            let class = if bug { ErrorClass::Bug } else { ErrorClass::Retry };
            let wait = wait(class, failures, &mut Jitter::new(seed));
            prop_assert!((FIRST..=LONGEST).contains(&wait));
            prop_assert!(!bug || wait == LONGEST);
        }
    }
}

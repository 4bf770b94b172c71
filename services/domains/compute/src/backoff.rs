//! How long a crashed machine waits before it is started again.

use std::time::Duration;

use skerry_model::Timestamp;

/// Wait of a machine that cannot be started as it is: long, since somebody has to change something.
pub const REJECTED: Duration = Duration::from_secs(300);

/// The wait before the next try: 0, 10, 20, 40, 80, 160 and then always 300 s. It never ends, since
/// nobody may be there to start the machine by hand.
pub fn delay(crashes: u32) -> Duration {
    let seconds = match crashes {
        0 | 1 => 0,
        n => 10_u64.checked_shl(n - 2).unwrap_or(300).min(300),
    };
    Duration::from_secs(seconds)
}

/// What is left of a wait that another run of this service began. The clock may have been wrong then
/// or be wrong now, so it can shorten the wait but never lengthen it.
pub fn remaining(next_try: Option<Timestamp>, now: Timestamp, delay: Duration) -> Duration {
    let Some(next_try) = next_try else { return delay };
    let left = next_try.duration_since(now);
    Duration::try_from(left).unwrap_or(Duration::ZERO).min(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes() {
        let waits: Vec<_> = (0..10).map(|n| delay(n).as_secs()).collect();
        assert_eq!(waits, [0, 0, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(delay(u32::MAX).as_secs(), 300);
    }

    #[test]
    fn a_wrong_clock_never_lengthens_a_wait() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let delay = Duration::from_secs(40);
        assert_eq!(remaining(Some(at(1030)), at(1000), delay).as_secs(), 30);
        assert_eq!(remaining(Some(at(9_999_999)), at(1000), delay).as_secs(), 40);
        assert_eq!(remaining(Some(at(1)), at(1000), delay).as_secs(), 0);
        assert_eq!(remaining(None, at(1000), delay).as_secs(), 40);
    }
}

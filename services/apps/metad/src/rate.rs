//! How often each guest may ask.
//!
//! Pure, given the time. Each address has a bucket that fills at a steady pace. There are never more of them than
//! addresses that have asked lately: a bucket that is full again is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses that are counted at a time; more than a node has guests.
const MOST: usize = 4096;

/// Counts questions.
#[derive(Debug)]
pub struct Rate {
    burst: f64,
    per_second: f64,
    buckets: HashMap<IpAddr, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Duration,
}

impl Rate {
    /// So many at once, and so many each second after that.
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self { burst: burst.into(), per_second: per_second.into(), buckets: HashMap::new() }
    }

    /// Whether this one may be answered. `now` is the time since some beginning.
    pub fn take(&mut self, from: IpAddr, now: Duration) -> bool {
        if self.buckets.len() >= MOST {
            let (burst, pace) = (self.burst, self.per_second);
            self.buckets.retain(|_, bucket| bucket.after(now, burst, pace).left < burst);
        }
        if self.buckets.len() >= MOST && !self.buckets.contains_key(&from) {
            return false;
        }
        let full = Bucket { left: self.burst, at: now };
        let bucket = self.buckets.entry(from).or_insert(full);
        *bucket = bucket.after(now, self.burst, self.per_second);
        let may = bucket.left >= 1.0;
        if may {
            bucket.left -= 1.0;
        }
        may
    }
}

impl Bucket {
    fn after(self, now: Duration, burst: f64, pace: f64) -> Self {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        Self { left: (self.left + passed * pace).min(burst), at: now.max(self.at) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn guest(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a58_0000 + number).into()
    }

    #[test]
    fn a_guest_that_asks_too_often_waits_and_the_others_do_not() {
        let mut rate = Rate::new(3, 2);
        let at = Duration::from_secs;
        let asked = |rate: &mut Rate, from, when| (0..5).filter(|_| rate.take(from, when)).count();
        assert_eq!(asked(&mut rate, guest(1), at(0)), 3);
        assert_eq!(asked(&mut rate, guest(1), at(0)), 0);
        assert_eq!(asked(&mut rate, guest(2), at(0)), 3);
        assert_eq!(asked(&mut rate, guest(1), at(1)), 2);
        assert_eq!(asked(&mut rate, guest(1), at(100)), 3, "no more than a burst is saved up");
    }

    #[test]
    fn there_are_never_more_buckets_than_are_needed() {
        let mut rate = Rate::new(3, 2);
        for number in 0..u32::try_from(MOST).unwrap() {
            assert!(rate.take(guest(number), Duration::ZERO));
        }
        assert!(!rate.take(guest(70_000), Duration::ZERO), "there is no room");
        assert!(rate.take(guest(5), Duration::ZERO), "who is counted already goes on");
        assert!(rate.take(guest(70_000), Duration::from_secs(60)));
        assert_eq!(rate.buckets.len(), 1, "what is full again is forgotten");
    }
}

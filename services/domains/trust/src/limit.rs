//! The rate limit on guesses: claim codes and passwords.
//!
//! Each origin gets five free failures; after that it waits 2 s, 4 s, … up to five minutes between tries.
//! All origins together get fifty failures before everybody waits, so that changing addresses does not help.
//! A success forgives its origin. Time is monotonic seconds from the caller.

use std::collections::BTreeMap;

const FREE_PER_ORIGIN: u32 = 5;
const FREE_FOR_ALL: u32 = 50;
const LONGEST_WAIT_S: u64 = 300;
/// Failures older than this are forgotten.
const MEMORY_S: u64 = 3600;
/// Most origins remembered; the one that failed longest ago goes first.
const MOST_ORIGINS: usize = 1024;

/// A guess that came too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed tries; wait {retry_after_s} s before the next one")]
pub struct TooMany {
    /// Seconds to wait.
    pub retry_after_s: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    last: u64,
}

impl Failures {
    fn wait(self, free: u32, now: u64) -> u64 {
        let over = self.count.saturating_sub(free);
        if over == 0 {
            return 0;
        }
        let pause = 1_u64.checked_shl(over.min(32)).unwrap_or(LONGEST_WAIT_S).min(LONGEST_WAIT_S);
        (self.last + pause).saturating_sub(now)
    }

    fn add(&mut self, now: u64) {
        if now.saturating_sub(self.last) > MEMORY_S {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = now;
    }
}

/// Counts failures by origin and in all.
#[derive(Debug, Default)]
pub struct Limiter {
    origins: BTreeMap<String, Failures>,
    all: Failures,
}

impl Limiter {
    /// Whether a try from this origin may be looked at now.
    pub fn check(&self, origin: &str, now: u64) -> Result<(), TooMany> {
        let own = self.origins.get(origin).map_or(0, |f| f.wait(FREE_PER_ORIGIN, now));
        let wait = own.max(self.all.wait(FREE_FOR_ALL, now));
        if wait == 0 { Ok(()) } else { Err(TooMany { retry_after_s: wait }) }
    }

    /// Counts a failed try.
    pub fn failed(&mut self, origin: &str, now: u64) {
        self.all.add(now);
        if !self.origins.contains_key(origin) && self.origins.len() >= MOST_ORIGINS {
            let oldest =
                self.origins.iter().min_by_key(|(_, f)| f.last).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.origins.remove(&oldest);
            }
        }
        self.origins.entry(origin.chars().take(64).collect()).or_default().add(now);
    }

    /// Forgives an origin after a good try.
    pub fn succeeded(&mut self, origin: &str) {
        self.origins.remove(origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_five_failures_the_wait_doubles_up_to_five_minutes() {
        let mut limiter = Limiter::default();
        for _ in 0..FREE_PER_ORIGIN {
            assert_eq!(limiter.check("a", 100), Ok(()));
            limiter.failed("a", 100);
        }
        assert_eq!(limiter.check("a", 100), Ok(()));
        let mut waits = Vec::new();
        for _ in 0..10 {
            limiter.failed("a", 100);
            waits.push(limiter.check("a", 100).unwrap_err().retry_after_s);
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(limiter.check("b", 100), Ok(()));
        assert_eq!(limiter.check("a", 401), Ok(()));
        limiter.succeeded("a");
        assert_eq!(limiter.check("a", 100), Ok(()));
    }

    #[test]
    fn many_origins_share_one_limit_and_bounded_memory() {
        let mut limiter = Limiter::default();
        for number in 0..5000 {
            limiter.failed(&format!("origin-{number}"), 100);
        }
        assert!(limiter.origins.len() <= MOST_ORIGINS);
        assert!(limiter.check("never seen", 100).is_err());
        assert_eq!(limiter.check("never seen", 100 + LONGEST_WAIT_S), Ok(()));
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut limiter = Limiter::default();
        for _ in 0..20 {
            limiter.failed("a", 0);
        }
        limiter.failed("a", MEMORY_S + 1);
        assert_eq!(limiter.check("a", MEMORY_S + 1), Ok(()));
    }
}

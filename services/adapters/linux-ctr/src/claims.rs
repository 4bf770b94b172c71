//! Unpacked layers and images that somebody is about to use, so that no sweep takes them away meanwhile.
//!
//! Whoever unpacks or mounts claims first and then looks whether a layer is there; a sweep takes each layer away in a
//! turn in which nobody can claim. It says only what is being worked on: what is mounted is known to the kernel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Claims. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<BTreeMap<String, usize>>>);

impl Claims {
    /// Claims these digests for as long as the answer lives.
    pub fn claim<'a>(&self, digests: impl IntoIterator<Item = &'a String>) -> Claim {
        let digests: Vec<String> = digests.into_iter().cloned().collect();
        let mut claimed = self.lock();
        for digest in &digests {
            *claimed.entry(digest.clone()).or_default() += 1;
        }
        drop(claimed);
        Claim { claims: self.clone(), digests }
    }

    /// A turn in which nothing new is claimed.
    pub fn turn(&self) -> Turn<'_> {
        Turn(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // Counts are whole at any moment, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Claims::turn`].
pub struct Turn<'a>(MutexGuard<'a, BTreeMap<String, usize>>);

impl Turn<'_> {
    /// Whether something whose digest begins so is claimed.
    pub fn is_claimed(&self, beginning: &str) -> bool {
        self.0.keys().any(|digest| digest.starts_with(beginning))
    }
}

/// What was claimed, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    digests: Vec<String>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.claims.lock();
        for digest in &self.digests {
            if let Some(count) = claimed.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    claimed.remove(digest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_have_claimed_is_free_when_both_are_done() {
        let claims = Claims::default();
        let (a, b) = ("aa11".to_owned(), "bb22".to_owned());
        let first = claims.claim([&a, &b]);
        let second = claims.clone().claim([&a]);
        drop(first);
        assert!(claims.turn().is_claimed("aa") && !claims.turn().is_claimed("bb"));
        drop(second);
        assert!(!claims.turn().is_claimed("aa"));
    }
}

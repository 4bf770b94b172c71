//! What running work was promised of the room on the data partition and has not taken yet.
//!
//! Several jobs bring data in at once, and each sees all that is free. What one of them was promised is as good as taken
//! for the others: else together they would take the reserve. Held in memory: after a restart the jobs ask anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The promises. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    held: Arc<Mutex<BTreeMap<Uuid, u64>>>,
}

/// Gives back what a job was promised when it goes.
#[derive(Debug)]
pub struct Promise {
    of: Promises,
    job: Uuid,
}

impl Promises {
    /// What this job is promised from now on holds until the returned value goes.
    pub fn open(&self, job: Uuid) -> Promise {
        self.release(job);
        Promise { of: self.clone(), job }
    }

    /// Bytes that others than this job were promised.
    pub fn others(&self, job: Uuid) -> u64 {
        others(&self.held(), job)
    }

    /// A job has so many bytes still to write, of `free` that there are. Fails with what is left for it, and changes
    /// nothing. What was promised already is refused only when nothing is left at all: what others have written is told
    /// late.
    pub fn claim(&self, job: Uuid, bytes: u64, free: u64) -> Result<(), u64> {
        let mut held = self.held();
        let left = free.saturating_sub(others(&held, job));
        let promised = held.get(&job).copied().unwrap_or(0);
        let fits = if bytes <= promised { bytes == 0 || left > 0 } else { bytes <= left };
        if !fits {
            return Err(left);
        }
        held.insert(job, bytes);
        Ok(())
    }

    /// This job has nothing more to write.
    pub fn release(&self, job: Uuid) {
        self.held().remove(&job);
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Uuid, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn others(held: &BTreeMap<Uuid, u64>, job: Uuid) -> u64 {
    let others = held.iter().filter(|(other, _)| **other != job);
    others.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.of.release(self.job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn what_one_was_promised_is_not_there_for_another() {
        let promises = Promises::default();
        let first = promises.open(id(1));
        assert_eq!(promises.claim(id(1), 80, 100), Ok(()));
        assert_eq!((promises.others(id(1)), promises.others(id(2))), (0, 80));
        assert_eq!(promises.claim(id(2), 21, 100), Err(20));
        assert_eq!(promises.claim(id(2), 20, 100), Ok(()));
        // The first has written 50; the disk tells it at once, the second a moment later.
        assert_eq!(promises.claim(id(2), 20, 50), Err(0));
        assert_eq!(promises.claim(id(1), 30, 50), Ok(()));
        assert_eq!(promises.claim(id(2), 20, 50), Ok(()));
        assert_eq!(promises.claim(id(2), 10, 35), Ok(()), "a little less than promised");
        assert_eq!(promises.claim(id(2), 0, 0), Ok(()));
        drop(first);
        assert_eq!(promises.claim(id(2), 100, 100), Ok(()));
    }

    proptest! {
        #[test]
        fn new_promises_together_never_exceed_what_is_free(
            claims in prop::collection::vec((0_u128..4, 0_u64..100), 0..40),
        ) {
            let promises = Promises::default();
            for (job, bytes) in claims {
                let before = promises.others(id(9));
                let done = promises.claim(id(job), bytes, 200);
                prop_assert!(promises.others(id(9)) <= 200);
                prop_assert!(done.is_ok() || promises.others(id(9)) == before);
            }
        }
    }
}

//! Whose turn it is: a bounded number of jobs at work, and one at a time on each resource.

use std::collections::BTreeSet;

use skerry_model::LocalRef;
use uuid::Uuid;

/// How heavy a job is. Each class has places of its own, so that long copies never hold up short work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobClass {
    /// Seconds to minutes, little input and output: deletions, snapshots, checks.
    Quick,
    /// Moves or converts much data.
    Bulk,
}

/// How many jobs of each class may be at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Of [`JobClass::Quick`].
    pub quick: usize,
    /// Of [`JobClass::Bulk`].
    pub bulk: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self { quick: 4, bulk: 4 }
    }
}

/// A queued job, as far as its turn is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub id: Uuid,
    /// Its class.
    pub class: JobClass,
    /// What it works on.
    pub subject: Option<LocalRef>,
}

/// The jobs to start now, first come first served: `queued` is in the order of arrival, `free` tells the places
/// that are left, and `busy` the resources on which a job is at work already.
pub fn choose(queued: &[Waiting], mut free: Places, mut busy: BTreeSet<LocalRef>) -> Vec<Uuid> {
    let mut chosen = Vec::new();
    for job in queued {
        let places = match job.class {
            JobClass::Quick => &mut free.quick,
            JobClass::Bulk => &mut free.bulk,
        };
        // A resource whose first job has no place yet keeps its later ones waiting too: they stay in order.
        let blocked = job.subject.is_some_and(|subject| !busy.insert(subject));
        if blocked || *places == 0 {
            continue;
        }
        *places -= 1;
        chosen.push(job.id);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skerry_model::Kind;

    fn subject(n: u8) -> LocalRef {
        LocalRef { kind: Kind::Image, id: Uuid::from_u128(u128::from(n)) }
    }

    fn job(n: u128, class: JobClass, on: Option<u8>) -> Waiting {
        Waiting { id: Uuid::from_u128(n), class, subject: on.map(subject) }
    }

    fn numbers(chosen: &[Uuid]) -> Vec<u128> {
        chosen.iter().map(Uuid::as_u128).collect()
    }

    #[test]
    fn long_work_does_not_hold_up_short_work() {
        let queued = [
            job(1, JobClass::Bulk, None),
            job(2, JobClass::Bulk, None),
            job(3, JobClass::Quick, None),
        ];
        let chosen = choose(&queued, Places { quick: 1, bulk: 1 }, BTreeSet::new());
        assert_eq!(numbers(&chosen), [1, 3]);
    }

    #[test]
    fn one_at_a_time_on_each_resource_and_in_order() {
        let queued = [
            job(1, JobClass::Quick, Some(7)),
            job(2, JobClass::Bulk, Some(8)),
            job(3, JobClass::Quick, Some(8)),
            job(4, JobClass::Quick, Some(9)),
        ];
        let busy = BTreeSet::from([subject(7)]);
        assert_eq!(numbers(&choose(&queued, Places { quick: 2, bulk: 0 }, busy)), [4]);
    }

    proptest! {
        #[test]
        fn never_more_than_there_is_room_for(
            jobs in prop::collection::vec((any::<bool>(), prop::option::of(0_u8..4)), 0..20),
            quick in 0_usize..4, bulk in 0_usize..4, busy in prop::collection::btree_set(0_u8..4, 0..3),
        ) {
            let class = |quick| if quick { JobClass::Quick } else { JobClass::Bulk };
            let queued: Vec<_> =
                (0..).zip(&jobs).map(|(n, (quick, on))| job(n, class(*quick), *on)).collect();
            let busy: BTreeSet<_> = busy.into_iter().map(subject).collect();
            let chosen = choose(&queued, Places { quick, bulk }, busy.clone());
            let started: Vec<_> = queued.iter().filter(|j| chosen.contains(&j.id)).collect();
            prop_assert!(started.iter().filter(|j| j.class == JobClass::Quick).count() <= quick);
            prop_assert!(started.iter().filter(|j| j.class == JobClass::Bulk).count() <= bulk);
            let on: Vec<_> = started.iter().filter_map(|j| j.subject).collect();
            prop_assert_eq!(on.len(), on.iter().collect::<BTreeSet<_>>().len());
            prop_assert!(on.iter().all(|subject| !busy.contains(subject)));
        }
    }
}

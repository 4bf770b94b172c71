//! Resources, random numbers with a seed, and directories for these tests.

use std::path::Path;

use skerry_model::{Id, Job, JobSpec, JobState, JobStatus, Name, NewResource, Timestamp};
use skerry_store::{OpenReport, Store, StoreDirs};
use uuid::Uuid;

pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub fn id(n: u64) -> Id<Job> {
    Id::new(Uuid::from_u128(u128::from(n) + 1))
}

pub fn name(n: u64) -> Name {
    Name::new(format!("job-{n}")).unwrap()
}

pub fn spec(operation: &str) -> JobSpec {
    JobSpec { operation: operation.to_owned(), deadline_s: 60, ..JobSpec::default() }
}

pub fn job(n: u64, operation: &str) -> NewResource<Job> {
    NewResource::new(id(n), name(n), spec(operation))
}

pub fn status(message: &str) -> JobStatus {
    JobStatus { state: JobState::Running, message: message.to_owned(), ..JobStatus::default() }
}

pub fn dirs(root: &Path) -> StoreDirs {
    StoreDirs { state: root.join("state"), second: Some(root.join("second")) }
}

pub fn open(root: &Path) -> (Store, OpenReport) {
    Store::open(&dirs(root), now).unwrap()
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// The SplitMix64 sequence: the same numbers for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A text of fewer than `limit` characters.
    pub fn filler(&mut self, limit: u64) -> String {
        (0..self.below(limit)).map(|_| 'f').collect()
    }
}

//! Resources for this crate's own tests.

use skerry_model::{Document, Id, Job, JobSpec, Meta, Name, Owner, Phase, Timestamp};
use uuid::Uuid;

pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub fn id(n: u64) -> Id<Job> {
    Id::new(Uuid::from_u128(u128::from(n)))
}

pub fn name(n: u64) -> Name {
    Name::new(format!("job-{n}")).unwrap()
}

pub fn spec(operation: &str) -> JobSpec {
    JobSpec { operation: operation.to_owned(), deadline_s: 60, ..JobSpec::default() }
}

pub fn document(n: u64, revision: u64) -> Document {
    let metadata = Meta {
        id: id(n).uuid(),
        name: name(n),
        labels: Default::default(),
        generation: 1,
        revision,
        owner: Owner::Local,
        phase: Phase::Present,
        finalizers: Vec::new(),
        created: now(),
        updated: now(),
    };
    let spec = serde_json::to_value(spec(&format!("operation-{n}-"))).unwrap();
    Document { kind: skerry_model::Kind::Job, metadata, spec, status: serde_json::json!({}) }
}

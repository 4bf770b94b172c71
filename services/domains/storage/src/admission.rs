//! What a pool still has, from its record and those of its volumes, and what a request asks of it.
//!
//! Judged when a request comes, so that it is refused with numbers and nothing is half done.

use skerry_model::{Allocation, Name, Pool, Resource, Volume, VolumeSpec};
use skerry_store::{Store, StoreError};

use crate::{Demand, NoRoom, Space, admit};

const MIB: u64 = 1024 * 1024;

/// Why a volume was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The pool cannot hold it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The pool has not been looked at yet, or is away.
    #[error("pool `{pool}` is not ready: {reason}")]
    PoolAway {
        /// Its name.
        pool: Name,
        /// Why.
        reason: String,
    },
    /// What is there already could not be read.
    #[error("the records of the pool could not be read")]
    Store(#[from] StoreError),
}

/// The space of a pool. What volumes were promised, and what is to be taken at once for some that have not been made yet, is
/// counted from the records, since a volume that was accepted a moment ago is not in the pool's status yet.
pub fn space_of(store: &Store, pool: &Resource<Pool>) -> Result<Space, AdmissionError> {
    let status = &pool.status;
    if !status.conditions.holds("Ready") {
        let reason = match status.reason.as_str() {
            "" => "it has not been looked at yet".to_owned(),
            reason => reason.to_owned(),
        };
        return Err(AdmissionError::PoolAway { pool: pool.meta.name.clone(), reason });
    }
    let volumes = store.list::<Volume>()?;
    let own = || volumes.iter().filter(|volume| volume.spec.pool == pool.meta.name);
    let sum = |sum: u64, bytes: u64| sum.saturating_add(bytes);
    Ok(Space {
        size: status.size_bytes,
        free: status.free_bytes.saturating_sub(own().map(to_be_taken).fold(0, sum)),
        committed: own().map(committed).fold(0, sum),
        overcommit_percent: pool.spec.overcommit_percent,
    })
}

/// What a volume was promised, in bytes.
pub(crate) fn committed(volume: &Resource<Volume>) -> u64 {
    let wanted = volume.spec.size_mib.unwrap_or(0).saturating_mul(MIB);
    wanted.max(volume.status.size_bytes)
}

/// What a volume will take when it is made, in bytes.
fn to_be_taken(volume: &Resource<Volume>) -> u64 {
    let made = !volume.status.path.is_empty();
    if made { 0 } else { demand_of_volume(&volume.spec, 0).taken }
}

/// What a new volume asks for; `content` is the size of what it is made from.
pub fn demand_of_volume(spec: &VolumeSpec, content: u64) -> Demand {
    let promised = spec.size_mib.unwrap_or(0).saturating_mul(MIB).max(content);
    let taken = match spec.allocation {
        Allocation::Thin => 0,
        Allocation::Preallocated => promised,
    };
    Demand { promised, taken }
}

/// What a larger size asks for.
pub fn demand_of_growth(before: &Resource<Volume>, after: &VolumeSpec) -> Demand {
    let wanted = after.size_mib.unwrap_or(0).saturating_mul(MIB);
    Demand { promised: wanted.saturating_sub(committed(before)), taken: 0 }
}

/// Whether a pool takes it.
pub(crate) fn admit_demand(
    store: &Store,
    pool: &Resource<Pool>,
    demand: Demand,
) -> Result<(), AdmissionError> {
    let space = space_of(store, pool)?;
    if demand == Demand::default() {
        return Ok(());
    }
    Ok(admit(pool.meta.name.as_str(), &space, demand)?)
}

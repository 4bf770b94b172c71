//! Which states of pools, volumes and snapshots are alarms.

use skerry_model::{
    ConditionState, Pool, PoolState, Resource, Snapshot, SnapshotState, Volume, VolumeState,
};
use skerry_storage::{Level, level_of};

use crate::alarm_watch::Verdict;

/// How scarce space is, one alarm for each level; copies of images that are damaged; and files without a record.
pub fn of_pool(pool: Option<Resource<Pool>>) -> Vec<Verdict> {
    let conditions = pool.as_ref().map(|pool| &pool.status.conditions);
    let low = conditions.and_then(|c| c.get("SpaceLow"));
    let level = level_of(low);
    let name = pool.as_ref().map(|pool| pool.meta.name.to_string()).unwrap_or_default();
    let message = low.map(|c| format!("pool `{name}`: {}", c.message));
    let space = |alarm, at| (alarm, message.clone().filter(|_| level == at));
    let strange = conditions
        .filter(|c| c.holds("Unmanaged"))
        .and_then(|c| c.get("Unmanaged"))
        .map(|c| format!("pool `{name}`: {}", c.message));
    let away = pool.as_ref().filter(|pool| pool.status.state == PoolState::Failed);
    let away = away.map(|pool| format!("pool `{name}`: {}", pool.status.reason));
    let copies = conditions.and_then(|c| c.get("ImagesIntact"));
    let copies = copies.filter(|c| c.state == ConditionState::False);
    let copies = copies.map(|c| format!("pool `{name}`: {}", c.message));
    vec![
        ("POOL_AWAY", away),
        ("IMAGE_DAMAGED", copies),
        space("POOL_SPACE_MINOR", Level::Minor),
        space("POOL_SPACE_MAJOR", Level::Major),
        space("POOL_SPACE_CRITICAL", Level::Critical),
        ("UNMANAGED_FOUND", strange),
    ]
}

pub fn of_volume(volume: Option<Resource<Volume>>) -> Vec<Verdict> {
    let name = volume.as_ref().map(|volume| volume.meta.name.to_string()).unwrap_or_default();
    let state = volume.map(|volume| volume.status);
    // A volume that could not be made has no file yet, and whoever asked for it sees why.
    let damaged =
        state.as_ref().is_some_and(|s| s.state == VolumeState::Error && !s.path.is_empty());
    let lost = state.as_ref().is_some_and(|s| s.state == VolumeState::Lost);
    vec![
        ("VOLUME_DAMAGED", damaged.then(|| format!("the file of volume `{name}` is damaged"))),
        ("VOLUME_LOST", lost.then(|| format!("the file of volume `{name}` is gone"))),
    ]
}

pub fn of_snapshot(snapshot: Option<Resource<Snapshot>>) -> Verdict {
    let lost = snapshot.filter(|s| s.status.state == SnapshotState::Lost);
    ("VOLUME_LOST", lost.map(|s| format!("the files of snapshot `{}` are gone", s.meta.name)))
}

//! Pools: made of a disk or on a file system that is kept, changed, given back.

use serde_json::Value;
use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::{
    Document, NewResource, Pool, PoolDisk, PoolFileSystem, PoolSource, PoolSpec, Resource,
    Snapshot, Volume,
};
use skerry_storage::{DiskRefused, FileSystemRefused, StorageError, judge_disk, judge_file_system};
use skerry_store::Transaction;
use uuid::Uuid;

use super::draft::{Draft, typed};
use super::refuse::{store, wrong_field};
use super::storage::{check, conflict};
use super::workloads::draw_id;
use super::write::resource;
use crate::node::Node;

/// A pool on a disk of its own or on a file system that is kept. That it may be taken is looked at now, so that a refusal comes at once, and again
/// before it is formatted or mounted.
pub async fn create_pool(node: &Node, draft: Draft) -> Result<(Transaction, Uuid), Refusal> {
    let spec: PoolSpec = typed(draft.spec, "spec")?;
    check(&spec)?;
    let pools = node.store.list::<Pool>().map_err(store)?;
    match &spec.source {
        PoolSource::DataPartition => {
            let message =
                "the data partition has its pool, `default`; name a disk or a file system";
            return Err(wrong_field("spec.source", message));
        }
        PoolSource::Disk(disk) => check_disk(node, disk, &pools).await?,
        PoolSource::FileSystem(kept) => check_file_system(node, kept, &pools).await?,
    }
    let id = draw_id::<Pool>(node);
    let mut new = NewResource::new(id, draft.metadata.name, spec);
    new.labels = draft.metadata.labels;
    new.finalizers = vec![skerry_storage::FINALIZER.to_owned()];
    let mut tx = Transaction::new();
    tx.create(new);
    Ok((tx, id.uuid()))
}

async fn check_disk(node: &Node, disk: &PoolDisk, pools: &[Resource<Pool>]) -> Result<(), Refusal> {
    let same = |pool: &&Resource<Pool>| matches!(&pool.spec.source, PoolSource::Disk(d) if d.id == disk.id);
    if let Some(pool) = pools.iter().find(same) {
        let message = format!("the pool `{}` is made of this disk", pool.meta.name);
        return Err(wrong_field("spec.source.disk.id", message));
    }
    let seen = node.machine.volumes.disk(&disk.id).await.map_err(unavailable)?;
    judge_disk(disk, seen.as_ref()).map_err(|refused| match refused {
        DiskRefused::Absent(_) | DiskRefused::Small { .. } => {
            wrong_field("spec.source.disk.id", refused.to_string())
        }
        DiskRefused::Busy { .. } | DiskRefused::Occupied { .. } => conflict(refused.to_string()),
    })
}

/// A file system holds one pool: two would each promise all of its room.
async fn check_file_system(
    node: &Node,
    kept: &PoolFileSystem,
    pools: &[Resource<Pool>],
) -> Result<(), Refusal> {
    let field = "spec.source.file_system.uuid";
    let same = |pool: &&Resource<Pool>| match &pool.spec.source {
        PoolSource::DataPartition => false,
        // The node gives the file system that it makes the pool's id.
        PoolSource::Disk(_) => pool.id().uuid().to_string().eq_ignore_ascii_case(&kept.uuid),
        PoolSource::FileSystem(other) => other.uuid.eq_ignore_ascii_case(&kept.uuid),
    };
    if let Some(pool) = pools.iter().find(same) {
        let message = format!(
            "the pool `{}` lies on this file system, which can hold one: two would each promise all of its room",
            pool.meta.name
        );
        return Err(wrong_field(field, message));
    }
    let seen = node.machine.volumes.file_system(&kept.uuid).await.map_err(unavailable)?;
    judge_file_system(kept, seen.as_ref()).map_err(|refused| match refused {
        FileSystemRefused::Busy { .. } => conflict(refused.to_string()),
        _ => wrong_field(field, refused.to_string()),
    })
}

fn unavailable(error: StorageError) -> Refusal {
    Refusal::new(RefusalClass::Unavailable, error.to_string())
}

/// Gives a disk or file system back that no volume and no snapshot lies on. What else is on it stays as it is.
pub fn delete_pool(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let pool: Resource<Pool> = resource(present)?;
    let name = &pool.meta.name;
    if pool.spec.source == PoolSource::DataPartition {
        return Err(conflict(format!("`{name}` is the node's own pool and stays")));
    }
    let volumes = node.store.list::<Volume>().map_err(store)?;
    let volumes = volumes.iter().filter(|v| v.spec.pool == *name).map(|v| &v.meta.name);
    let snapshots = node.store.list::<Snapshot>().map_err(store)?;
    let snapshots = snapshots.iter().filter(|s| s.status.pool.as_ref() == Some(name));
    let snapshots = snapshots.map(|snapshot| &snapshot.meta.name);
    let used: Vec<String> = volumes.chain(snapshots).take(5).map(ToString::to_string).collect();
    if !used.is_empty() {
        let used = used.join(", ");
        return Err(conflict(format!(
            "in `{name}` lie {used}; delete volumes and snapshots first"
        )));
    }
    tx.begin_removal(pool.id(), if_revision);
    Ok(())
}

/// Changes a pool: how much it may promise, and whether a disk that was not taken yet may be overwritten.
pub fn change_pool(
    tx: &mut Transaction,
    present: &Document,
    spec: Value,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let before: Resource<Pool> = resource(present)?;
    let spec: PoolSpec = typed(spec, "spec")?;
    check(&spec)?;
    let same = match (&spec.source, &before.spec.source) {
        (PoolSource::Disk(after), PoolSource::Disk(before)) => after.id == before.id,
        (after, before) => after == before,
    };
    if !same {
        return Err(wrong_field("spec.source", "cannot be changed"));
    }
    tx.put_spec(before.id(), if_revision, spec);
    Ok(())
}

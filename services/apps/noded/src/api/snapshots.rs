//! Snapshots: taken of volumes, described, deleted, and gone back to.

use serde_json::Value;
use skerry_ipc::{Action, Json, Refusal, RefusalClass};
use skerry_model::{
    Document, Id, Kind, Name, NewResource, Phase, Resource, Snapshot, SnapshotSpec, SnapshotState,
    Vm, Volume,
};
use skerry_storage::{Demand, holders};
use skerry_store::Transaction;
use uuid::Uuid;

use super::draft::{Draft, typed};
use super::read::{find, shown};
use super::refuse::{internal, store, wrong_field};
use super::storage::{admission, check, conflict, named_disk, named_volume, pool_of};
use super::workloads::draw_id;
use super::write::resource;
use crate::node::Node;

/// Most snapshots of one volume.
const MOST_SNAPSHOTS: usize = 32;

/// A snapshot from a draft.
pub fn create(node: &Node, draft: Draft) -> Result<(Transaction, Uuid), Refusal> {
    let mut spec: SnapshotSpec = typed(draft.spec, "spec")?;
    if spec.reverts != 0 {
        return Err(wrong_field("spec.reverts", "is counted by the action `revert`"));
    }
    if let Some(name) = &spec.vm {
        let vm = node.store.find::<Vm>(name).map_err(store)?;
        let vm = vm.ok_or_else(|| {
            wrong_field("spec.vm", format!("there is no virtual machine `{name}`"))
        })?;
        let own: Vec<Name> = vm.spec.disks.into_iter().map(|disk| disk.volume).collect();
        if own.is_empty() {
            return Err(wrong_field("spec.vm", format!("`{name}` has no volumes")));
        }
        if !spec.volumes.is_empty() && spec.volumes != own {
            return Err(wrong_field("spec.volumes", "leave it out when `vm` is given"));
        }
        spec.volumes = own;
    }
    check(&spec)?;
    let mut tx = Transaction::new();
    let id = new_snapshot(node, &mut tx, &draft.metadata.name, spec, draft.metadata.labels)?;
    Ok((tx, id.uuid()))
}

fn new_snapshot(
    node: &Node,
    tx: &mut Transaction,
    name: &Name,
    spec: SnapshotSpec,
    labels: std::collections::BTreeMap<String, String>,
) -> Result<Id<Snapshot>, Refusal> {
    let snapshots = node.store.list::<Snapshot>().map_err(store)?;
    let mut pools: Vec<Name> = Vec::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let field = format!("spec.volumes[{index}]");
        let found = named_disk(node, &field, volume)?;
        let count = snapshots.iter().filter(|s| s.spec.volumes.contains(volume)).count();
        if count >= MOST_SNAPSHOTS {
            let message = format!("`{volume}` has {count} snapshots, the most there can be");
            return Err(wrong_field(&field, message));
        }
        pools.push(found.spec.pool);
    }
    pools.dedup();
    let [pool] = pools.as_slice() else {
        return Err(wrong_field("spec.volumes", "must all lie in one pool"));
    };
    let pool = pool_of(node, pool)?;
    node.storage.admit(&pool, Demand { promised: 0, taken: 1 }).map_err(admission)?;
    let id = draw_id::<Snapshot>(node);
    let mut new = NewResource::new(id, name.clone(), spec);
    new.labels = labels;
    new.finalizers = vec![skerry_storage::FINALIZER.to_owned()];
    tx.create(new);
    Ok(id)
}

/// Changes a snapshot: only its description.
pub fn change(
    tx: &mut Transaction,
    present: &Document,
    spec: Value,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let before: Resource<Snapshot> = resource(present)?;
    let spec: SnapshotSpec = typed(spec, "spec")?;
    check(&spec)?;
    if (SnapshotSpec { description: spec.description.clone(), ..before.spec.clone() }) != spec {
        return Err(wrong_field("spec", "only the description of a snapshot can be changed"));
    }
    tx.put_spec(before.id(), if_revision, spec);
    Ok(())
}

/// Takes a snapshot down, unless something is being made from it.
pub fn delete(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let snapshot: Resource<Snapshot> = resource(present)?;
    let name = &snapshot.meta.name;
    let volumes = node.store.list::<Volume>().map_err(store)?;
    let reads = |volume: &&Resource<Volume>| {
        volume.spec.source.snapshot.as_ref() == Some(name) && volume.status.path.is_empty()
    };
    if let Some(volume) = volumes.iter().find(reads) {
        let volume = &volume.meta.name;
        return Err(conflict(format!("the volume `{volume}` is being made from `{name}`")));
    }
    if snapshot.status.state == SnapshotState::Reverting {
        return Err(conflict(format!("volumes are being set back to `{name}`")));
    }
    tx.begin_removal(snapshot.id(), if_revision);
    Ok(())
}

/// The one action that snapshots know.
pub async fn act(node: &Node, key: &str, action: Action) -> Result<Json, Refusal> {
    let document = find(node, Kind::Snapshot, key)?;
    if action != Action::Revert {
        return Err(Refusal::new(RefusalClass::NotFound, "snapshots know the action revert"));
    }
    if document.metadata.phase == Phase::Removing {
        return Err(conflict(format!("`{}` is being deleted", document.metadata.name)));
    }
    revert(node, &document).await?;
    shown(&*find(node, Kind::Snapshot, &document.metadata.id.to_string())?)
}

/// Sets volumes back to a snapshot. What they hold now is kept in another snapshot first.
async fn revert(node: &Node, present: &Document) -> Result<(), Refusal> {
    let snapshot: Resource<Snapshot> = resource(present)?;
    let name = &snapshot.meta.name;
    if snapshot.status.state != SnapshotState::Ready {
        return Err(conflict(format!("the snapshot `{name}` is not ready")));
    }
    let _turn = node.admission.lock().await;
    for (part, volume) in snapshot.status.volumes.iter().zip(&snapshot.spec.volumes) {
        let found = named_volume(node, "spec.volumes", volume)?;
        if found.id() != part.volume {
            let detail = format!("`{volume}` is another volume than the one in `{name}`");
            return Err(conflict(detail));
        }
        for holder in holders(&node.store, volume).map_err(store)? {
            if holder.may_run() {
                let detail = format!("stop `{}` first: it runs with `{volume}`", holder.name);
                return Err(conflict(detail));
            }
        }
    }
    let mut tx = Transaction::new();
    let safety = SnapshotSpec {
        vm: tpm_holder(node, &snapshot)?,
        volumes: snapshot.spec.volumes.clone(),
        description: format!("taken before the volumes were set back to {name}"),
        reverts: 0,
    };
    let wanted = snapshot.spec.reverts.saturating_add(1);
    let safety_name = safety_name(name, wanted)?;
    if node.store.find::<Snapshot>(&safety_name).map_err(store)?.is_none() {
        new_snapshot(node, &mut tx, &safety_name, safety, std::collections::BTreeMap::new())?;
    }
    let spec = SnapshotSpec { reverts: wanted, ..snapshot.spec.clone() };
    tx.put_spec(snapshot.id(), None, spec);
    node.store.commit(tx).await.map(drop).map_err(store)
}

/// The machine whose TPM is set back as well, for what it keeps now to be kept too. It must be off, whether it still has the
/// volumes or not.
fn tpm_holder(node: &Node, snapshot: &Resource<Snapshot>) -> Result<Option<Name>, Refusal> {
    let Some(id) = snapshot.status.tpm else { return Ok(None) };
    let vm = node.store.get::<Vm>(id).map_err(store)?;
    let Some(vm) = vm.filter(|vm| vm.spec.tpm && vm.meta.phase == Phase::Present) else {
        return Ok(None);
    };
    let name = vm.meta.name;
    if skerry_storage::may_run(vm.status.state) {
        let detail = format!("stop `{name}` first: its TPM is set back as well");
        return Err(conflict(detail));
    }
    Ok(Some(name))
}

fn safety_name(name: &Name, count: u32) -> Result<Name, Refusal> {
    let cut: String = name.as_str().chars().take(40).collect();
    Name::new(format!("before-{}-{count}", cut.trim_end_matches('-'))).map_err(internal)
}

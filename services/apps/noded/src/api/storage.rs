//! Volumes: checked against each other and against what the pool can hold.

use serde_json::Value;
use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::{
    Document, Id, Image, Invalid, Name, NewResource, Phase, Pool, Resource, Snapshot, Validate, Vm,
    VmDisk, Volume, VolumeForm, VolumeOperation, VolumeSpec,
};
use skerry_storage::{AdmissionError, demand_of_growth, demand_of_volume, holders, pod_users};
use skerry_store::Transaction;
use uuid::Uuid;

use super::draft::{Draft, typed};
use super::families;
use super::refuse::{found, internal, store, wrong_field};
use super::workloads::draw_id;
use super::write::resource;
use crate::node::Node;

const MIB: u64 = 1024 * 1024;

/// A volume from a draft.
pub fn create_volume(node: &Node, draft: Draft) -> Result<(Transaction, Uuid), Refusal> {
    let mut spec: VolumeSpec = typed(draft.spec, "spec")?;
    if let Some(name) = &spec.source.image {
        spec.source.image = Some(families::settle_disk(node, name)?);
    }
    let mut tx = Transaction::new();
    let id = new_volume(node, &mut tx, &draft.metadata.name, spec, draft.metadata.labels)?;
    Ok((tx, id.uuid()))
}

/// Adds a volume to a transaction, if the pool takes it.
pub fn new_volume(
    node: &Node,
    tx: &mut Transaction,
    name: &Name,
    spec: VolumeSpec,
    labels: std::collections::BTreeMap<String, String>,
) -> Result<Id<Volume>, Refusal> {
    check(&spec)?;
    let pool = pool_of(node, &spec.pool)?;
    let content = content_size(node, &spec)?;
    if let Some(size) = spec.size_mib.filter(|size| size.saturating_mul(MIB) < content) {
        let least = content.div_ceil(MIB);
        let message = format!("{size} MiB are fewer than the {least} MiB that it begins with");
        return Err(wrong_field("spec.size_mib", message));
    }
    node.storage.admit(&pool, demand_of_volume(&spec, content)).map_err(admission)?;
    let id = draw_id::<Volume>(node);
    let mut new = NewResource::new(id, name.clone(), spec);
    new.labels = labels;
    new.finalizers = vec![skerry_storage::FINALIZER.to_owned()];
    tx.create(new);
    Ok(id)
}

pub fn pool_of(node: &Node, name: &Name) -> Result<Resource<Pool>, Refusal> {
    let pool = node.store.find::<Pool>(name).map_err(store)?;
    match pool {
        None => Err(wrong_field("spec.pool", format!("there is no pool `{name}`"))),
        Some(pool) if pool.meta.phase == Phase::Removing => {
            Err(wrong_field("spec.pool", format!("the pool `{name}` is being deleted")))
        }
        Some(pool) => Ok(pool),
    }
}

/// The size of what a volume begins with, in bytes; 0 if that is nothing, or not known.
fn content_size(node: &Node, spec: &VolumeSpec) -> Result<u64, Refusal> {
    let source = &spec.source;
    if let Some(name) = &source.snapshot {
        let snapshot = node.store.find::<Snapshot>(name).map_err(store)?;
        let snapshot = snapshot.ok_or_else(|| {
            wrong_field("spec.source.snapshot", format!("there is no snapshot `{name}`"))
        })?;
        if let Some(other) = snapshot.status.pool.as_ref().filter(|other| **other != spec.pool) {
            let message = format!("`{name}` lies in another pool, `{other}`");
            return Err(wrong_field("spec.source.snapshot", message));
        }
        return snapshot_part(&snapshot, source.volume.as_ref());
    }
    if let Some(name) = &source.volume {
        let other = named_disk(node, "spec.source.volume", name)?;
        if other.spec.pool != spec.pool {
            let message = format!("`{name}` lies in another pool, `{}`", other.spec.pool);
            return Err(wrong_field("spec.source.volume", message));
        }
        return Ok(other.status.size_bytes);
    }
    let Some(name) = &source.image else { return Ok(0) };
    let image = node.store.find::<Image>(name).map_err(store)?;
    let image = image
        .ok_or_else(|| wrong_field("spec.source.image", format!("there is no image `{name}`")))?;
    if !image.spec.format.is_disk() {
        return Err(wrong_field("spec.source.image", format!("`{name}` is no disk image")));
    }
    Ok(skerry_storage::image_size(&image.spec))
}

fn snapshot_part(snapshot: &Resource<Snapshot>, volume: Option<&Name>) -> Result<u64, Refusal> {
    let parts = &snapshot.spec.volumes;
    match volume {
        Some(name) if !parts.contains(name) => {
            let message = format!("the snapshot `{}` does not hold `{name}`", snapshot.meta.name);
            return Err(wrong_field("spec.source.volume", message));
        }
        None if parts.len() > 1 => {
            let message = format!("say which volume of the snapshot `{}`", snapshot.meta.name);
            return Err(wrong_field("spec.source.volume", message));
        }
        _ => {}
    }
    let taken = snapshot.status.volumes.iter().find(|p| volume.is_none_or(|v| p.name == *v));
    Ok(taken.map_or(0, |part| part.size_bytes))
}

/// A volume that a field names.
pub fn named_volume(node: &Node, field: &str, name: &Name) -> Result<Resource<Volume>, Refusal> {
    let volume = node.store.find::<Volume>(name).map_err(store)?;
    let volume =
        volume.ok_or_else(|| wrong_field(field, format!("there is no volume `{name}`")))?;
    if volume.meta.phase == Phase::Removing {
        return Err(wrong_field(field, format!("the volume `{name}` is being deleted")));
    }
    Ok(volume)
}

/// A volume that a field names and that must be a disk.
pub fn named_disk(node: &Node, field: &str, name: &Name) -> Result<Resource<Volume>, Refusal> {
    let volume = named_volume(node, field, name)?;
    if volume.spec.form == VolumeForm::Folder {
        let message = format!("`{name}` is a folder, which only pods can use");
        return Err(wrong_field(field, message));
    }
    Ok(volume)
}

/// The disks of a virtual machine: volumes that nobody else has, or that nobody writes to.
pub fn check_disks(
    node: &Node,
    vm: Option<Id<Vm>>,
    before: &[VmDisk],
    after: &[VmDisk],
) -> Result<(), Refusal> {
    for gone in before.iter().filter(|disk| after.iter().all(|d| d.volume != disk.volume)) {
        let volume = node.store.find::<Volume>(&gone.volume).map_err(store)?;
        if volume.is_some_and(|volume| volume.spec.locked) {
            let detail = format!("`{}` is locked; unlock it before detaching it", gone.volume);
            return Err(conflict(detail));
        }
    }
    let snapshots = node.store.list::<Snapshot>().map_err(store)?;
    for (index, disk) in after.iter().enumerate() {
        let field = format!("spec.disks[{index}].volume");
        let volume = named_disk(node, &field, &disk.volume)?;
        let comes = vm.is_some() && before.iter().all(|d| d.volume != disk.volume);
        if let Some(snapshot) = snapshots.iter().find(|s| comes && s.sets_back(&disk.volume)) {
            let (name, snapshot) = (&disk.volume, &snapshot.meta.name);
            let detail = format!(
                "`{name}` is still to be set back to the snapshot `{snapshot}`; attach it when that is \
                 done, or delete the snapshot to call it off"
            );
            return Err(conflict(detail));
        }
        let others = holders(&node.store, &volume.meta.name).map_err(store)?;
        let mut others = others.into_iter().filter(|other| Some(other.id) != vm);
        if let Some(other) = others.find(|other| !(other.read_only && disk.read_only)) {
            let name = &other.name;
            let message = format!("`{}` is attached to `{name}`, and one may write", disk.volume);
            return Err(wrong_field(&field, message));
        }
    }
    Ok(())
}

/// Adds to the removal of a virtual machine that of its volumes: of all, or of those that are not to be
/// kept. Nothing is removed that is locked or that another machine has.
pub fn remove_volumes_of(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    all: bool,
) -> Result<(), Refusal> {
    let vm: Resource<Vm> = resource(present)?;
    for disk in vm.spec.disks.iter().filter(|disk| all || !disk.keep_on_delete) {
        let name = &disk.volume;
        let Some(volume) = node.store.find::<Volume>(name).map_err(store)? else { continue };
        let shared = holders(&node.store, name).map_err(store)?.len() > 1;
        if volume.spec.locked || shared {
            if all {
                let why = if shared { "another machine has it" } else { "it is locked" };
                return Err(conflict(format!("`{name}` cannot be deleted: {why}")));
            }
            continue;
        }
        tx.begin_removal(volume.id(), None);
    }
    Ok(())
}

/// Changes a volume: it can grow, be locked and unlocked.
pub fn change_volume(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    spec: Value,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let before: Resource<Volume> = resource(present)?;
    let spec: VolumeSpec = typed(spec, "spec")?;
    check(&spec)?;
    for (field, same) in [
        ("spec.pool", before.spec.pool == spec.pool),
        ("spec.form", before.spec.form == spec.form),
        ("spec.source", before.spec.source == spec.source),
        ("spec.allocation", before.spec.allocation == spec.allocation),
    ] {
        if !same {
            return Err(wrong_field(field, "cannot be changed; make another volume"));
        }
    }
    let now = before.status.size_bytes.max(before.spec.size_mib.unwrap_or(0).saturating_mul(MIB));
    if spec.size_mib != before.spec.size_mib {
        match spec.size_mib {
            Some(size) if size.saturating_mul(MIB) >= now => {}
            _ => {
                let now = now.div_ceil(MIB);
                let message = format!("a volume cannot shrink; it has {now} MiB now");
                return Err(wrong_field("spec.size_mib", message));
            }
        }
        let pool = pool_of(node, &spec.pool)?;
        node.storage.admit(&pool, demand_of_growth(&before, &spec)).map_err(admission)?;
    }
    tx.put_spec(before.id(), if_revision, spec);
    Ok(())
}

/// Takes a volume down, unless it is locked or in use.
pub fn delete_volume(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let volume: Resource<Volume> = resource(present)?;
    let name = &volume.meta.name;
    if volume.spec.locked {
        return Err(conflict(format!("`{name}` is locked; set `spec.locked` to false first")));
    }
    if let Some(holder) = holders(&node.store, name).map_err(store)?.first() {
        let vm = &holder.name;
        return Err(conflict(format!("`{name}` is attached to `{vm}`; detach it first")));
    }
    let pods = pod_users(&node.store, name).map_err(store)?;
    if !pods.is_empty() {
        let pods = pods.iter().map(|pod| pod.name.to_string()).collect::<Vec<_>>().join(", ");
        return Err(conflict(format!("`{name}` is used by {pods}; change or delete these first")));
    }
    let reads = |other: &Resource<Volume>| {
        other.spec.source.snapshot.is_none()
            && other.spec.source.volume.as_ref() == Some(name)
            && other.status.path.is_empty()
    };
    let volumes = node.store.list::<Volume>().map_err(store)?;
    if let Some(other) = volumes.iter().find(|other| reads(other)) {
        let other = &other.meta.name;
        return Err(conflict(format!("the volume `{other}` is being made from `{name}`")));
    }
    if !matches!(
        volume.status.operation,
        VolumeOperation::None | VolumeOperation::Creating | VolumeOperation::Checking
    ) {
        let operation = volume.status.operation;
        return Err(conflict(format!("`{name}` is at work ({operation:?}); try again later")));
    }
    tx.begin_removal(volume.id(), if_revision);
    Ok(())
}

pub fn conflict(detail: String) -> Refusal {
    Refusal::new(RefusalClass::Conflict, detail)
}

pub fn admission(error: AdmissionError) -> Refusal {
    let class = match &error {
        AdmissionError::NoRoom(_) => RefusalClass::Capacity,
        AdmissionError::PoolAway { .. } => RefusalClass::Unavailable,
        AdmissionError::Store(_) => return internal(error),
    };
    Refusal::new(class, error.to_string())
}

pub fn check(spec: &impl Validate) -> Result<(), Refusal> {
    let mut faults = Invalid::default();
    spec.validate(&mut faults);
    faults.into_result().map_err(found)
}

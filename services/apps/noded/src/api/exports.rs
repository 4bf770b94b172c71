//! Images made of volumes: what is checked before a job is made of it.

use skerry_ipc::Refusal;
use skerry_model::{
    Image, ImageFormat, ImageSource, ImageSpec, Name, Snapshot, SnapshotState, VolumeForm,
    VolumeState,
};
use skerry_storage::holders;

use super::refuse::{store, wrong_field};
use super::storage::{conflict, named_volume};
use crate::node::Node;

/// Checks where an image is to come from, if that is a volume, and takes over what is known of the volume's own image.
pub fn ready(node: &Node, spec: &mut ImageSpec) -> Result<(), Refusal> {
    let ImageSource::Volume { volume, snapshot } = spec.source.clone() else { return Ok(()) };
    if spec.format != ImageFormat::Qcow2 {
        return Err(wrong_field("spec.format", "must be qcow2 for what is made of a volume"));
    }
    if spec.sha256.is_some() {
        return Err(wrong_field("spec.sha256", "is for files; nobody knows that of a volume"));
    }
    match &snapshot {
        Some(snapshot) => check_snapshot(node, &volume, snapshot),
        None => check_volume(node, &volume),
    }?;
    inherit(node, &volume, spec)
}

fn check_volume(node: &Node, name: &Name) -> Result<(), Refusal> {
    let field = "spec.source.volume.volume";
    let volume = named_volume(node, field, name)?;
    if volume.spec.form == VolumeForm::Folder {
        return Err(wrong_field(field, format!("`{name}` is a folder, and no disk")));
    }
    if !matches!(volume.status.state, VolumeState::Available | VolumeState::InUse) {
        return Err(conflict(format!("the volume `{name}` is not ready")));
    }
    for holder in holders(&node.store, name).map_err(store)? {
        if holder.may_run() {
            let vm = &holder.name;
            let detail = format!(
                "`{vm}` runs with `{name}`: stop it first, or take a snapshot and export that"
            );
            return Err(conflict(detail));
        }
    }
    Ok(())
}

fn check_snapshot(node: &Node, volume: &Name, name: &Name) -> Result<(), Refusal> {
    let field = "spec.source.volume.snapshot";
    let snapshot = node.store.find::<Snapshot>(name).map_err(store)?;
    let snapshot =
        snapshot.ok_or_else(|| wrong_field(field, format!("there is no snapshot `{name}`")))?;
    if snapshot.status.state != SnapshotState::Ready {
        return Err(conflict(format!("the snapshot `{name}` is not ready")));
    }
    if snapshot.status.volumes.iter().all(|part| part.name != *volume) {
        let message = format!("the snapshot `{name}` does not hold `{volume}`");
        return Err(wrong_field(field, message));
    }
    Ok(())
}

/// A machine starts from the new image as it did from the one that the volume began with, unless it is said otherwise.
fn inherit(node: &Node, volume: &Name, spec: &mut ImageSpec) -> Result<(), Refusal> {
    let volume = node.store.find::<skerry_model::Volume>(volume).map_err(store)?;
    let Some(name) = volume.and_then(|volume| volume.spec.source.image) else { return Ok(()) };
    let Some(origin) = node.store.find::<Image>(&name).map_err(store)? else { return Ok(()) };
    spec.firmware = spec.firmware.or(origin.spec.firmware);
    spec.min_memory_mib = spec.min_memory_mib.or(origin.spec.min_memory_mib);
    spec.min_vcpus = spec.min_vcpus.or(origin.spec.min_vcpus);
    if spec.os.is_empty() {
        spec.os.clone_from(&origin.spec.os);
    }
    if spec.default_user.is_empty() {
        spec.default_user = origin.spec.default_user;
    }
    Ok(())
}

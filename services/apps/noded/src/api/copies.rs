//! Virtual machines made after others, and machines that begin anew: clones and rebuilds. Both only write down
//! what is wanted; the volumes are made as any other.

use std::collections::BTreeMap;

use serde_json::Value;
use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::{
    Image, Name, Resource, Vm, VmDisk, VmPower, VmSpec, VmState, Volume, VolumeSource, VolumeSpec,
};
use skerry_store::Transaction;

use super::draft::merge;
use super::refuse::{internal, store, wrong_field};
use super::roots::{check_firmware, least_size};
use super::storage::{named_volume, new_volume};
use crate::node::Node;

const MIB: u64 = 1024 * 1024;

/// Turns the spec of a clone into one that stands for itself: that of the other machine with volumes of its own,
/// which share the data of the other's, and with what the caller wants different.
pub fn expand_clone(
    node: &Node,
    tx: &mut Transaction,
    new: &Name,
    wanted: Value,
) -> Result<Value, Refusal> {
    let Some(source) = wanted.get("clone_of").filter(|source| !source.is_null()) else {
        return Ok(wanted);
    };
    let field = "spec.clone_of";
    let source: Name = serde_json::from_value(source.clone())
        .map_err(|error| wrong_field(field, error.to_string()))?;
    let vm = node.store.find::<Vm>(&source).map_err(store)?;
    let vm =
        vm.ok_or_else(|| wrong_field(field, format!("there is no virtual machine `{source}`")))?;
    require_off(&vm, "cloned")?;
    for fixed in ["image", "disks", "disk_size_mib", "firmware"] {
        if wanted.get(fixed).is_some() {
            let message = format!("leave it out: a clone has what `{source}` has");
            return Err(wrong_field(&format!("spec.{fixed}"), message));
        }
    }
    let mut spec = vm.spec.clone();
    for (index, disk) in spec.disks.iter_mut().enumerate() {
        // What both may only read they can share.
        if !disk.read_only {
            let suffix = if index == 0 { "root".to_owned() } else { format!("disk{index}") };
            disk.volume = copy_volume(node, tx, &disk.volume, &free_name(node, new, &suffix)?)?;
        }
    }
    spec.publish = Vec::new();
    // There is only one of each.
    spec.host_devices = Vec::new();
    spec.pci = Vec::new();
    spec.protected = false;
    spec.request = None;
    spec.power = VmPower::Running;
    if let Some(init) = &mut spec.init {
        init.hostname = None;
    }
    let mut spec = serde_json::to_value(spec).map_err(internal)?;
    merge(&mut spec, wanted);
    Ok(spec)
}

fn copy_volume(node: &Node, tx: &mut Transaction, from: &Name, to: &Name) -> Result<Name, Refusal> {
    let original = named_volume(node, "spec.clone_of", from)?;
    let source = VolumeSource { volume: Some(from.clone()), ..VolumeSource::default() };
    // The same data deserves the same end.
    let erase_on_delete = original.spec.erase_on_delete;
    let copy =
        VolumeSpec { pool: original.spec.pool, source, erase_on_delete, ..VolumeSpec::empty() };
    new_volume(node, tx, to, copy, BTreeMap::new())?;
    Ok(to.clone())
}

/// Gives a machine a new first disk, made from another image. The old one is detached and stays.
pub fn rebuild(
    node: &Node,
    tx: &mut Transaction,
    before: &Resource<Vm>,
    image: &Name,
    spec: &mut VmSpec,
) -> Result<(), Refusal> {
    let field = "spec.image";
    let name = &before.meta.name;
    require_off(before, "rebuilt")?;
    let first = before.spec.disks.iter().filter(|disk| disk.boot_index.is_some());
    let first = first.min_by_key(|disk| disk.boot_index);
    let (Some(root), Some(_)) = (first, before.spec.firmware) else {
        let message = format!("cannot be changed: `{name}` does not boot from a disk");
        return Err(wrong_field(field, message));
    };
    let found = node.store.find::<Image>(image).map_err(store)?;
    let image = found.ok_or_else(|| wrong_field(field, format!("there is no image `{image}`")))?;
    if !image.spec.format.is_disk() {
        return Err(wrong_field(field, format!("`{}` is no disk image", image.meta.name)));
    }
    let old = named_volume(node, field, &root.volume)?;
    if old.spec.locked {
        let detail = format!("`{}` is locked; unlock it first", root.volume);
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    let firmware = spec.firmware.filter(|own| image.spec.firmware.is_none_or(|n| n == own.kind()));
    spec.firmware = Some(check_firmware(&image, firmware)?);
    let size = least_size(&image).max(old.status.size_bytes.div_ceil(MIB)).max(1);
    let source = VolumeSource { image: Some(image.meta.name.clone()), ..VolumeSource::default() };
    let volume = VolumeSpec {
        pool: old.spec.pool,
        size_mib: Some(size),
        source,
        erase_on_delete: old.spec.erase_on_delete,
        ..VolumeSpec::empty()
    };
    let made = free_name(node, name, "root")?;
    new_volume(node, tx, &made, volume, BTreeMap::new())?;
    let renewed = VmDisk { volume: made, ..root.clone() };
    let place = spec.disks.iter_mut().find(|disk| disk.volume == root.volume);
    *place.ok_or_else(|| wrong_field("spec.disks", "must keep the disk that is replaced"))? =
        renewed;
    Ok(())
}

fn require_off(vm: &Resource<Vm>, what: &str) -> Result<(), Refusal> {
    if vm.status.state == VmState::Stopped && vm.spec.power == VmPower::Stopped {
        return Ok(());
    }
    let detail = format!("`{}` must be stopped before it is {what}; stop it first", vm.meta.name);
    Err(Refusal::new(RefusalClass::Conflict, detail))
}

/// A name for a volume that no volume has yet: with a number if it has to be.
fn free_name(node: &Node, vm: &Name, suffix: &str) -> Result<Name, Refusal> {
    let cut: String = vm.as_str().chars().take(50).collect();
    let base = format!("{}-{suffix}", cut.trim_end_matches('-'));
    for number in 1_u32.. {
        let text = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let name = Name::new(text).map_err(internal)?;
        if node.store.find::<Volume>(&name).map_err(store)?.is_none() {
            return Ok(name);
        }
    }
    Err(internal("no name is free"))
}

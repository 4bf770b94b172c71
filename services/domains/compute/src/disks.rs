//! The disks of a virtual machine: volumes become plain data for the hypervisor, and what a running
//! guest has is brought to what is wanted.

use std::path::PathBuf;

use serde::Serialize;
use skerry_model::{
    DiskBus, Kind, LocalRef, Name, Pool, PoolState, Resource, Snapshot, Vm, VmDisk, Volume,
    VolumeOperation, VolumeState,
};
use skerry_store::{Store, StoreError};

use crate::sources::Missing;
use crate::{DomainDefinition, DomainObserved, VmStep};

/// What a disk is to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskKind {
    /// A disk.
    Disk,
    /// A disc, which the guest can only read.
    Cdrom,
}

/// A disk as the hypervisor is to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskDefinition {
    /// Disk or disc.
    pub kind: DiskKind,
    /// Its file.
    pub path: PathBuf,
    /// Form of the file, `qcow2` or `raw`; never guessed.
    pub format: &'static str,
    /// Name of the device, such as `vda`; unique in the machine.
    pub device: String,
    /// How it is wired.
    pub bus: DiskBus,
    /// Serial number that the guest sees.
    pub serial: String,
    /// Place in the order of disks that the firmware tries, from 1.
    pub boot: Option<u32>,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Operations per second, if limited.
    pub iops: Option<u64>,
    /// Bytes per second, if limited.
    pub bytes_per_s: Option<u64>,
    /// Its queues; as many as there are virtual processors if absent, which is what machine types since 5.2 do. Left out
    /// of the fingerprint then, as it was before it could be chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<u32>,
    /// The thread of QEMU that works on it, from 1; the one of all devices if absent. Likewise left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_thread: Option<u32>,
}

impl DiskDefinition {
    /// Whether it can be attached and detached while the guest runs.
    pub const fn is_hot(&self) -> bool {
        matches!((self.kind, self.bus), (DiskKind::Disk, DiskBus::Virtio))
    }
}

/// The disks of a machine, or what is missing for them.
pub(crate) fn disks_of(
    store: &Store,
    vm: &Resource<Vm>,
) -> Result<Result<Vec<DiskDefinition>, Missing>, StoreError> {
    let mut found: Vec<DiskDefinition> = Vec::new();
    for disk in &vm.spec.disks {
        let name = &disk.volume;
        let Some(volume) = store.find::<Volume>(name)? else {
            let message = format!("there is no volume `{name}`: make it, or take the disk away");
            return Ok(Err(Missing { reason: "VolumeMissing", message, on: None }));
        };
        if let Err(missing) = usable(&volume) {
            return Ok(Err(missing));
        }
        let prefix = match disk.bus {
            DiskBus::Virtio => "vd",
            DiskBus::Scsi | DiskBus::Sata => "sd",
        };
        let before = found.iter().filter(|other| other.device.starts_with(prefix)).count();
        found.push(DiskDefinition {
            kind: DiskKind::Disk,
            path: volume.status.path.clone().into(),
            format: "qcow2",
            device: format!("{prefix}{}", letter(before)),
            bus: disk.bus,
            serial: volume.status.serial.clone(),
            boot: disk.boot_index,
            read_only: disk.read_only,
            iops: disk.limits.iops,
            bytes_per_s: disk.limits.bytes_per_s,
            queues: vm.spec.queues.filter(|_| disk.bus == DiskBus::Virtio),
            io_thread: vm
                .spec
                .io_threads
                .filter(|_| disk.bus == DiskBus::Virtio)
                .and_then(|threads| in_turn(before, threads)),
        });
    }
    Ok(Ok(found))
}

/// The thread, from 1, of a disk that has so many of its kind before it.
fn in_turn(before: usize, threads: u32) -> Option<u32> {
    u32::try_from(before).ok()?.checked_rem(threads)?.checked_add(1)
}

/// `a` to `z`: a machine has at most 24 disks and two discs.
pub(crate) fn letter(index: usize) -> char {
    u8::try_from(index).ok().and_then(|i| b'a'.checked_add(i)).map_or('z', char::from)
}

fn usable(volume: &Resource<Volume>) -> Result<(), Missing> {
    let usable = matches!(volume.status.state, VolumeState::Available | VolumeState::InUse);
    if usable && volume.status.checked && !volume.status.path.is_empty() {
        return Ok(());
    }
    let name = &volume.meta.name;
    let message = match volume.status.reason.as_str() {
        "" => format!("waits for the volume `{name}` to be usable"),
        reason => format!("waits for the volume `{name}`: {reason}"),
    };
    Err(Missing { reason: "WaitingForVolume", message, on: Some(volume.local_ref()) })
}

/// A volume of the machine whose data is being worked on, or is to be set back to a snapshot, so that
/// the machine must not start.
///
/// Whoever works on a volume notes that first and looks whether the machine starts; whoever starts a
/// machine notes that first and looks here. At most one of them goes on. A volume that is to be set back
/// comes before a start: the wish was accepted while the machine was off, and a guest that wrote in between
/// would lose it.
pub(crate) fn at_work(store: &Store, vm: &Resource<Vm>) -> Result<Option<Missing>, StoreError> {
    for disk in &vm.spec.disks {
        let Some(volume) = store.find::<Volume>(&disk.volume)? else { continue };
        if volume.status.operation != VolumeOperation::None {
            let message = format!("waits until the volume `{}` is not at work", disk.volume);
            let on = Some(volume.local_ref());
            return Ok(Some(Missing { reason: "VolumeAtWork", message, on }));
        }
    }
    to_be_set_back(store, vm)
}

fn to_be_set_back(store: &Store, vm: &Resource<Vm>) -> Result<Option<Missing>, StoreError> {
    let snapshots = store.list::<Snapshot>()?;
    let of = |disk: &VmDisk| {
        let snapshot = snapshots.iter().find(|snapshot| snapshot.sets_back(&disk.volume))?;
        let (volume, name) = (&disk.volume, &snapshot.meta.name);
        let message = format!(
            "waits until the volume `{volume}` is set back to the snapshot `{name}`; deleting that \
             snapshot calls it off"
        );
        let on = Some(snapshot.local_ref());
        Some(Missing { reason: "VolumeSetBack", message, on })
    };
    let missing = vm.spec.disks.iter().find_map(of);
    Ok(missing.or_else(|| tpm_set_back(&snapshots, vm)))
}

/// A TPM follows its machine, whichever volumes that has by now.
fn tpm_set_back(snapshots: &[Resource<Snapshot>], vm: &Resource<Vm>) -> Option<Missing> {
    let snapshot = snapshots.iter().find(|snapshot| snapshot.sets_back_tpm(vm.id()))?;
    let message = format!(
        "waits until its TPM is set back to the snapshot `{}`; deleting that snapshot calls it off",
        snapshot.meta.name
    );
    Some(Missing { reason: "TpmSetBack", message, on: Some(snapshot.local_ref()) })
}

/// Whether a snapshot of one of the machine's volumes is being taken, for which its guest is held.
pub(crate) fn held_for_snapshot(store: &Store, vm: &Resource<Vm>) -> Result<bool, StoreError> {
    for disk in &vm.spec.disks {
        let volume = store.find::<Volume>(&disk.volume)?;
        if volume.is_some_and(|v| v.status.operation == VolumeOperation::Snapshotting) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What guests must be able to write before one that found no space goes on.
const ROOM: u64 = 64 * 1024 * 1024;

/// The pools of a machine's disks, and whether each has room for what its guest writes.
pub(crate) fn pools_of(store: &Store, vm: &Resource<Vm>) -> Result<Vec<(Name, bool)>, StoreError> {
    let mut pools: Vec<(Name, bool)> = Vec::new();
    for disk in &vm.spec.disks {
        let Some(volume) = store.find::<Volume>(&disk.volume)? else { continue };
        let name = volume.spec.pool;
        if pools.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let room = store.find::<Pool>(&name)?.is_some_and(|pool| {
            let room = pool.status.guest_room_bytes.unwrap_or(pool.status.free_bytes);
            pool.status.state == PoolState::Ready && room >= ROOM
        });
        pools.push((name, room));
    }
    Ok(pools)
}

/// The machines that have a volume of a snapshot.
pub(crate) fn vms_of_snapshot(store: &Store, snapshot: &Resource<Snapshot>) -> Vec<LocalRef> {
    let named = |vm: &Resource<Vm>| {
        vm.spec.disks.iter().any(|disk| snapshot.spec.volumes.contains(&disk.volume))
    };
    let vms = store.list::<Vm>().unwrap_or_default();
    vms.iter().filter(|vm| named(vm)).map(Resource::local_ref).collect()
}

/// The machines that have a volume.
pub(crate) fn vms_of_volume(store: &Store, volume: &str) -> Vec<LocalRef> {
    let vms = store.list::<Vm>().unwrap_or_default();
    vms.iter()
        .filter(|vm| vm.spec.disks.iter().any(|disk| disk.volume.as_str() == volume))
        .map(|vm| LocalRef { kind: Kind::Vm, id: vm.meta.id })
        .collect()
}

/// The steps that bring a running guest's disks to what is wanted: first what goes, then what comes.
/// Disks that can only change while the guest is off wait for its next start.
pub fn plan_disks(wanted: &DomainDefinition, observed: &DomainObserved) -> Vec<VmStep> {
    if !observed.power.is_up() {
        return Vec::new();
    }
    let vm = wanted.vm;
    let keeps = |path: &PathBuf| wanted.disks.iter().any(|disk| disk.path == *path);
    let has = |path: &PathBuf| observed.disks.contains(path);
    let gone = observed.hot_disks.iter().filter(|path| !keeps(path));
    let come = wanted.disks.iter().filter(|disk| disk.is_hot() && !has(&disk.path));
    gone.map(|path| VmStep::Detach { vm, path: path.clone() })
        .chain(come.map(|disk| VmStep::Attach { vm, disk: Box::new(disk.clone()) }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::definition;
    use crate::{DomainPower, OffReason};
    use proptest::prelude::*;

    fn disk(n: u8, bus: DiskBus) -> DiskDefinition {
        DiskDefinition {
            kind: DiskKind::Disk,
            path: format!("/pool/{n}").into(),
            format: "qcow2",
            device: format!("vd{}", letter(n.into())),
            bus,
            serial: n.to_string(),
            boot: None,
            read_only: false,
            iops: None,
            bytes_per_s: None,
            queues: None,
            io_thread: None,
        }
    }

    fn observed(power: DomainPower, disks: &[u8], hot: &[u8]) -> DomainObserved {
        let paths = |list: &[u8]| list.iter().map(|n| format!("/pool/{n}").into()).collect();
        DomainObserved {
            power,
            disks: paths(disks),
            hot_disks: paths(hot),
            files: true,
            ..DomainObserved::nothing(definition(1).vm)
        }
    }

    #[test]
    fn only_disks_that_cannot_come_while_it_runs_are_a_pending_change() {
        let plain = definition(1);
        let with = |bus| DomainDefinition { disks: vec![disk(1, bus)], ..definition(1) };
        let (hot, cold) = (with(DiskBus::Virtio), with(DiskBus::Sata));
        assert_ne!(plain.fingerprint(), hot.fingerprint());
        assert!(hot.fingerprint().same_but_hot(&plain.fingerprint()));
        assert!(!cold.fingerprint().same_but_hot(&plain.fingerprint()));
        let limited = DiskDefinition { iops: Some(100), ..disk(1, DiskBus::Virtio) };
        let limited = DomainDefinition { disks: vec![limited], ..definition(1) };
        assert_ne!(limited.fingerprint(), hot.fingerprint());
    }

    #[test]
    fn threads_are_given_in_turn() {
        let threads = |count| (0..5).map(|n| in_turn(n, count).unwrap()).collect::<Vec<_>>();
        assert_eq!((threads(1), threads(2)), (vec![1; 5], vec![1, 2, 1, 2, 1]));
        assert_eq!((threads(16), in_turn(0, 0)), (vec![1, 2, 3, 4, 5], None));
    }

    #[test]
    fn a_guest_that_is_off_takes_its_disks_at_its_next_start() {
        let wanted = DomainDefinition { disks: vec![disk(1, DiskBus::Virtio)], ..definition(1) };
        let off = DomainPower::Off(OffReason::Unknown);
        assert_eq!(plan_disks(&wanted, &observed(off, &[], &[])), []);
        assert_eq!(plan_disks(&wanted, &observed(DomainPower::Running, &[], &[])).len(), 1);
    }

    proptest! {
        #[test]
        fn after_the_steps_there_are_none(
            wanted in prop::collection::btree_map(0_u8..8, any::<bool>(), 0..8),
            hot in prop::collection::btree_set(0_u8..8, 0..8),
        ) {
            let bus = |virtio| if virtio { DiskBus::Virtio } else { DiskBus::Sata };
            let disks = wanted.iter().map(|(n, virtio)| disk(*n, bus(*virtio))).collect();
            let wanted = DomainDefinition { disks, ..definition(1) };
            let there: Vec<u8> = hot.into_iter().collect();
            let mut hypervisor = crate::testing::ModelHypervisor::with(Some(observed(
                DomainPower::Running,
                &there,
                &there,
            )));
            for step in plan_disks(&wanted, &hypervisor.look().unwrap()) {
                hypervisor.apply(&step);
            }
            prop_assert_eq!(plan_disks(&wanted, &hypervisor.look().unwrap()), []);
        }
    }
}

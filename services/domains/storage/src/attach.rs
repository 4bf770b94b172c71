//! Which virtual machines or pods have a volume, judged from the records.

use skerry_model::{
    Id, Kind, LocalRef, Name, Pod, PodTemplate, PodVolumeSource, Resource, Vm, VmState, VolumeOf,
};
use skerry_store::{Store, StoreError};

/// A virtual machine that names a volume among its disks.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Which.
    pub id: Id<Vm>,
    /// Its name.
    pub name: Name,
    /// Its state, as written down.
    pub state: VmState,
    /// Whether it may only read the volume.
    pub read_only: bool,
}

/// Whether a machine's process is there, or may be any moment.
pub const fn may_run(state: VmState) -> bool {
    matches!(
        state,
        VmState::Starting
            | VmState::Running
            | VmState::Paused
            | VmState::Stopping
            | VmState::Suspended
    )
}

impl Holder {
    /// Whether its process is there, or may be any moment.
    pub const fn may_run(&self) -> bool {
        may_run(self.state)
    }

    /// Whether its memory is on disk: it will go on with its volumes as they are now.
    pub const fn is_suspended(&self) -> bool {
        matches!(self.state, VmState::Suspended)
    }

    /// Whether a start has been written down, so that its process may be there any moment.
    pub const fn is_starting(&self) -> bool {
        matches!(self.state, VmState::Starting)
    }
}

fn holder(vm: &Resource<Vm>, volume: &Name) -> Option<Holder> {
    let disk = vm.spec.disks.iter().find(|disk| disk.volume == *volume);
    // It is to have it no more, but its guest has not let go of it.
    let left = disk.is_none() && vm.status.volumes.contains(volume);
    if disk.is_none() && !left {
        return None;
    }
    Some(Holder {
        id: vm.id(),
        name: vm.meta.name.clone(),
        state: vm.status.state,
        read_only: disk.is_some_and(|disk| disk.read_only),
    })
}

/// The virtual machines that have a volume or are to have it: one, or several that may only read it.
pub fn holders(store: &Store, volume: &Name) -> Result<Vec<Holder>, StoreError> {
    Ok(store.list::<Vm>()?.iter().filter_map(|vm| holder(vm, volume)).collect())
}

/// A pod that names a volume, as it is wanted or as it runs.
#[derive(Debug, Clone)]
pub struct PodUser {
    /// Which.
    pub id: Id<Pod>,
    /// Its name.
    pub name: Name,
    /// Whether it may only read the volume.
    pub read_only: bool,
}

fn named<'a>(template: &'a PodTemplate, volume: &Name) -> Option<&'a VolumeOf> {
    template.volumes.iter().find_map(|own| match &own.source {
        PodVolumeSource::Volume(of) if of.name == *volume => Some(of),
        _ => None,
    })
}

/// The pods that name a volume: one, or several that may only read it.
pub fn pod_users(store: &Store, volume: &Name) -> Result<Vec<PodUser>, StoreError> {
    let user = |pod: &Resource<Pod>| {
        let wanted = pod.spec.template();
        let both = [Some(&wanted), pod.status.template()].into_iter().flatten();
        let uses: Vec<&VolumeOf> = both.filter_map(|template| named(template, volume)).collect();
        let read_only = uses.iter().all(|of| of.read_only);
        let user = PodUser { id: pod.id(), name: pod.meta.name.clone(), read_only };
        (!uses.is_empty()).then_some(user)
    };
    Ok(store.list::<Pod>()?.iter().filter_map(user).collect())
}

/// Everybody who has a volume.
pub(crate) fn users(holders: &[Holder], pods: &[PodUser]) -> Vec<LocalRef> {
    let vms = holders.iter().map(|holder| LocalRef { kind: Kind::Vm, id: holder.id.uuid() });
    let pods = pods.iter().map(|pod| LocalRef { kind: Kind::Pod, id: pod.id.uuid() });
    vms.chain(pods).collect()
}

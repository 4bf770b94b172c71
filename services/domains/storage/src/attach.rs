//! Which virtual machine has a volume, judged from the records.

use skerry_model::{Id, Name, Resource, Vm, VmState};
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

impl Holder {
    /// Whether its process is there, or may be any moment.
    pub const fn may_run(&self) -> bool {
        matches!(
            self.state,
            VmState::Starting
                | VmState::Running
                | VmState::Paused
                | VmState::Stopping
                | VmState::Suspended
        )
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
    let disk = vm.spec.disks.iter().find(|disk| disk.volume == *volume)?;
    Some(Holder {
        id: vm.id(),
        name: vm.meta.name.clone(),
        state: vm.status.state,
        read_only: disk.read_only,
    })
}

/// The virtual machines that name a volume: one, or several that may only read it.
pub fn holders(store: &Store, volume: &Name) -> Result<Vec<Holder>, StoreError> {
    Ok(store.list::<Vm>()?.iter().filter_map(|vm| holder(vm, volume)).collect())
}

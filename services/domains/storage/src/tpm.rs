//! The TPM of a machine in snapshots of the machine.
//!
//! What a TPM keeps lies in the machine's folder and not in a pool, and so do the copies of it: they are the machine's
//! secrets and go with it. A snapshot notes whose TPM it is to hold before the first copy is made, so whatever becomes of
//! taking it, its deletion removes the copy. What a running guest's TPM has not written down, such as measurements of its
//! boot, is gone with the guest's process anyway, and no part of a snapshot.

use skerry_engine::{Failure, planned};
use skerry_model::{Id, Phase, Resource, Snapshot, Vm, VmState};

use crate::content::Runner;
use crate::controller::{StorageController, failure, store_failure};
use crate::snapshots::Pass;
use crate::{GuestPower, SnapshotStep};

impl StorageController {
    /// Removes what a snapshot holds of a TPM, where its pool is not there to tell more of it.
    pub(crate) async fn forget_tpm(&self, snapshot: &Resource<Snapshot>) -> Result<(), Failure> {
        let Some(vm) = snapshot.status.tpm else { return Ok(()) };
        self.guests.drop_tpm(vm, snapshot.id()).await.map_err(failure)
    }
}

impl Pass<'_> {
    /// Notes whose TPM is to be kept, before anything is.
    pub(crate) async fn note_tpm(&mut self) -> Result<(), Failure> {
        let Some(name) = &self.snapshot.spec.vm else { return Ok(()) };
        let vm = self.controller.store.find::<Vm>(name).map_err(store_failure)?;
        let vm = vm.filter(|vm| vm.spec.tpm).map(|vm| vm.id());
        if vm.is_none() || self.status.tpm == vm {
            return Ok(());
        }
        self.status.tpm = vm;
        self.put().await
    }

    /// The machine whose TPM is to be set back: not one that is gone, or that has none any more.
    pub(crate) fn tpm_machine(&self) -> Result<Option<Resource<Vm>>, Failure> {
        let Some(vm) = self.status.tpm else { return Ok(None) };
        let vm = self.controller.store.get::<Vm>(vm).map_err(store_failure)?;
        Ok(vm.filter(|vm| vm.spec.tpm && vm.meta.phase == Phase::Present))
    }

    /// That machine if it runs, or may any moment; it need not have the volumes any more.
    pub(crate) async fn tpm_runner(&self) -> Result<Option<Runner>, Failure> {
        let Some(vm) = self.tpm_machine()? else { return Ok(None) };
        let off = self.controller.guests.power(vm.id()).await.map_err(failure)? == GuestPower::Off;
        let starts = vm.status.state == VmState::Starting;
        if off && !starts && vm.status.state != VmState::Suspended {
            return Ok(None);
        }
        Ok(Some(Runner { name: vm.meta.name, only_starts: off && starts }))
    }

    /// Does one step.
    pub(crate) async fn carry_out(&mut self, step: SnapshotStep) -> Result<(), Failure> {
        planned(step.name());
        let (id, controller) = (self.id(), self.controller);
        match step {
            SnapshotStep::Files(step) => controller.host.apply(&self.pool, &step).await,
            SnapshotStep::KeepTpm(vm) => return self.keep_tpm(vm).await,
            SnapshotStep::RevertTpm(vm) => controller.guests.revert_tpm(vm, id).await,
            SnapshotStep::DropTpm(vm) => controller.guests.drop_tpm(vm, id).await,
        }
        .map_err(failure)
    }

    async fn keep_tpm(&mut self, vm: Id<Vm>) -> Result<(), Failure> {
        if self.controller.guests.keep_tpm(vm, self.id()).await.map_err(failure)? {
            return Ok(());
        }
        // The machine has never been started. Written down before the files say that the snapshot has been taken: after
        // that nobody would look again, and going back to it would miss what never was.
        self.status.tpm = None;
        self.put().await
    }
}

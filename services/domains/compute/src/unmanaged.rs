//! What is there of virtual machines of which no record speaks.
//!
//! As after a recovery of the store from an older checkpoint. They are shown and counted, and nothing is done to them until
//! a person says so: a checkpoint that knows them may yet be imported.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use skerry_engine::{ErrorClass, Failure};
use skerry_model::{Accelerator, Id, UnmanagedVm, Vm};

use crate::controller::store_failure;
use crate::{
    Charge, DomainObserved, HypervisorError, Target, VmController, VmStep, overhead_mib, plan,
};

impl VmController {
    /// Those there are now, from now on counted among what takes memory; nothing if there is nothing new to see since the
    /// last time.
    pub async fn look_for_unmanaged(&self) -> Result<Option<Vec<UnmanagedVm>>, Failure> {
        let none_known = self.unmanaged_charges().is_empty();
        let due = self.unmanaged_due.swap(false, Ordering::SeqCst);
        if !due && none_known {
            return Ok(None);
        }
        let found = self.find_unmanaged().await;
        if found.is_err() {
            self.unmanaged_due.store(true, Ordering::SeqCst);
        }
        let found = found?;
        let accelerator = self.accelerator();
        let charge = |domain: &DomainObserved| charge(domain, accelerator);
        let mut known = self.unmanaged.lock().unwrap_or_else(PoisonError::into_inner);
        *known = found.iter().map(charge).collect();
        drop(known);
        let shown = |domain: &DomainObserved| UnmanagedVm {
            id: domain.vm,
            running: domain.power.is_up(),
            memory_mib: charge(domain).total_mib(),
            disks: domain.disks.iter().map(|path| path.display().to_string()).collect(),
        };
        Ok(Some(found.iter().map(shown).collect()))
    }

    /// Something was heard of a machine without a record: it is looked for the next time.
    pub(crate) fn expect_unmanaged(&self) {
        self.unmanaged_due.store(true, Ordering::SeqCst);
    }

    /// What they cost.
    pub(crate) fn unmanaged_charges(&self) -> Vec<Charge> {
        self.unmanaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes what there is of a machine without a record: it is forced off, and its definition and the files in its own
    /// folder go. Its disks stay. Whether there was anything.
    pub async fn remove_unmanaged(&self, vm: Id<Vm>) -> Result<bool, Failure> {
        if self.store.get::<Vm>(vm).map_err(store_failure)?.is_some() {
            return Ok(false);
        }
        let Some(seen) = self.hypervisor.observe_one(vm).await.map_err(failure)? else {
            return Ok(false);
        };
        for step in plan(Target::Gone, None, Some(&seen)) {
            self.hypervisor.apply(&step).await.map_err(failure)?;
            let step = VmStep::name(&step);
            tracing::info!(kind = "Vm", id = %vm, step, "step done to a machine without a record");
        }
        self.expect_unmanaged();
        Ok(true)
    }

    async fn find_unmanaged(&self) -> Result<Vec<DomainObserved>, Failure> {
        if !self.hypervisor.has_traces().await {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for domain in self.hypervisor.observe().await.map_err(failure)? {
            if self.store.get::<Vm>(domain.vm).map_err(store_failure)?.is_some() {
                continue;
            }
            // One that was just being deleted is gone now, and its record went last.
            let seen = self.hypervisor.observe_one(domain.vm).await.map_err(failure)?;
            found.extend(seen);
        }
        Ok(found)
    }
}

fn charge(domain: &DomainObserved, accelerator: Accelerator) -> Charge {
    if !domain.power.is_up() {
        return Charge::default();
    }
    let memory_mib = domain.most_memory_mib.unwrap_or_default();
    let vcpus = domain.vcpus.unwrap_or(1);
    let overhead_mib = overhead_mib(memory_mib, vcpus, accelerator);
    Charge { memory_mib, overhead_mib, vcpus, dedicated: 0 }
}

fn failure(error: HypervisorError) -> Failure {
    let message = "it could not be seen which virtual machines have no record";
    match error.class() {
        ErrorClass::NeedsOperator => Failure::needs_operator(message).because(error),
        ErrorClass::Retry | ErrorClass::Bug => Failure::retry(message).because(error),
    }
}

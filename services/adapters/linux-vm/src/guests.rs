//! What storage asks of running guests: to be at rest and held for a moment, and to see a larger disk.
//!
//! QEMU writes out what it holds in memory of its disks' structure whenever it stops a guest's processors
//! (`do_vm_stop` in its source), so the files of a held guest are whole. Not tried under load yet.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use skerry_compute::{
    AgentCommand, AgentLink, DomainPower, Hypervisor, HypervisorError, read_count,
};
use skerry_model::{Id, Snapshot, Vm};
use skerry_storage::{GuestPower, Guests, Rest, StorageError};
use virt::connect::Connect;
use virt::sys;

use crate::failure::CallError;
use crate::libvirt::Libvirt;
use crate::{calls, disks};

/// A call may take this long; writing out a slow disk's cache counts.
const CALL: Duration = Duration::from_secs(60);

fn guest(what: &'static str) -> impl Fn(HypervisorError) -> StorageError {
    move |source| StorageError::Guest { what, source: Box::new(source) }
}

#[async_trait]
impl Guests for Libvirt {
    async fn power(&self, vm: Id<Vm>) -> Result<GuestPower, StorageError> {
        let seen = self.observe_one(vm).await.map_err(guest("looking at the state"))?;
        Ok(match seen.map(|domain| domain.power) {
            None | Some(DomainPower::Off(_)) => GuestPower::Off,
            Some(DomainPower::Running) => GuestPower::Running,
            Some(DomainPower::Paused(_)) => GuestPower::Held,
        })
    }

    async fn hold(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        let work = move |connection: &Connect| calls::pause(connection, vm);
        self.change("hold", vm, CALL, work).await.map_err(guest("holding"))
    }

    async fn release(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        let work = move |connection: &Connect| calls::resume(connection, vm);
        self.change("resume", vm, CALL, work).await.map_err(guest("letting go"))
    }

    async fn freeze(&self, vm: Id<Vm>) -> Rest {
        let link = match self.observe_one(vm).await {
            Ok(seen) => seen.map_or(AgentLink::Absent, |domain| domain.agent),
            Err(error) => return Rest::Refused(error.to_string()),
        };
        match link {
            AgentLink::Absent => return Rest::NoAgent,
            AgentLink::Silent => return Rest::Refused("no agent listens in its guest".to_owned()),
            AgentLink::Connected => {}
        }
        match self.ask_agent(vm, &AgentCommand::Freeze).await.map(|text| read_count(&text)) {
            Ok(Ok(0)) => {
                Rest::Refused("its agent found no file system to bring to rest".to_owned())
            }
            Ok(Ok(_)) => Rest::AtRest,
            Ok(Err(error)) => Rest::Unknown(error.to_string()),
            Err(error @ HypervisorError::AgentRefused { .. }) => Rest::Refused(error.to_string()),
            Err(error) => Rest::Unknown(error.to_string()),
        }
    }

    async fn thaw(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        let what = "letting the file systems go on";
        let seen = self.observe_one(vm).await.map_err(guest(what))?;
        // With the process, or with a new one that has no line, whatever was at rest is gone.
        if seen.is_none_or(|domain| domain.agent == AgentLink::Absent) {
            return Ok(());
        }
        let answer = self.ask_agent(vm, &AgentCommand::Thaw).await.map_err(guest(what))?;
        read_count(&answer)
            .map(drop)
            .map_err(|source| StorageError::Guest { what, source: Box::new(source) })
    }

    async fn keep_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<bool, StorageError> {
        let places = self.places().clone();
        self.with_tpm("keeping the TPM", move || places.keep_tpm(vm, snapshot)).await
    }

    async fn revert_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<(), StorageError> {
        let places = self.places().clone();
        self.with_tpm("setting the TPM back", move || places.revert_tpm(vm, snapshot)).await
    }

    async fn drop_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<(), StorageError> {
        let places = self.places().clone();
        self.with_tpm("removing what was kept of the TPM", move || places.drop_tpm(vm, snapshot))
            .await
    }

    async fn grow(&self, vm: Id<Vm>, path: &Path, size_bytes: u64) -> Result<(), StorageError> {
        let path = path.to_owned();
        let work = move |connection: &Connect| {
            calls::with_domain(connection, vm, "grow", |domain| {
                let there = disks::of(&domain.get_xml_desc(0)?);
                let disk = there.into_iter().find(|disk| disk.path == path);
                let device = disk.ok_or_else(|| failed(vm, "it does not have this volume"))?.device;
                let flags = sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES;
                domain.block_resize(&device, size_bytes, flags)?;
                Ok(())
            })
        };
        self.change("grow", vm, CALL, work).await.map_err(guest("growing a disk"))
    }
}

impl Libvirt {
    /// Work on a TPM's files. That what was kept is gone, or that it is no TPM's, does not heal.
    async fn with_tpm<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(e.into()));
        done.map_err(|source| match source.kind() {
            ErrorKind::InvalidData => StorageError::Refused { what, message: source.to_string() },
            _ => StorageError::Files { what, source },
        })
    }
}

fn failed(vm: Id<Vm>, message: &str) -> CallError {
    HypervisorError::Failed { call: "grow", vm, message: message.to_owned() }.into()
}

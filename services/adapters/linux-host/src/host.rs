//! The machine itself, as the ports of upkeep and compute to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use skerry_compute::{PciFunction, Topology, TopologyHost, VirtualCard, VirtualError};
use skerry_model::{HostDevice, Name, PciAddress};
use skerry_upkeep::{
    FileDigest, Host, HostError, HostFacts, Inventory, JournalLines, JournalQuery, MemoryUse,
    PowerAction,
};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::roots::{Roots, text};
use crate::{
    addresses, devices, digest, disks, dmi, journal, memory, nics, pci, pci_functions, power,
    processors, topology, virtual_functions,
};

/// A Linux machine run by systemd.
#[derive(Debug, Clone)]
pub struct LinuxHost {
    roots: Arc<Roots>,
    journalctl: PathBuf,
    /// Whether the roots are the running kernel's, so that it can be asked directly too.
    running: bool,
}

impl Default for LinuxHost {
    fn default() -> Self {
        Self { running: true, ..Self::new(Roots::default()) }
    }
}

impl LinuxHost {
    /// A machine described by the files below `roots`; [`LinuxHost::default`] is the running one.
    pub fn new(roots: Roots) -> Self {
        let journalctl = PathBuf::from("/usr/bin/journalctl");
        Self { roots: Arc::new(roots), journalctl, running: false }
    }

    /// Runs blocking work on a thread for it. A thread that died gives the default: nothing was found.
    async fn blocking<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&Roots) -> T + Send + 'static,
    ) -> T {
        let roots = Arc::clone(&self.roots);
        tokio::task::spawn_blocking(move || work(&roots)).await.unwrap_or_else(|error| {
            tracing::error!(%error, "reading the machine's facts ended early");
            T::default()
        })
    }
}

fn facts(roots: &Roots) -> HostFacts {
    let wanted = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    let (memory, cpus) = match System::new_with_specifics(wanted) {
        Ok(system) => {
            let memory =
                MemoryUse { total: system.total_memory(), available: system.available_memory() };
            (memory, u32::try_from(system.cpus().len()).unwrap_or(u32::MAX))
        }
        Err(error) => {
            tracing::warn!(%error, "memory and processors cannot be read");
            (MemoryUse::default(), 0)
        }
    };
    let load = System::load_average().map(|load| [load.one, load.five, load.fifteen]);
    let kernel = |path: &str| text(roots.proc.join("sys/kernel").join(path)).unwrap_or_default();
    HostFacts {
        uptime_s: uptime_s(roots).unwrap_or(0),
        memory,
        load: load.unwrap_or_default(),
        cpus,
        kernel: kernel("osrelease"),
        boot_id: kernel("random/boot_id"),
        hostname: kernel("hostname"),
    }
}

/// Whole seconds of `/proc/uptime`.
fn uptime_s(roots: &Roots) -> Option<u64> {
    text(roots.proc.join("uptime"))?.split('.').next()?.parse().ok()
}

fn inventory(roots: &Roots) -> Inventory {
    Inventory {
        system: dmi::system(roots, &processors::flags(roots)),
        board: dmi::board(roots),
        processors: processors::processors(roots),
        memory: memory::memory(roots),
        disks: disks::disks(roots),
        nics: nics::nics(roots),
        accelerators: pci::accelerators(roots),
        // Whether they can be given away is not for the machine to say.
        pci: Vec::new(),
        host_devices: devices::devices(roots),
    }
}

fn set_hostname(roots: &Roots, name: &Name) -> Result<(), HostError> {
    if text(roots.proc.join("sys/kernel/hostname")).as_deref() == Some(name.as_str()) {
        return Ok(());
    }
    nix::unistd::sethostname(name.as_str()).map_err(|error| HostError::Refused {
        action: "set the host name",
        detail: error.to_string(),
    })
}

#[async_trait]
impl Host for LinuxHost {
    async fn facts(&self) -> HostFacts {
        self.blocking(facts).await
    }

    async fn inventory(&self) -> Inventory {
        let mut found = self.blocking(inventory).await;
        if self.running {
            let own = addresses::permanent().await;
            for nic in &mut found.nics {
                if let Some(address) = own.get(&nic.name) {
                    nic.mac.clone_from(address);
                }
            }
        }
        found
    }

    async fn power(&self, action: PowerAction) -> Result<(), HostError> {
        power::power(action).await
    }

    async fn going_down(&self) -> bool {
        self.running && power::going_down().await
    }

    async fn journal(&self, query: JournalQuery) -> Result<JournalLines, HostError> {
        journal::lines(&self.journalctl, &query)
    }

    async fn hash_file(&self, path: &Path) -> Result<FileDigest, HostError> {
        let path = path.to_owned();
        let ended = |detail: String| HostError::Refused { action: "hash a file", detail };
        tokio::task::spawn_blocking(move || digest::of_file(&path))
            .await
            .unwrap_or_else(|error| Err(ended(error.to_string())))
    }

    async fn set_hostname(&self, name: &Name) -> Result<(), HostError> {
        set_hostname(&self.roots, name)
    }
}

#[async_trait]
impl TopologyHost for LinuxHost {
    fn topology(&self) -> Topology {
        topology::topology(&self.roots)
    }

    fn pci(&self) -> Vec<PciFunction> {
        pci_functions::functions(&self.roots)
    }

    fn devices(&self) -> Vec<HostDevice> {
        devices::devices(&self.roots)
    }

    async fn make_virtual(&self, of: &PciAddress, count: u32) -> Result<(), VirtualError> {
        let (roots, of) = (Arc::clone(&self.roots), of.clone());
        tokio::task::spawn_blocking(move || virtual_functions::make(&roots, &of, count))
            .await
            .unwrap_or_else(|error| Err(VirtualError(format!("was not looked at: {error}"))))
    }

    async fn set_virtual(&self, card: &VirtualCard) -> Result<(), VirtualError> {
        virtual_functions::set(card).await
    }
}

#[cfg(test)]
mod tests;

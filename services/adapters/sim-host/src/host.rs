//! The simulated machine's own facts: a small server without virtualisation.

use std::path::Path;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use skerry_compute::{PciFunction, Topology, TopologyHost};
use skerry_model::{HostDevice, Name};
use skerry_upkeep::{
    FileDigest, Host, HostError, HostFacts, Inventory, JournalLines, JournalQuery, MemoryUse,
    PowerAction,
};

use crate::library::digest_of;
use crate::world::SimHost;

const GIB: u64 = 1 << 30;

impl SimHost {
    /// Gives the machine other processors, NUMA nodes or huge pages.
    pub fn set_topology(&self, topology: Topology) {
        self.world().topology = topology;
    }

    /// Gives the machine these PCI functions.
    pub fn set_pci(&self, functions: Vec<PciFunction>) {
        self.world().pci = functions;
    }

    /// Plugs something into the machine.
    pub fn plug_in(&self, device: HostDevice) {
        self.world().devices.push(device);
    }

    /// Pulls out what goes by this name.
    pub fn pull_out(&self, name: &str) {
        self.world().devices.retain(|device| !device.is_called(name));
    }
}

impl TopologyHost for SimHost {
    fn topology(&self) -> Topology {
        self.world().topology.clone()
    }

    fn pci(&self) -> Vec<PciFunction> {
        self.world().pci.clone()
    }

    fn devices(&self) -> Vec<HostDevice> {
        self.world().devices.clone()
    }
}

#[async_trait]
impl Host for SimHost {
    async fn facts(&self) -> HostFacts {
        HostFacts {
            uptime_s: self.uptime_s(),
            memory: MemoryUse { total: 4 * GIB, available: 3 * GIB },
            load: [0.1, 0.1, 0.1],
            cpus: 4,
            kernel: "simulated".to_owned(),
            boot_id: format!("simulated-{}", self.world().boots),
            hostname: self.world().hostname.clone(),
        }
    }

    async fn inventory(&self) -> Inventory {
        let mut inventory = Inventory::default();
        inventory.system.vendor = Some("Skerry".to_owned());
        inventory.system.product = Some("Simulated host".to_owned());
        inventory.host_devices.clone_from(&self.world().devices);
        inventory
    }

    async fn power(&self, action: PowerAction) -> Result<(), HostError> {
        self.world().power_orders.push(action);
        Ok(())
    }

    async fn journal(&self, _query: JournalQuery) -> Result<JournalLines, HostError> {
        let line = "the simulated machine keeps no journal".to_owned();
        Ok(stream::iter([Ok(line)]).boxed())
    }

    async fn hash_file(&self, path: &Path) -> Result<FileDigest, HostError> {
        if let Some(bytes) = self.world().library.files.get(path) {
            return Ok(digest_of(bytes));
        }
        let bytes = tokio::fs::read(path)
            .await
            .map_err(|source| HostError::Read { path: path.to_owned(), source })?;
        Ok(digest_of(&bytes))
    }

    async fn set_hostname(&self, name: &Name) -> Result<(), HostError> {
        name.as_str().clone_into(&mut self.world().hostname);
        Ok(())
    }
}

//! The simulated machine's own facts: a small server without virtualisation.

use std::path::Path;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use skerry_compute::{PciFunction, Topology, TopologyHost, VirtualCard, VirtualError};
use skerry_model::{HostDevice, Name, PciAddress};
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

    /// What its cards were told of virtual functions, in order.
    pub fn cards(&self) -> Vec<VirtualCard> {
        self.world().cards.clone()
    }

    /// Somebody presses the power button: from now on the machine is on its way down, until it is cut off.
    pub fn press_power(&self) {
        self.world().going_down = true;
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

#[async_trait]
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

    async fn make_virtual(&self, of: &PciAddress, count: u32) -> Result<(), VirtualError> {
        let made = self.step("make_virtual", |world| {
            world.pci.retain(|one| one.parent.as_ref() != Some(of));
            let card = world.pci.iter_mut().find(|one| one.address == *of)?;
            card.virtual_functions = count;
            let card = card.clone();
            world.pci.extend((0..count).filter_map(|number| virtual_function(&card, number)));
            Some(())
        });
        let gone = || VirtualError("is not there any more".to_owned());
        made.await.map_err(VirtualError)?.ok_or_else(gone)
    }

    async fn set_virtual(&self, card: &VirtualCard) -> Result<(), VirtualError> {
        self.step("set_virtual", |world| world.cards.push(card.clone())).await.map_err(VirtualError)
    }
}

/// Where the usual network card has it: on the same bus, from device 16 on, two functions for each of its own. The IOMMU
/// keeps it apart.
fn virtual_function(card: &PciFunction, number: u32) -> Option<PciFunction> {
    let [domain, bus, ..] = card.address.parts()?;
    let place = number.saturating_mul(2).saturating_add(0x80);
    let address = format!("{domain}:{bus}:{:02x}.{}", place / 8, place % 8);
    Some(PciFunction {
        address: address.parse().ok()?,
        driver: None,
        iommu_group: card
            .iommu_group
            .map(|group| group.saturating_mul(1000).saturating_add(number)),
        parent: Some(card.address.clone()),
        number: Some(number),
        virtual_functions: 0,
        most_virtual: 0,
        nic: None,
        needed: None,
        ..card.clone()
    })
}

/// Power takes them away.
pub(crate) fn forget_virtual(functions: &mut Vec<PciFunction>) {
    functions.retain(|one| one.parent.is_none());
    for card in functions {
        card.virtual_functions = 0;
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

    async fn going_down(&self) -> bool {
        self.world().going_down
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

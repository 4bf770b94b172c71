//! What the simulated machine consists of, and what a power cut leaves of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skerry_compute::{
    DiskDefinition, DomainObserved, DriveObserved, HypervisorEvent, Seed, Topology,
};
use skerry_model::{HostDevice, Id, Snapshot, UsbPlace, Vm};
use skerry_network::NetworkObserved;
use tokio::sync::{broadcast, watch};

use crate::agent::SimAgent;
use crate::containers::SimContainers;
use crate::faults::{Fate, FaultPlan};
use crate::library::SimLibrary;
use crate::storage::SimDisk;
use crate::{host, network};

/// Everything there is.
pub(crate) struct World {
    pub network: NetworkObserved,
    pub domains: BTreeMap<Id<Vm>, DomainObserved>,
    /// What guests wrote; on disk, so it outlives power.
    pub serial: BTreeMap<Id<Vm>, Vec<u8>>,
    /// Guests whose memory is on disk; it outlives power too.
    pub memory: BTreeSet<Id<Vm>>,
    pub containers: SimContainers,
    pub disk: SimDisk,
    /// On disk, so it outlives power.
    pub library: SimLibrary,
    /// Disks that the next start of each guest has.
    pub defined_disks: BTreeMap<Id<Vm>, Vec<DiskDefinition>>,
    /// Processors that the next start of each guest has.
    pub defined_vcpus: BTreeMap<Id<Vm>, u32>,
    /// Memory that the next start of each guest has that may be given more.
    pub defined_memory: BTreeMap<Id<Vm>, u64>,
    /// What they have by USB from their start on.
    pub defined_usb: BTreeMap<Id<Vm>, Vec<UsbPlace>>,
    /// Ethernet addresses of the interfaces that they have from their start on.
    pub defined_nics: BTreeMap<Id<Vm>, Vec<String>>,
    /// CD drives that they have from their start on.
    pub defined_drives: BTreeMap<Id<Vm>, Vec<DriveObserved>>,
    /// What cloud-init in each guest reads at its next start.
    pub seeds: BTreeMap<Id<Vm>, Seed>,
    /// Guests whose next start has a display, and those that have one now.
    pub defined_displays: BTreeSet<Id<Vm>>,
    pub displays: BTreeSet<Id<Vm>>,
    /// Guests whose next start has a line to an agent, and the agents.
    pub defined_agents: BTreeSet<Id<Vm>>,
    pub agents: BTreeMap<Id<Vm>, SimAgent>,
    /// Machines whose next start has a TPM; how often each TPM has been used, which is all that it keeps; and what was kept
    /// of that for snapshots.
    pub defined_tpms: BTreeSet<Id<Vm>>,
    pub tpms: BTreeMap<Id<Vm>, u32>,
    pub kept_tpms: BTreeMap<(Id<Vm>, Id<Snapshot>), u32>,
    /// Programs of people that run in containers.
    pub programs: usize,
    pub faults: FaultPlan,
    /// Counts up, so that no process id is given twice.
    pub last_pid: u32,
    /// How often power came back.
    pub boots: u32,
    /// Power is gone; every step waits for ever.
    pub dark: bool,
    pub hostname: String,
    /// Its processors, NUMA nodes and huge pages.
    pub topology: Topology,
    /// Its PCI functions.
    pub pci: Vec<skerry_compute::PciFunction>,
    /// What its cards were told of virtual functions, in order.
    pub cards: Vec<skerry_compute::VirtualCard>,
    /// What virtual machines may have of it.
    pub devices: Vec<HostDevice>,
    /// Restart and power-off orders, for tests to see.
    pub power_orders: Vec<skerry_upkeep::PowerAction>,
    /// The machine is on its way down.
    pub going_down: bool,
}

impl World {
    pub(crate) fn pid(&mut self) -> u32 {
        self.last_pid = self.last_pid.saturating_add(1);
        self.last_pid
    }
}

struct Shared {
    world: Mutex<World>,
    network_events: watch::Sender<u64>,
    hypervisor_events: broadcast::Sender<HypervisorEvent>,
    container_events: broadcast::Sender<skerry_containers::RuntimeEvent>,
    started: tokio::time::Instant,
}

/// A simulated machine. Clones are the same machine; each port is implemented on it.
#[derive(Clone)]
pub struct SimHost {
    shared: Arc<Shared>,
}

impl Default for SimHost {
    fn default() -> Self {
        Self::new()
    }
}

impl SimHost {
    /// A machine that has just been switched on for the first time.
    pub fn new() -> Self {
        let world = World {
            network: network::at_power_on(),
            domains: BTreeMap::new(),
            serial: BTreeMap::new(),
            memory: BTreeSet::new(),
            containers: SimContainers::default(),
            disk: SimDisk::default(),
            library: SimLibrary::default(),
            defined_disks: BTreeMap::new(),
            defined_vcpus: BTreeMap::new(),
            defined_memory: BTreeMap::new(),
            defined_usb: BTreeMap::new(),
            defined_nics: BTreeMap::new(),
            defined_drives: BTreeMap::new(),
            seeds: BTreeMap::new(),
            defined_displays: BTreeSet::new(),
            displays: BTreeSet::new(),
            defined_agents: BTreeSet::new(),
            agents: BTreeMap::new(),
            defined_tpms: BTreeSet::new(),
            tpms: BTreeMap::new(),
            kept_tpms: BTreeMap::new(),
            programs: 0,
            faults: FaultPlan::default(),
            last_pid: 1000,
            boots: 0,
            dark: false,
            hostname: "localhost".to_owned(),
            topology: Topology::plain(4, 4096),
            pci: Vec::new(),
            cards: Vec::new(),
            devices: Vec::new(),
            power_orders: Vec::new(),
            going_down: false,
        };
        Self {
            shared: Arc::new(Shared {
                world: Mutex::new(world),
                network_events: watch::Sender::new(0),
                hypervisor_events: broadcast::Sender::new(256),
                container_events: broadcast::Sender::new(256),
                started: tokio::time::Instant::now(),
            }),
        }
    }

    /// Orders faults.
    pub fn order_faults(&self, order: impl FnOnce(&mut FaultPlan)) {
        order(&mut self.world().faults);
    }

    /// Takes the power away and gives it back: what ran is gone, what lay on disk is there.
    pub fn power_cut(&self) {
        let mut world = self.world();
        world.network = network::at_power_on();
        // Definitions live in memory on the real machine too: the node defines its guests anew after a boot.
        world.domains.clear();
        world.containers.power_cut();
        world.disk.power_cut();
        host::forget_virtual(&mut world.pci);
        world.faults = FaultPlan::default();
        world.dark = false;
        world.going_down = false;
        world.boots = world.boots.saturating_add(1);
    }

    /// Whether an ordered power cut has come and power is not back yet.
    pub fn is_dark(&self) -> bool {
        self.world().dark
    }

    /// How many domains and containers run.
    pub fn running(&self) -> (usize, usize) {
        let world = self.world();
        let domains = world.domains.values().filter(|d| d.power.is_up()).count();
        (domains, world.containers.running())
    }

    /// Power orders given so far.
    pub fn power_orders(&self) -> Vec<skerry_upkeep::PowerAction> {
        self.world().power_orders.clone()
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        // A test that panicked while holding the lock leaves the world as it was; others may look on.
        self.shared.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a step as the fault plan has it. A lost step's future never ends, as nothing does in the dark;
    /// the test that ordered the cut drops it with the node.
    pub(crate) async fn step<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut World) -> T,
    ) -> Result<T, String> {
        let delay = self.world().faults.delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let fate = {
            let mut world = self.world();
            let fate = if world.dark { Fate::PowerLost } else { world.faults.fate(name) };
            world.dark = fate == Fate::PowerLost;
            fate
        };
        match fate {
            Fate::Done => Ok(effect(&mut self.world())),
            Fate::Fails => Err(format!("the simulated {name} fails as ordered")),
            Fate::PowerLost => std::future::pending().await,
        }
    }

    pub(crate) fn uptime_s(&self) -> u64 {
        self.shared.started.elapsed().as_secs()
    }

    pub(crate) fn network_changed(&self) {
        self.shared.network_events.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn network_events(&self) -> watch::Receiver<u64> {
        self.shared.network_events.subscribe()
    }

    pub(crate) fn hypervisor_news(&self, event: HypervisorEvent) {
        // Nobody listening is no fault.
        let _ = self.shared.hypervisor_events.send(event);
    }

    pub(crate) fn hypervisor_events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.shared.hypervisor_events.subscribe()
    }

    pub(crate) fn container_news(&self, event: skerry_containers::RuntimeEvent) {
        let _ = self.shared.container_events.send(event);
    }

    pub(crate) fn container_events(&self) -> broadcast::Receiver<skerry_containers::RuntimeEvent> {
        self.shared.container_events.subscribe()
    }
}

//! What the parts of the daemon share: store, machine, identity, settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use skerry_compute::{GuestConsoles, Hypervisor, TopologyHost, VmController};
use skerry_containers::{ContainerAccess, ContainerRuntime, PodController};
use skerry_engine::EngineHandle;
use skerry_faults::Faults;
use skerry_network::NetworkHost;
use skerry_storage::{Guests, StorageController, VolumeHost};
use skerry_store::Store;
use skerry_trust::{Identity, Limiter};
use skerry_upkeep::{Host, ImageBlobs, ImageController, ImageLibrary};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;

use crate::config::Config;
use crate::dirs::Dirs;
use crate::identity::Claim;
use crate::images::FetchDesk;
use crate::jobs::Jobs;
use crate::pulls::PullDesk;
use crate::serial_hub::SerialHub;
use crate::typists::Typists;

/// The machine, through the ports of the domains.
#[derive(Clone)]
pub struct Machine {
    /// Facts, power, logs.
    pub host: Arc<dyn Host>,
    /// Links, addresses, rules.
    pub network: Arc<dyn NetworkHost>,
    /// Virtual machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Processors, NUMA nodes and huge pages.
    pub topology: Arc<dyn TopologyHost>,
    /// What people look at in virtual machines.
    pub consoles: Arc<dyn GuestConsoles>,
    /// Containers.
    pub containers: Arc<dyn ContainerRuntime>,
    /// Files of pools.
    pub volumes: Arc<dyn VolumeHost>,
    /// What storage asks of running guests.
    pub guests: Arc<dyn Guests>,
    /// Files of images.
    pub images: Arc<dyn ImageLibrary>,
    /// Container images as they were brought in.
    pub blobs: Arc<dyn ImageBlobs>,
    /// What people do inside containers.
    pub access: Arc<dyn ContainerAccess>,
}

/// The running node.
pub struct Node {
    /// State.
    pub store: Store,
    /// Alarms.
    pub faults: Faults,
    /// The loop.
    pub engine: EngineHandle,
    /// The machine.
    pub machine: Machine,
    /// Settings.
    pub config: Config,
    /// Folders.
    pub dirs: Dirs,
    /// Who this node is.
    pub identity: Identity,
    /// Whether it may be claimed.
    pub claim: Arc<Mutex<Claim>>,
    /// Tells the node's controller whether there is an admin.
    pub claimed: watch::Sender<bool>,
    /// Virtual machines: admission, and requests beyond the wanted power.
    pub vms: Arc<VmController>,
    /// Pods: requests beyond the wanted power.
    pub pods: Arc<PodController>,
    /// Long work.
    pub jobs: Jobs,
    /// Pools, volumes, snapshots: admission.
    pub storage: Arc<StorageController>,
    /// What the north side is to fetch.
    pub fetches: FetchDesk,
    /// What the north side is to pull.
    pub pulls: PullDesk,
    /// Held while blobs are there that no record names yet.
    pub pull_turn: Arc<Mutex<()>>,
    /// Reads images.
    pub images: Arc<ImageController>,
    /// Serial lines that somebody looks at.
    pub serial: Arc<SerialHub>,
    /// Who types into which container.
    pub typists: Typists,
    /// Guesses of codes and passwords.
    pub limiter: Arc<Mutex<Limiter>>,
    /// One password hash at a time: each takes 19 MiB.
    pub hashing: Arc<Semaphore>,
    /// Changes of workloads one at a time, so that two cannot be given one address or port.
    pub admission: Mutex<()>,
    /// Board description's name.
    pub board: String,
    /// Zero of the monotonic seconds that the rate limit counts.
    pub started: Instant,
    /// Whether every controller has been started.
    pub ready: AtomicBool,
}

impl Node {
    /// Monotonic seconds since the daemon's start.
    pub fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// This node over a copy of its state, on which changes can be tried. Nothing runs there.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        let store = self.store.rehearsal();
        Self {
            faults: self.faults.clone(),
            engine: self.engine.clone(),
            machine: self.machine.clone(),
            config: self.config.clone(),
            dirs: self.dirs.clone(),
            identity: self.identity.clone(),
            claim: Arc::clone(&self.claim),
            claimed: self.claimed.clone(),
            vms: Arc::new(self.vms.rehearsal(store.clone())),
            pods: Arc::clone(&self.pods),
            jobs: self.jobs.rehearsal(store.clone()),
            storage: Arc::new(self.storage.rehearsal(store.clone())),
            fetches: self.fetches.clone(),
            pulls: self.pulls.clone(),
            pull_turn: Arc::clone(&self.pull_turn),
            images: Arc::clone(&self.images),
            limiter: Arc::clone(&self.limiter),
            hashing: Arc::clone(&self.hashing),
            admission: Mutex::new(()),
            board: self.board.clone(),
            started: self.started,
            serial: Arc::clone(&self.serial),
            typists: self.typists.clone(),
            ready: AtomicBool::new(self.is_ready()),
            store,
        }
    }

    /// Whether the node is up.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

//! The controller of virtual machines: one pass brings one machine nearer to what is wanted.
//!
//! What is to be done is decided by [`crate::decide`], [`crate::next`] and [`crate::plan`]; here it is
//! carried out and written down. A machine that runs is adopted, never restarted for the sake of order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use skerry_engine::{Controller, Failure, Key, Outcome};
use skerry_model::{
    Accelerator, Id, Image, Kind, LocalRef, Pod, PodSpec, Port, Resource, Snapshot, Timestamp, Vm,
    VmSpec,
};
use skerry_store::{Change, Store, StoreError};
use tokio::sync::OnceCell;

use crate::devices;
use crate::disks::{vms_of_snapshot, vms_of_volume};
use crate::functions::FunctionSettings;
use crate::ledger::{Holding, charges, taken};
use crate::memory::Memory;
use crate::pass::Pass;
use crate::{
    Capacity, Charge, DoesNotFit, Hypervisor, HypervisorError, HypervisorFacts, PciAsk,
    PlacementRefused, TopologyHost, Wish, admit, place, place_pages, unfit_cpu,
};

/// The name under which a machine's record is kept until its domain is gone.
pub const FINALIZER: &str = "compute";

/// Passes that may wait for an agent in a guest at a time. The engine has twice as many, and those that are left must be
/// enough for everything else, however long agents keep their answers back.
const HEARING: usize = 4;

/// Why a workload was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The machine cannot hold it.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
    /// It cannot give it what it is to have for itself.
    #[error(transparent)]
    NoPlace(#[from] PlacementRefused),
    /// Nor are the PCI functions that it is to have.
    #[error("cannot have what it asks for in `spec.pci`: {0}")]
    Pci(String),
    /// A device that it is to have is another machine's.
    #[error("{0}; stop that machine, or take the device from it")]
    DeviceTaken(String),
    /// Nor can it be shown the processor that is asked for.
    #[error("{0}")]
    CpuUnfit(String),
    /// What is held already could not be read.
    #[error("what other workloads hold could not be read")]
    Store(#[from] StoreError),
}

/// Brings virtual machines to what their records want.
pub struct VmController {
    pub(crate) store: Store,
    pub(crate) hypervisor: Arc<dyn Hypervisor>,
    pub(crate) topology: Arc<dyn TopologyHost>,
    pub(crate) capacity: Capacity,
    pub(crate) functions: FunctionSettings,
    pub(crate) clock: fn() -> Timestamp,
    /// Tells one boot of the node from the next; `None` if the node cannot.
    pub(crate) boot: Option<String>,
    /// Held while a start is admitted and written down, so that two starts cannot both take the last
    /// free memory.
    pub(crate) admission: Arc<tokio::sync::Mutex<()>>,
    /// Turns to wait for an agent's answer within a pass.
    pub(crate) hearing: tokio::sync::Semaphore,
    /// What machines without a record cost, and whether they are to be looked for.
    pub(crate) unmanaged: Mutex<Vec<Charge>>,
    pub(crate) unmanaged_due: AtomicBool,
    /// Held while guests are stopped for the host.
    pub(crate) host_stop: tokio::sync::Mutex<()>,
    facts: OnceCell<HypervisorFacts>,
    memory: Mutex<BTreeMap<Id<Vm>, Memory>>,
    held: AtomicBool,
}

impl VmController {
    /// A controller for the machines in this store. `boot` tells one boot of the node from the next.
    pub fn new(
        store: Store,
        hypervisor: Arc<dyn Hypervisor>,
        topology: Arc<dyn TopologyHost>,
        capacity: Capacity,
        clock: fn() -> Timestamp,
        boot: &str,
    ) -> Self {
        Self {
            store,
            hypervisor,
            topology,
            capacity,
            functions: FunctionSettings::default(),
            clock,
            boot: (!boot.is_empty()).then(|| boot.to_owned()),
            admission: Arc::default(),
            hearing: tokio::sync::Semaphore::new(HEARING),
            unmanaged: Mutex::default(),
            unmanaged_due: AtomicBool::new(true),
            host_stop: tokio::sync::Mutex::default(),
            facts: OnceCell::new(),
            memory: Mutex::default(),
            held: AtomicBool::new(false),
        }
    }

    /// One over another store, to ask whether the machine could hold what that has. It is not for running.
    #[must_use]
    pub fn rehearsal(&self, store: Store) -> Self {
        let boot = self.boot.as_deref().unwrap_or_default();
        let (hypervisor, topology) = (Arc::clone(&self.hypervisor), Arc::clone(&self.topology));
        let mut other = Self::new(store, hypervisor, topology, self.capacity, self.clock, boot);
        other.facts = self.facts.clone();
        other.unmanaged = Mutex::new(self.unmanaged_charges());
        other.functions = self.functions.clone();
        other
    }

    /// From now on nothing is judged, started or written: the host is going down, and what happens to
    /// guests is not their own wish.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// The host stays up after all. The caller wakes all keys afterwards.
    pub fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Whether machines are left alone.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// What the hypervisor can do; asked once.
    pub async fn facts(&self) -> Result<&HypervisorFacts, HypervisorError> {
        self.facts.get_or_try_init(|| self.hypervisor.facts()).await
    }

    /// What runs guests. Until the hypervisor has answered, the one that costs more: a request must not
    /// wait for it.
    pub(crate) fn accelerator(&self) -> Accelerator {
        self.facts.get().map_or(Accelerator::Emulation, |facts| facts.accelerator)
    }

    /// Whether the machine could hold this virtual machine beside everything that is meant to run. For
    /// a change of an existing one, `except` is that one.
    pub fn admit_vm(&self, spec: &VmSpec, except: Option<Id<Vm>>) -> Result<(), AdmissionError> {
        // Not known before the hypervisor has answered; then its start says so.
        if let Some(why) = self.facts.get().and_then(|facts| unfit_cpu(spec, facts.accelerator)) {
            return Err(AdmissionError::CpuUnfit(why));
        }
        if let Some(taken) = self.taken_device(&spec.host_devices, except)? {
            return Err(AdmissionError::DeviceTaken(taken));
        }
        let except = except.map(|vm| LocalRef { kind: Kind::Vm, id: vm.uuid() });
        self.admit(&Charge::of_vm(spec, self.accelerator()), except)?;
        if !spec.pci.is_empty() {
            let held = self.pci_held(Holding::Wanted, except)?;
            held.choose(&PciAsk::new(&spec.pci)).map_err(AdmissionError::Pci)?;
        }
        let Some(wish) = Wish::of(spec) else { return Ok(()) };
        let topology = self.topology.topology();
        let taken = taken(&self.store, &topology, Holding::Wanted, except)?;
        place(&topology, &taken, &wish, None)?;
        Ok(())
    }

    /// The device that another machine has or is meant to have, and that machine, if there is one.
    fn taken_device(
        &self,
        names: &[String],
        except: Option<Id<Vm>>,
    ) -> Result<Option<String>, StoreError> {
        if names.is_empty() {
            return Ok(None);
        }
        let has = |vm: &Resource<Vm>| {
            Some(vm.id()) != except && (vm.spec.power.is_on() || devices::holds(vm))
        };
        Ok(devices::taken(names, &self.store.list::<Vm>()?, &self.topology.devices(), has))
    }

    /// Why no machine can have one of these devices, as far as the node has them now.
    pub fn unfit_device(&self, names: &[String]) -> Option<String> {
        if names.is_empty() { None } else { devices::unfit(names, &self.topology.devices()) }
    }

    /// Whether the machine could hold this pod beside everything that is meant to run.
    pub fn admit_pod(&self, spec: &PodSpec, except: Option<Id<Pod>>) -> Result<(), AdmissionError> {
        let except = except.map(|pod| LocalRef { kind: Kind::Pod, id: pod.uuid() });
        self.admit(&Charge::of_pod(spec), except)?;
        let pages = spec.huge_pages();
        if !pages.is_empty() {
            let topology = self.topology.topology();
            let taken = taken(&self.store, &topology, Holding::Wanted, except)?;
            place_pages(&topology, &taken, &pages, &[])?;
        }
        Ok(())
    }

    fn admit(&self, charge: &Charge, except: Option<LocalRef>) -> Result<(), AdmissionError> {
        let mut held = charges(&self.store, self.accelerator(), Holding::Wanted, except)?;
        held.extend(self.unmanaged_charges());
        Ok(admit(&self.shared_capacity(&held, charge), &held, charge)?)
    }

    /// What of the machine is left to be shared beside all that is set apart.
    pub(crate) fn shared_capacity(&self, held: &[Charge], request: &Charge) -> Capacity {
        let dedicated = held.iter().chain([request]).map(|charge| charge.dedicated);
        let dedicated = dedicated.fold(0, u32::saturating_add);
        self.capacity.shared(&self.topology.topology(), dedicated)
    }

    pub(crate) fn memory(&self, vm: Id<Vm>) -> Memory {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(&vm).copied().unwrap_or_default()
    }

    pub(crate) fn remember(&self, vm: Id<Vm>, notes: Memory) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).insert(vm, notes);
    }

    fn forget(&self, vm: Id<Vm>) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(&vm);
    }

    fn vms_of_image(&self, image: &str) -> Vec<Key> {
        let vms = self.store.list::<Vm>().unwrap_or_default();
        let uses = |vm: &&Resource<Vm>| {
            let discs = vm.spec.media.iter().filter_map(|drive| drive.image.as_ref());
            vm.spec.image.iter().chain(discs).any(|name| name.as_str() == image)
        };
        vms.iter().filter(uses).map(|vm| vm.local_ref()).collect()
    }
}

/// A failure of the store, as the engine wants it.
pub(crate) fn store_failure(error: StoreError) -> Failure {
    match error {
        StoreError::Stale { .. } | StoreError::Closed => {
            Failure::retry("the record changed meanwhile; it is looked at again").because(error)
        }
        StoreError::Document(_) => {
            Failure::bug("a record of the compute domain cannot be read").because(error)
        }
        _ => Failure::retry("the state of a virtual machine could not be saved").because(error),
    }
}

#[async_trait]
impl Controller for VmController {
    fn name(&self) -> &'static str {
        "compute"
    }

    fn watches(&self) -> &'static [Kind] {
        &[Kind::Vm, Kind::Port, Kind::Image, Kind::Volume, Kind::Snapshot]
    }

    fn writes(&self) -> &'static [Kind] {
        &[Kind::Vm]
    }

    fn keys(&self, change: &Change) -> Vec<Key> {
        let document = change.after.as_ref().or(change.before.as_ref());
        match change.subject.kind {
            Kind::Vm => {
                // Our own writes of the status are no news.
                let mark =
                    |d: &Arc<skerry_model::Document>| (d.metadata.generation, d.metadata.phase);
                let changed = change.before.as_ref().map(mark) != change.after.as_ref().map(mark);
                changed.then_some(change.subject).into_iter().collect()
            }
            Kind::Port => document
                .and_then(|d| d.to_resource::<Port>().ok())
                .map(|port| port.spec.workload)
                .filter(|workload| workload.kind == Kind::Vm)
                .into_iter()
                .collect(),
            Kind::Volume => document
                .map(|volume| vms_of_volume(&self.store, volume.metadata.name.as_str()))
                .unwrap_or_default(),
            // One that its volumes need not be set back to any more lets machines start.
            Kind::Snapshot => document
                .and_then(|d| d.to_resource::<Snapshot>().ok())
                .map(|snapshot| vms_of_snapshot(&self.store, &snapshot))
                .unwrap_or_default(),
            Kind::Image => document
                .and_then(|d| d.to_resource::<Image>().ok())
                .map(|image| self.vms_of_image(image.meta.name.as_str()))
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn all_keys(&self) -> Vec<Key> {
        let id = |d: Arc<skerry_model::Document>| LocalRef { kind: Kind::Vm, id: d.metadata.id };
        self.store.documents(Kind::Vm).into_iter().map(id).collect()
    }

    async fn reconcile(&self, key: Key) -> Result<Outcome, Failure> {
        if self.is_held() || key.kind != Kind::Vm {
            return Ok(Outcome::Done);
        }
        let id = Id::new(key.id);
        match self.store.get::<Vm>(id).map_err(store_failure)? {
            Some(vm) => Pass::new(self, vm).run().await,
            None => {
                self.forget(id);
                self.expect_unmanaged();
                Ok(Outcome::Done)
            }
        }
    }
}

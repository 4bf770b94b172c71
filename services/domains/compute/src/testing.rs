//! A node around the hypervisor in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use skerry_engine::{Controller, Failure, Outcome};
use skerry_model::{
    Accelerator, Binding, ConditionState, HostDevice, Id, Image, ImageFile, ImageFormat,
    ImageSource, ImageSpec, ImageState, ImageStatus, Kind, LocalRef, Name, NewResource, PciAddress,
    Pool, PoolSpec, PoolState, PoolStatus, Port, PortSpec, PortStatus, Resource, Timestamp, Vm,
    VmAction, VmPower, VmSpec, Volume, VolumeState, VolumeStatus,
};
use skerry_store::{Store, Transaction};
use tokio::sync::broadcast;
use tokio::time::Instant;
use uuid::Uuid;

pub use crate::model_hypervisor::ModelHypervisor;
use crate::{
    Acceleration, AgentCommand, Capacity, DomainDefinition, DomainObserved, FINALIZER,
    FunctionSettings, HardwareDefinition, Hypervisor, HypervisorError, HypervisorEvent,
    HypervisorFacts, LogChunk, LogPosition, NicDefinition, PciFunction, PciGroups, Topology,
    TopologyHost, VirtualCard, VirtualError, VirtualWish, VmController, VmStep, spec_after,
};

/// A definition of the machine with this number.
pub fn definition(number: u128) -> DomainDefinition {
    DomainDefinition {
        vm: Id::new(Uuid::from_u128(number)),
        title: "web".into(),
        accelerator: Accelerator::Emulation,
        machine: "pc-q35-10.0".into(),
        vcpus: 1,
        memory_mib: 128,
        firmware: None,
        kernel: "/images/kernel".into(),
        initrd: "/images/initrd".into(),
        arguments: "quiet".into(),
        nic: NicDefinition {
            device: "skt00000001".into(),
            bridge: "skb00000001".into(),
            mac: "02:00:00:00:00:01".into(),
            model: skerry_model::NicModel::Virtio,
        },
        nics: Vec::new(),
        disks: Vec::new(),
        drives: Vec::new(),
        seed: None,
        off_on_reboot: false,
        display: false,
        guest_agent: false,
        tpm: false,
        usb: false,
        usb_devices: Vec::new(),
        lines: Vec::new(),
        hardware: HardwareDefinition::default(),
        generation: 1,
    }
}

/// The record of a machine called `web` with the id 7.
pub fn vm_resource(spec: serde_json::Value) -> Resource<Vm> {
    let document = serde_json::json!({"kind": "Vm", "spec": spec, "status": {}, "metadata": {
        "id": Uuid::from_u128(7), "name": "web", "labels": {}, "generation": 1, "revision": 1,
        "owner": "local", "phase": "present", "finalizers": [], "created": clock(),
        "updated": clock()}});
    let document: skerry_model::Document = serde_json::from_value(document).unwrap();
    document.to_resource().unwrap()
}

/// How the guests and the hypervisor behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// As they should.
    #[default]
    Good,
    /// Guests do not hear the power button.
    Deaf,
    /// Agents answer nothing, and refuse to shut down.
    Mute,
    /// Agents answer what makes no sense.
    Lying,
    /// Starts fail and may work later.
    StartFails,
    /// Definitions are refused.
    DefineRefused,
    /// Memory takes for ever to be written.
    SlowDisk,
    /// Guests are given neither processors nor memory.
    NoRoom,
    /// Nothing can be plugged in.
    NoPlug,
    /// Cards neither make virtual functions nor are told of them.
    NoVirtual,
    /// Nothing answers.
    Away,
}

/// The port over [`ModelHypervisor`]s.
pub struct Fake {
    domains: Mutex<BTreeMap<Id<Vm>, ModelHypervisor>>,
    mood: Mutex<Mood>,
    steps: Mutex<Vec<&'static str>>,
    log: Mutex<Vec<(Id<Vm>, &'static str)>>,
    fails: Mutex<Vec<(Id<Vm>, &'static str)>>,
    deaf: Mutex<Vec<Id<Vm>>>,
    asked: Mutex<Vec<&'static str>>,
    topology: Mutex<Topology>,
    pci: Mutex<Vec<PciFunction>>,
    devices: Mutex<Vec<HostDevice>>,
    cards: Mutex<Vec<VirtualCard>>,
    events: broadcast::Sender<HypervisorEvent>,
}

impl Fake {
    /// One without domains.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            domains: Mutex::default(),
            mood: Mutex::default(),
            steps: Mutex::default(),
            log: Mutex::default(),
            fails: Mutex::default(),
            deaf: Mutex::default(),
            asked: Mutex::default(),
            topology: Mutex::new(Topology::plain(4, 4096)),
            pci: Mutex::default(),
            devices: Mutex::default(),
            cards: Mutex::default(),
            events: broadcast::channel(4).0,
        })
    }

    /// From now on things behave like this.
    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// The machine is another one from now on.
    pub fn set_topology(&self, topology: Topology) {
        *self.topology.lock().unwrap() = topology;
    }

    /// The machine has these PCI functions from now on.
    pub fn set_pci(&self, pci: Vec<PciFunction>) {
        *self.pci.lock().unwrap() = pci;
    }

    /// What cards were told of virtual functions since this was last asked.
    pub fn cards(&self) -> Vec<VirtualCard> {
        std::mem::take(&mut *self.cards.lock().unwrap())
    }

    /// What is plugged into the machine from now on.
    pub fn set_devices(&self, devices: Vec<HostDevice>) {
        *self.devices.lock().unwrap() = devices;
    }

    /// Does something to a domain behind the controller's back.
    pub fn with<T>(&self, vm: Id<Vm>, act: impl FnOnce(&mut ModelHypervisor) -> T) -> T {
        act(self.domains.lock().unwrap().entry(vm).or_default())
    }

    /// Names of the steps since this was last asked.
    pub fn steps(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.steps.lock().unwrap())
    }

    /// The same, each with its machine, and with those that failed.
    pub fn log(&self) -> Vec<(Id<Vm>, &'static str)> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// From now on this step of this machine fails.
    pub fn fail(&self, vm: Id<Vm>, step: &'static str) {
        self.fails.lock().unwrap().push((vm, step));
    }

    /// From now on this guest does not hear that it should shut down.
    pub fn deafen(&self, vm: Id<Vm>) {
        self.deaf.lock().unwrap().push(vm);
    }

    /// What agents were asked since this was last asked.
    pub fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn reachable(&self) -> Result<(), HypervisorError> {
        match self.mood() {
            Mood::Away => Err(HypervisorError::Unavailable { source: None }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Hypervisor for Fake {
    async fn acceleration(&self) -> Acceleration {
        let why = "a model has no processor".to_owned();
        Acceleration { accelerator: Accelerator::Emulation, why }
    }

    async fn facts(&self) -> Result<HypervisorFacts, HypervisorError> {
        self.reachable()?;
        Ok(HypervisorFacts {
            accelerator: Accelerator::Emulation,
            machine: "pc-q35-10.0".into(),
            version: "model".into(),
        })
    }

    async fn observe(&self) -> Result<Vec<DomainObserved>, HypervisorError> {
        self.reachable()?;
        Ok(self.domains.lock().unwrap().values().filter_map(ModelHypervisor::look).collect())
    }

    async fn apply(&self, step: &VmStep) -> Result<(), HypervisorError> {
        self.reachable()?;
        let vm = step.vm();
        let call = step.name();
        self.log.lock().unwrap().push((vm, call));
        if self.fails.lock().unwrap().contains(&(vm, call)) {
            return Err(HypervisorError::Failed { call, vm, message: "broken".into() });
        }
        let mood = if self.deaf.lock().unwrap().contains(&vm) { Mood::Deaf } else { self.mood() };
        match (step, mood) {
            (VmStep::Start(_), Mood::StartFails) => {
                return Err(HypervisorError::Failed { call, vm, message: "no luck".into() });
            }
            (VmStep::Define(_), Mood::DefineRefused) => {
                return Err(HypervisorError::Refused { call, vm, message: "bad".into() });
            }
            (VmStep::Shutdown(_) | VmStep::ShutdownByAgent(_), Mood::Deaf) => {}
            (VmStep::ShutdownByAgent(_), Mood::Mute) => {
                return Err(HypervisorError::Failed { call, vm, message: "disabled".into() });
            }
            (VmStep::Plug { .. }, Mood::NoPlug) => {
                return Err(HypervisorError::Failed { call, vm, message: "busy".into() });
            }
            (VmStep::SetVcpus { .. } | VmStep::SetMemory { .. }, Mood::NoRoom) => {
                return Err(HypervisorError::Failed { call, vm, message: "guest says no".into() });
            }
            (VmStep::Save(_), Mood::SlowDisk) => {
                std::future::pending::<()>().await;
            }
            _ => self.with(vm, |domain| domain.apply(step)),
        }
        self.steps.lock().unwrap().push(call);
        Ok(())
    }

    async fn serial_log(
        &self,
        _: Id<Vm>,
        from: LogPosition,
        _: usize,
    ) -> Result<LogChunk, HypervisorError> {
        Ok(LogChunk { bytes: Vec::new(), next: from })
    }

    async fn agent(&self, _: Id<Vm>, command: &AgentCommand) -> Result<String, HypervisorError> {
        self.asked.lock().unwrap().push(command.name());
        match (self.mood(), command) {
            (Mood::Mute, _) => Err(HypervisorError::TimedOut { call: command.name(), seconds: 5 }),
            (Mood::Lying, _) => Ok(r#"{"return": [[["#.to_owned()),
            (_, AgentCommand::Interfaces) => Ok(r#"{"return": [{"name": "eth0", "ip-addresses": [
                {"ip-address": "10.88.0.2"}]}]}"#
                .to_owned()),
            _ => Ok(r#"{"return": {"version": "10.0"}}"#.to_owned()),
        }
    }

    fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.events.subscribe()
    }
}

#[async_trait]
impl TopologyHost for Fake {
    fn topology(&self) -> Topology {
        self.topology.lock().unwrap().clone()
    }

    fn pci(&self) -> Vec<PciFunction> {
        self.pci.lock().unwrap().clone()
    }

    fn devices(&self) -> Vec<HostDevice> {
        self.devices.lock().unwrap().clone()
    }

    async fn make_virtual(&self, of: &PciAddress, count: u32) -> Result<(), VirtualError> {
        if self.mood() == Mood::NoVirtual {
            return Err(VirtualError("has a driver that makes none".to_owned()));
        }
        let mut all = self.pci.lock().unwrap();
        all.retain(|one| one.parent.as_ref() != Some(of));
        let parent = all.iter_mut().find(|one| one.address == *of).unwrap();
        parent.virtual_functions = count;
        let parts = (0..count).map(|number| crate::pci::tests::part(of, number));
        all.extend(parts.collect::<Vec<_>>());
        Ok(())
    }

    async fn set_virtual(&self, card: &VirtualCard) -> Result<(), VirtualError> {
        if self.mood() == Mood::NoVirtual {
            return Err(VirtualError("the card refuses the Ethernet address".to_owned()));
        }
        self.cards.lock().unwrap().push(card.clone());
        Ok(())
    }
}

/// A store, a hypervisor and a controller.
pub struct Node {
    /// The store.
    pub store: Store,
    /// The hypervisor.
    pub fake: Arc<Fake>,
    /// The controller; replaced when the service restarts.
    pub controller: VmController,
    capacity: Capacity,
    boots: u32,
}

fn clock() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

impl Node {
    /// A node with so much memory and the image `tiny`.
    pub async fn new(memory_mib: u64) -> Self {
        let store = Store::in_memory();
        let capacity = Capacity { memory_mib, cpus: 4 };
        let file = |role: &str| ImageFile::new(role, format!("/images/{role}"), "0".repeat(64), 1);
        let spec = ImageSpec {
            files: vec![file("kernel"), file("initrd")],
            kernel_arguments: "quiet".into(),
            ..ImageSpec::new(ImageFormat::KernelInitrd, ImageSource::BuiltIn, "x86_64")
        };
        let id = Id::new(Uuid::from_u128(900));
        let mut tx = Transaction::new();
        tx.create::<Image>(NewResource::new(id, Name::new("tiny").unwrap(), spec));
        store.commit(tx).await.unwrap();
        let mut tx = Transaction::new();
        tx.put_status::<Image>(
            id,
            ImageStatus { state: ImageState::Available, ..ImageStatus::default() },
        );
        store.commit(tx).await.unwrap();
        let fake = Fake::new();
        let controller =
            VmController::new(store.clone(), fake.clone(), fake.clone(), capacity, clock, "boot-0");
        Self { store, fake, controller, capacity, boots: 0 }
    }

    /// The service starts anew and has forgotten what it only remembered.
    pub fn restart(&mut self) {
        let boot = format!("boot-{}", self.boots);
        self.controller = VmController::new(
            self.store.clone(),
            self.fake.clone(),
            self.fake.clone(),
            self.capacity,
            clock,
            &boot,
        );
    }

    /// The host is switched off and on; with `forget` the hypervisor has no definitions any more.
    pub fn reboot(&mut self, forget: bool) {
        for domain in self.fake.domains.lock().unwrap().values_mut() {
            domain.reboot(forget);
        }
        self.boots += 1;
        self.restart();
        // A store in memory writes at once.
        self.controller.prepare().now_or_never().unwrap().unwrap();
    }

    /// With these virtual functions in the node's settings.
    pub fn with_virtual(mut self, wishes: Vec<VirtualWish>) -> Self {
        let settings = FunctionSettings::new(PciGroups::new(), wishes);
        self.controller = self.controller.with_functions(settings);
        self
    }

    /// The pool `default` has so much free space.
    pub async fn set_pool_free(&self, free_bytes: u64) {
        self.set_pool(PoolStatus { free_bytes, ..PoolStatus::default() }).await;
    }

    /// The same, of which guests may write only so much.
    pub async fn set_pool_room(&self, free_bytes: u64, room: u64) {
        let guest_room_bytes = Some(room);
        self.set_pool(PoolStatus { free_bytes, guest_room_bytes, ..PoolStatus::default() }).await;
    }

    async fn set_pool(&self, status: PoolStatus) {
        let id = Id::<Pool>::new(Uuid::from_u128(950));
        if self.store.get(id).unwrap().is_none() {
            let mut tx = Transaction::new();
            let name = Name::new("default").unwrap();
            tx.create(NewResource::new(id, name, PoolSpec::data_partition()));
            self.store.commit(tx).await.unwrap();
        }
        let state = PoolState::Ready;
        let mut tx = Transaction::new();
        tx.put_status(id, PoolStatus { state, ..status });
        self.store.commit(tx).await.unwrap();
    }

    /// A volume that can be used.
    pub async fn add_volume(&self, name: &str) {
        let id = Id::<Volume>::new(Uuid::from_u128(960));
        let spec = serde_json::from_str(r#"{"size_mib": 64}"#).unwrap();
        let mut tx = Transaction::new();
        tx.create(NewResource::new(id, Name::new(name).unwrap(), spec));
        self.store.commit(tx).await.unwrap();
        let mut tx = Transaction::new();
        tx.put_status(
            id,
            VolumeStatus {
                state: VolumeState::Available,
                path: format!("/pool/{name}"),
                checked: true,
                ..VolumeStatus::default()
            },
        );
        self.store.commit(tx).await.unwrap();
    }

    /// A user changes what is wanted.
    pub async fn edit(&self, vm: Id<Vm>, change: impl FnOnce(&mut VmSpec)) {
        let Some(record) = self.store.get(vm).unwrap() else { return };
        let mut spec = record.spec;
        change(&mut spec);
        let mut tx = Transaction::new();
        tx.put_spec(vm, None, spec);
        self.store.commit(tx).await.unwrap();
    }

    /// Makes a machine and its port, which is ready.
    pub async fn create(&self, number: u128, memory_mib: u64) -> Id<Vm> {
        let vm = Id::new(Uuid::from_u128(number));
        let name = Name::new(format!("vm-{number}")).unwrap();
        let mut spec: VmSpec = serde_json::from_str(r#"{"image":"tiny"}"#).unwrap();
        spec.memory_mib = memory_mib;
        let mut new = NewResource::new(vm, name.clone(), spec);
        new.finalizers = vec![FINALIZER.into()];
        let port = PortSpec {
            network: Id::new(Uuid::from_u128(1)),
            workload: LocalRef { kind: Kind::Vm, id: vm.uuid() },
            further: None,
            hostname: name.to_string(),
            mac: "02:00:00:00:00:01".into(),
            address: "10.88.0.2".parse().unwrap(),
            publish: Vec::new(),
        };
        let mut tx = Transaction::new();
        tx.create(new).create(NewResource::new(port_id(number), name, port));
        self.store.commit(tx).await.unwrap();
        self.set_port_ready(number, true).await;
        vm
    }

    /// The network domain has, or has not yet, prepared the port.
    pub async fn set_port_ready(&self, number: u128, ready: bool) {
        let mut status = PortStatus {
            binding: Some(Binding::Tap { device: "skt1".into(), bridge: "skb1".into() }),
            ..PortStatus::default()
        };
        let state = if ready { ConditionState::True } else { ConditionState::False };
        status.conditions.set("Ready", state, "Test", "", clock());
        let mut tx = Transaction::new();
        tx.put_status(port_id(number), status);
        self.store.commit(tx).await.unwrap();
    }

    /// The record.
    pub fn vm(&self, vm: Id<Vm>) -> Resource<Vm> {
        self.store.get(vm).unwrap().unwrap()
    }

    /// A user changes the wanted power.
    pub async fn want(&self, vm: Id<Vm>, power: VmPower) {
        let Some(record) = self.store.get(vm).unwrap() else { return };
        let mut tx = Transaction::new();
        tx.put_spec(vm, None, VmSpec { power, ..record.spec });
        self.store.commit(tx).await.unwrap();
    }

    /// A user does something with it.
    pub async fn act(&self, vm: Id<Vm>, action: VmAction) {
        let Some(record) = self.store.get(vm).unwrap() else { return };
        let mut tx = Transaction::new();
        tx.put_spec(vm, None, spec_after(&record.spec, &record.status, action));
        self.store.commit(tx).await.unwrap();
    }

    /// A user deletes it.
    pub async fn delete(&self, vm: Id<Vm>) {
        let mut tx = Transaction::new();
        tx.begin_removal(vm, None);
        self.store.commit(tx).await.unwrap();
    }

    /// One pass.
    pub async fn pass(&self, vm: Id<Vm>) -> Result<Outcome, Failure> {
        self.controller.reconcile(LocalRef { kind: Kind::Vm, id: vm.uuid() }).await
    }

    /// Passes, with the waits between them that they ask for, until one asks for none or the time is
    /// up. Failures are tried again after 5 s.
    pub async fn settle(&self, vm: Id<Vm>, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let wait = match self.pass(vm).await {
                Ok(Outcome::Again(wait)) => wait,
                Ok(Outcome::Done | Outcome::Blocked(_)) => return,
                Err(_) => Duration::from_secs(5),
            };
            if Instant::now() + wait > end {
                tokio::time::advance(end.duration_since(Instant::now())).await;
                return;
            }
            assert!(wait > Duration::ZERO, "a pass that asks for no wait would spin");
            tokio::time::advance(wait).await;
        }
    }
}

fn port_id(number: u128) -> Id<Port> {
    Id::new(Uuid::from_u128(10_000 + number))
}

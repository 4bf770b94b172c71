//! The hypervisor port over libvirt.
//!
//! Three threads: one makes changes, one looks and polls, so that a slow start does not hide the other
//! guests, and one moves memory to disk and back, which may take minutes; agents in guests have threads of their own
//! ([`crate::agents`]). The bindings have no event callbacks, so changes are found by comparing one poll with the next.
//! While the node has no domains there is no connection, and libvirt's service may end itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use skerry_compute::{
    Acceleration, AgentCommand, DiskDefinition, DomainDefinition, DomainObserved, Hypervisor,
    HypervisorError, HypervisorEvent, HypervisorFacts, LogChunk, LogPosition, Seed, VmStep,
};
use skerry_model::{Accelerator, Id, Vm};
use tokio::sync::{OnceCell, broadcast};

use crate::agents::Agents;
use crate::failure::CallError;
use crate::files::Places;
use crate::kvm::Probe;
use crate::worker::{CloseWhenIdle, Idle, Link, Worker};
use crate::{calls, devices, disks, drives, host, memory, nics, seed, xml};

/// A look may take this long.
const LOOK: Duration = Duration::from_secs(20);

/// The first call after libvirt's service started may have to wait until it has asked QEMU what it can
/// do, which takes a minute where guests are emulated.
const ASK: Duration = Duration::from_secs(180);

/// A step may take this long.
const STEP: Duration = Duration::from_secs(60);

/// A start may take this long: QEMU comes up slowly where memory is short.
const START: Duration = Duration::from_secs(180);

/// Memory may take this long to be put on disk or taken from there.
const MEMORY: Duration = Duration::from_secs(1800);

/// Without domains the connection is kept this long.
const KEEP_IDLE: Duration = Duration::from_secs(60);

/// News that may wait to be heard.
const EVENTS: usize = 256;

/// How to reach libvirt, and where things lie.
#[derive(Debug, Clone)]
pub struct LibvirtConfig {
    /// `qemu:///system`; `test:///default` for a simulation inside libvirt itself.
    pub uri: String,
    /// Folder for the machines' own folders.
    pub data: PathBuf,
    /// Where libvirt notes process ids, `/run/libvirt/qemu`.
    pub pids: PathBuf,
    /// Where libvirt puts the memory of suspended guests; `None` if it keeps none on disk.
    pub memory: Option<PathBuf>,
    /// Group of the account that guests run as, which reads what the node makes for them.
    pub guests: Option<u32>,
    /// How to find out what runs guests.
    pub probe: Probe,
    /// Time between two polls.
    pub poll: Duration,
}

impl LibvirtConfig {
    /// The system's QEMU, with machines below `data` and the memory of suspended ones below `memory`;
    /// `run` is a folder that is empty after each boot, `guests` the group of guests' account.
    pub fn system(
        data: impl Into<PathBuf>,
        memory: impl Into<PathBuf>,
        run: impl Into<PathBuf>,
        guests: Option<u32>,
    ) -> Self {
        Self {
            uri: "qemu:///system".into(),
            data: data.into(),
            memory: Some(memory.into()),
            guests,
            pids: "/run/libvirt/qemu".into(),
            probe: Probe::system(run),
            poll: Duration::from_secs(1),
        }
    }
}

/// libvirt as the hypervisor of this node.
pub struct Libvirt {
    config: LibvirtConfig,
    places: Places,
    acceleration: OnceCell<Acceleration>,
    look: Worker,
    change: Worker,
    memory: Worker,
    agents: Agents,
    events: broadcast::Sender<HypervisorEvent>,
}

impl Libvirt {
    /// Starts the threads. libvirt itself is contacted when it is first needed.
    pub fn start(config: LibvirtConfig) -> std::io::Result<Self> {
        let places = Places {
            data: config.data.clone(),
            pids: config.pids.clone(),
            memory: config.memory.clone(),
            guests: config.guests,
        };
        let events = broadcast::channel(EVENTS).0;
        let poll = Poll {
            places: places.clone(),
            events: events.clone(),
            known: BTreeMap::new(),
            lost: false,
            empty_since: None,
        };
        let uri = config.uri.clone();
        let look = Worker::start("libvirt-look", uri.clone(), config.poll, poll)?;
        let change = Worker::start("libvirt-change", uri.clone(), KEEP_IDLE, CloseWhenIdle)?;
        let memory = Worker::start("libvirt-memory", uri.clone(), KEEP_IDLE, CloseWhenIdle)?;
        let agents = Agents::new(uri);
        let acceleration = OnceCell::new();
        Ok(Self { config, places, acceleration, look, change, memory, agents, events })
    }

    /// The domain type: what libvirt's test driver takes differs.
    fn kind(&self, accelerator: Accelerator) -> &'static str {
        if self.config.uri.starts_with("test:") { "test" } else { xml::kind_of(accelerator) }
    }

    async fn define(&self, definition: &DomainDefinition) -> Result<(), HypervisorError> {
        let vm = definition.vm;
        let log = self.places.serial_log(vm);
        let socket = self.places.serial_socket(vm);
        let serial = xml::Serial { log: &log, socket: &socket };
        let text = xml::domain(definition, self.kind(definition.accelerator), serial).to_string();
        self.make_folder(vm).await?;
        self.put_seed(vm, definition.seed.clone()).await?;
        let define = move |connection: &_| calls::define(connection, vm, &text);
        self.change.call("define", Some(vm), ASK, define).await
    }

    /// Starts a domain. If that used up memory on disk, the guest runs only once that cannot come back, even by a power
    /// cut: going on with the same memory a second time, after it has written, would spoil its disks.
    async fn start_domain(&self, vm: Id<Vm>) -> Result<(), HypervisorError> {
        self.make_folder(vm).await?;
        let guests = self.config.guests;
        let held = self.places.saved(vm).unwrap_or(false);
        let start = move |connection: &_| {
            devices::hand_over(connection, vm, guests)?;
            calls::start(connection, vm, held)
        };
        if !held {
            return self.change.call("start", Some(vm), START, start).await;
        }
        self.memory.call("start", Some(vm), MEMORY, start).await?;
        self.let_go(vm).await
    }

    /// Lets a held guest run on. It may be one that was started with memory from disk and not let go, since this service
    /// ended then; so that is removed first, and for good. What is just being written is none of that.
    async fn let_go(&self, vm: Id<Vm>) -> Result<(), HypervisorError> {
        let saving = move |connection: &_| calls::is_being_saved(connection, vm);
        if !self.change.call("resume", Some(vm), STEP, saving).await? {
            self.discard(vm).await?;
        }
        let resume = move |connection: &_| calls::resume(connection, vm);
        self.change.call("resume", Some(vm), STEP, resume).await
    }

    async fn discard(&self, vm: Id<Vm>) -> Result<(), HypervisorError> {
        let discard = move |connection: &_| calls::discard(connection, vm);
        self.change.call("discard", Some(vm), STEP, discard).await?;
        let places = self.places.clone();
        self.on_disk("removing the memory", vm, move || places.discard(vm)).await
    }

    async fn attach(&self, vm: Id<Vm>, disk: &DiskDefinition) -> Result<(), HypervisorError> {
        let disk = disk.clone();
        let attach = move |connection: &_| disks::attach(connection, vm, &disk);
        self.change.call("attach", Some(vm), STEP, attach).await
    }

    /// A call that changes something.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        name: &'static str,
        vm: Id<Vm>,
        deadline: Duration,
        work: impl Fn(&virt::connect::Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        self.change.call(name, Some(vm), deadline, work).await
    }

    /// A call that only looks.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        name: &'static str,
        vm: Id<Vm>,
        deadline: Duration,
        work: impl Fn(&virt::connect::Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        self.look.call(name, Some(vm), deadline, work).await
    }

    /// The threads that talk to agents in guests.
    pub(crate) const fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Where its files are.
    pub(crate) const fn places(&self) -> &Places {
        &self.places
    }

    async fn make_folder(&self, vm: Id<Vm>) -> Result<(), HypervisorError> {
        let places = self.places.clone();
        self.on_disk("making the folder", vm, move || places.make(vm)).await
    }

    async fn put_seed(&self, vm: Id<Vm>, seed: Option<Seed>) -> Result<(), HypervisorError> {
        let places = self.places.clone();
        let put = move || {
            let disk = seed.as_ref().map(seed::disk).transpose()?;
            places.put_seed(vm, disk.as_deref())
        };
        self.on_disk("writing the disk for cloud-init", vm, put).await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        what: &'static str,
        vm: Id<Vm>,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
            .map_err(|source| HypervisorError::Files { what, vm, source })
    }
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn acceleration(&self) -> Acceleration {
        self.acceleration.get_or_init(|| self.config.probe.ask()).await.clone()
    }

    async fn facts(&self) -> Result<HypervisorFacts, HypervisorError> {
        let ask = |connection: &virt::connect::Connect| {
            let capabilities = connection.get_capabilities()?;
            Ok((
                host::newest_q35(&capabilities),
                connection.get_hyp_version()?,
                connection.get_lib_version()?,
            ))
        };
        let (machine, qemu, libvirt) = self.look.call("capabilities", None, ASK, ask).await?;
        let machine = machine.ok_or_else(|| HypervisorError::Unfit {
            message: "it offers no q35 machine for x86_64".into(),
        })?;
        let version = format!("QEMU {}, libvirt {}", host::version(qemu), host::version(libvirt));
        let accelerator = self.acceleration().await.accelerator;
        Ok(HypervisorFacts { accelerator, machine, version })
    }

    async fn observe(&self) -> Result<Vec<DomainObserved>, HypervisorError> {
        let places = self.places.clone();
        let look = move |connection: &_| {
            let mut seen = calls::observe(connection, &places)?;
            let machines = places
                .machines()
                .map_err(|error| HypervisorError::Unavailable { source: Some(Box::new(error)) })?;
            for vm in machines {
                if seen.iter().all(|domain| domain.vm != vm) {
                    seen.push(only_files(vm, &places));
                }
            }
            Ok(seen)
        };
        self.look.call("observe", None, LOOK, look).await
    }

    async fn has_traces(&self) -> bool {
        let places = self.places.clone();
        // What cannot be told may be something.
        tokio::task::spawn_blocking(move || places.has_traces()).await.unwrap_or(true)
    }

    async fn observe_one(&self, vm: Id<Vm>) -> Result<Option<DomainObserved>, HypervisorError> {
        let places = self.places.clone();
        let look = move |connection: &_| {
            let seen = calls::observe_one(connection, &places, vm)?;
            Ok(seen.or_else(|| places.has_files(vm).then(|| only_files(vm, &places))))
        };
        self.look.call("observe", None, LOOK, look).await
    }

    async fn apply(&self, step: &VmStep) -> Result<(), HypervisorError> {
        type Call = fn(&virt::connect::Connect, Id<Vm>) -> Result<(), CallError>;
        let vm = step.vm();
        let (call, deadline): (Call, Duration) = match step {
            VmStep::Define(definition) => return self.define(definition).await,
            VmStep::Erase(_) => {
                let places = self.places.clone();
                return self.on_disk("removing the folder", vm, move || places.erase(vm)).await;
            }
            VmStep::Start(_) => return self.start_domain(vm).await,
            VmStep::Discard(_) => return self.discard(vm).await,
            VmStep::Save(_) => {
                let save = move |connection: &_| calls::save(connection, vm);
                return self.memory.call("save", Some(vm), MEMORY, save).await;
            }
            VmStep::Pause(_) => (calls::pause, STEP),
            VmStep::Resume(_) => return self.let_go(vm).await,
            VmStep::Reset(_) => (calls::reset, STEP),
            VmStep::Reboot(_) => (calls::reboot, STEP),
            VmStep::Attach { disk, .. } => return self.attach(vm, disk).await,
            VmStep::Detach { path, .. } => {
                let path = path.clone();
                let detach = move |connection: &_| disks::detach(connection, vm, &path);
                return self.change.call("detach", Some(vm), STEP, detach).await;
            }
            VmStep::ChangeDisc { device, disc, .. } => {
                let (device, disc) = (device.clone(), disc.clone());
                let change =
                    move |connection: &_| drives::change(connection, vm, &device, disc.as_deref());
                return self.change.call(step.name(), Some(vm), STEP, change).await;
            }
            VmStep::AddNic { nic, .. } => {
                let nic = nic.clone();
                let add = move |connection: &_| nics::add(connection, vm, &nic);
                return self.change.call(step.name(), Some(vm), STEP, add).await;
            }
            VmStep::RemoveNic { mac, .. } => {
                let mac = mac.clone();
                let remove = move |connection: &_| nics::remove(connection, vm, &mac);
                return self.change.call(step.name(), Some(vm), STEP, remove).await;
            }
            VmStep::Plug { place, .. } => {
                let place = *place;
                let guests = self.config.guests;
                let plug = move |connection: &_| devices::plug(connection, vm, place, guests);
                return self.change.call(step.name(), Some(vm), STEP, plug).await;
            }
            VmStep::Unplug { place, .. } => {
                let place = *place;
                let unplug = move |connection: &_| devices::unplug(connection, vm, place);
                return self.change.call(step.name(), Some(vm), STEP, unplug).await;
            }
            VmStep::SetVcpus { count, .. } => {
                let count = *count;
                let set = move |connection: &_| calls::set_vcpus(connection, vm, count);
                return self.change.call(step.name(), Some(vm), STEP, set).await;
            }
            VmStep::SetMemory { mib, .. } => {
                let mib = *mib;
                let set = move |connection: &_| memory::set(connection, vm, mib);
                return self.change.call(step.name(), Some(vm), STEP, set).await;
            }
            VmStep::ShutdownByAgent(_) => return self.shut_down_by_agent(vm).await,
            VmStep::Shutdown(_) => (calls::shutdown, STEP),
            VmStep::Destroy(_) => (calls::destroy, STEP),
            VmStep::Undefine(_) => (calls::undefine, STEP),
        };
        let work = move |connection: &_| call(connection, vm);
        self.change.call(step.name(), Some(vm), deadline, work).await
    }

    async fn serial_log(
        &self,
        vm: Id<Vm>,
        from: LogPosition,
        limit: usize,
    ) -> Result<LogChunk, HypervisorError> {
        let places = self.places.clone();
        let read = move || places.read_serial(vm, from, limit);
        self.on_disk("reading the serial log", vm, read).await
    }

    async fn agent(&self, vm: Id<Vm>, command: &AgentCommand) -> Result<String, HypervisorError> {
        self.ask_agent(vm, command).await
    }

    fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.events.subscribe()
    }
}

/// A machine of which there is nothing but a folder.
fn only_files(vm: Id<Vm>, places: &Places) -> DomainObserved {
    let saved = places.saved(vm).unwrap_or(false);
    DomainObserved { saved, files: true, ..DomainObserved::nothing(vm) }
}

/// Compares one look with the next and tells what differs.
struct Poll {
    places: Places,
    events: broadcast::Sender<HypervisorEvent>,
    known: BTreeMap<Id<Vm>, DomainObserved>,
    lost: bool,
    empty_since: Option<Instant>,
}

impl Poll {
    fn tell(&self, event: HypervisorEvent) {
        // Nobody listening is nobody interested.
        let _ = self.events.send(event);
    }

    fn compare(&mut self, seen: Vec<DomainObserved>) {
        let seen: BTreeMap<_, _> = seen.into_iter().map(|domain| (domain.vm, domain)).collect();
        let gone = self.known.keys().filter(|vm| !seen.contains_key(vm));
        let changed = seen.iter().filter(|(vm, now)| self.known.get(vm) != Some(now));
        for vm in gone.chain(changed.map(|(vm, _)| vm)) {
            self.tell(HypervisorEvent::Changed(*vm));
        }
        self.known = seen;
    }
}

impl Idle for Poll {
    fn tick(&mut self, link: &mut Link) {
        // Opened by whoever first asks; polling alone does not wake libvirt's service, unless there
        // were domains when it was lost.
        if !link.is_open() && !self.lost && self.known.is_empty() {
            return;
        }
        let places = self.places.clone();
        match link.call(move |connection| calls::observe(connection, &places)) {
            Ok(seen) => {
                if std::mem::take(&mut self.lost) {
                    tracing::info!("libvirt answers again");
                    self.tell(HypervisorEvent::Reconnected);
                }
                self.compare(seen);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.lost, true) {
                    tracing::warn!(?error, "libvirt does not answer");
                }
                link.close();
            }
        }
        if !self.known.is_empty() {
            self.empty_since = None;
        } else if self.empty_since.get_or_insert_with(Instant::now).elapsed() >= KEEP_IDLE {
            self.empty_since = None;
            link.close();
        }
    }
}

#[cfg(test)]
#[path = "libvirt_tests.rs"]
mod tests;

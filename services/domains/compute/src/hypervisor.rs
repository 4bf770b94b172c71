//! The port to the hypervisor: what can be seen of it and done to it.
//!
//! An implementation is thin and idempotent: a step whose effect is already there succeeds. It decides
//! nothing, and it never touches a domain that does not carry our label.

use std::error::Error;
use std::path::PathBuf;

use async_trait::async_trait;
use skerry_engine::ErrorClass;
use skerry_model::{Accelerator, Id, UsbPlace, Vm};
use tokio::sync::broadcast;

use crate::{
    AgentCommand, AgentLink, DiskDefinition, DomainDefinition, DriveObserved, Fingerprint,
    NicDefinition,
};

/// Why a domain is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffReason {
    /// Not told: it never ran since the hypervisor's service or the host started.
    Unknown,
    /// The guest powered itself off, asked or not.
    Shutdown,
    /// It was forced off.
    Destroyed,
    /// Its process ended by itself, or the guest panicked.
    Crashed,
    /// It could not be started.
    Failed,
}

/// Who holds a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// It was asked for.
    Asked,
    /// The hypervisor, since a disk of the guest failed.
    DiskFault,
    /// The hypervisor, for another reason of its own.
    Other,
}

/// Whether a domain runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DomainPower {
    /// There is no process.
    Off(OffReason),
    /// The guest runs, or is on its way down.
    Running,
    /// There is a process, but the guest is held.
    Paused(Hold),
}

impl DomainPower {
    /// Whether there is a process.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused(_))
    }
}

/// The memory of a running guest that may be given more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestMemory {
    /// What it was given, in MiB.
    pub given_mib: u64,
    /// What it has taken of that, in MiB.
    pub taken_mib: u64,
}

/// What can be seen of one virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainObserved {
    /// Which one, by the label on the domain.
    pub vm: Id<Vm>,
    /// Whether it runs. Off for [`OffReason::Unknown`] if only files are left of it.
    pub power: DomainPower,
    /// Fingerprint of the definition that the next start will use; `None` if it is not defined. A
    /// domain of ours whose label lacks it has an empty one.
    pub defined: Option<Fingerprint>,
    /// Fingerprint of the definition that it runs with; `None` while it is off.
    pub live: Option<Fingerprint>,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Virtual processors that it has while it runs, if that can be told.
    pub vcpus: Option<u32>,
    /// What it may take of memory at most while it runs, if that can be told, in MiB.
    pub most_memory_mib: Option<u64>,
    /// Its memory while it runs, if it may be given more.
    pub memory: Option<GuestMemory>,
    /// Files of the disks that it has while it runs.
    pub disks: Vec<PathBuf>,
    /// Those of them that can be detached while it runs.
    pub hot_disks: Vec<PathBuf>,
    /// CD drives that it has while it runs, in their order.
    pub drives: Vec<DriveObserved>,
    /// What of the node's USB it has while it runs.
    pub usb: Vec<UsbPlace>,
    /// Ethernet addresses of the network interfaces that it has while it runs.
    pub nics: Vec<String>,
    /// Its line to the agent in its guest.
    pub agent: AgentLink,
    /// Whether its memory is on disk, for the next start to go on with.
    pub saved: bool,
    /// Whether files, such as its serial log, lie on the node.
    pub files: bool,
}

impl DomainObserved {
    /// A machine that is off and of which nothing is there.
    pub const fn nothing(vm: Id<Vm>) -> Self {
        Self {
            vm,
            power: DomainPower::Off(OffReason::Unknown),
            defined: None,
            live: None,
            pid: None,
            vcpus: None,
            most_memory_mib: None,
            memory: None,
            disks: Vec::new(),
            hot_disks: Vec::new(),
            drives: Vec::new(),
            usb: Vec::new(),
            nics: Vec::new(),
            agent: AgentLink::Absent,
            saved: false,
            files: false,
        }
    }
}

/// One thing to do to one virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmStep {
    /// Define it persistently, or define it anew. A running guest keeps what it started with.
    Define(Box<DomainDefinition>),
    /// Start the defined domain. With its memory on disk it goes on where it was, with the definition
    /// that it had then, and the memory is taken off the disk.
    Start(Id<Vm>),
    /// Hold the guest.
    Pause(Id<Vm>),
    /// Let a held guest run on.
    Resume(Id<Vm>),
    /// Press the reset button of a running guest.
    Reset(Id<Vm>),
    /// Ask a running guest to reboot.
    Reboot(Id<Vm>),
    /// Put its memory on disk and end its process. Takes as long as the disk needs; if it fails, the
    /// guest goes on.
    Save(Id<Vm>),
    /// Remove its memory from disk.
    Discard(Id<Vm>),
    /// Give a running guest another disk.
    Attach {
        /// The machine.
        vm: Id<Vm>,
        /// The disk.
        disk: Box<DiskDefinition>,
    },
    /// Take a disk from a running guest. The guest has to let go of it, which may take a while.
    Detach {
        /// The machine.
        vm: Id<Vm>,
        /// The disk's file.
        path: PathBuf,
    },
    /// Put another disc into a CD drive of a running guest, or take out what is in it. A guest that has the disc in use
    /// may refuse.
    ChangeDisc {
        /// The machine.
        vm: Id<Vm>,
        /// Name of the drive's device.
        device: String,
        /// The disc's file; none to leave the drive empty.
        disc: Option<PathBuf>,
    },
    /// Give a running guest another network interface.
    AddNic {
        /// The machine.
        vm: Id<Vm>,
        /// The interface.
        nic: NicDefinition,
    },
    /// Take an interface from a running guest. The guest has to let go of it, which may take a while.
    RemoveNic {
        /// The machine.
        vm: Id<Vm>,
        /// The interface's Ethernet address.
        mac: String,
    },
    /// Give a running guest what is plugged into the node.
    Plug {
        /// The machine.
        vm: Id<Vm>,
        /// Where it stands.
        place: UsbPlace,
    },
    /// Take it from a running guest. It may have been pulled out already.
    Unplug {
        /// The machine.
        vm: Id<Vm>,
        /// Where it stands, or stood.
        place: UsbPlace,
    },
    /// Give a running guest more processors. Whether it uses them is its own affair.
    SetVcpus {
        /// The machine.
        vm: Id<Vm>,
        /// How many it is to have.
        count: u32,
    },
    /// Give a running guest more memory. Whether it takes it is its own affair.
    SetMemory {
        /// The machine.
        vm: Id<Vm>,
        /// How much it is to have in all, in MiB.
        mib: u64,
    },
    /// Press the guest's power button.
    Shutdown(Id<Vm>),
    /// Ask the agent in the guest to shut it down. It confirms nothing.
    ShutdownByAgent(Id<Vm>),
    /// End its process at once.
    Destroy(Id<Vm>),
    /// Forget its definition.
    Undefine(Id<Vm>),
    /// Remove its files, the serial log above all.
    Erase(Id<Vm>),
}

impl VmStep {
    /// The machine it is done to.
    pub fn vm(&self) -> Id<Vm> {
        match self {
            Self::Define(definition) => definition.vm,
            Self::Start(vm)
            | Self::Pause(vm)
            | Self::Resume(vm)
            | Self::Reset(vm)
            | Self::Reboot(vm)
            | Self::Save(vm)
            | Self::Discard(vm)
            | Self::Shutdown(vm)
            | Self::ShutdownByAgent(vm)
            | Self::Destroy(vm)
            | Self::Undefine(vm)
            | Self::Erase(vm)
            | Self::Attach { vm, .. }
            | Self::Detach { vm, .. }
            | Self::ChangeDisc { vm, .. }
            | Self::AddNic { vm, .. }
            | Self::RemoveNic { vm, .. }
            | Self::Plug { vm, .. }
            | Self::Unplug { vm, .. }
            | Self::SetVcpus { vm, .. }
            | Self::SetMemory { vm, .. } => *vm,
        }
    }

    /// The name of the step, for logs and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Define(_) => "define",
            Self::Start(_) => "start",
            Self::Pause(_) => "pause",
            Self::Reset(_) => "reset",
            Self::Reboot(_) => "reboot",
            Self::Save(_) => "save",
            Self::Discard(_) => "discard",
            Self::Resume(_) => "resume",
            Self::Attach { .. } => "attach disk",
            Self::Detach { .. } => "detach disk",
            Self::ChangeDisc { .. } => "change disc",
            Self::AddNic { .. } => "attach interface",
            Self::RemoveNic { .. } => "detach interface",
            Self::Plug { .. } => "plug in device",
            Self::Unplug { .. } => "unplug device",
            Self::SetVcpus { .. } => "add processors",
            Self::SetMemory { .. } => "add memory",
            Self::Shutdown(_) => "shutdown",
            Self::ShutdownByAgent(_) => "shutdown by agent",
            Self::Destroy(_) => "destroy",
            Self::Undefine(_) => "undefine",
            Self::Erase(_) => "erase",
        }
    }
}

/// What runs guests' instructions on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceleration {
    /// It.
    pub accelerator: Accelerator,
    /// Why it is not the processor; empty if it is.
    pub why: String,
}

/// What the hypervisor can do on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypervisorFacts {
    /// What runs guests' instructions.
    pub accelerator: Accelerator,
    /// The newest versioned machine type, for machines that have none written down yet.
    pub machine: String,
    /// Name and version for people, such as `QEMU 10.0.2, libvirt 11.3.0`.
    pub version: String,
}

/// A place in a serial log that survives the log's rotation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Identity of the file; 0 before the first look.
    pub file: u64,
    /// Byte in it.
    pub offset: u64,
}

/// A piece of a serial log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogChunk {
    /// What the guest wrote: any bytes, never to be trusted as text.
    pub bytes: Vec<u8>,
    /// Where the next piece begins.
    pub next: LogPosition,
}

/// News from the hypervisor; the pass that follows looks for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HypervisorEvent {
    /// Something about this machine changed.
    Changed(Id<Vm>),
    /// The hypervisor's service answers again: everything may have changed.
    Reconnected,
}

/// A failure of the hypervisor or of the way to it.
#[derive(Debug, thiserror::Error)]
pub enum HypervisorError {
    /// Its service does not answer.
    #[error("the hypervisor service does not answer; it is tried again")]
    Unavailable {
        /// What lies behind.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// A call took longer than it may.
    #[error("`{call}` got no answer from the hypervisor in {seconds} s; it may still take effect")]
    TimedOut {
        /// The call.
        call: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The hypervisor cannot do this now but may later.
    #[error("`{call}` of {vm} failed: {message}")]
    Failed {
        /// The call.
        call: &'static str,
        /// The machine.
        vm: Id<Vm>,
        /// What the hypervisor said.
        message: String,
    },
    /// The hypervisor will not do this until something is changed.
    #[error("the hypervisor refused `{call}` of {vm}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// The machine.
        vm: Id<Vm>,
        /// What the hypervisor said.
        message: String,
    },
    /// The agent in a guest will not do it.
    #[error("the agent in the guest of {vm} refused `{call}`: {message}")]
    AgentRefused {
        /// The call.
        call: &'static str,
        /// The machine.
        vm: Id<Vm>,
        /// What it said, made harmless.
        message: String,
    },
    /// It is not fit to run guests at all.
    #[error("the hypervisor cannot run guests: {message}; check its installation")]
    Unfit {
        /// What is wrong.
        message: String,
    },
    /// A file of the machine could not be read, made or removed.
    #[error("{what} of {vm} failed")]
    Files {
        /// What was tried.
        what: &'static str,
        /// The machine.
        vm: Id<Vm>,
        /// The system's error.
        source: std::io::Error,
    },
}

impl HypervisorError {
    /// Whether it may heal by itself.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { .. } | Self::Unfit { .. } => ErrorClass::NeedsOperator,
            Self::Unavailable { .. }
            | Self::TimedOut { .. }
            | Self::Failed { .. }
            | Self::AgentRefused { .. }
            | Self::Files { .. } => ErrorClass::Retry,
        }
    }
}

/// The hypervisor.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    /// What runs guests here: the processor only if a guest was seen to run on it. Does not need the
    /// hypervisor's service.
    async fn acceleration(&self) -> Acceleration;

    /// What it can do on this machine.
    async fn facts(&self) -> Result<HypervisorFacts, HypervisorError>;

    /// Every domain that carries our label, and every machine of which files are left.
    async fn observe(&self) -> Result<Vec<DomainObserved>, HypervisorError>;

    /// Whether there may be anything to observe, as far as that can be told without its service. That ends itself while
    /// it has nothing to do, and is not to be woken for nothing.
    async fn has_traces(&self) -> bool {
        true
    }

    /// One machine, if anything of it is there.
    async fn observe_one(&self, vm: Id<Vm>) -> Result<Option<DomainObserved>, HypervisorError> {
        Ok(self.observe().await?.into_iter().find(|domain| domain.vm == vm))
    }

    /// Does one step. Done already is done.
    async fn apply(&self, step: &VmStep) -> Result<(), HypervisorError>;

    /// Reads the serial log from a place on, at most `limit` bytes. A place in a file that is gone
    /// counts as the beginning of the oldest one there is. Nothing written yet is an empty piece.
    async fn serial_log(
        &self,
        vm: Id<Vm>,
        from: LogPosition,
        limit: usize,
    ) -> Result<LogChunk, HypervisorError>;

    /// Has the agent in a running guest do something, and gives its answer as it came, which is hostile until
    /// it has been read by [`crate::agent`]. One that is longer than [`crate::LONGEST_ANSWER`] is a failure;
    /// none within the command's deadline is [`HypervisorError::TimedOut`].
    async fn agent(&self, vm: Id<Vm>, command: &AgentCommand) -> Result<String, HypervisorError>;

    /// News from now on. A receiver that lags has to look at everything.
    fn events(&self) -> broadcast::Receiver<HypervisorEvent>;
}

//! A hypervisor in memory that notices what must never be done.

use skerry_model::UsbPlace;

use crate::{
    AgentLink, DomainObserved, DomainPower, DriveObserved, GuestMemory, Hold, OffReason, VmStep,
};

/// The machine as the hypervisor has it.
#[derive(Debug, Default)]
pub struct ModelHypervisor {
    domain: Option<DomainObserved>,
    /// Whether the definition has a line to an agent.
    has_agent: bool,
    /// Processors of the definition, and its memory if it may grow.
    vcpus: u32,
    memory: Option<GuestMemory>,
    /// The guest has no driver for memory that comes while it runs.
    pub takes_no_memory: bool,
    /// Let go, it is held again at once.
    pub stuck: Option<Hold>,
    /// What its USB is to have from the start.
    usb: Vec<UsbPlace>,
    /// Ethernet addresses of the interfaces that it is to have from the start.
    nics: Vec<String>,
    /// CD drives that it is to have from the start.
    drives: Vec<DriveObserved>,
    /// Steps that an orderly caller never takes.
    pub wrong: Vec<String>,
    /// Successful starts.
    pub starts: u32,
    /// Those that went on with memory from disk.
    pub restores: u32,
}

impl ModelHypervisor {
    /// One in which things stand like this.
    pub fn with(domain: Option<DomainObserved>) -> Self {
        Self { domain, ..Self::default() }
    }

    /// What can be seen. A trace of nothing is nothing.
    pub fn look(&self) -> Option<DomainObserved> {
        let something =
            |d: &&DomainObserved| d.power.is_up() || d.defined.is_some() || d.files || d.saved;
        self.domain.as_ref().filter(something).cloned()
    }

    /// The machine ends by itself or by a person's hand.
    pub fn end(&mut self, reason: OffReason) {
        if let Some(domain) = self.domain.as_mut().filter(|d| d.power.is_up()) {
            domain.power = DomainPower::Off(reason);
            domain.live = None;
            domain.pid = None;
            domain.vcpus = None;
            domain.memory = None;
            domain.usb.clear();
            domain.nics.clear();
            domain.drives.clear();
            domain.agent = AgentLink::Absent;
        }
    }

    /// The agent in its guest comes or goes.
    pub fn link(&mut self, link: AgentLink) {
        if let Some(domain) = self.domain.as_mut().filter(|d| d.power.is_up()) {
            domain.agent = link;
        }
    }

    /// The hypervisor holds it.
    pub fn hold(&mut self, hold: Hold) {
        if let Some(domain) = self.domain.as_mut().filter(|d| d.power.is_up()) {
            domain.power = DomainPower::Paused(hold);
        }
    }

    /// The host is switched off and on: no process, and with `forget` no definition.
    pub fn reboot(&mut self, forget: bool) {
        if let Some(domain) = self.domain.as_mut() {
            domain.power = DomainPower::Off(OffReason::Unknown);
            domain.live = None;
            domain.pid = None;
            if forget {
                domain.defined = None;
            }
        }
    }

    /// Does a step, and notes what is wrong about it.
    pub fn apply(&mut self, step: &VmStep) {
        let vm = step.vm();
        let domain = self.domain.get_or_insert(DomainObserved::nothing(vm));
        match step {
            VmStep::Define(wanted) => {
                domain.defined = Some(wanted.fingerprint());
                domain.files = true;
                domain.most_memory_mib = Some(wanted.memory_mib);
                self.has_agent = wanted.guest_agent;
                self.vcpus = wanted.vcpus;
                let mib = wanted.memory_mib;
                let memory = GuestMemory { given_mib: mib, taken_mib: mib };
                self.memory = wanted.hardware.max_memory_mib.map(|_| memory);
                self.usb.clone_from(&wanted.usb_devices);
                self.drives = wanted.drives.iter().map(DriveObserved::of).collect();
                let nics = [&wanted.nic].into_iter().chain(&wanted.nics);
                self.nics = nics.map(|nic| nic.mac.clone()).collect();
            }
            VmStep::Start(_) if domain.power.is_up() => self.wrong.push("started twice".into()),
            VmStep::Start(_) if domain.defined.is_none() => {
                self.wrong.push("started undefined".into());
            }
            VmStep::Start(_) => {
                self.starts += 1;
                domain.power = DomainPower::Running;
                if std::mem::take(&mut domain.saved) {
                    self.restores += 1;
                }
                domain.live = domain.defined.clone();
                domain.pid = Some(1000 + self.starts);
                domain.vcpus = Some(self.vcpus);
                domain.memory = self.memory;
                domain.usb.clone_from(&self.usb);
                domain.nics.clone_from(&self.nics);
                domain.drives.clone_from(&self.drives);
                domain.agent =
                    if self.has_agent { AgentLink::Connected } else { AgentLink::Absent };
            }
            VmStep::Pause(_) | VmStep::Resume(_) | VmStep::Reset(_) | VmStep::Reboot(_)
                if !domain.power.is_up() =>
            {
                self.wrong.push(format!("{} of what is off", step.name()));
            }
            VmStep::Pause(_) => domain.power = DomainPower::Paused(Hold::Asked),
            VmStep::Resume(_) => {
                domain.power = self.stuck.map_or(DomainPower::Running, DomainPower::Paused);
            }
            VmStep::Reset(_) | VmStep::Reboot(_) => {}
            VmStep::Save(_) => {
                domain.saved = domain.power.is_up();
                self.end(OffReason::Unknown);
            }
            VmStep::Discard(_) => domain.saved = false,
            VmStep::Attach { disk, .. } => {
                domain.disks.push(disk.path.clone());
                domain.hot_disks.push(disk.path.clone());
            }
            VmStep::Detach { path, .. } => {
                domain.disks.retain(|other| other != path);
                domain.hot_disks.retain(|other| other != path);
            }
            VmStep::SetMemory { mib, .. } => match domain.memory.as_mut() {
                Some(memory) => {
                    memory.given_mib = *mib;
                    memory.taken_mib = if self.takes_no_memory { memory.taken_mib } else { *mib };
                }
                None => self.wrong.push("memory for what has no room for it".into()),
            },
            VmStep::ChangeDisc { device, disc, .. } => {
                match domain.drives.iter_mut().find(|drive| drive.device == *device) {
                    Some(drive) if drive.disc == *disc => self.wrong.push("same disc again".into()),
                    Some(drive) => drive.disc.clone_from(disc),
                    None => self.wrong.push("a disc for a drive that is not there".into()),
                }
            }
            VmStep::AddNic { nic, .. } if domain.nics.contains(&nic.mac) => {
                self.wrong.push("an interface attached twice".into());
            }
            VmStep::AddNic { nic, .. } => domain.nics.push(nic.mac.clone()),
            VmStep::RemoveNic { mac, .. } => domain.nics.retain(|other| other != mac),
            VmStep::Plug { place, .. } if domain.usb.contains(place) => {
                self.wrong.push("plugged in twice".into());
            }
            VmStep::Plug { place, .. } => domain.usb.push(*place),
            VmStep::Unplug { place, .. } => domain.usb.retain(|other| other != place),
            VmStep::SetVcpus { .. } if !domain.power.is_up() => {
                self.wrong.push("processors for what is off".into());
            }
            VmStep::SetVcpus { count, .. } => domain.vcpus = Some(*count),
            VmStep::ShutdownByAgent(_) if domain.agent != AgentLink::Connected => {
                self.wrong.push("asked an agent that is not there".into());
            }
            VmStep::Shutdown(_) | VmStep::ShutdownByAgent(_) => self.end(OffReason::Shutdown),
            VmStep::Destroy(_) => self.end(OffReason::Destroyed),
            VmStep::Undefine(_) => domain.defined = None,
            VmStep::Erase(_) => domain.files = false,
        }
    }
}

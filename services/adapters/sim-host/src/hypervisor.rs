//! The simulated hypervisor. Its guests boot at once, write two lines, and obey their power button.

use async_trait::async_trait;
use skerry_compute::{
    Acceleration, AgentCommand, AgentLink, DiskDefinition, DomainObserved, DomainPower,
    DriveObserved, GuestMemory, Hold, Hypervisor, HypervisorError, HypervisorEvent,
    HypervisorFacts, LogChunk, LogPosition, OffReason, VmStep,
};
use skerry_model::{Accelerator, Id, Vm};
use tokio::sync::broadcast;

use crate::agent::SimAgent;
use crate::world::{SimHost, World};

impl SimHost {
    /// The guest's process dies.
    pub fn crash_guest(&self, vm: Id<Vm>) {
        self.end_guest(vm, OffReason::Crashed);
    }

    /// The guest turns itself off.
    pub fn guest_powers_off(&self, vm: Id<Vm>) {
        self.end_guest(vm, OffReason::Shutdown);
    }

    /// How many disks a guest has while it runs.
    pub fn disks_of(&self, vm: Id<Vm>) -> usize {
        self.world().domains.get(&vm).map_or(0, |domain| domain.disks.len())
    }

    /// How many processors a guest has while it runs.
    pub fn vcpus_of(&self, vm: Id<Vm>) -> Option<u32> {
        self.world().domains.get(&vm).and_then(|domain| domain.vcpus)
    }

    /// How much memory a guest has while it runs that may be given more.
    pub fn memory_of(&self, vm: Id<Vm>) -> Option<u64> {
        Some(self.world().domains.get(&vm)?.memory?.taken_mib)
    }

    /// A file that cloud-init in a guest reads at its next start.
    pub fn seed_file(&self, vm: Id<Vm>, name: &str) -> Option<String> {
        let world = self.world();
        let files = &world.seeds.get(&vm)?.files;
        files.iter().find(|(file, _)| file == name).map(|(_, text)| text.reveal().to_owned())
    }

    /// Ethernet addresses of the interfaces that a guest has while it runs.
    pub fn nics_of(&self, vm: Id<Vm>) -> Vec<String> {
        self.world().domains.get(&vm).map(|domain| domain.nics.clone()).unwrap_or_default()
    }

    /// Files of the discs in the drives of a guest while it runs; an empty drive has none.
    pub fn discs_of(&self, vm: Id<Vm>) -> Vec<Option<std::path::PathBuf>> {
        let world = self.world();
        let drives = world.domains.get(&vm).map(|domain| domain.drives.as_slice());
        drives.unwrap_or_default().iter().map(|drive| drive.disc.clone()).collect()
    }

    fn end_guest(&self, vm: Id<Vm>, reason: OffReason) {
        if let Some(domain) = self.world().domains.get_mut(&vm) {
            switch_off(domain, reason);
        }
        self.hypervisor_news(HypervisorEvent::Changed(vm));
    }
}

#[async_trait]
impl Hypervisor for SimHost {
    async fn acceleration(&self) -> Acceleration {
        let why = "the simulated machine has no processor of its own".to_owned();
        Acceleration { accelerator: Accelerator::Emulation, why }
    }

    async fn facts(&self) -> Result<HypervisorFacts, HypervisorError> {
        Ok(HypervisorFacts {
            accelerator: Accelerator::Emulation,
            machine: "pc-q35-10.0".to_owned(),
            version: "simulated".to_owned(),
        })
    }

    async fn observe(&self) -> Result<Vec<DomainObserved>, HypervisorError> {
        Ok(self.world().domains.values().cloned().collect())
    }

    async fn apply(&self, step: &VmStep) -> Result<(), HypervisorError> {
        let vm = step.vm();
        let failed = |message| HypervisorError::Failed { call: step.name(), vm, message };
        self.step(step.name(), |world| take(world, step)).await.map_err(failed)?.map_err(failed)?;
        self.hypervisor_news(HypervisorEvent::Changed(vm));
        Ok(())
    }

    async fn serial_log(
        &self,
        vm: Id<Vm>,
        from: LogPosition,
        limit: usize,
    ) -> Result<LogChunk, HypervisorError> {
        let world = self.world();
        let all = world.serial.get(&vm).map_or(&[][..], Vec::as_slice);
        let start = usize::try_from(from.offset).unwrap_or(usize::MAX).min(all.len());
        let bytes: Vec<u8> = all.iter().skip(start).take(limit).copied().collect();
        let offset = u64::try_from(start.saturating_add(bytes.len())).unwrap_or(u64::MAX);
        Ok(LogChunk { bytes, next: LogPosition { file: 1, offset } })
    }

    async fn agent(&self, vm: Id<Vm>, command: &AgentCommand) -> Result<String, HypervisorError> {
        self.ask_agent(vm, command).await
    }

    fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.hypervisor_events()
    }
}

fn take(world: &mut World, step: &VmStep) -> Result<(), String> {
    match step {
        VmStep::Define(definition) => {
            let saved = world.memory.contains(&definition.vm);
            let entry = world.domains.entry(definition.vm).or_insert_with(|| DomainObserved {
                files: true,
                ..DomainObserved::nothing(definition.vm)
            });
            entry.defined = Some(definition.fingerprint());
            entry.most_memory_mib = Some(definition.memory_mib);
            world.defined_disks.insert(definition.vm, definition.disks.clone());
            world.defined_vcpus.insert(definition.vm, definition.vcpus);
            world.defined_memory.remove(&definition.vm);
            if definition.hardware.max_memory_mib.is_some() {
                world.defined_memory.insert(definition.vm, definition.memory_mib);
            }
            world.defined_usb.insert(definition.vm, definition.usb_devices.clone());
            let nics = [&definition.nic].into_iter().chain(&definition.nics);
            world.defined_nics.insert(definition.vm, nics.map(|nic| nic.mac.clone()).collect());
            let drives = definition.drives.iter().map(DriveObserved::of).collect();
            world.defined_drives.insert(definition.vm, drives);
            match &definition.seed {
                Some(seed) => drop(world.seeds.insert(definition.vm, seed.clone())),
                None => drop(world.seeds.remove(&definition.vm)),
            }
            world.defined_displays.remove(&definition.vm);
            if definition.display {
                world.defined_displays.insert(definition.vm);
            }
            entry.saved = saved && !entry.power.is_up();
            world.defined_agents.remove(&definition.vm);
            if definition.guest_agent {
                world.defined_agents.insert(definition.vm);
            }
            world.defined_tpms.remove(&definition.vm);
            if definition.tpm {
                world.defined_tpms.insert(definition.vm);
            }
        }
        VmStep::Start(vm) => start(world, *vm)?,
        VmStep::Pause(vm) => running(world, *vm)?.power = DomainPower::Paused(Hold::Asked),
        VmStep::Resume(vm) => running(world, *vm)?.power = DomainPower::Running,
        VmStep::Reset(vm) | VmStep::Reboot(vm) => {
            running(world, *vm)?;
            boot(world, *vm);
        }
        VmStep::Save(vm) => {
            if let Some(found) = world.domains.get_mut(vm).filter(|d| d.power.is_up()) {
                switch_off(found, OffReason::Unknown);
                found.saved = true;
                world.memory.insert(*vm);
            }
        }
        VmStep::Discard(vm) => {
            world.memory.remove(vm);
            if let Some(found) = world.domains.get_mut(vm) {
                found.saved = false;
            }
        }
        VmStep::Attach { vm, disk } => attach(running(world, *vm)?, disk),
        VmStep::Detach { vm, path } => {
            let found = running(world, *vm)?;
            found.disks.retain(|other| other != path);
            found.hot_disks.retain(|other| other != path);
        }
        VmStep::ChangeDisc { vm, device, disc } => {
            let drives = &mut running(world, *vm)?.drives;
            let drive = drives.iter_mut().find(|drive| drive.device == *device);
            drive.ok_or("there is no such drive")?.disc.clone_from(disc);
        }
        VmStep::AddNic { vm, nic } => running(world, *vm)?.nics.push(nic.mac.clone()),
        VmStep::RemoveNic { vm, mac } => {
            running(world, *vm)?.nics.retain(|other| other != mac);
        }
        VmStep::Plug { vm, place } => {
            if world.domains.values().any(|other| other.usb.contains(place)) {
                return Err("the device is in use".to_owned());
            }
            running(world, *vm)?.usb.push(*place);
        }
        VmStep::Unplug { vm, place } => {
            running(world, *vm)?.usb.retain(|other| other != place);
        }
        VmStep::SetVcpus { vm, count } => running(world, *vm)?.vcpus = Some(*count),
        VmStep::SetMemory { vm, mib } => running(world, *vm)?.memory = Some(all_taken(*mib)),
        VmStep::Shutdown(vm) | VmStep::ShutdownByAgent(vm) => {
            if let Some(found) = world.domains.get_mut(vm) {
                switch_off(found, OffReason::Shutdown);
            }
        }
        VmStep::Destroy(vm) => {
            if let Some(found) = world.domains.get_mut(vm) {
                switch_off(found, OffReason::Destroyed);
            }
        }
        VmStep::Undefine(vm) => {
            if let Some(found) = world.domains.get_mut(vm) {
                found.defined = None;
            }
        }
        VmStep::Erase(vm) => {
            world.domains.remove(vm);
            world.serial.remove(vm);
            world.seeds.remove(vm);
            world.tpms.remove(vm);
            world.kept_tpms.retain(|(other, _), _| other != vm);
        }
    }
    Ok(())
}

/// Guests take at once what they are given.
fn all_taken(mib: u64) -> GuestMemory {
    GuestMemory { given_mib: mib, taken_mib: mib }
}

fn attach(domain: &mut DomainObserved, disk: &DiskDefinition) {
    domain.disks.push(disk.path.clone());
    if disk.is_hot() {
        domain.hot_disks.push(disk.path.clone());
    }
}

fn start(world: &mut World, vm: Id<Vm>) -> Result<(), String> {
    let pid = world.pid();
    let disks = world.defined_disks.get(&vm).cloned().unwrap_or_default();
    let vcpus = world.defined_vcpus.get(&vm).copied();
    let memory = world.defined_memory.get(&vm).copied().map(all_taken);
    let usb = world.defined_usb.get(&vm).cloned().unwrap_or_default();
    let nics = world.defined_nics.get(&vm).cloned().unwrap_or_default();
    let drives = world.defined_drives.get(&vm).cloned().unwrap_or_default();
    let has_agent = world.defined_agents.contains(&vm);
    let found = domain(world, vm)?;
    if found.defined.is_none() {
        return Err("it is not defined".to_owned());
    }
    if !found.power.is_up() {
        found.power = DomainPower::Running;
        found.live.clone_from(&found.defined);
        disks.iter().for_each(|disk| attach(found, disk));
        found.pid = Some(pid);
        found.vcpus = vcpus;
        found.memory = memory;
        found.usb = usb;
        found.nics = nics;
        found.drives = drives;
        found.saved = false;
        if has_agent {
            found.agent = AgentLink::Connected;
            world.agents.insert(vm, SimAgent::default());
        }
        world.displays.remove(&vm);
        if world.defined_displays.contains(&vm) {
            world.displays.insert(vm);
        }
        if world.defined_tpms.contains(&vm) {
            let used = world.tpms.entry(vm).or_default();
            *used = used.saturating_add(1);
        }
        if !world.memory.remove(&vm) {
            boot(world, vm);
        }
    }
    Ok(())
}

fn boot(world: &mut World, vm: Id<Vm>) {
    let log = world.serial.entry(vm).or_default();
    log.extend_from_slice(b"simulated guest: booting\r\nsimulated guest: up\r\n");
}

fn running(world: &mut World, vm: Id<Vm>) -> Result<&mut DomainObserved, String> {
    let found = domain(world, vm)?;
    if found.power.is_up() { Ok(found) } else { Err("it does not run".to_owned()) }
}

fn domain(world: &mut World, vm: Id<Vm>) -> Result<&mut DomainObserved, String> {
    world.domains.get_mut(&vm).ok_or_else(|| "there is no such domain".to_owned())
}

fn switch_off(domain: &mut DomainObserved, reason: OffReason) {
    if domain.power.is_up() {
        domain.power = DomainPower::Off(reason);
        domain.pid = None;
        domain.vcpus = None;
        domain.memory = None;
        domain.live = None;
        domain.agent = AgentLink::Absent;
        domain.disks.clear();
        domain.hot_disks.clear();
        domain.usb.clear();
        domain.nics.clear();
        domain.drives.clear();
    }
}

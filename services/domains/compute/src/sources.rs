//! Gathers what a machine is made of: its record, its image and its ports become one definition.
//!
//! Reads the store only. What is missing is named, with the resource to wait for if there is one.

use std::path::PathBuf;

use skerry_model::{
    Graphics, GuestReboot, HostDevice, Image, ImageFormat, ImageState, LocalRef, Resource, Vm,
    serial_line,
};
use skerry_store::{Store, StoreError};

use crate::devices::{Devices, resolve};
use crate::disks::disks_of;
use crate::drives::drives_of;
use crate::nics::Ports;
use crate::{
    DiskDefinition, DomainDefinition, HardwareDefinition, HypervisorFacts, Seed, unfit_cpu,
};

/// Something without which a machine cannot be defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// Whose change will help, if it exists.
    pub on: Option<LocalRef>,
}

/// What was found for a machine.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Its ports, as far as they have been made.
    pub ports: Ports,
    /// The definition, or what is missing for it.
    pub definition: Result<DomainDefinition, Missing>,
    /// A device of the node that it is to have and cannot have now. What runs goes on without it.
    pub missing_device: Option<Missing>,
}

/// Looks everything up. `seen` are the devices of the node.
pub fn gather(
    store: &Store,
    vm: &Resource<Vm>,
    facts: &HypervisorFacts,
    seen: &[HostDevice],
) -> Result<Sources, StoreError> {
    let mut devices = resolve(&vm.spec.host_devices, seen);
    let missing_device = devices.missing.take();
    let ports = Ports::of(store, vm)?;
    let definition = match disks_of(store, vm)? {
        Err(missing) => Err(missing),
        Ok(disks) => match drives_of(store, vm, &disks)? {
            Err(missing) => Err(missing),
            Ok(drives) => match boot_of(store, vm, &disks, &drives)? {
                Err(missing) => Err(missing),
                Ok(boot) => define(vm, boot, &ports, facts, Media { disks, drives }, devices),
            },
        },
    };
    Ok(Sources { ports, definition, missing_device })
}

/// Disks, and CD drives with their discs.
struct Media {
    disks: Vec<DiskDefinition>,
    drives: Vec<DiskDefinition>,
}

/// What is booted directly; all empty if its firmware boots from its disks.
#[derive(Default)]
struct Direct {
    kernel: PathBuf,
    initrd: PathBuf,
    arguments: String,
}

impl Direct {
    fn of(image: &Resource<Image>) -> Result<Self, Missing> {
        let file = |role: &str| {
            let file = image.spec.file(role).map(|file| file.path.clone().into());
            file.ok_or_else(|| Missing {
                reason: "ImageUnfit",
                message: format!("the image `{}` has no {role}", image.meta.name),
                on: Some(image.local_ref()),
            })
        };
        let arguments = arguments(&image.spec.kernel_arguments);
        Ok(Self { kernel: file("kernel")?, initrd: file("initrd")?, arguments })
    }
}

fn boot_of(
    store: &Store,
    vm: &Resource<Vm>,
    disks: &[DiskDefinition],
    drives: &[DiskDefinition],
) -> Result<Result<Direct, Missing>, StoreError> {
    if vm.spec.firmware.is_none() {
        return Ok(image_of(store, vm)?.and_then(|image| Direct::of(&image)));
    }
    // The image that its disk was made from is not needed any more.
    if disks.iter().chain(drives).any(|disk| disk.boot.is_some()) {
        return Ok(Ok(Direct::default()));
    }
    let message = "has no disk to boot from: give one of its disks a `boot_index`".to_owned();
    Ok(Err(Missing { reason: "NoBootDisk", message, on: None }))
}

fn image_of(
    store: &Store,
    vm: &Resource<Vm>,
) -> Result<Result<Resource<Image>, Missing>, StoreError> {
    let Some(name) = &vm.spec.image else {
        let message = "has neither an image nor a firmware: make a new machine".to_owned();
        return Ok(Err(Missing { reason: "ImageMissing", message, on: None }));
    };
    let Some(image) = store.find::<Image>(name)? else {
        let message =
            format!("there is no image `{name}` on this node: bring it in, or name another");
        return Ok(Err(Missing { reason: "ImageMissing", message, on: None }));
    };
    if image.spec.format != ImageFormat::KernelInitrd {
        let message = format!("no virtual machine can start from the image `{name}`");
        return Ok(Err(Missing { reason: "ImageUnfit", message, on: Some(image.local_ref()) }));
    }
    if image.status.state != ImageState::Available {
        let message = format!("waits for the image `{name}` to be usable");
        return Ok(Err(Missing {
            reason: "WaitingForImage",
            message,
            on: Some(image.local_ref()),
        }));
    }
    Ok(Ok(image))
}

fn define(
    vm: &Resource<Vm>,
    boot: Direct,
    ports: &Ports,
    facts: &HypervisorFacts,
    media: Media,
    devices: Devices,
) -> Result<DomainDefinition, Missing> {
    if let Some(message) = unfit_cpu(&vm.spec, facts.accelerator) {
        return Err(Missing { reason: "CpuModelUnfit", message, on: None });
    }
    let (nic, nics) = ports.defined(vm.spec.nic_model)?;
    Ok(DomainDefinition {
        vm: vm.id(),
        title: vm.meta.name.to_string(),
        accelerator: facts.accelerator,
        machine: vm.status.machine.clone().unwrap_or_else(|| facts.machine.clone()),
        vcpus: vm.spec.vcpus,
        memory_mib: vm.spec.memory_mib,
        firmware: vm.spec.firmware,
        kernel: boot.kernel,
        initrd: boot.initrd,
        arguments: boot.arguments,
        nic,
        nics,
        disks: media.disks,
        drives: media.drives,
        seed: Seed::of(vm),
        off_on_reboot: vm.spec.on_guest_reboot == GuestReboot::Stop,
        display: vm.spec.graphics == Graphics::Vnc,
        guest_agent: vm.spec.guest_agent,
        tpm: vm.spec.tpm,
        usb: vm.spec.host_devices.iter().any(|name| serial_line(name).is_none()),
        usb_devices: devices.usb,
        lines: devices.lines,
        hardware: HardwareDefinition::of(&vm.spec, vm.status.placement.as_ref()),
        generation: vm.meta.generation,
    })
}

/// The kernel's command line: the image's own, with the serial port as console unless it names one.
fn arguments(own: &str) -> String {
    let own = own.trim();
    if own.split_whitespace().any(|word| word.starts_with("console=")) {
        own.to_owned()
    } else {
        format!("console=ttyS0 {own}").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_port_is_the_console_unless_the_image_says_otherwise() {
        assert_eq!(arguments(""), "console=ttyS0");
        assert_eq!(arguments(" quiet "), "console=ttyS0 quiet");
        assert_eq!(arguments("quiet console=hvc0"), "quiet console=hvc0");
    }
}

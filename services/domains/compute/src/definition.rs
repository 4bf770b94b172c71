//! What the hypervisor is told about a virtual machine, as plain data.
//!
//! An adapter turns it into its own form and must add nothing that could differ between two machines
//! with equal definitions. The fingerprint stands for the whole definition: it is kept with the domain
//! so that a later look can tell whether the domain still is what is wanted.

use std::path::PathBuf;

use serde::Serialize;
use skerry_model::{Accelerator, Id, UsbPlace, Vm, VmFirmware};

use crate::{DiskDefinition, HardwareDefinition, NicDefinition, Seed};

/// A digest of a [`DomainDefinition`]: 32 hex digits, and after a `-` 16 more for what can come and
/// go while the guest runs, if there is anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// One that was written down with a domain.
    pub fn recorded(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to write down.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether another definition differs in nothing but what can be changed while the guest runs: disks that can be
    /// attached and detached, discs in drives, further network interfaces, what is plugged in by USB, and the number of processors and the amount of memory if there is
    /// room for more.
    pub fn same_but_hot(&self, other: &Self) -> bool {
        let fixed = |print: &Self| print.0.split('-').next().map(ToOwned::to_owned);
        fixed(self) == fixed(other)
    }
}

/// A virtual machine as the hypervisor is to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainDefinition {
    /// The machine; also the UUID that the guest sees in its firmware tables.
    pub vm: Id<Vm>,
    /// Name for people who look at the hypervisor. Not part of the fingerprint: another name is no reason to define a
    /// machine anew, and comes with the next definition.
    #[serde(skip)]
    pub title: String,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// Versioned machine type such as `pc-q35-10.0`, never an alias: an update of the hypervisor must
    /// not change the guest's hardware.
    pub machine: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// What it boots its disks by; a kernel is booted directly if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<VmFirmware>,
    /// Kernel that is booted directly; empty if there is a firmware.
    pub kernel: PathBuf,
    /// Its initial file system.
    pub initrd: PathBuf,
    /// Its command line.
    pub arguments: String,
    /// Its first network interface.
    pub nic: NicDefinition,
    /// Its further ones. They come and go, so not part of this serialization: see [`Self::fingerprint`].
    #[serde(skip)]
    pub nics: Vec<NicDefinition>,
    /// Its disks. Not part of this serialization: see [`Self::fingerprint`].
    #[serde(skip)]
    pub disks: Vec<DiskDefinition>,
    /// Its CD drives, each with the disc in it; without a path it is empty. Discs come and go, so not part of this
    /// serialization: see [`Self::fingerprint`].
    #[serde(skip)]
    pub drives: Vec<DiskDefinition>,
    /// What cloud-init reads. Left out of the fingerprint if there is none, as it was before there could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// Whether a reboot of the guest ends it. Left out of the fingerprint if not, as it was before it could
    /// be chosen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off_on_reboot: bool,
    /// Whether it has a display with keyboard and mouse. Likewise left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub display: bool,
    /// Whether it has a line to an agent in its guest. Likewise left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub guest_agent: bool,
    /// Whether it has an emulated TPM 2.0. Likewise left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tpm: bool,
    /// Whether it has a controller for what is plugged into the node by USB. Likewise left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub usb: bool,
    /// What is plugged in for it now. Comes and goes, so not part of this serialization: see [`Self::fingerprint`].
    #[serde(skip)]
    pub usb_devices: Vec<UsbPlace>,
    /// Files of serial lines of the node that are its second and further ones. Likewise left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<PathBuf>,
    /// Its processor, its place on the machine, and what follows from its size. Likewise left out if nothing was chosen.
    #[serde(skip_serializing_if = "HardwareDefinition::is_plain")]
    pub hardware: HardwareDefinition,
    /// The generation of the record when this was made. Not part of the fingerprint: it also counts
    /// changes, such as of the wanted power, that do not touch the definition.
    #[serde(skip)]
    pub generation: u64,
}

impl DomainDefinition {
    /// Increased when an adapter writes equal definitions differently than before, so that domains
    /// defined by an older version are defined anew.
    const FORM: u32 = 3;

    /// The digest of everything that matters to the guest.
    pub fn fingerprint(&self) -> Fingerprint {
        // Serializing plain fields into memory cannot fail; an empty text would only cause a
        // redefinition, which is harmless.
        let digest = |text: String, length: usize| -> String {
            blake3::hash(text.as_bytes()).to_hex().chars().take(length).collect()
        };
        let (hot, cold): (Vec<_>, Vec<_>) = self.disks.iter().partition(|disk| disk.is_hot());
        let vcpus = self.hardware.max_vcpus.map(|_| self.vcpus);
        let memory = self.hardware.max_memory_mib.map(|_| self.memory_mib);
        let sizeless = (vcpus.is_some() || memory.is_some()).then(|| Self {
            vcpus: if vcpus.is_some() { 0 } else { self.vcpus },
            memory_mib: if memory.is_some() { 0 } else { self.memory_mib },
            ..self.clone()
        });
        let whole = sizeless.as_ref().unwrap_or(self);
        let empty =
            |drive: &DiskDefinition| DiskDefinition { path: PathBuf::new(), ..drive.clone() };
        let drives: Vec<_> = self.drives.iter().map(empty).collect();
        let fixed = match (cold.as_slice(), drives.as_slice()) {
            ([], []) => serde_json::to_string(&(Self::FORM, whole)),
            (cold, []) => serde_json::to_string(&(Self::FORM, whole, cold)),
            (cold, drives) => serde_json::to_string(&(Self::FORM, whole, cold, drives)),
        };
        let fixed = digest(fixed.unwrap_or_default(), 32);
        // What a machine does not have is left out, as it was before there could be any.
        let (usb, nics) = (self.usb_devices.as_slice(), self.nics.as_slice());
        let discs: Vec<_> = self.drives.iter().map(|drive| drive.path.as_path()).collect();
        let discs =
            Some(discs).filter(|discs| discs.iter().any(|disc| !disc.as_os_str().is_empty()));
        let hot = match (hot.as_slice(), vcpus, memory, usb, nics) {
            all if discs.is_some() => serde_json::to_string(&(all, discs)),
            ([], None, None, [], []) => return Fingerprint(fixed),
            (disks, None, None, [], []) => serde_json::to_string(disks),
            (disks, Some(vcpus), None, [], []) => serde_json::to_string(&(disks, vcpus)),
            (disks, vcpus, Some(memory), [], []) => serde_json::to_string(&(disks, vcpus, memory)),
            (disks, vcpus, memory, usb, []) => serde_json::to_string(&(disks, vcpus, memory, usb)),
            all => serde_json::to_string(&all),
        };
        Fingerprint(format!("{fixed}-{}", digest(hot.unwrap_or_default(), 16)))
    }

    /// The name of the domain: `skerry-vm-` and the first eight digits of the id.
    pub fn domain_name(vm: Id<Vm>) -> String {
        format!("skerry-vm-{}", vm.short())
    }
}

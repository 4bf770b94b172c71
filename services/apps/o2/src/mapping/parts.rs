//! The machine's parts in one uniform form, from which types and resources are made.

use serde_json::{Value, json};
use skerry_upkeep::{Disk, Inventory, MemoryModule, Nic, PciAccelerator, Processor};

use super::{UNKNOWN, pairs};
use crate::identity::Identities;
use crate::wire::{Pairs, ResourceClass, ResourceInfo, ResourceKind, ResourceTypeInfo};

/// Sorts of parts. The name is part of identities: it must not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Server,
    Processor,
    Memory,
    Disk,
    Nic,
    Accelerator,
}

impl Sort {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Processor => "processor",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Nic => "nic",
            Self::Accelerator => "accelerator",
        }
    }

    const fn described(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Processor => "Processor",
            Self::Memory => "Memory",
            Self::Disk => "Disk",
            Self::Nic => "NIC (network card)",
            Self::Accelerator => "Accelerator card",
        }
    }

    const fn class(self) -> ResourceClass {
        match self {
            Self::Server | Self::Processor | Self::Memory | Self::Accelerator => {
                ResourceClass::Compute
            }
            Self::Disk => ResourceClass::Storage,
            Self::Nic => ResourceClass::Networking,
        }
    }
}

/// One part.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) sort: Sort,
    /// What stays with the part when devices are numbered anew.
    pub(super) key: String,
    vendor: Option<String>,
    model: Option<String>,
    version: Option<String>,
    /// What tells it from its like, for people.
    label: String,
    asset: Option<String>,
    tags: Vec<String>,
    extensions: Pairs,
}

impl Part {
    fn vendor(&self) -> &str {
        self.vendor.as_deref().unwrap_or(UNKNOWN)
    }
    fn model(&self) -> &str {
        self.model.as_deref().unwrap_or(UNKNOWN)
    }
    fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(UNKNOWN)
    }
    fn type_id(&self) -> String {
        let sort = self.sort.name();
        Identities::resource_type(sort, self.vendor(), self.model(), self.version())
    }

    /// The sort with whatever is known of vendor and model: `disk ATA QEMU HARDDISK`.
    fn full_name(&self, sort: &str) -> String {
        let known = [Some(sort), self.vendor.as_deref(), self.model.as_deref()];
        known.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    pub(super) fn resource_type(&self) -> ResourceTypeInfo {
        ResourceTypeInfo {
            resource_type_id: self.type_id(),
            name: self.full_name(self.sort.name()),
            description: self.full_name(self.sort.described()),
            vendor: self.vendor().to_owned(),
            model: self.model().to_owned(),
            version: self.version().to_owned(),
            resource_kind: ResourceKind::Physical,
            resource_class: self.sort.class(),
            extensions: None,
        }
    }

    pub(super) fn resource(&self, id: String, pool: String) -> ResourceInfo {
        ResourceInfo {
            resource_id: id,
            resource_pool_id: pool,
            resource_type_id: self.type_id(),
            description: format!("{} {}", self.sort.described(), self.label),
            global_asset_id: self.asset.clone(),
            elements: Vec::new(),
            tags: self.tags.clone(),
            groups: vec![self.sort.name().to_owned()],
            extensions: Some(self.extensions.clone()),
        }
    }
}

/// All parts; the server is the first.
pub(super) fn of(inventory: &Inventory) -> Vec<Part> {
    let mut parts = vec![server(inventory)];
    parts.extend(inventory.processors.iter().map(processor));
    if inventory.memory.modules.is_empty() {
        parts.push(memory(inventory));
    }
    parts.extend(inventory.memory.modules.iter().map(module));
    parts.extend(inventory.disks.iter().map(disk));
    parts.extend(inventory.nics.iter().map(nic));
    parts.extend(inventory.accelerators.iter().map(accelerator));
    parts
}

fn part(sort: Sort, key: &str, label: &str, extensions: Value) -> Part {
    Part {
        sort,
        key: key.to_owned(),
        vendor: None,
        model: None,
        version: None,
        label: label.to_owned(),
        asset: None,
        tags: Vec::new(),
        extensions: pairs(extensions),
    }
}

/// The texts whose condition holds.
fn marks(marks: &[(&str, bool)]) -> Vec<String> {
    marks.iter().filter(|(_, holds)| *holds).map(|(mark, _)| (*mark).to_owned()).collect()
}

fn server(inventory: &Inventory) -> Part {
    let (system, board) = (&inventory.system, &inventory.board);
    let extensions = json!({
        "uuid": system.uuid,
        "biosVendor": system.bios.vendor,
        "biosVersion": system.bios.version,
        "biosDate": system.bios.date,
        "boardVendor": board.vendor,
        "boardProduct": board.product,
        "boardSerial": board.serial,
        "virtualization": system.virtualization,
    });
    let label = system.product.as_deref().unwrap_or(UNKNOWN);
    Part {
        vendor: system.vendor.clone(),
        model: system.product.clone(),
        version: system.version.clone(),
        asset: system.asset_tag.clone().or_else(|| system.serial.clone()),
        tags: marks(&[("virtual", system.virtualization.is_some())]),
        // A node is one machine: a new mainboard does not make it another resource.
        ..part(Sort::Server, "", label, extensions)
    }
}

fn processor(processor: &Processor) -> Part {
    let key = processor.socket.to_string();
    let extensions = json!({
        "socket": processor.socket,
        "cores": processor.cores,
        "threads": processor.threads,
        "maxMhz": processor.max_mhz,
        "architecture": processor.architecture,
        "microcode": processor.microcode,
    });
    let virtualization = processor.flags.iter().any(|flag| flag == "vmx" || flag == "svm");
    Part {
        vendor: processor.vendor.clone(),
        model: processor.model.clone(),
        tags: marks(&[("virtualization", virtualization)]),
        ..part(Sort::Processor, &key, &format!("in socket {key}"), extensions)
    }
}

fn memory(inventory: &Inventory) -> Part {
    let size = Some(inventory.memory.total_bytes).filter(|bytes| *bytes > 0);
    part(Sort::Memory, "", "of the machine", json!({ "sizeBytes": size }))
}

fn module(module: &MemoryModule) -> Part {
    let extensions = json!({
        "sizeBytes": module.size_bytes,
        "technology": module.technology,
        "speedMts": module.speed_mts,
        "locator": module.locator,
    });
    Part {
        vendor: module.vendor.clone(),
        model: module.part.clone(),
        asset: module.serial.clone(),
        ..part(
            Sort::Memory,
            &module.locator,
            &format!("module in slot {}", module.locator),
            extensions,
        )
    }
}

fn disk(disk: &Disk) -> Part {
    let key = disk.stable_id.as_ref().or(disk.serial.as_ref()).unwrap_or(&disk.name);
    let extensions = json!({
        "device": disk.name,
        "sizeBytes": disk.size_bytes,
        "transport": disk.transport,
        "firmware": disk.firmware,
    });
    Part {
        vendor: disk.vendor.clone(),
        model: disk.model.clone(),
        asset: disk.serial.clone(),
        tags: marks(&[
            ("rotational", disk.rotational),
            ("removable", disk.removable),
            ("system", disk.holds_system),
        ]),
        ..part(Sort::Disk, key, &disk.name, extensions)
    }
}

fn nic(nic: &Nic) -> Part {
    let extensions = json!({
        "device": nic.name,
        "mac": nic.mac,
        "driver": nic.driver,
        "firmware": nic.firmware,
        "pciAddress": nic.pci_address,
        "speedMbps": nic.speed_mbps,
        "carrier": nic.carrier,
        "mtu": nic.mtu,
        "sriovTotal": nic.sriov_total,
        "sriovConfigured": nic.sriov_configured,
    });
    let key = if nic.mac.is_empty() { &nic.name } else { &nic.mac };
    Part {
        vendor: nic.vendor.clone(),
        model: nic.model.clone(),
        tags: marks(&[("link", nic.carrier), ("sriov", nic.sriov_total > 0), ("ptp", nic.ptp)]),
        ..part(Sort::Nic, key, &nic.name, extensions)
    }
}

fn accelerator(card: &PciAccelerator) -> Part {
    let extensions = json!({
        "pciAddress": card.pci_address,
        "class": card.class,
        "vendorId": card.vendor_id,
        "deviceId": card.device_id,
        "driver": card.driver,
    });
    Part {
        vendor: card.vendor.clone().or_else(|| Some(card.vendor_id.clone())),
        model: card.model.clone().or_else(|| Some(card.device_id.clone())),
        ..part(
            Sort::Accelerator,
            &card.pci_address,
            &format!("at {}", card.pci_address),
            extensions,
        )
    }
}

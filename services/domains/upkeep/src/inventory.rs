//! The machine's parts, as plain data.
//!
//! An adapter fills this in from the machine; the page, the API and O2 show it. The types hold no rule and
//! read nothing themselves. Whatever a machine does not tell is absent (`None` or an empty list), never made
//! up: small boards and virtual machines leave out a lot. Keys are the ones the HTTP API shows.

use serde::{Deserialize, Serialize};
use skerry_model::HostDevice;

/// Everything that was found in the machine. Lists are in a stable order (by id, name or address).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Inventory {
    /// The machine as a whole.
    pub system: SystemInfo,
    /// The mainboard.
    pub board: BoardInfo,
    /// One entry for each socket.
    pub processors: Vec<Processor>,
    /// Main memory.
    pub memory: MemoryInfo,
    /// Disks and other block devices that are hardware (no partitions, no loop devices).
    pub disks: Vec<Disk>,
    /// Network cards that are hardware (no bridges, taps or virtual pairs).
    pub nics: Vec<Nic>,
    /// PCI functions that compute: graphics processors, FPGAs, cryptography and baseband cards.
    pub accelerators: Vec<PciAccelerator>,
    /// All PCI functions, and whether they can be given to virtual machines.
    pub pci: Vec<PciPart>,
    /// What virtual machines may have for themselves, and what they may not: devices on USB, and serial lines.
    pub host_devices: Vec<HostDevice>,
}

/// One PCI function, and whether it can be given to a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PciPart {
    /// PCI address.
    pub pci_address: String,
    /// PCI class, six hex digits (class, subclass, interface).
    pub class: String,
    /// Vendor id, four hex digits.
    pub vendor_id: String,
    /// Device id, four hex digits.
    pub device_id: String,
    /// Maker, where its name is known.
    pub vendor: Option<String>,
    /// Model, where its name is known.
    pub model: Option<String>,
    /// Kernel driver bound to it.
    pub driver: Option<String>,
    /// Its IOMMU group; absent without an IOMMU.
    pub iommu_group: Option<u32>,
    /// The function that it is a virtual one of.
    pub virtual_function_of: Option<String>,
    /// The NUMA node that it is attached to, if the machine says.
    pub numa_node: Option<u32>,
    /// Its own virtual functions, if it can have any or the node's settings ask for some.
    pub virtual_functions: Option<VirtualPart>,
    /// Whether a virtual machine can have it, now or when the one that has it is off.
    pub can_be_given: bool,
    /// Why it cannot, or what goes along with it.
    pub why: String,
    /// Name of the virtual machine that has it.
    pub vm: Option<String>,
    /// Groups of the node's settings that it belongs to.
    pub groups: Vec<String>,
}

/// Virtual functions of a PCI function (SR-IOV).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct VirtualPart {
    /// How many it has.
    pub present: u32,
    /// How many it can have.
    pub most: u32,
    /// Whether they are those that the node's settings ask for; if not, why.
    pub message: String,
}

/// The machine as its firmware describes it (SMBIOS types 0, 1 and 3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SystemInfo {
    /// Maker.
    pub vendor: Option<String>,
    /// Product name.
    pub product: Option<String>,
    /// Product version or stock number.
    pub version: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// System UUID.
    pub uuid: Option<String>,
    /// Asset tag given by the owner.
    pub asset_tag: Option<String>,
    /// Firmware vendor, version and date.
    pub bios: BiosInfo,
    /// Whether the machine is itself virtual, and by what (`kvm`, `qemu`, …).
    pub virtualization: Option<String>,
}

/// The firmware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct BiosInfo {
    /// Maker.
    pub vendor: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Release date as the firmware gives it.
    pub date: Option<String>,
}

/// The mainboard (SMBIOS type 2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct BoardInfo {
    /// Maker.
    pub vendor: Option<String>,
    /// Product name.
    pub product: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// The board description this image was built for, such as `generic-x86_64`.
    pub profile: Option<String>,
}

/// One processor package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Processor {
    /// Physical package number, from 0.
    pub socket: u32,
    /// Maker, such as `GenuineIntel`.
    pub vendor: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// Instruction set, `x86_64`.
    pub architecture: String,
    /// Cores that are online.
    pub cores: u32,
    /// Hardware threads that are online.
    pub threads: u32,
    /// Highest frequency in MHz.
    pub max_mhz: Option<u32>,
    /// Microcode revision.
    pub microcode: Option<String>,
    /// CPU flags as the kernel names them, sorted.
    pub flags: Vec<String>,
}

/// Main memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct MemoryInfo {
    /// What the kernel can use, in bytes.
    pub total_bytes: u64,
    /// Modules, where the firmware lists them (SMBIOS type 17); empty slots are left out.
    pub modules: Vec<MemoryModule>,
    /// Huge pages by size.
    pub huge_pages: Vec<HugePages>,
}

/// One memory module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct MemoryModule {
    /// Slot name, such as `DIMM 0`.
    pub locator: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Technology, such as `DDR5`.
    pub technology: Option<String>,
    /// Speed in MT/s.
    pub speed_mts: Option<u32>,
    /// Maker.
    pub vendor: Option<String>,
    /// Part number.
    pub part: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct HugePages {
    /// Size of a page in KiB.
    pub size_kib: u64,
    /// Pages set aside.
    pub total: u64,
    /// Pages not in use.
    pub free: u64,
}

/// One disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Disk {
    /// Kernel name, such as `nvme0n1`. May change between boots.
    pub name: String,
    /// Name that stays (world-wide name or serial number), where there is one.
    pub stable_id: Option<String>,
    /// Its name below `/dev/disk/by-id`, which stays too; by this a pool is made of it.
    pub by_id: Option<String>,
    /// Maker.
    pub vendor: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Firmware revision.
    pub firmware: Option<String>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// `nvme`, `sata`, `scsi`, `virtio`, `mmc`, `usb`, …
    pub transport: Option<String>,
    /// Whether it has rotating platters.
    pub rotational: bool,
    /// Whether it can be taken out.
    pub removable: bool,
    /// Whether the node's own system lies on it.
    pub holds_system: bool,
    /// The file systems on it, by whose UUID a pool is made in a folder on one, or images are found on it.
    pub file_systems: Vec<DiskFileSystem>,
}

/// A file system on a disk or one of its partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct DiskFileSystem {
    /// Kernel name of the disk or partition, such as `sdb1`. May change between boots.
    pub name: String,
    /// Its kind, such as `ext4`.
    pub kind: String,
    /// Its UUID, which stays.
    pub uuid: String,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// Size of its device in bytes.
    pub size_bytes: u64,
}

/// One network card port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Nic {
    /// Device name.
    pub name: String,
    /// Permanent Ethernet address, lower case.
    pub mac: String,
    /// Kernel driver.
    pub driver: Option<String>,
    /// Driver's version.
    pub driver_version: Option<String>,
    /// Firmware version.
    pub firmware: Option<String>,
    /// PCI address, such as `0000:01:00.0`.
    pub pci_address: Option<String>,
    /// Maker.
    pub vendor: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Link speed in Mbit/s while there is a link.
    pub speed_mbps: Option<u32>,
    /// Whether the other end is there.
    pub carrier: bool,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// How many virtual functions the card can make (SR-IOV).
    pub sriov_total: u32,
    /// How many it has now.
    pub sriov_configured: u32,
    /// Whether the card has a hardware clock (PTP).
    pub ptp: bool,
}

/// One PCI function that computes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PciAccelerator {
    /// PCI address.
    pub pci_address: String,
    /// PCI class, six hex digits (class, subclass, interface).
    pub class: String,
    /// Vendor id, four hex digits.
    pub vendor_id: String,
    /// Device id, four hex digits.
    pub device_id: String,
    /// Maker, where its name is known.
    pub vendor: Option<String>,
    /// Model, where its name is known.
    pub model: Option<String>,
    /// Kernel driver bound to it.
    pub driver: Option<String>,
}

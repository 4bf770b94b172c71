//! Node facts, inventory, first boot and power actions.

mod inventory;
mod summary;

pub use inventory::{
    BiosInfo, BoardInfo, Disk, HugePages, Inventory, MemoryInfo, MemoryModule, Nic, PciAccelerator,
    Processor, SystemInfo,
};
pub use summary::{AlarmCounts, MemoryUse, Summary, WorkloadCounts};

//! The machine and its service manager: facts from `/sys`, `/proc` and DMI, power, and the journal.
//!
//! Implements the ports [`skerry_upkeep::Host`] and [`skerry_compute::TopologyHost`]. It reads what the kernel tells, asks systemd,
//! and has virtual functions made of cards; it decides nothing, and it never fails for want of a part that a machine does not have.

mod addresses;
pub mod block;
mod board;
mod devices;
mod digest;
mod disks;
mod dmi;
mod host;
mod journal;
mod memory;
mod nics;
mod pci;
mod pci_functions;
mod power;
mod processors;
mod roots;
pub mod systemd;
mod topology;
mod virtual_functions;

pub use board::BoardProfile;
pub use host::LinuxHost;
pub use journal::journal_lines;
pub use roots::Roots;

//! Virtual machines through libvirt.
//!
//! Implements the hypervisor port of the compute domain: definitions become domain XML, steps become
//! libvirt calls, and libvirt's answers become what the domain asks about. QEMU runs under libvirt's
//! service, so guests go on when this process ends. Nothing is decided here, and no domain is touched
//! that does not carry our label.

mod agent;
mod agents;
mod calls;
mod consoles;
mod devices;
mod disks;
mod drives;
mod failure;
mod files;
mod firmware;
mod guests;
mod hardware;
mod host;
mod hostdev;
mod kvm;
mod label;
mod libvirt;
mod memory;
mod nics;
mod seed;
mod tpm;
mod worker;
mod xml;

pub use kvm::Probe;
pub use libvirt::{Libvirt, LibvirtConfig};

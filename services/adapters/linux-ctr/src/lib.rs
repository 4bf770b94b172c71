//! Containers on Linux: an OCI runtime, `crun` or another, under transient systemd units, over image layers on the data partition.
//!
//! Implements [`skerry_containers::ContainerRuntime`]. It decides nothing: it unpacks images, keeps folders,
//! and hands mounts and processes to the service manager, under which they outlive noded and are found again
//! by their names.

mod allot;
mod archive;
mod blobs;
mod bundle;
mod child;
mod claims;
mod console;
mod devices;
mod docker;
mod entry;
mod exec;
mod folders;
mod frames;
mod holder;
mod ids;
mod images;
mod input;
mod inspect;
mod jail;
mod leaving;
mod logs;
mod observe;
mod oci;
mod owners;
mod pages;
mod places;
mod powers;
mod probe;
mod programs;
mod refusals;
mod reserve;
mod room;
mod root;
mod runtime;
mod service;
mod shelf;
mod shim;
mod source;
mod stats;
mod supervisor;
mod terminal;
#[cfg(test)]
mod testing;
mod turned;
mod unpack;
mod unpacker;
mod user;
mod volumes;

pub use allot::program as pages_program;
pub use blobs::{BlobError, BlobStore};
pub use holder::program as terminal_program;
pub use inspect::ArchiveInspector;
pub use places::Places;
pub use runtime::LinuxContainers;
pub use shelf::LinuxBlobs;
pub use shim::program as shim_program;
pub use unpacker::program as unpack_program;

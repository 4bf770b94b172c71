//! Containers on Linux: `crun` under transient systemd units, over image layers on the data partition.
//!
//! Implements [`skerry_containers::ContainerRuntime`]. It decides nothing: it unpacks images, keeps folders,
//! and hands mounts and processes to the service manager, under which they outlive noded and are found again
//! by their names.

mod archive;
mod bundle;
mod entry;
mod folders;
mod images;
mod logs;
mod observe;
mod places;
mod probe;
mod runtime;
mod service;
mod supervisor;
#[cfg(test)]
mod testing;
mod unpack;
mod user;

pub use places::Places;
pub use runtime::LinuxContainers;

//! The library of image files, and QEMU's tool run in a cage.
//!
//! The tool reads what strangers made, so it runs as a user of its own without rights, network or other files,
//! within limits of memory, processor time, output and time ([`Cage`]). It decides nothing: what is refused is
//! said by `skerry_upkeep`. No file is ever opened by its guessed format.

mod boot;
mod cage;
mod files;
mod flatten;
mod folders;
mod incoming;
mod media;
mod places;
mod tool;

pub use cage::{Cage, CageError, ChildCage, Ended, Order, UnitCage};
pub use files::LinuxLibrary;
pub use folders::{ImportFolders, hold_inbox};
pub use media::Media;
pub use places::DiskPlaces;
pub use tool::{QemuImg, QemuImgError};

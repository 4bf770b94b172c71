//! Pools, volumes and snapshots as files: the storage domain's port on Linux.
//!
//! A volume is a qcow2 file named by its id, or a folder, with a note beside it; a snapshot is a folder of copies.
//! Whatever is made is made under `tmp` and renamed when it is whole and on the disk, so a power cut
//! leaves either the old or the new. Programs are run with argument vectors; the form of a file is
//! always named and never guessed. It decides nothing.
//!
//! Beside it the library of image files, whose tool reads what strangers made and is caged for it.

mod containers_room;
mod copy;
mod disks;
mod erase;
mod files;
mod folder;
mod header;
mod host;
mod kept;
mod library;
mod mark;
mod observe;
mod places;
pub mod qemu_img;
mod reserve;
mod xfs;

pub use disks::PoolDisks;
pub use host::LinuxDisk;
pub use kept::{KeptFileSystems, KeptPlace, KeptPlaces};
pub use library::{
    Cage, CageError, ChildCage, DiskPlaces, Ended, ImportFolders, LinuxLibrary, Media, Order,
    QemuImg, QemuImgError, UnitCage, hold_inbox,
};

//! Pools, volumes and snapshots: their life cycle, the plans that bring them about, and the ports to their
//! files and to the guests that use them.
//!
//! What is here is rules: which step leads from what is there to what is wanted, what a pool can hold,
//! when to warn. It knows nothing of qcow2, libvirt or Linux. Volumes outlive virtual machines: a file
//! is removed only when the record of its volume is deleted, and what has no record is reported and
//! left alone.

mod admission;
mod attach;
mod bases;
mod claims;
mod content;
mod controller;
mod export;
mod host;
mod image;
mod kept;
mod lifecycle;
mod place;
mod plan;
mod pools;
mod prepare;
mod rest;
mod snapshots;
mod space;
#[cfg(test)]
mod testing;
mod tpm;
mod volumes;

pub use admission::{AdmissionError, demand_of_growth, demand_of_volume, space_of};
pub use attach::{Holder, PodUser, holders, may_run, pod_users};
pub use controller::{FINALIZER, StorageController};
pub use export::CopyOutError;
pub use host::{
    BaseImage, Content, DiskFormat, GuestPower, Guests, NOTE_SCHEMA, PoolObserved, PoolRef, Rest,
    Shape, SnapshotFiles, SnapshotNote, Soundness, StorageError, StorageStep, Usage, VolumeFile,
    VolumeHost, VolumeNote,
};
pub use image::{base_image, image_size};
pub use kept::{
    FileSystemRefused, FileSystemSeen, FolderSeen, KINDS, KeptAway, KeptSeen, judge_file_system,
    plan_kept, plan_release,
};
pub use lifecycle::{Event, Unknown, is_usable, next};
pub use place::{DiskRefused, DiskSeen, PlaceAway, PlaceSeen, PlaceStep, judge_disk, plan_place};
pub use plan::{
    SnapshotStep, SnapshotWanted, VolumeWanted, plan_bases, plan_snapshot, plan_volume, unmanaged,
};
pub use pools::level_of;
pub use space::{Demand, Level, NoRoom, Shortage, Space, admit, reserve};

//! The ports: what can be seen of a pool's files and done to them, and what has to be asked of guests.
//!
//! An implementation is thin. Done already is done: a step whose effect is there succeeds. A step that is
//! broken off leaves nothing but temporary files, which the next look removes. It decides nothing, and
//! it never removes a file that it was not told to.

use std::error::Error;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use skerry_engine::ErrorClass;
use skerry_model::{Id, Name, Pool, PoolSource, Snapshot, Vm, Volume};

use crate::kept::{FileSystemSeen, KeptSeen};
use crate::place::{DiskSeen, PlaceSeen, PlaceStep};

/// Which pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRef {
    /// Which pool; its file system carries this id if it has one of its own.
    pub id: Id<Pool>,
    /// Its name, which never changes and names its folder.
    pub name: Name,
    /// What it is made of.
    pub source: PoolSource,
}

/// The form of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// QEMU's copy-on-write format.
    Qcow2,
    /// The disk's bytes.
    Raw,
}

/// An image that volumes share data with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// SHA-256 of its bytes, 64 hex digits; names the pool's own copy.
    pub sha256: String,
    /// Where it lies outside the pool.
    pub path: PathBuf,
    /// Its form, as it was found at intake. It is never guessed again.
    pub format: DiskFormat,
}

/// What is written beside a volume's file, so that a node without its records can tell what it finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeNote {
    /// Form of this note.
    pub schema: u32,
    /// The volume.
    pub volume: Id<Volume>,
    /// Its name.
    pub name: Name,
    /// SHA-256 of the image that it shares data with.
    pub base: Option<String>,
    /// Of a folder: most that is to fit into it, in bytes.
    #[serde(default)]
    pub size_bytes: Option<u64>,
}

/// The same for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotNote {
    /// Form of this note.
    pub schema: u32,
    /// The snapshot.
    pub snapshot: Id<Snapshot>,
    /// Its name.
    pub name: Name,
    /// The volumes in it, with their names.
    pub volumes: Vec<(Id<Volume>, Name)>,
}

/// The form of the notes that this version writes.
pub const NOTE_SCHEMA: u32 = 1;

/// Space of a pool's file system, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In all.
    pub size: u64,
    /// Free.
    pub free: u64,
}

/// Whether a volume is a disk, or a folder and how that is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shape {
    /// A disk.
    #[default]
    Disk,
    /// A folder. `limited`: no more fits into it than its size says.
    Folder {
        /// Whether the file system holds it to its size.
        limited: bool,
    },
}

/// A volume's file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// Which volume.
    pub volume: Id<Volume>,
    /// What it is.
    pub shape: Shape,
    /// Size that guests see, or most that is to fit, in bytes.
    pub size_bytes: u64,
    /// Space that it takes, in bytes.
    pub used_bytes: u64,
    /// The image that it shares data with.
    pub base: Option<String>,
    /// Its name, if the note beside it tells.
    pub name: Option<String>,
}

/// A snapshot's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFiles {
    /// Which snapshot.
    pub snapshot: Id<Snapshot>,
    /// Its name, if the note beside it tells.
    pub name: Option<String>,
    /// Its volumes.
    pub volumes: Vec<VolumeFile>,
}

/// What can be seen of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolObserved {
    /// Its space.
    pub usage: Usage,
    /// Its volumes.
    pub volumes: Vec<VolumeFile>,
    /// Its snapshots.
    pub snapshots: Vec<SnapshotFiles>,
    /// Images that volumes share data with, by SHA-256.
    pub bases: Vec<String>,
}

impl PoolObserved {
    /// The file of a volume.
    pub fn volume(&self, id: Id<Volume>) -> Option<&VolumeFile> {
        self.volumes.iter().find(|file| file.volume == id)
    }

    /// The files of a snapshot.
    pub fn snapshot(&self, id: Id<Snapshot>) -> Option<&SnapshotFiles> {
        self.snapshots.iter().find(|files| files.snapshot == id)
    }
}

/// What a new volume begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Zeros.
    Empty {
        /// Whether its space is taken at once.
        preallocated: bool,
    },
    /// Nothing: it is a folder.
    Folder,
    /// An image; its data is shared, not copied.
    Image(BaseImage),
    /// A volume as it is now.
    Volume(Id<Volume>),
    /// A volume as a snapshot has it.
    Snapshot(Id<Snapshot>, Id<Volume>),
}

/// One thing to do to the files of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageStep {
    /// Make a volume.
    Create {
        /// What is written beside it.
        note: VolumeNote,
        /// Its size in bytes; that of the content if absent.
        size_bytes: Option<u64>,
        /// What it begins with.
        content: Content,
    },
    /// Make a disk that no guest runs with, or a folder, larger.
    Grow {
        /// The volume.
        volume: Id<Volume>,
        /// The new size in bytes.
        size_bytes: u64,
    },
    /// Remove a volume.
    Remove {
        /// The volume.
        volume: Id<Volume>,
        /// Whether its data is overwritten first.
        erase: bool,
    },
    /// Keep volumes as they are now. Nothing writes to them meanwhile.
    Take {
        /// What is written beside them.
        note: SnapshotNote,
    },
    /// Find out whether these volumes can be set back to a snapshot: all copies are there and sound, and there is room
    /// for them. Changes nothing.
    Examine {
        /// The snapshot.
        snapshot: Id<Snapshot>,
        /// The volumes.
        volumes: Vec<Id<Volume>>,
    },
    /// Set a volume that no guest runs with back to a snapshot.
    Revert {
        /// The snapshot.
        snapshot: Id<Snapshot>,
        /// The volume.
        volume: Id<Volume>,
    },
    /// Remove a snapshot.
    Drop {
        /// The snapshot.
        snapshot: Id<Snapshot>,
    },
    /// Put a fresh copy of an image in the place of a damaged one. Its bytes are compared with its SHA-256 first.
    RenewBase {
        /// The image.
        image: BaseImage,
    },
    /// Remove an image that no volume or snapshot shares data with.
    DropBase {
        /// Its SHA-256.
        sha256: String,
    },
}

impl StorageStep {
    /// The name of the step, for logs and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create volume",
            Self::Grow { .. } => "grow volume",
            Self::Remove { .. } => "remove volume",
            Self::Take { .. } => "take snapshot",
            Self::Examine { .. } => "examine snapshot",
            Self::Revert { .. } => "revert volume",
            Self::Drop { .. } => "drop snapshot",
            Self::RenewBase { .. } => "renew base",
            Self::DropBase { .. } => "drop base",
        }
    }
}

/// What a check of a volume's structure found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// All is well.
    Sound,
    /// Space that nothing referred to has been given back; the data is whole.
    Repaired,
}

/// A failure of the files or of the way to a guest.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The pool's place cannot be used.
    #[error("pool `{pool}` cannot be used: {message}")]
    PoolAway {
        /// Its name.
        pool: Name,
        /// What is wrong.
        message: String,
    },
    /// There is no space left.
    #[error("{what} found no space in the pool; remove what is not needed")]
    NoSpace {
        /// What was tried.
        what: &'static str,
    },
    /// It failed but may work later.
    #[error("{what} failed: {message}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What was said.
        message: String,
    },
    /// It cannot be done until something is changed.
    #[error("{what} cannot be done: {message}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why not.
        message: String,
    },
    /// A volume's structure is damaged.
    #[error("the file of the volume is damaged: {message}; go back to a snapshot, or delete it")]
    Damaged {
        /// What the check said.
        message: String,
    },
    /// A file could not be read, made or removed.
    #[error("{what} failed")]
    Files {
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// The guest could not be reached.
    #[error("{what} of the running guest failed")]
    Guest {
        /// What was tried.
        what: &'static str,
        /// What lies behind.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StorageError {
    /// Whether it may heal by itself.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { .. } | Self::Damaged { .. } => ErrorClass::NeedsOperator,
            Self::PoolAway { .. }
            | Self::NoSpace { .. }
            | Self::Failed { .. }
            | Self::Files { .. }
            | Self::Guest { .. } => ErrorClass::Retry,
        }
    }
}

/// The files of pools.
#[async_trait]
pub trait VolumeHost: Send + Sync + 'static {
    /// Everything that lies in a pool. Makes its folders if they are not there.
    async fn observe(&self, pool: &PoolRef) -> Result<PoolObserved, StorageError>;

    /// One volume's file, if it is there.
    async fn observe_volume(
        &self,
        pool: &PoolRef,
        volume: Id<Volume>,
    ) -> Result<Option<VolumeFile>, StorageError> {
        Ok(self.observe(pool).await?.volume(volume).cloned())
    }

    /// Sees to it that what guests write leaves so much of the pool's file system free; a guest whose write would not
    /// finds no space. Returns what they may write yet; `None` where nothing holds them back.
    async fn keep_reserve(
        &self,
        pool: &PoolRef,
        reserve_bytes: u64,
    ) -> Result<Option<u64>, StorageError>;

    /// Does one step.
    async fn apply(&self, pool: &PoolRef, step: &StorageStep) -> Result<(), StorageError>;

    /// Checks the structure of a volume that no guest runs with, and gives back space that nothing
    /// refers to.
    async fn check(&self, pool: &PoolRef, volume: Id<Volume>) -> Result<Soundness, StorageError>;

    /// Reads the pool's copy of an image whole: whether it has the bytes that its SHA-256 names.
    async fn check_base(&self, pool: &PoolRef, sha256: &str) -> Result<bool, StorageError>;

    /// Copies a disk's file, as it is or as a snapshot has it, to a place outside the pool, and tells what it is based
    /// on. Nobody writes to it meanwhile.
    async fn copy_out(
        &self,
        pool: &PoolRef,
        volume: Id<Volume>,
        snapshot: Option<Id<Snapshot>>,
        to: &std::path::Path,
    ) -> Result<Option<(PathBuf, DiskFormat)>, StorageError>;

    /// A disk of the machine by its name below `/dev/disk/by-id`, if it is there.
    async fn disk(&self, id: &str) -> Result<Option<DiskSeen>, StorageError>;

    /// Where a pool on a disk of its own stands.
    async fn place(&self, pool: &PoolRef) -> Result<PlaceSeen, StorageError>;

    /// A file system of the machine by its UUID, if it is there.
    async fn file_system(&self, uuid: &str) -> Result<Option<FileSystemSeen>, StorageError>;

    /// Where a pool on a kept file system stands.
    async fn kept(&self, pool: &PoolRef) -> Result<KeptSeen, StorageError>;

    /// Does one step to the place of a pool that does not lie on the data partition.
    async fn apply_place(&self, pool: &PoolRef, step: PlaceStep) -> Result<(), StorageError>;

    /// Removes temporary files that a broken-off step has left. Called once before anything else.
    async fn recover(&self, pool: &PoolRef) -> Result<(), StorageError>;

    /// Where a disk's file lies.
    fn path(&self, pool: &PoolRef, volume: Id<Volume>) -> PathBuf;

    /// Where the folder lies that pods mount.
    fn folder(&self, pool: &PoolRef, volume: Id<Volume>) -> PathBuf;
}

/// Whether a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestPower {
    /// There is no process.
    Off,
    /// It runs.
    Running,
    /// It is held.
    Held,
}

/// Whether the file systems of a guest are at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// They are: what the guest held in memory lies on its disks, and it writes nothing.
    AtRest,
    /// The guest has no agent, so nothing was asked of it.
    NoAgent,
    /// It was asked, and they are not; why, as the rest of a sentence.
    Refused(String),
    /// It was asked, and nobody knows: they may come to rest yet, and have to be let go on.
    Unknown(String),
}

/// What storage has to ask of guests that run with its volumes.
#[async_trait]
pub trait Guests: Send + Sync + 'static {
    /// Whether a guest runs.
    async fn power(&self, vm: Id<Vm>) -> Result<GuestPower, StorageError>;

    /// Holds a running guest; after this all that it wrote, and the structure of its volumes, lies in
    /// their files. A guest that is off or held stays so.
    async fn hold(&self, vm: Id<Vm>) -> Result<(), StorageError>;

    /// Lets a held guest run on.
    async fn release(&self, vm: Id<Vm>) -> Result<(), StorageError>;

    /// Has the agent in a running guest bring its file systems to rest. That it cannot is no failure.
    async fn freeze(&self, vm: Id<Vm>) -> Rest;

    /// Lets the file systems of a running guest go on. Those that were not at rest stay as they are.
    async fn thaw(&self, vm: Id<Vm>) -> Result<(), StorageError>;

    /// Copies what a machine's TPM keeps, for a snapshot; an earlier copy for the same is replaced. The guest is off or
    /// held. `false` if there is nothing to keep, as before the machine's first start.
    async fn keep_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<bool, StorageError>;

    /// Sets the TPM of a machine that is off back to what was kept: all of it or, if that fails, nothing.
    async fn revert_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<(), StorageError>;

    /// Removes what was kept, if it is there.
    async fn drop_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<(), StorageError>;

    /// Makes a volume of a running guest larger; the guest is told.
    async fn grow(
        &self,
        vm: Id<Vm>,
        path: &std::path::Path,
        size_bytes: u64,
    ) -> Result<(), StorageError>;
}

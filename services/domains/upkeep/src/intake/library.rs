//! The port to the files of images: what came in, the work in between, and the library.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use skerry_model::ImageFormat;
use uuid::Uuid;

use super::boot::BootParts;
use super::promises::Promises;
use crate::{FileDigest, IntakeRefusal};

/// A file that came in and is to become an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A finished file of the spool: an upload by its id, or a download by its job.
    Spooled(Uuid),
    /// A file on an import medium: the medium's name, `/`, and the path there.
    Medium(String),
}

/// What came in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Its size in bytes.
    pub size: u64,
    /// Room that a copy takes beside it: none where the file system lets both share their blocks.
    pub copy: u64,
}

/// An image file on an import medium.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MediumFile {
    /// Its path on the medium.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// What an import medium is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MediumKind {
    /// A USB stick or card, mounted only while it is read.
    #[default]
    Stick,
    /// A folder of the node: its inbox, one that its settings name, or what a pool's kept file system holds beside the
    /// pool.
    Folder,
}

/// Something that images can be brought in from: a USB stick, a card, a folder of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportMedium {
    /// What it is.
    #[serde(default)]
    pub kind: MediumKind,
    /// Its name: a stick's from its label, that of a kept file system from its pool. A file on it is `<name>/<path>` in an
    /// image's source `folder`.
    pub name: String,
    /// What the kernel calls it now; empty for a folder that is none of a pool's file system.
    pub device: String,
    /// The kind of its file system; empty for such a folder.
    pub file_system: String,
    /// Where a folder lies on the node; empty for a stick.
    #[serde(default)]
    pub path: String,
    /// Size of its file system in bytes.
    pub size_bytes: u64,
    /// Image files on it, at most 200.
    pub files: Vec<MediumFile>,
    /// Why it cannot be read, if it cannot.
    pub reason: String,
}

/// All import media.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MediaList {
    /// One entry for each.
    pub items: Vec<ImportMedium>,
}

/// What a disk reads where it holds nothing itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskBase {
    /// Its file.
    pub path: PathBuf,
    /// Its form.
    pub format: ImageFormat,
}

/// Follows work on many bytes, and can end it.
pub trait Meter: Send + Sync + 'static {
    /// So many bytes are done, of so many.
    fn bytes(&self, done: u64, total: u64);
    /// Whether the work is to be broken off.
    fn is_stopped(&self) -> bool;
}

/// Follows nothing and never ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Meter for Quiet {
    fn bytes(&self, _done: u64, _total: u64) {}
    fn is_stopped(&self) -> bool {
        false
    }
}

/// What QEMU's tool says about a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskReport {
    /// The format as which it was read.
    pub format: String,
    /// Bytes that a guest sees.
    pub virtual_size: u64,
    /// Bytes of one cluster; 0 where a format has none.
    pub cluster_size: u64,
    /// The file on which it builds.
    pub backing_file: Option<String>,
    /// Other files in which its content lies.
    pub other_files: Vec<String>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Whether it is marked as corrupt.
    pub corrupt: bool,
}

/// What QEMU's tool says about the tables of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Errors found.
    pub corruptions: u64,
    /// Clusters that are taken and not used.
    pub leaks: u64,
    /// What could not be checked.
    pub errors: u64,
    /// Where the content ends.
    pub end_offset: Option<u64>,
    /// Bytes of one cluster.
    pub cluster_size: u64,
}

/// Room on the data partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that new data may take: what is free without the reserve.
    pub free: u64,
    /// Bytes of the whole partition.
    pub total: u64,
}

/// The part of the data partition that what comes in leaves free, and its bounds.
const RESERVE_PARTS: u64 = 10;
const LEAST_RESERVE: u64 = 256 << 20;
const MOST_RESERVE: u64 = 8 << 30;

impl Room {
    /// What is left free on a partition of so many bytes.
    pub fn reserve(total: u64) -> u64 {
        (total / RESERVE_PARTS).clamp(LEAST_RESERVE, MOST_RESERVE)
    }

    /// The room on a partition of so many bytes, of which so many are available.
    pub fn of(total: u64, available: u64) -> Self {
        Self { free: available.saturating_sub(Self::reserve(total)), total }
    }

    /// Bytes that are available with the reserve. Where nothing is free but the reserve it may be less.
    pub fn available(self) -> u64 {
        self.free.saturating_add(Self::reserve(self.total)).min(self.total)
    }
}

/// What is still needed; everything else in the library's folders may go.
#[derive(Debug, Clone, Default)]
pub struct LibraryKeep {
    /// Digests of files that image records name.
    pub digests: BTreeSet<String>,
    /// Jobs that have not ended.
    pub jobs: BTreeSet<Uuid>,
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// What came in is not what it should be.
    #[error(transparent)]
    Refused(#[from] IntakeRefusal),
    /// There is nothing to take.
    #[error("{what} is not there: {hint}")]
    Missing {
        /// What.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// The disk is full, or would be.
    #[error(
        "there is no room: {needed} bytes are needed and {free} are free on the data partition; delete images or volumes"
    )]
    NoSpace {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that may be used.
        free: u64,
    },
    /// A tool did not do its work.
    #[error("{tool} failed: {detail}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it said, cut.
        detail: String,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The work was broken off.
    #[error("broken off")]
    Stopped,
}

/// Reads archives, as the start of a container does.
#[async_trait]
pub trait ArchiveReader: Send + Sync + 'static {
    /// Whether a container can be made of the archive in this file: [`IntakeRefusal::Archive`] says why not. Takes as long
    /// as reading the file.
    async fn check(&self, path: &Path) -> Result<(), LibraryError>;

    /// Makes the files of an uncompressed archive in an empty folder, unless there are more bytes or entries than these.
    /// What cannot be unpacked is [`IntakeRefusal::Boot`].
    async fn unpack(
        &self,
        path: &Path,
        into: &Path,
        bytes: u64,
        entries: u64,
    ) -> Result<(), LibraryError>;
}

/// The files of images. Every step bears being repeated: it looks first what is there.
///
/// The work on one job lies in a folder of its own until [`ImageLibrary::adopt`]; [`ImageLibrary::discard`] takes
/// that folder away, however far the work was.
#[async_trait]
pub trait ImageLibrary: Send + Sync + 'static {
    /// Room on the data partition.
    async fn room(&self) -> Result<Room, LibraryError>;

    /// What running work was promised of that room.
    fn promises(&self) -> Promises;

    /// Bytes that uploads were promised and have not brought yet.
    async fn announced(&self) -> Result<u64, LibraryError>;

    /// Bytes that have come of a file that is being fetched into the spool.
    async fn fetched(&self, id: Uuid) -> Result<u64, LibraryError>;

    /// Bytes that this job may write yet: what is free without what uploads and other jobs were promised.
    async fn free_for(&self, job: Uuid) -> Result<u64, LibraryError> {
        let free = self.room().await?.free.saturating_sub(self.announced().await?);
        Ok(free.saturating_sub(self.promises().others(job)))
    }

    /// This job has so many bytes to write yet; others leave them to it until it says less, or gives its
    /// [`super::promises::Promise`] back.
    async fn claim(&self, job: Uuid, bytes: u64) -> Result<(), LibraryError> {
        let free = self.room().await?.free.saturating_sub(self.announced().await?);
        let claimed = self.promises().claim(job, bytes, free);
        claimed.map_err(|free| LibraryError::NoSpace { needed: bytes, free })
    }

    /// The import media that are plugged in and the folders of the node, with the image files on them.
    async fn media(&self) -> Result<MediaList, LibraryError>;

    /// What came in; `None` if it is not there, or not there whole.
    async fn incoming(&self, what: &Incoming) -> Result<Option<Arrived>, LibraryError>;

    /// Makes a copy for the job that nobody else has open. Gives its size.
    async fn take(
        &self,
        job: Uuid,
        what: &Incoming,
        meter: std::sync::Arc<dyn Meter>,
    ) -> Result<u64, LibraryError>;

    /// Reads the job's file whole.
    async fn digest(
        &self,
        job: Uuid,
        meter: std::sync::Arc<dyn Meter>,
    ) -> Result<FileDigest, LibraryError>;

    /// Looks into the job's file, which must be of this format, without following anything. A disk inside may
    /// have `limit` bytes. Gives the size of the disk, for disks.
    async fn inspect(
        &self,
        job: Uuid,
        format: ImageFormat,
        limit: u64,
    ) -> Result<Option<u64>, LibraryError>;

    /// Replaces the job's file by the same disk in the form in which images are kept.
    async fn convert(
        &self,
        job: Uuid,
        from: ImageFormat,
        meter: std::sync::Arc<dyn Meter>,
    ) -> Result<(), LibraryError>;

    /// Takes the job's file, an archive of a kernel and its initial file system, apart, and looks into both.
    async fn take_apart(
        &self,
        job: Uuid,
        meter: std::sync::Arc<dyn Meter>,
    ) -> Result<BootParts, LibraryError>;

    /// Moves one of the parts, `kernel` or `initrd`, into the library, durably. Gives its place there.
    async fn adopt_part(
        &self,
        job: Uuid,
        role: &'static str,
        sha256: &str,
    ) -> Result<PathBuf, LibraryError>;

    /// Makes the job's folder anew, and tells where in it a disk (`qcow2`) may be put for [`Self::flatten`].
    async fn lend(&self, job: Uuid) -> Result<PathBuf, LibraryError>;

    /// Makes the job's file of the disk that was put there: one that stands for itself. What the disk itself names as
    /// its base is not followed; it is `base` or none.
    async fn flatten(
        &self,
        job: Uuid,
        base: Option<&DiskBase>,
        meter: std::sync::Arc<dyn Meter>,
    ) -> Result<(), LibraryError>;

    /// Moves the job's file into the library, durably. Gives its place there.
    async fn adopt(&self, job: Uuid, sha256: &str) -> Result<PathBuf, LibraryError>;

    /// Removes the work of a job.
    async fn discard(&self, job: Uuid) -> Result<(), LibraryError>;

    /// Removes a file of the spool.
    async fn drop_spooled(&self, id: Uuid) -> Result<(), LibraryError>;

    /// Removes a file of the library. One that lies elsewhere is left alone.
    async fn remove(&self, path: &Path) -> Result<(), LibraryError>;

    /// Removes what is no longer needed and tells how many files that were.
    async fn tidy(&self, keep: &LibraryKeep) -> Result<usize, LibraryError>;
}

//! Where a pool lies that shares a file system with other files: the file system is judged before it is mounted, the
//! pool's folder before anything is written into it.
//!
//! Pure. Nothing is ever formatted. A file system is named by its UUID, which goes with it wherever its disk is plugged
//! in; the name of a device or of a slot would one day stand for somebody else's. The pool's folder carries a mark with
//! the pool's id. It is made once: if it is gone later, that is said and no empty one is made in its place.
//!
//! A folder that somebody else has mounted, by a path alone, is no source of a pool. On this image nobody but the node
//! mounts anything, and a path has no identity: while its mount is missing it is a folder of the node's memory or of its
//! system, and a pool would be made anew there.

use skerry_model::PoolFileSystem;

use crate::place::PlaceStep;

/// A smaller file system is not worth a pool.
const LEAST: u64 = 1 << 30;

/// Kinds of file systems that can hold a pool: with owners, modes and holes in files, and which come back by themselves
/// after a power cut.
pub const KINDS: [&str; 2] = ["xfs", "ext4"];

/// A file system that was there before the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSystemSeen {
    /// What the kernel calls its device now.
    pub name: String,
    /// Its kind, such as `ext4`.
    pub kind: String,
    /// Size of its device in bytes.
    pub size_bytes: u64,
    /// Why it cannot be had, as the rest of a sentence: `is mounted at /srv`. The pool's own mount does not count.
    pub busy: Option<String>,
}

/// The folder of a pool as it is seen on its mounted file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FolderSeen {
    /// The file system is not mounted.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// Nothing is in it.
    Empty,
    /// It carries the pool's mark.
    Own,
    /// It belongs to somebody else; to whom, as the rest of a sentence: `holds other files`.
    Taken(String),
    /// It cannot be used; why, as a sentence.
    Unfit(String),
}

/// The place of a pool on a file system that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptSeen {
    /// The file system, if it is there.
    pub file_system: Option<FileSystemSeen>,
    /// Whether it is mounted where the pool's files are looked for.
    pub mounted: bool,
    /// Whether that mount takes no writes.
    pub read_only: bool,
    /// The pool's folder.
    pub folder: FolderSeen,
}

/// Why a file system is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileSystemRefused {
    /// There is no such file system.
    #[error(
        "there is no file system with the UUID `{0}`; `skerry inventory` lists those of all disks"
    )]
    Absent(String),
    /// Its kind cannot hold a pool.
    #[error(
        "the file system `{uuid}` ({name}) is of the kind `{kind}`; a pool needs xfs or ext4, which know owners and \
         holes and come through power cuts"
    )]
    Kind {
        /// Its UUID.
        uuid: String,
        /// What the kernel calls its device.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// Somebody uses it, or it cannot be told from another.
    #[error("the file system `{uuid}` ({name}) {why}; a pool takes only one that nobody else uses")]
    Busy {
        /// Its UUID.
        uuid: String,
        /// What the kernel calls its device.
        name: String,
        /// Who uses it.
        why: String,
    },
    /// It is too small.
    #[error("the file system `{uuid}` has {mib} MiB; a pool needs at least 1024")]
    Small {
        /// Its UUID.
        uuid: String,
        /// Its size.
        mib: u64,
    },
}

/// What keeps a pool on a kept file system away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptAway {
    /// Its file system is not taken.
    #[error(transparent)]
    Refused(#[from] FileSystemRefused),
    /// The file system is not there.
    #[error("its file system `{0}` is not there; plug its disk in again")]
    Absent(String),
    /// It takes no writes.
    #[error(
        "its file system `{0}` takes no writes; check the disk, then plug it in again or restart the node"
    )]
    ReadOnly(String),
    /// The folder is somebody else's.
    #[error(
        "the folder `{folder}` on its file system {why}; delete the pool and name another folder, or empty it"
    )]
    Taken {
        /// The folder.
        folder: String,
        /// Whose it is.
        why: String,
    },
    /// The folder cannot be used.
    #[error("the folder `{folder}` on its file system cannot be used: {why}")]
    Unfit {
        /// The folder.
        folder: String,
        /// Why not.
        why: String,
    },
    /// The folder was there and is not any more.
    #[error(
        "the folder `{0}` is gone from its file system, or its mark is; put it back, or delete the pool"
    )]
    FolderGone(String),
}

/// Whether a pool may lie on a file system.
pub fn judge_file_system(
    wanted: &PoolFileSystem,
    seen: Option<&FileSystemSeen>,
) -> Result<(), FileSystemRefused> {
    let uuid = wanted.uuid.clone();
    let Some(seen) = seen else { return Err(FileSystemRefused::Absent(uuid)) };
    let name = seen.name.clone();
    if !KINDS.contains(&seen.kind.as_str()) {
        return Err(FileSystemRefused::Kind { uuid, name, kind: seen.kind.clone() });
    }
    if let Some(why) = seen.busy.clone() {
        return Err(FileSystemRefused::Busy { uuid, name, why });
    }
    if seen.size_bytes < LEAST {
        return Err(FileSystemRefused::Small { uuid, mib: seen.size_bytes >> 20 });
    }
    Ok(())
}

/// The next step that makes a pool's place usable; `None` if it is. `prepared`: whether the folder has been made.
pub fn plan_kept(
    wanted: &PoolFileSystem,
    prepared: bool,
    seen: &KeptSeen,
) -> Result<Option<PlaceStep>, KeptAway> {
    let folder = wanted.folder.clone();
    if seen.file_system.is_none() && prepared {
        return Err(KeptAway::Absent(wanted.uuid.clone()));
    }
    if !seen.mounted || seen.file_system.is_none() {
        judge_file_system(wanted, seen.file_system.as_ref())?;
        return Ok(Some(PlaceStep::Mount));
    }
    // One in use is not judged again: a copy of its disk that is plugged in does not take it away.
    if seen.read_only {
        return Err(KeptAway::ReadOnly(wanted.uuid.clone()));
    }
    match &seen.folder {
        FolderSeen::Own => Ok(None),
        FolderSeen::Absent | FolderSeen::Empty if !prepared => Ok(Some(PlaceStep::Settle)),
        FolderSeen::Absent | FolderSeen::Empty => Err(KeptAway::FolderGone(folder)),
        FolderSeen::Taken(why) => Err(KeptAway::Taken { folder, why: why.clone() }),
        FolderSeen::Unfit(why) => Err(KeptAway::Unfit { folder, why: why.clone() }),
        // It went between two looks.
        FolderSeen::Unknown => Err(KeptAway::Absent(wanted.uuid.clone())),
    }
}

/// The steps that give a file system back. What of the pool's folders is empty goes; of a file system that is away, or
/// that does not carry the pool's mark, nothing is touched.
pub fn plan_release(wanted: &PoolFileSystem, prepared: bool, seen: &KeptSeen) -> Vec<PlaceStep> {
    let usable = judge_file_system(wanted, seen.file_system.as_ref()).is_ok();
    let own = seen.mounted && seen.folder == FolderSeen::Own;
    match () {
        () if own && !seen.read_only => vec![PlaceStep::Clear, PlaceStep::Unmount],
        () if prepared && usable && !seen.mounted => {
            vec![PlaceStep::Mount, PlaceStep::Clear, PlaceStep::Unmount]
        }
        () => vec![PlaceStep::Unmount],
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;

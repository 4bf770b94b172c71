//! Volumes that are folders: made whole, held to their size by the file system, removed with all that is in them.
//!
//! XFS counts the space of everything below a folder that has a project of its own, and refuses what goes over the
//! project's limit. Where the data partition is of another kind, the folder is there all the same and the limit is
//! not, which [`usage`] tells.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use skerry_model::{Id, Volume};

use crate::erase::overwrite;
use crate::reserve::GUESTS;
use crate::xfs;

/// What a folder takes, and whether it is held to its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderUsage {
    /// Bytes; 0 if nobody counts.
    pub used: u64,
    /// Whether the file system refuses more than its size.
    pub limited: bool,
}

/// The number of the project of a volume: its short id, by which no two volumes of a node are called.
fn project(volume: Id<Volume>) -> u32 {
    match u32::from_str_radix(&volume.short(), 16).unwrap_or(0) {
        // No project, and that of the guests' disks.
        0 | GUESTS => 1,
        own => own,
    }
}

/// Has the file system hold a folder to this many bytes. What is made in it later belongs to its project, too. One
/// that knows no projects leaves the folder as it is.
pub async fn limit(mount: &Path, folder: &Path, volume: Id<Volume>, bytes: u64) {
    if let Err(said) = xfs::hold_folder(mount, folder, project(volume), bytes).await {
        tracing::warn!(%volume, said, "the folder is not held to its size");
    }
}

/// The mount that a path lies on: the topmost folder above it on the same file system.
pub fn mount_of(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let device = fs::metadata(path)?.dev();
    let same = |above: &&Path| fs::metadata(above).is_ok_and(|meta| meta.dev() == device);
    Ok(path.ancestors().take_while(same).last().unwrap_or(path).to_owned())
}

/// Where the file system holds a folder to a size, it speaks of that size when asked for the folder's space.
pub fn usage(folder: &Path, size: u64) -> io::Result<FolderUsage> {
    let space = statvfs(folder)?;
    let unit = space.fragment_size();
    let total = space.blocks().saturating_mul(unit);
    let limited = total <= size;
    let free = space.blocks_free().saturating_mul(unit);
    Ok(FolderUsage { used: if limited { total.saturating_sub(free) } else { 0 }, limited })
}

/// Overwrites every file below a folder. Links are not followed.
pub fn overwrite_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            overwrite_all(&entry.path())?;
        } else if kind.is_file() {
            overwrite(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_are_overwritten_and_links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("folder");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/data"), "secret").unwrap();
        fs::write(place.path().join("outside"), "kept").unwrap();
        std::os::unix::fs::symlink(place.path(), folder.join("link")).unwrap();
        std::os::unix::fs::symlink("../outside", folder.join("file")).unwrap();
        overwrite_all(&folder).unwrap();
        assert_eq!(fs::read(folder.join("a/b/data")).unwrap(), [0; 6]);
        assert_eq!(fs::read_to_string(place.path().join("outside")).unwrap(), "kept");
    }

    #[test]
    fn the_limit_is_believed_only_if_the_file_system_speaks_of_it() {
        let place = tempfile::tempdir().unwrap();
        let usage = usage(place.path(), 4096).unwrap();
        assert_eq!(usage, FolderUsage { used: 0, limited: false });
        assert!(place.path().starts_with(mount_of(place.path()).unwrap()));
    }
}

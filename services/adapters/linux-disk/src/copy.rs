//! Copies of files. Where the file system can, a copy shares all blocks with its origin (XFS reflink): it
//! takes moments and no space, and each side's later writes are its own. Elsewhere, such as on ext4, data is copied and
//! holes stay holes: that takes time and room, for which [`room_for`] looks beforehand.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::statvfs::statvfs;
use nix::unistd::{Whence, lseek};
use rustix::fs::ioctl_ficlone;
use rustix::io::Errno;

use crate::files::make_folder;

/// Copies a file; `to` is made anew. Returns whether blocks are shared.
pub fn copy(from: &Path, to: &Path) -> io::Result<bool> {
    let source = File::open(from)?;
    let mut target =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    if share(&source, &target)? {
        return Ok(true);
    }
    copy_data(&source, &mut target)?;
    Ok(false)
}

/// Gives an empty file all blocks of another. `false` on another file system, or on one that cannot share.
pub fn share(source: &File, target: &File) -> io::Result<bool> {
    match ioctl_ficlone(target, source) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What of a file system of some size, in bytes, is to stay free.
pub type KeptFree = fn(u64) -> u64;

/// Whether there is room for copies of these files below a folder, beyond what is to stay free. Where blocks are shared,
/// none is needed.
pub fn room_for(files: &[&Path], folder: &Path, kept_free: KeptFree) -> io::Result<()> {
    make_folder(folder)?;
    let device = fs::metadata(folder)?.dev();
    let (mut needed, mut shares) = (0_u64, None);
    for file in files {
        let meta = fs::metadata(file)?;
        let shared = meta.dev() == device && *shares.get_or_insert_with(|| can_share(folder));
        if !shared {
            needed = needed.saturating_add(meta.blocks().saturating_mul(512));
        }
    }
    free_for(needed, folder, kept_free)
}

/// Whether so many bytes fit below a folder, beyond what is to stay free.
pub fn free_for(needed: u64, folder: &Path, kept_free: KeptFree) -> io::Result<()> {
    let space = statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.fragment_size());
    let reserve = kept_free(bytes(space.blocks()));
    if needed > 0 && needed > bytes(space.blocks_available()).saturating_sub(reserve) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// Whether files below a folder can share blocks. An older XFS cannot either, so it is tried.
pub fn can_share(folder: &Path) -> bool {
    // Several ask at once.
    static TRIES: AtomicU64 = AtomicU64::new(0);
    let number = TRIES.fetch_add(1, Ordering::Relaxed);
    let [from, to] = ["from", "to"].map(|name| folder.join(format!("share-{name}-{number}")));
    let tried = fs::write(&from, [1; 4096]).and_then(|()| copy(&from, &to));
    for path in [&from, &to] {
        // What stays is in the folder of what is tidied away.
        let _ = fs::remove_file(path);
    }
    tried.unwrap_or(false)
}

/// Copies what is data; what is between is a hole.
fn copy_data(source: &File, target: &mut File) -> io::Result<()> {
    let length = source.metadata()?.len();
    target.set_len(length)?;
    for (start, end) in Segments::of(source) {
        let mut source = source;
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        let mut part = io::Read::take(source, end.saturating_sub(start));
        io::copy(&mut part, target)?;
    }
    Ok(())
}

/// The parts of a file that are not holes, as start and end.
pub struct Segments<'a> {
    file: &'a File,
    at: i64,
}

impl<'a> Segments<'a> {
    /// Of this file, as it is now.
    pub const fn of(file: &'a File) -> Self {
        Self { file, at: 0 }
    }
}

impl Iterator for Segments<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<Self::Item> {
        // Past the last data there is an error, which is the end.
        let start = lseek(self.file, self.at, Whence::SeekData).ok()?;
        let end = lseek(self.file, start, Whence::SeekHole).ok()?;
        if end <= start {
            return None;
        }
        self.at = end;
        Some((u64::try_from(start).ok()?, u64::try_from(end).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn room_is_asked_for_only_where_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "data").unwrap();
        room_for(&[&file, &file], folder.path(), |_| 0).unwrap();
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(room_for(&[&folder.path().join("none")], folder.path(), |_| 0).is_err());
        let all = room_for(&[&file], folder.path(), |size| size);
        assert_eq!(all.is_ok(), can_share(folder.path()), "{all:?}");
    }

    #[test]
    fn a_copy_has_the_same_bytes_and_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        let mut file = File::create(&from).unwrap();
        file.write_all(b"begin").unwrap();
        file.seek(SeekFrom::Start(8 << 20)).unwrap();
        file.write_all(b"middle").unwrap();
        file.set_len(16 << 20).unwrap();
        drop(file);
        std::fs::write(&to, "what was there before").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());
        assert!(std::fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20);
    }
}

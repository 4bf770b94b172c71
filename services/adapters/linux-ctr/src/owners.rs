//! Whose the files of an unpacked layer are.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};

/// The highest number of a user or group that anything in a folder has, itself included.
///
/// Each folder is opened from the one above it: a layer's own paths may be as long as the system takes paths at all,
/// so that none of them could be named from the root. Layers are not deep, and nothing is followed.
pub fn highest_below(folder: &Path) -> io::Result<u32> {
    let folder = File::open(folder)?;
    let found = folder.metadata()?;
    highest_in(folder.into(), found.uid().max(found.gid()))
}

fn highest_in(folder: OwnedFd, mut highest: u32) -> io::Result<u32> {
    let mut entries = Dir::new(folder)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = statat(entries.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
        highest = highest.max(found.st_uid).max(found.st_gid);
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = openat(entries.fd()?, name, flags, Mode::empty())?;
            highest = highest_in(below, highest)?;
        }
    }
    Ok(highest)
}

//! Room on the disk while a layer becomes files on it.
//!
//! Layers leave free what programs in containers do, half of what the node keeps for itself: a layer that is small and
//! becomes large must not take the last block from the guests and containers that run. Asked now and then, so that what
//! is small passes in any case.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::sys::statvfs::fstatvfs;
use skerry_upkeep::Room;

/// What is to stay free of a file system of so many bytes.
pub type KeptFree = fn(u64) -> u64;

/// Bytes after which the file system is asked again.
const STEP: u64 = 8 << 20;
/// What a file without content counts for.
pub const ENTRY: u64 = 1 << 10;

/// What layers leave free.
pub fn kept_free(size: u64) -> u64 {
    Room::reserve(size) / 2
}

/// Looks after the file system of a folder that grows.
#[derive(Debug)]
pub struct RoomWatch<'a> {
    folder: &'a File,
    kept_free: KeptFree,
    grown: u64,
}

impl<'a> RoomWatch<'a> {
    /// From now on.
    pub const fn new(folder: &'a File, kept_free: KeptFree) -> Self {
        Self { folder, kept_free, grown: 0 }
    }

    /// The folder is about to grow by so many bytes; an error, as of a disk that is full, if that is too much.
    pub fn grow(&mut self, bytes: u64) -> io::Result<()> {
        self.grown += bytes;
        if self.grown < STEP {
            return Ok(());
        }
        let space = fstatvfs(self.folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.fragment_size());
        let free = bytes(space.blocks_available()).saturating_sub(self.grown);
        self.grown = 0;
        if free < (self.kept_free)(bytes(space.blocks())) {
            return Err(Errno::ENOSPC.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_passes_and_what_grows_ends_before_the_disk_does() {
        let folder = tempfile::tempdir().unwrap();
        let folder = File::open(folder.path()).unwrap();
        let mut full = RoomWatch::new(&folder, |size| size);
        full.grow(STEP - 1).unwrap();
        let error = full.grow(1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let mut roomy = RoomWatch::new(&folder, |_| 0);
        (0..100).for_each(|_| roomy.grow(STEP / 50).unwrap());
        assert!(kept_free(8 << 30) > 0 && kept_free(8 << 30) < Room::reserve(8 << 30));
    }
}

//! The high-water mark: the highest revision that was ever acknowledged, in a file of its own.
//!
//! A database that loses its tail and comes up as an older, perfectly sound one cannot be told from
//! the right one by looking at it alone. The mark tells. It is written after the journal is durable
//! and is not synced: after a power cut it may be too low, which says nothing, but never too high.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::journal::JournalError;
use crate::record;

/// Two slots are written in turn, each a disk sector, so that one of them is always whole.
const SLOT_BYTES: usize = 512;
const SLOTS: u64 = 2;
const KEY: &[u8] = b"mark";

/// The mark's file, open for writing.
pub(crate) struct Mark {
    file: File,
    path: PathBuf,
    revision: u64,
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marked {
    pub lineage: Uuid,
    pub revision: u64,
}

/// What was found where the mark should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file.
    Nothing,
    /// A file in which no slot is right.
    Damaged,
    Mark(Marked),
}

impl Mark {
    /// Reads the mark, without trusting it.
    pub fn read(path: &Path) -> Found {
        let Ok(bytes) = read_limited(path) else { return Found::Nothing };
        let slot = |slot: &[u8]| {
            let end = slot.iter().position(|byte| *byte == 0).unwrap_or(slot.len());
            let opened = record::open(KEY, slot.get(..end)?).ok()?;
            serde_json::from_slice::<Marked>(opened.body).ok()
        };
        let best = bytes.chunks(SLOT_BYTES).filter_map(slot).max_by_key(|mark| mark.revision);
        best.map_or(Found::Damaged, Found::Mark)
    }

    /// Writes a new file with this mark and keeps it open. The old one, if any, is replaced whole.
    pub fn create(path: &Path, mark: Marked) -> Result<Self, JournalError> {
        let fault = |source| file_error("create", path, source);
        let fresh = path.with_extension("new");
        let file = File::create(&fresh).map_err(fault)?;
        file.set_len(SLOT_BYTES as u64 * SLOTS).map_err(fault)?;
        let mut made = Self { file, path: path.to_owned(), revision: 0 };
        made.set(mark.lineage, mark.revision)?;
        made.file.sync_all().map_err(fault)?;
        std::fs::rename(&fresh, path).map_err(fault)?;
        Ok(made)
    }

    /// Opens a mark that was read and found right.
    pub fn reopen(path: &Path, mark: Marked) -> Result<Self, JournalError> {
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(|source| file_error("open", path, source))?;
        Ok(Self { file, path: path.to_owned(), revision: mark.revision })
    }

    /// Moves the mark. Leaving 0 is synced: a mark at 0 says that nothing was ever stored.
    pub fn set(&mut self, lineage: Uuid, revision: u64) -> Result<(), JournalError> {
        let fault = |source| file_error("write", &self.path, source);
        let (mut bytes, _) = record::seal(KEY, "Mark", revision, &Marked { lineage, revision })
            .map_err(|error| fault(error.into()))?;
        bytes.resize(SLOT_BYTES, 0);
        let offset = (revision % SLOTS) * SLOT_BYTES as u64;
        self.file.write_all_at(&bytes, offset).map_err(fault)?;
        if self.revision == 0 && revision > 0 {
            self.file.sync_data().map_err(fault)?;
        }
        self.revision = revision;
        Ok(())
    }
}

fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(SLOT_BYTES as u64 * SLOTS).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> JournalError {
    JournalError::File { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_whole_slot_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        assert_eq!(Mark::read(&path), Found::Nothing);
        let lineage = Uuid::from_u128(1);
        let mut mark = Mark::create(&path, Marked { lineage, revision: 6 }).unwrap();
        mark.set(lineage, 7).unwrap();
        assert_eq!(Mark::read(&path), Found::Mark(Marked { lineage, revision: 7 }));
        mark.file.write_all_at(b"x", SLOT_BYTES as u64 + 30).unwrap();
        assert_eq!(Mark::read(&path), Found::Mark(Marked { lineage, revision: 6 }));
        mark.file.write_all_at(b"x", 30).unwrap();
        assert_eq!(Mark::read(&path), Found::Damaged);
    }
}

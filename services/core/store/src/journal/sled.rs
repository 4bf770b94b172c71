//! A journal in a sled database.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Entry, Journal, JournalError, JournalHealth, Write};

/// Memory that sled may use for pages. Records are read once, at start; after that every read is
/// answered from the store's own map, so a cache would only hold memory that workloads could use.
const CACHE_BYTES: u64 = 1024 * 1024;

/// Keeps records in a sled database in a directory of its own.
pub struct SledJournal {
    database: sled::Db,
    /// The database's main file, opened a second time to be synced; see [`SledJournal::append`].
    file: File,
    path: PathBuf,
}

impl SledJournal {
    /// Opens the database in `path`, making it if there is none. sled may panic here on damaged
    /// files; the caller catches that.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let database = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None)
            .open()
            .map_err(|source| JournalError::Database { action: "open", source })?;
        let main = path.join("db");
        let file = File::open(&main).map_err(|source| file_error("open", &main, source))?;
        Ok(Self { database, file, path: path.to_owned() })
    }
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> JournalError {
    JournalError::File { action, path: path.display().to_string(), source }
}

impl Journal for SledJournal {
    fn load(&mut self) -> Result<Vec<Entry>, JournalError> {
        let read = |source| JournalError::Database { action: "read its records", source };
        self.database
            .iter()
            .map(|item| {
                let (key, value) = item.map_err(read)?;
                Ok(Entry { key: key.to_vec(), value: value.to_vec() })
            })
            .collect()
    }

    /// sled's own flush ends in `sync_file_range`, which neither empties the disk's write cache nor
    /// writes the file's size and extents. So the file is synced once more, whole.
    fn append(&mut self, batch: &[Write]) -> Result<(), JournalError> {
        let mut writes = sled::Batch::default();
        for write in batch {
            match write {
                Write::Put(entry) => writes.insert(entry.key.as_slice(), entry.value.as_slice()),
                Write::Delete { key } => writes.remove(key.as_slice()),
            }
        }
        let failed = |source| JournalError::Database { action: "write a batch", source };
        self.database.apply_batch(writes).map_err(failed)?;
        self.database.flush().map_err(failed)?;
        self.file.sync_data().map_err(|source| file_error("sync", &self.path.join("db"), source))
    }

    /// sled reuses its own segments; what it cannot give back is regained by rebuilding the
    /// directory, which the store does (see [`crate::recover`]).
    fn compact(&mut self) -> Result<(), JournalError> {
        self.database
            .flush()
            .map(|_| ())
            .map_err(|source| JournalError::Database { action: "flush", source })
    }

    fn health(&self) -> JournalHealth {
        let bytes_on_disk = self.database.size_on_disk().unwrap_or(0);
        JournalHealth { durable: true, bytes_on_disk }
    }
}

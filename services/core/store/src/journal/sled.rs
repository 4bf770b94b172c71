//! A journal in a sled database.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::trouble::LOCKED;
use super::{Entry, Journal, JournalError, JournalHealth, Write};
use crate::shelf::sync_directory;

/// Memory that sled may use for pages. Records are read once, at start; after that every read is
/// answered from the store's own map, so a cache would only hold memory that workloads could use.
const CACHE_BYTES: u64 = 1024 * 1024;

/// How often and how long to wait for a lock.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Records that are copied in one batch when the database is rebuilt.
const COPY_BATCH: usize = 256;

/// Keeps records in a sled database in a directory of its own.
pub struct SledJournal {
    /// Absent only while the database is being replaced, and after that failed.
    open: Option<Open>,
    path: PathBuf,
}

struct Open {
    database: sled::Db,
    /// The database's main file, opened a second time to be synced; see [`Open::append`].
    file: File,
    blobs: PathBuf,
}

impl SledJournal {
    /// Opens the database in `path`, making it if there is none. sled may panic here on damaged
    /// files; the caller catches that.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        finish_swap(path).map_err(|source| file_error("settle", path, source))?;
        Ok(Self { open: Some(Open::at(path)?), path: path.to_owned() })
    }

    /// Removes what sled can do without: its snapshots, which it makes anew from its log, and its
    /// parameters, which are the defaults. The second rung of the recovery ladder.
    pub fn remove_derived_files(path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("snap.") || name == "conf" {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Builds a database with these records beside `path` and puts it in place of what is there,
    /// which is handed to `dispose`. At every moment the old or the new one is complete on disk.
    pub fn replace(
        path: &Path,
        entries: &[Entry],
        dispose: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), JournalError> {
        let (next, old) = (beside(path, "next"), beside(path, "old"));
        let fault = |source| file_error("replace", path, source);
        remove_tree(&next).and_then(|()| remove_tree(&old)).map_err(fault)?;
        let mut built = Open::at(&next)?;
        for chunk in entries.chunks(COPY_BATCH) {
            let puts: Vec<Write> = chunk.iter().cloned().map(Write::Put).collect();
            built.append(&puts)?;
        }
        drop(built);
        sync_directory(&next).map_err(fault)?;
        if path.exists() {
            fs::rename(path, &old).map_err(fault)?;
        }
        fs::rename(&next, path).map_err(fault)?;
        sync_parent(path).map_err(fault)?;
        if old.exists() {
            dispose(&old).map_err(fault)?;
        }
        Ok(())
    }

    fn database(&self) -> Result<&Open, JournalError> {
        self.open.as_ref().ok_or_else(|| {
            file_error("use", &self.path, io::Error::other("an earlier rebuild failed"))
        })
    }
}

/// Opens the database. One that this process has just closed may stay locked for a moment, since
/// sled's own threads let go of the file in their own time.
fn open_database(path: &Path) -> sled::Result<sled::Db> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(None);
    let locked = |error: &sled::Error| error.to_string().contains(LOCKED);
    for _ in 0..LOCK_TRIES {
        match config.open() {
            Err(error) if locked(&error) => std::thread::park_timeout(LOCK_PAUSE),
            result => return result,
        }
    }
    config.open()
}

impl Open {
    fn at(path: &Path) -> Result<Self, JournalError> {
        let database = open_database(path)
            .map_err(|source| JournalError::Database { action: "open", source })?;
        let main = path.join("db");
        let file = File::open(&main).map_err(|source| file_error("open", &main, source))?;
        let blobs = path.join("blobs");
        sync_directory(path)
            .and_then(|()| sync_parent(path))
            .map_err(|source| file_error("sync", path, source))?;
        Ok(Self { database, file, blobs })
    }

    /// sled's own flush ends in `sync_file_range`, which neither empties the disk's write cache nor
    /// writes the file's size and extents, and it never syncs the files into which it puts large
    /// values. So both are synced here.
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
        self.file
            .sync_data()
            .and_then(|()| sync_files(&self.blobs))
            .map_err(|source| file_error("sync", &self.blobs, source))
    }
}

impl Journal for SledJournal {
    fn load(&mut self) -> Result<Vec<Entry>, JournalError> {
        let read = |source| JournalError::Database { action: "read its records", source };
        let entry = |item: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = item.map_err(read)?;
            Ok(Entry { key: key.to_vec(), value: value.to_vec() })
        };
        self.database()?.database.iter().map(entry).collect()
    }

    fn append(&mut self, batch: &[Write]) -> Result<(), JournalError> {
        self.database()?;
        match &mut self.open {
            Some(open) => open.append(batch),
            None => Ok(()),
        }
    }

    /// sled reuses its own space but never shrinks, so the records move to a new database.
    fn compact(&mut self) -> Result<(), JournalError> {
        let entries = self.load()?;
        drop(self.open.take());
        Self::replace(&self.path, &entries, |old| fs::remove_dir_all(old))?;
        self.open = Some(Open::at(&self.path)?);
        Ok(())
    }

    fn health(&self) -> JournalHealth {
        let size = |open: &Open| open.database.size_on_disk().unwrap_or(0);
        JournalHealth { durable: true, bytes_on_disk: self.open.as_ref().map_or(0, size) }
    }
}

/// Completes or undoes a replacement that a power cut interrupted.
fn finish_swap(path: &Path) -> io::Result<()> {
    let (next, old) = (beside(path, "next"), beside(path, "old"));
    if !path.exists() && next.exists() {
        // The old one was moved away, which happens only once the next one is complete.
        fs::rename(&next, path)?;
        sync_parent(path)?;
    }
    remove_tree(&next)?;
    remove_tree(&old)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_extension(suffix)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

/// Syncs every file of a directory, and the directory if there was any.
fn sync_files(directory: &Path) -> io::Result<()> {
    let mut any = false;
    for entry in fs::read_dir(directory)? {
        any = true;
        match File::open(entry?.path()) {
            // sled removes files that it no longer needs in its own time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => file?.sync_all()?,
        }
    }
    if any { sync_directory(directory) } else { Ok(()) }
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::File { action, path: path.display().to_string(), source }
}

//! Where checkpoints lie: three in the state directory, the newest also in a second one.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use skerry_model::Timestamp;
use uuid::Uuid;

use crate::checkpoint::{Checkpoint, CheckpointError, MAX_CHECKPOINT_BYTES};

/// How many checkpoints are kept in the state directory.
const KEPT: usize = 3;

const SUFFIX: &str = ".checkpoint";

/// The directories of checkpoints.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    first: PathBuf,
    second: Option<PathBuf>,
}

/// A checkpoint that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The revision that it holds.
    pub revision: u64,
    /// Its size, compressed.
    pub bytes: u64,
    /// When it was written.
    pub written: Timestamp,
    /// Where it lies; the second one only if its copy succeeded.
    pub files: Vec<PathBuf>,
}

/// A checkpoint file, found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub revision: u64,
    pub path: PathBuf,
}

impl Shelf {
    pub fn new(first: PathBuf, second: Option<PathBuf>) -> Self {
        Self { first, second }
    }

    /// Writes a checkpoint to both places and removes what is no longer kept. A failing second place
    /// is told but does not fail the whole.
    pub fn put(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<(CheckpointInfo, Option<CheckpointError>), CheckpointError> {
        let bytes = checkpoint.encode()?;
        let path = write(&self.first, checkpoint.revision, &bytes)?;
        prune(&self.first, &path, KEPT);
        let mut files = vec![path];
        let mut missed = None;
        if let Some(second) = &self.second {
            match write(second, checkpoint.revision, &bytes) {
                Ok(path) => {
                    prune(second, &path, 1);
                    files.push(path);
                }
                Err(error) => missed = Some(error),
            }
        }
        let info = CheckpointInfo {
            revision: checkpoint.revision,
            bytes: bytes.len() as u64,
            written: checkpoint.written,
            files,
        };
        Ok((info, missed))
    }

    /// Every checkpoint file, newest first, those in the state directory before their copies.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = list(&self.first);
        slots.extend(self.second.iter().flat_map(|second| list(second)));
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.revision));
        slots
    }

    /// The newest whole checkpoint of a store. If it is not known which store this is, the state
    /// directory says, since the second one may have come from another machine.
    pub fn newest_good(&self, lineage: Option<Uuid>) -> Option<Checkpoint> {
        let good = |slots: Vec<Slot>, lineage: Option<Uuid>| {
            let loaded = slots.into_iter().filter_map(|slot| slot.load().ok());
            let mut ours = loaded.filter(|found| lineage.is_none_or(|our| our == found.lineage));
            ours.next()
        };
        let lineage = lineage.or_else(|| Some(good(list(&self.first), None)?.lineage));
        good(self.slots(), lineage)
    }

    /// The oldest revision from which any file could bring something back.
    pub fn oldest(&self) -> Option<u64> {
        self.slots().last().map(|slot| slot.revision)
    }
}

impl Slot {
    /// The file's bytes, never more than a checkpoint may have.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(MAX_CHECKPOINT_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the whole file is right.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        let bytes = self.read().map_err(|source| fault("read", &self.path, source))?;
        Checkpoint::verify(&bytes)
    }

    /// The checkpoint, if the whole file is right.
    pub fn load(&self) -> Result<Checkpoint, CheckpointError> {
        let bytes = self.read().map_err(|source| fault("read", &self.path, source))?;
        Checkpoint::decode(&bytes)
    }
}

fn fault(action: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::File { action, path: path.display().to_string(), source }
}

fn list(directory: &Path) -> Vec<Slot> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let slot = |entry: io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let revision = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
        Some(Slot { revision, path })
    };
    let mut slots: Vec<Slot> = entries.filter_map(slot).collect();
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.revision));
    slots
}

/// Writes to a temporary file, syncs it, gives it its name, syncs the directory: at every moment
/// there is the old set of files or the new one.
fn write(directory: &Path, revision: u64, bytes: &[u8]) -> Result<PathBuf, CheckpointError> {
    make_private(directory).map_err(|source| fault("create", directory, source))?;
    let temporary = directory.join("unfinished");
    let path = directory.join(format!("{revision:020}{SUFFIX}"));
    let filled = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(source) = filled {
        // Half a file would only take space.
        let _ = fs::remove_file(&temporary);
        return Err(fault("write", &temporary, source));
    }
    fs::rename(&temporary, &path).map_err(|source| fault("name", &path, source))?;
    sync_directory(directory).map_err(|source| fault("sync", directory, source))?;
    Ok(path)
}

/// Makes a directory that only its owner may look into: what is kept here holds password hashes.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes all but the one just written and the next older ones. Any with a higher revision is not of
/// this store, or not whole.
fn prune(directory: &Path, written: &Path, kept: usize) {
    let slots = list(directory);
    let older = slots.iter().skip_while(|slot| slot.path != written);
    let keep: Vec<&Slot> = older.take(kept).collect();
    for slot in slots.iter().filter(|slot| !keep.contains(slot)) {
        if let Err(error) = fs::remove_file(&slot.path) {
            tracing::warn!(path = %slot.path.display(), %error, "an old checkpoint stays");
        }
    }
}

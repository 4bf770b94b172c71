//! Which steps lead from the files that are there to what is wanted.
//!
//! Pure. When nothing differs there are no steps, and after the steps have been done there are none
//! either. What has no record is left alone; what has been made once and is gone is not made again.

use skerry_model::{Id, Name, Snapshot, Vm, Volume};

use crate::host::NOTE_SCHEMA;
use crate::{
    Content, PoolObserved, SnapshotFiles, SnapshotNote, StorageStep, VolumeFile, VolumeNote,
};

/// A volume as its record wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeWanted {
    /// Which.
    pub id: Id<Volume>,
    /// Its name.
    pub name: Name,
    /// Its size in bytes; that of its content if absent.
    pub size_bytes: Option<u64>,
    /// What it begins with.
    pub content: Content,
    /// Whether its data is overwritten when it is removed.
    pub erase: bool,
    /// Whether it has been made.
    pub made: bool,
    /// Whether it is to go.
    pub removing: bool,
}

/// A snapshot as its record wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotWanted {
    /// Which.
    pub id: Id<Snapshot>,
    /// Its name.
    pub name: Name,
    /// Its volumes, with their names.
    pub volumes: Vec<(Id<Volume>, Name)>,
    /// The machine whose TPM it holds too.
    pub tpm: Option<Id<Vm>>,
    /// Whether it has been taken.
    pub taken: bool,
    /// Whether its volumes are to be set back to it.
    pub revert: bool,
    /// Whether it is to go.
    pub removing: bool,
}

/// The steps for one volume.
pub fn plan_volume(wanted: &VolumeWanted, seen: Option<&VolumeFile>) -> Vec<StorageStep> {
    let volume = wanted.id;
    match seen {
        Some(_) if wanted.removing => {
            vec![StorageStep::Remove { volume, erase: wanted.erase }]
        }
        Some(file) => wanted
            .size_bytes
            .filter(|size| *size > file.size_bytes)
            .map(|size_bytes| StorageStep::Grow { volume, size_bytes })
            .into_iter()
            .collect(),
        None if wanted.removing || wanted.made => Vec::new(),
        None => {
            let base = match &wanted.content {
                Content::Image(base) => Some(base.sha256.clone()),
                _ => None,
            };
            let (size_bytes, content) = (wanted.size_bytes, wanted.content.clone());
            let name = wanted.name.clone();
            let most = size_bytes.filter(|_| content == Content::Folder);
            let note = VolumeNote { schema: NOTE_SCHEMA, volume, name, base, size_bytes: most };
            vec![StorageStep::Create { note, size_bytes, content }]
        }
    }
}

/// One thing to do for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotStep {
    /// To the files of its pool.
    Files(StorageStep),
    /// Keep what the machine's TPM holds.
    KeepTpm(Id<Vm>),
    /// Set the machine's TPM back to that.
    RevertTpm(Id<Vm>),
    /// Keep it no more.
    DropTpm(Id<Vm>),
}

impl SnapshotStep {
    /// The name of the step, for logs and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Files(step) => step.name(),
            Self::KeepTpm(_) => "keep TPM",
            Self::RevertTpm(_) => "revert TPM",
            Self::DropTpm(_) => "drop TPM",
        }
    }
}

/// The steps for one snapshot. Broken off anywhere, they are done again from the first.
///
/// The pool's files tell whether a snapshot has been taken, so a TPM is kept before them and dropped after them. Nothing is
/// set back before all copies have been looked at: a guest whose volumes are of two times is worth nothing. The TPM is set
/// back first: if what was kept of it is gone, that is found before anything has been changed, too.
pub fn plan_snapshot(wanted: &SnapshotWanted, seen: Option<&SnapshotFiles>) -> Vec<SnapshotStep> {
    let snapshot = wanted.id;
    let files = SnapshotStep::Files;
    let tpm = wanted.tpm.into_iter();
    match seen {
        _ if wanted.removing => {
            let drop = seen.map(|_| files(StorageStep::Drop { snapshot }));
            drop.into_iter().chain(tpm.map(SnapshotStep::DropTpm)).collect()
        }
        Some(_) if wanted.revert => {
            let revert = |(volume, _): &(Id<Volume>, Name)| {
                files(StorageStep::Revert { snapshot, volume: *volume })
            };
            let volumes = wanted.volumes.iter().map(|(volume, _)| *volume).collect();
            let examine = files(StorageStep::Examine { snapshot, volumes });
            let tpm = tpm.map(SnapshotStep::RevertTpm);
            [examine].into_iter().chain(tpm).chain(wanted.volumes.iter().map(revert)).collect()
        }
        None if !wanted.taken => {
            let (schema, name) = (NOTE_SCHEMA, wanted.name.clone());
            let note = SnapshotNote { schema, snapshot, name, volumes: wanted.volumes.clone() };
            let take = files(StorageStep::Take { note });
            tpm.map(SnapshotStep::KeepTpm).chain([take]).collect()
        }
        _ => Vec::new(),
    }
}

/// Images in the pool that nothing there shares data with. Not to be asked while a volume is made: what it builds on is
/// there before it.
pub fn plan_bases(seen: &PoolObserved) -> Vec<StorageStep> {
    let used = |sha256: &String| {
        let by = |file: &VolumeFile| file.base.as_ref() == Some(sha256);
        seen.volumes.iter().any(by)
            || seen.snapshots.iter().any(|snapshot| snapshot.volumes.iter().any(by))
    };
    seen.bases
        .iter()
        .filter(|sha256| !used(sha256))
        .map(|sha256| StorageStep::DropBase { sha256: sha256.clone() })
        .collect()
}

/// What lies in the pool without a record: volumes, snapshots.
pub fn unmanaged<'a>(
    seen: &'a PoolObserved,
    volumes: &[Id<Volume>],
    snapshots: &[Id<Snapshot>],
) -> (Vec<&'a VolumeFile>, Vec<&'a SnapshotFiles>) {
    (
        seen.volumes.iter().filter(|file| !volumes.contains(&file.volume)).collect(),
        seen.snapshots.iter().filter(|files| !snapshots.contains(&files.snapshot)).collect(),
    )
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

//! Looks at what lies in a pool.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use skerry_model::{Id, Volume};
use skerry_storage::{
    PoolObserved, Shape, SnapshotFiles, SnapshotNote, Usage, VolumeFile, VolumeNote,
};

use crate::files::{make_folder, read_note};
use crate::folder::usage;
use crate::header;
use crate::places::Places;

/// Everything in a pool. Its folders are made if they are not there.
pub fn pool(places: &Places) -> io::Result<PoolObserved> {
    for folder in places.folders() {
        make_folder(&folder)?;
    }
    let mut seen = PoolObserved { usage: space(places.root())?, ..PoolObserved::default() };
    for entry in fs::read_dir(places.volumes())? {
        let name = entry?.file_name();
        if let Some(id) = id_of(&name, "qcow2").or_else(|| id_of(&name, "folder")) {
            seen.volumes.extend(volume(places, id)?);
        }
    }
    for entry in fs::read_dir(places.snapshots())? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            seen.snapshots.push(snapshot(id, &entry.path())?);
        }
    }
    for entry in fs::read_dir(places.bases())? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.split_once('.')).map(|(stem, _)| stem);
        seen.bases.extend(stem.map(ToOwned::to_owned));
    }
    Ok(seen)
}

/// One volume.
pub fn volume(places: &Places, id: Id<Volume>) -> io::Result<Option<VolumeFile>> {
    let note: Option<VolumeNote> = read_note(&places.volume_note(id));
    let folder = places.folder(id);
    if folder.is_dir() {
        return self::folder(&folder, id, note).map(Some);
    }
    let (base, name) = note.map_or((None, None), |n| (n.base, Some(n.name.to_string())));
    file(&places.volume(id), id, base, name)
}

fn folder(path: &Path, volume: Id<Volume>, note: Option<VolumeNote>) -> io::Result<VolumeFile> {
    let size_bytes = note.as_ref().and_then(|note| note.size_bytes).unwrap_or(0);
    let usage = usage(path, size_bytes)?;
    let shape = Shape::Folder { limited: usage.limited };
    let name = note.map(|note| note.name.to_string());
    Ok(VolumeFile { volume, shape, size_bytes, used_bytes: usage.used, base: None, name })
}

fn file(
    path: &Path,
    volume: Id<Volume>,
    base: Option<String>,
    name: Option<String>,
) -> io::Result<Option<VolumeFile>> {
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    // A damaged header must not hide the file; the check will tell.
    let size_bytes = header::read(path).map_or(0, |header| header.size);
    let used_bytes = meta.blocks().saturating_mul(512);
    let shape = Shape::Disk;
    Ok(Some(VolumeFile { volume, shape, size_bytes, used_bytes, base, name }))
}

fn snapshot(id: Id<skerry_model::Snapshot>, folder: &Path) -> io::Result<SnapshotFiles> {
    let note: Option<SnapshotNote> = read_note(&Places::snapshot_note(folder));
    let mut volumes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(volume) = id_of(&entry.file_name(), "qcow2") else { continue };
        let beside: Option<VolumeNote> = read_note(&folder.join(format!("{volume}.json")));
        let base = beside.and_then(|note| note.base);
        volumes.extend(file(&entry.path(), volume, base, None)?);
    }
    Ok(SnapshotFiles { snapshot: id, name: note.map(|note| note.name.to_string()), volumes })
}

fn id_of(name: &std::ffi::OsStr, ending: &str) -> Option<Id<Volume>> {
    let (stem, found) = name.to_str()?.split_once('.')?;
    if found == ending { stem.parse().ok() } else { None }
}

fn space(path: &Path) -> io::Result<Usage> {
    let space = statvfs(path)?;
    let unit = space.fragment_size();
    Ok(Usage {
        size: space.blocks().saturating_mul(unit),
        free: space.blocks_available().saturating_mul(unit),
    })
}

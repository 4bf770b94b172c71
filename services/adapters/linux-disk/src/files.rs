//! Small file work: durable renames, notes, folders.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest note that is read.
const LARGEST_NOTE: u64 = 64 * 1024;

/// Makes a folder that others may pass through but not list, whatever this process' mask.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        result => result?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o711))
}

/// Brings a folder's entries to the disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Brings a file to the disk and gives it its place.
pub fn place(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    match to.parent() {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Removes a file; one that is not there is removed.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes a file or a folder with all that is in it.
pub fn remove_all(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => remove_file(path),
    }
}

/// Writes a note; it is there whole or not at all.
pub fn write_note(path: &Path, making: &Path, note: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(note)?;
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(making)?;
    file.write_all(&text)?;
    drop(file);
    place(making, path)
}

/// Reads a note. One that is missing, too long or of another form tells nothing.
pub fn read_note<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST_NOTE).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

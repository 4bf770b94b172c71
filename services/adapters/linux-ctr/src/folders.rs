//! Folders that are made in several moves and must show whether they are whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use skerry_containers::Part;

/// The file that says that a folder is whole, and what it was made from.
const MARK: &str = "made";

/// Whether a folder is there and whole.
pub fn part(folder: &Path) -> Part {
    if fs::symlink_metadata(folder).is_err() {
        return Part::Absent;
    }
    match fs::read_to_string(folder.join(MARK)) {
        Ok(text) if !text.is_empty() => Part::Made(text),
        _ => Part::Broken,
    }
}

/// Makes a folder with exactly these permissions, whatever the umask; one that is there is set right.
pub fn make(folder: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    fs::set_permissions(folder, Permissions::from_mode(mode))
}

/// Makes a folder and those above it, for root alone.
pub fn make_all(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Writes a file with exactly these permissions.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Marks a folder as whole, after everything in it is on disk.
pub fn mark(folder: &Path, made_from: &str) -> io::Result<()> {
    let handle = File::open(folder)?;
    handle.sync_all()?;
    let mut file = File::create(folder.join(MARK))?;
    file.write_all(made_from.as_bytes())?;
    file.sync_all()?;
    handle.sync_all()
}

/// Removes a folder, its mark first, so that a removal cut short leaves nothing that looks whole.
pub fn remove(folder: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_file(folder.join(MARK)))?;
    absent_is_fine(fs::remove_dir_all(folder))
}

/// Removes all that is in a folder, if there is one, and leaves the folder: on a disk that is full there may be no block
/// for another.
pub fn sweep(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes a folder if it is empty.
pub fn remove_empty(folder: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_dir(folder))
}

/// For removals: what is not there is removed.
pub fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The names in a folder; none if it is not there.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_whole_only_with_its_mark() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a");
        assert_eq!(part(&folder), Part::Absent);
        make(&folder, 0o755).unwrap();
        make(&folder, 0o755).unwrap();
        assert_eq!(part(&folder), Part::Broken);
        mark(&folder, "x").unwrap();
        assert_eq!(part(&folder), Part::Made("x".into()));
        fs::write(folder.join(MARK), "").unwrap();
        assert_eq!(part(&folder), Part::Broken, "a mark cut short by a power cut");
        remove(&folder).unwrap();
        remove(&folder).unwrap();
        assert_eq!(part(&folder), Part::Absent);
    }
}

//! Small files that other programs read: replaced as a whole, readable by everybody.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::NetError;

/// Replaces a file, so that a reader sees the old or the new content, never half of one. The readers run
/// as other users, and our own umask is tight, hence the explicit mode.
pub fn replace(path: &Path, content: &str) -> Result<(), NetError> {
    let written = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&name)?;
        file.write_all(content.as_bytes())?;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        std::fs::rename(&name, path)
    };
    written().map_err(NetError::file(path, "written"))
}

/// The content of a file; nothing if it is not there.
pub fn read(path: &Path) -> Result<Option<String>, NetError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetError::file(path, "read")(error)),
    }
}

/// Removes a file; one that is not there is fine.
pub fn remove(path: &Path) -> Result<(), NetError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetError::file(path, "removed")(error))
        }
        _ => Ok(()),
    }
}

//! The folder of a pool on a file system that others use too, and the mark in it that says whose it is.
//!
//! No link is followed on the way to it, and nothing is taken that anybody else has put there.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use serde::{Deserialize, Serialize};
use skerry_model::{Id, Name, Pool};
use skerry_storage::{FolderSeen, PoolRef};

use crate::files::{read_note, remove_all, remove_file, sync_folder, write_note};
use crate::places::Places;

/// The mark, and what it is called until it is whole.
const MARK: &str = "pool.json";
const MAKING: &str = "pool.json.new";
/// Others than the owner may pass through.
const PASS: u32 = 0o001;

/// What the mark says.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Form of this note.
    schema: u32,
    pool: Id<Pool>,
    name: Name,
}

/// How the folder of a pool stands on its mounted file system.
pub fn look(mount: &Path, folder: &str, pool: Id<Pool>) -> FolderSeen {
    match reach(mount, folder) {
        Ok(()) => {}
        Err(found) => return found,
    }
    let path = mount.join(folder);
    let found = match marked(&path) {
        Some(mark) if mark.pool == pool => own(&path),
        Some(mark) => {
            let of = format!("belongs to another pool, `{}` ({})", mark.name, mark.pool);
            Ok(FolderSeen::Taken(of))
        }
        None => contents(&path),
    };
    found.unwrap_or_else(|error| FolderSeen::Unfit(format!("it cannot be read: {error}")))
}

/// Whether a folder is there and can be reached by guests, without a link on the way and on one file system.
fn reach(mount: &Path, folder: &str) -> Result<(), FolderSeen> {
    let unfit = |text: String| Err(FolderSeen::Unfit(text));
    let root = File::open(mount).map_err(|error| FolderSeen::Unfit(error.to_string()))?;
    let parts: Vec<&str> = folder.split('/').collect();
    for count in 0..=parts.len() {
        let below = parts.get(..count).unwrap_or_default().join("/");
        let (path, last) = (if count == 0 { "." } else { below.as_str() }, count == parts.len());
        let opened = match open_folder(&root, path) {
            Ok(opened) => File::from(opened),
            Err(Errno::ENOENT) if last => return Err(FolderSeen::Absent),
            Err(Errno::ENOENT) => {
                return unfit(format!("`{path}` above it is not there; make it, or name another"));
            }
            Err(Errno::ELOOP) => return unfit(format!("`{path}` is a link")),
            Err(Errno::ENOTDIR) => return unfit(format!("`{path}` is a link or a file")),
            Err(Errno::EXDEV) => return unfit(format!("`{path}` leads to another file system")),
            Err(error) => return unfit(format!("`{path}` cannot be opened: {error}")),
        };
        let mode = opened.metadata().map(|meta| meta.permissions().mode()).unwrap_or_default();
        // The pool's own folder is opened for guests when it is taken.
        if !last && mode & PASS == 0 {
            let text = format!("guests may not pass through `{path}`; allow it with chmod o+x");
            return unfit(text);
        }
    }
    Ok(())
}

fn open_folder(root: &File, below: &str) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(root, below, how)
}

fn marked(path: &Path) -> Option<Mark> {
    let mark = path.join(MARK);
    fs::symlink_metadata(&mark).ok().filter(fs::Metadata::is_file)?;
    read_note(&mark)
}

/// A folder that carries the pool's mark. Its own folders must not be links: its files would lie elsewhere.
fn own(path: &Path) -> io::Result<FolderSeen> {
    let places = Places::new(path.to_owned());
    for inner in places.folders().into_iter().chain([places.gauge()]) {
        match fs::symlink_metadata(&inner) {
            Ok(meta) if !meta.is_dir() => {
                let text = format!("`{}` in it is no folder", inner.display());
                return Ok(FolderSeen::Unfit(text));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(FolderSeen::Own)
}

fn contents(path: &Path) -> io::Result<FolderSeen> {
    for entry in fs::read_dir(path)? {
        if entry?.file_name() != MAKING {
            return Ok(FolderSeen::Taken("holds other files".to_owned()));
        }
    }
    Ok(FolderSeen::Empty)
}

/// Makes the folder, or takes an empty one, and writes the mark. Broken off anywhere, it is done again.
pub fn settle(mount: &Path, folder: &str, pool: &PoolRef) -> io::Result<()> {
    let path = mount.join(folder);
    match look(mount, folder, pool.id) {
        FolderSeen::Own => return Ok(()),
        FolderSeen::Absent => fs::create_dir(&path)?,
        FolderSeen::Empty => {}
        other => {
            return Err(io::Error::other(format!("the folder is not free any more: {other:?}")));
        }
    }
    fs::set_permissions(&path, Permissions::from_mode(0o711))?;
    let mark = Mark { schema: 1, pool: pool.id, name: pool.name.clone() };
    write_note(&path.join(MARK), &path.join(MAKING), &mark)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Removes the pool's folders, as far as they are empty, then the mark and the folder. If anything is left in it, so is
/// the mark.
pub fn clear(mount: &Path, folder: &str, pool: &PoolRef) -> io::Result<()> {
    if look(mount, folder, pool.id) != FolderSeen::Own {
        return Ok(());
    }
    let path = mount.join(folder);
    let places = Places::new(path.clone());
    remove_all(&places.tmp())?;
    for inner in places.folders().into_iter().chain([places.gauge()]) {
        remove_empty(&inner)?;
    }
    for entry in fs::read_dir(&path)? {
        let name = entry?.file_name();
        if name != MARK && name != MAKING {
            tracing::warn!(pool = %pool.name, name = %name.display(), "is left on the file system");
            return Ok(());
        }
    }
    remove_file(&path.join(MAKING))?;
    remove_file(&path.join(MARK))?;
    remove_empty(&path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn remove_empty(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty => Ok(()),
            _ => Err(error),
        },
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
#[path = "mark_tests.rs"]
mod tests;

//! Unpacks one layer of an image, a tar stream from strangers, into an empty directory.
//!
//! Nothing here trusts the stream: every path is walked from the directory's own descriptor without following
//! a single symbolic link (`openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), sizes and counts have
//! limits, and whatever a layer has no business with is refused by name: absolute paths, `..`, sparse files, hard
//! links that lead out. It never runs anything and reads nothing but the stream.
//!
//! Nodes of devices are left out, and the log says so: containers get those devices that they are given, in a `/dev`
//! of their own, and nothing else could be opened, since root file systems are mounted with `nodev`. A symbolic link
//! may say what it likes: it is never followed here, and in a container the kernel does not let it climb above the
//! container's own root. A named pipe has no reader outside of the container.
//!
//! Deleted files of lower layers (`.wh.` entries) become what overlayfs expects: character devices 0/0, and
//! the `user.overlay.opaque` mark on directories, for mounts with `userxattr`. Extended attributes of the
//! stream, and with them file capabilities, are left out.
//!
//! The stream itself has been read by another process (see `unpacker`), which is not believed: entries are
//! checked here whatever it said.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, fchmod, fchmodat, fstatat, futimens, mkdirat, mknodat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::EntryType;
use xattr::FileExt;

use crate::entry::{EntryPath, LayerEntry, Malformed};

/// How much one layer may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the unpacked stream.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Default for Limits {
    /// 8 GiB and half a million entries.
    fn default() -> Self {
        Self { bytes: 8 << 30, entries: 500_000 }
    }
}

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The layer holds something that no image should.
    #[error("`{path}`: {why}")]
    Refused {
        /// The entry, made printable.
        path: String,
        /// What is wrong with it.
        why: Cow<'static, str>,
    },
    /// The stream is not a tar archive, or breaks off.
    #[error("the layer's archive is damaged: {why}")]
    Damaged {
        /// What is wrong.
        why: String,
    },
    /// The layer is larger than allowed.
    #[error("the layer is larger than allowed: more than {limit} {what}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Of what.
        what: Cow<'static, str>,
    },
    /// The program that reads the layer did not come to its end.
    #[error("the program that reads it came to an end ({how}): it asks for too much")]
    CutShort {
        /// How it ended.
        how: String,
    },
    /// The system refused.
    #[error("cannot {action} `{path}`")]
    System {
        /// What was tried.
        action: &'static str,
        /// The entry, made printable.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

impl UnpackError {
    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        let full = |source: &io::Error| {
            matches!(
                source.raw_os_error().map(Errno::from_raw),
                Some(Errno::ENOSPC | Errno::EDQUOT)
            )
        };
        matches!(self, Self::System { source, .. } if full(source))
    }

    /// The same once more, if it is of the layer's bytes alone, so that it comes with each try.
    pub fn lasting(&self) -> Option<Self> {
        match self {
            Self::Refused { path, why } => {
                Some(Self::Refused { path: path.clone(), why: why.clone() })
            }
            Self::Damaged { why } => Some(Self::Damaged { why: why.clone() }),
            Self::TooLarge { limit, what } => {
                Some(Self::TooLarge { limit: *limit, what: what.clone() })
            }
            Self::CutShort { .. } | Self::System { .. } => None,
        }
    }
}

/// Makes the files of one layer.
pub struct Unpacker<'a> {
    root: &'a File,
    limits: Limits,
}

/// A place in the tree: the parent directory, held open, and a name in it.
struct Place<'a> {
    parent: OwnedFd,
    name: &'a OsStr,
}

impl<'a> Unpacker<'a> {
    /// Into this directory, which is empty.
    pub fn new(root: &'a File, limits: Limits) -> Self {
        Self { root, limits }
    }

    /// Makes one entry's file. `data` are the file's bytes.
    pub fn entry(&self, entry: &LayerEntry, data: &mut dyn Read) -> Result<(), UnpackError> {
        let Some((parents, name)) = entry.path.split() else {
            return self.root_entry(entry);
        };
        let path = &entry.path;
        let parent = self.parent(path, parents)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return whiteout(path, &parent, OsStr::from_bytes(hidden));
        }
        let place = Place { parent, name };
        match entry.kind {
            EntryType::Directory => self.directory(entry, &place),
            EntryType::Regular | EntryType::Continuous => self.regular(entry, &place, data),
            EntryType::Symlink => self.symlink(entry, &place),
            EntryType::Link => self.hard_link(entry, &place),
            EntryType::Char | EntryType::Block => device(path, &place),
            EntryType::Fifo => self.pipe(entry, &place),
            EntryType::GNUSparse => Err(refused(path, "sparse files are not allowed")),
            _ => Err(refused(path, "an entry of a sort that layers do not have")),
        }
    }

    /// The entry of the root directory itself, usually `./`, which only sets its mode.
    fn root_entry(&self, entry: &LayerEntry) -> Result<(), UnpackError> {
        if entry.kind != EntryType::Directory {
            return Err(refused(&entry.path, "the root is not a directory"));
        }
        self.finish(entry, self.root)
    }

    /// Opens the directory that an entry lies in; directories that have no entry of their own are made.
    fn parent(&self, path: &EntryPath, parents: &[Vec<u8>]) -> Result<OwnedFd, UnpackError> {
        let mut current =
            self.root.as_fd().try_clone_to_owned().map_err(|e| broken("open", path, e))?;
        for part in parents {
            if part.starts_with(b".wh.") {
                return Err(refused(path, "lies below a deletion mark"));
            }
            let name = OsStr::from_bytes(part);
            current = match enter(&current, name) {
                Err(Errno::ENOENT) => {
                    let mode = Mode::from_bits_truncate(0o755);
                    mkdirat(&current, name, mode)
                        .map_err(|e| broken("make the directory of", path, e))?;
                    let made = enter(&current, name)
                        .map_err(|e| broken("open the directory of", path, e))?;
                    // The umask does not count here.
                    fchmod(&made, mode).map_err(|e| broken("set the mode above", path, e))?;
                    made
                }
                Err(Errno::ELOOP | Errno::ENOTDIR) => {
                    return Err(refused(
                        path,
                        "its path goes through something else than directories",
                    ));
                }
                other => other.map_err(|e| broken("open the directory of", path, e))?,
            };
        }
        Ok(current)
    }

    fn directory(&self, entry: &LayerEntry, place: &Place<'_>) -> Result<(), UnpackError> {
        let path = &entry.path;
        match mkdirat(&place.parent, place.name, Mode::from_bits_truncate(0o700)) {
            // Named twice, or made as somebody's parent.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(broken("make", path, error)),
        }
        let made = match enter(&place.parent, place.name) {
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                return Err(refused(path, "is a directory here and something else before"));
            }
            other => other.map_err(|e| broken("open", path, e))?,
        };
        self.finish(entry, &File::from(made))
    }

    fn regular(
        &self,
        entry: &LayerEntry,
        place: &Place<'_>,
        data: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let path = &entry.path;
        if entry.size > self.limits.bytes {
            return Err(UnpackError::TooLarge { limit: self.limits.bytes, what: "bytes".into() });
        }
        replace(path, place)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&place.parent, place.name, flags, Mode::from_bits_truncate(0o600))
            .map_err(|e| broken("make", path, e))?;
        let mut file = File::from(file);
        let written = io::copy(data, &mut file).map_err(|e| copy_failed(path, self.limits, e))?;
        if written != entry.size {
            return Err(UnpackError::Damaged { why: format!("`{path}` breaks off") });
        }
        self.finish(entry, &file)?;
        let time = TimeSpec::new(i64::try_from(entry.mtime).unwrap_or(0), 0);
        futimens(&file, &time, &time).map_err(|e| broken("set the time of", path, e))
    }

    /// Sets owner and mode through the descriptor. The mode comes last: a change of owner clears set-user-id.
    fn finish(&self, entry: &LayerEntry, file: &File) -> Result<(), UnpackError> {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        nix::unistd::fchown(file, Some(uid), Some(gid))
            .map_err(|e| broken("set the owner of", &entry.path, e))?;
        fchmod(file, Mode::from_bits_truncate(entry.mode & 0o7777))
            .map_err(|e| broken("set the mode of", &entry.path, e))
    }

    /// Makes a symbolic link. It is never followed here; inside the container its target is looked up from
    /// the container's own root, above which it cannot climb.
    fn symlink(&self, entry: &LayerEntry, place: &Place<'_>) -> Result<(), UnpackError> {
        let path = &entry.path;
        let target = OsStr::from_bytes(&entry.link);
        if target.is_empty() || entry.link.len() > 4095 || entry.link.contains(&0) {
            return Err(refused(path, "a symbolic link without a usable target"));
        }
        replace(path, place)?;
        symlinkat(target, &place.parent, place.name).map_err(|e| broken("make", path, e))?;
        own(entry, place)
    }

    /// Makes a named pipe, which nobody here opens.
    fn pipe(&self, entry: &LayerEntry, place: &Place<'_>) -> Result<(), UnpackError> {
        let path = &entry.path;
        replace(path, place)?;
        let mode = Mode::from_bits_truncate(entry.mode & 0o7777);
        mknodat(&place.parent, place.name, SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)
            .map_err(|e| broken("make", path, e))?;
        own(entry, place)?;
        // It was just made where nobody else works, so it is no link.
        fchmodat(&place.parent, place.name, mode, FchmodatFlags::FollowSymlink)
            .map_err(|e| broken("set the mode of", path, e))
    }

    /// Makes a second name of a file, a symbolic link or a named pipe of the same layer.
    fn hard_link(&self, entry: &LayerEntry, place: &Place<'_>) -> Result<(), UnpackError> {
        let path = &entry.path;
        let target = EntryPath::parse(&entry.link)
            .map_err(|_| refused(path, "a link that leads out of the image"))?;
        let Some((parents, name)) = target.split() else {
            return Err(refused(path, "a link to the root"));
        };
        let parent = self.parent(path, parents)?;
        let found = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|_| refused(path, "a link to a file that the layer does not hold"))?;
        let sort = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        if ![SFlag::S_IFREG, SFlag::S_IFLNK, SFlag::S_IFIFO].contains(&sort) {
            return Err(refused(path, "a link to something else than a file, link or pipe"));
        }
        if target == *path {
            return Ok(());
        }
        replace(path, place)?;
        // A symbolic link is not followed: it gets another name itself.
        linkat(&parent, name, &place.parent, place.name, AtFlags::empty())
            .map_err(|e| broken("link", path, e))
    }
}

/// Sets the owner of what was just made, without following it.
fn own(entry: &LayerEntry, place: &Place<'_>) -> Result<(), UnpackError> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchownat(&place.parent, place.name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(|e| broken("set the owner of", &entry.path, e))
}

/// Leaves out the node of a device; what the layer had under its name before is gone all the same.
fn device(path: &EntryPath, place: &Place<'_>) -> Result<(), UnpackError> {
    replace(path, place)?;
    tracing::info!(%path, "an image's device is left out: containers have those that they are given");
    Ok(())
}

/// Opens a directory below another one without following anything.
fn enter(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(parent, name, how)
}

/// Makes room for an entry that the layer names twice: the last one counts, but a directory stays.
fn replace(path: &EntryPath, place: &Place<'_>) -> Result<(), UnpackError> {
    match unlinkat(&place.parent, place.name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {
            Err(refused(path, "was a directory before and is something else here"))
        }
        Err(error) => Err(broken("replace", path, error)),
    }
}

/// Turns a deletion mark into overlayfs' own.
fn whiteout(path: &EntryPath, parent: &OwnedFd, hidden: &OsStr) -> Result<(), UnpackError> {
    match hidden.as_bytes() {
        b".wh..opq" => {
            let folder = parent.try_clone().map_err(|e| broken("open", path, e))?;
            File::from(folder)
                .set_xattr("user.overlay.opaque", b"y")
                .map_err(|e| broken("mark", path, e))
        }
        b"" | b"." | b".." => Err(refused(path, "a deletion mark without a name")),
        name if name.starts_with(b".wh.") => Err(refused(path, "an unknown deletion mark")),
        _ => match mknodat(parent, hidden, SFlag::S_IFCHR, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => Err(refused(path, "deletes what the same layer brings")),
            Err(error) => Err(broken("mark as deleted", path, error)),
        },
    }
}

fn refused(path: &EntryPath, why: &'static str) -> UnpackError {
    UnpackError::Refused { path: path.to_string(), why: why.into() }
}

/// The system's error is the layer's own fault where it asks for what the file system does not have at all: a
/// link's target may have 1024 bytes on XFS and 4095 elsewhere.
fn broken(action: &'static str, path: &EntryPath, source: impl Into<io::Error>) -> UnpackError {
    let (path, source) = (path.to_string(), source.into());
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENAMETOOLONG) => UnpackError::Refused {
            path,
            why: "a name or target longer than the node's disk takes".into(),
        },
        Some(Errno::EMLINK) => UnpackError::Refused {
            path,
            why: "a file with more names than the node's disk takes".into(),
        },
        _ => UnpackError::System { action, path, source },
    }
}

/// A copy fails because of the stream, which names itself [`Malformed`] or says what its reader found, or
/// because of the disk.
fn copy_failed(path: &EntryPath, limits: Limits, error: io::Error) -> UnpackError {
    if let Some(malformed) = Malformed::of(&error) {
        return malformed.to_error(limits.bytes);
    }
    match error.downcast::<UnpackError>() {
        Ok(fault) => fault,
        Err(error) if error.raw_os_error().is_some() => broken("write", path, error),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            UnpackError::CutShort { how: error.to_string() }
        }
        Err(error) => UnpackError::Damaged { why: error.to_string() },
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;

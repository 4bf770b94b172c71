//! What came in: opened where it may lie, counted as long as it has not come whole, and copied for a job.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};

use serde::Deserialize;
use skerry_upkeep::{Incoming, LibraryError, Meter};
use uuid::Uuid;

use super::files::{STEP, fault, names, open_plain, plain, room};
use super::folders::FolderPlace;
use super::places::DiskPlaces;
use crate::copy::share;

/// Largest record of an upload that is read.
const RECORD: u64 = 64 * 1024;

pub(super) fn open_incoming(
    places: &DiskPlaces,
    what: &Incoming,
    folder: Option<&FolderPlace>,
) -> Result<Option<File>, LibraryError> {
    match (what, folder) {
        (Incoming::Medium(path), Some(folder)) => {
            let below = path.split_once('/').map_or("", |(_, below)| below);
            let path = folder.path.join(below);
            let opened = folder.open(below).map_err(fault("open", &path))?;
            opened.map(|file| plain(file, &path)).transpose()
        }
        (Incoming::Spooled(id), _) => {
            if !places.spool().exists() {
                return Ok(None);
            }
            open_plain(&places.spool(), &format!("{id}.done"))
        }
        (Incoming::Medium(path), None) => {
            if !places.media().exists() {
                return Ok(None);
            }
            open_plain(places.media(), path)
        }
    }
}

pub(super) fn missing(what: &Incoming) -> LibraryError {
    match what {
        Incoming::Spooled(id) => LibraryError::Missing {
            what: format!("the upload {id}"),
            hint: "it is not complete, was removed after seven days, or has been used; upload the file again",
        },
        Incoming::Medium(path) => LibraryError::Missing {
            what: format!("the file `{path}`"),
            hint: "put the medium in, or the file there; it is named by the medium's name and its path on it",
        },
    }
}

/// Copies in steps. Where the file system can, blocks are shared and no byte moves.
pub(super) fn copy(from: &File, to: &File, size: u64, meter: &dyn Meter) -> io::Result<bool> {
    if share(from, to)? {
        meter.bytes(size, size);
        return Ok(true);
    }
    let (mut from, mut to, mut done) = (from, to, 0);
    while done < size {
        if meter.is_stopped() {
            return Ok(false);
        }
        let part = io::copy(&mut Read::by_ref(&mut from).take(STEP.min(size - done)), &mut to)?;
        if part == 0 {
            let detail = "the file ended before its size: it was cut short while it was read";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail));
        }
        done += part;
        meter.bytes(done, size);
    }
    Ok(true)
}

/// What uploads that have begun are still to bring.
pub(super) fn announced(places: &DiskPlaces) -> Result<u64, LibraryError> {
    let (spool, mut sum) = (places.spool(), 0_u64);
    for name in names(&spool)? {
        let Some(id) = name.strip_suffix(".json").and_then(|id| Uuid::try_parse(id).ok()) else {
            continue;
        };
        // It may have gone meanwhile, and is the north side's: what cannot be read promises nothing.
        let Ok(Some(file)) = open_plain(&spool, &name) else { continue };
        let mut text = Vec::new();
        let read = file.take(RECORD).read_to_end(&mut text);
        let upload = read.ok().and_then(|_| serde_json::from_slice::<Upload>(&text).ok());
        if let Some(upload) = upload.filter(|_| !places.spooled(id).exists()) {
            sum = sum.saturating_add(upload.size.saturating_sub(part_length(places, id)));
        }
    }
    Ok(sum)
}

/// Bytes of a file of the spool that has not come whole.
pub(super) fn part_length(places: &DiskPlaces, id: Uuid) -> u64 {
    fs::symlink_metadata(places.spooled(id).with_extension("part")).map_or(0, |found| found.len())
}

/// The part of an upload's record that matters here.
#[derive(Deserialize)]
struct Upload {
    size: u64,
}

pub(super) fn take(
    places: &DiskPlaces,
    job: Uuid,
    what: &Incoming,
    folder: Option<&FolderPlace>,
    meter: &dyn Meter,
) -> Result<u64, LibraryError> {
    let incoming = open_incoming(places, what, folder)?.ok_or_else(|| missing(what))?;
    let source = places.source(job);
    let before = incoming.metadata().map_err(fault("look at", &source))?;
    let size = before.len();
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o644);
    let copied = options.open(&source).map_err(fault("make", &source))?;
    // Readable for the tool's user whatever the mask is.
    copied.set_permissions(Permissions::from_mode(0o644)).map_err(fault("open", &source))?;
    match copy(&incoming, &copied, size, meter) {
        // Somebody else may write to a folder: half the old and half the new would be no image that anybody made.
        Ok(true) if !is_same(&before, &incoming.metadata().map_err(fault("look at", &source))?) => {
            Err(LibraryError::Tool {
                tool: "reading the medium",
                detail:
                    "the file was changed while it was read; put it there whole, then import it"
                        .to_owned(),
            })
        }
        Ok(true) => Ok(size),
        Ok(false) => Err(LibraryError::Stopped),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Err(LibraryError::NoSpace { needed: size, free: room(places)?.free })
        }
        Err(error) => Err(match what {
            Incoming::Spooled(_) => fault("copy to", &source)(error),
            Incoming::Medium(path) => LibraryError::Tool {
                tool: "reading the medium",
                detail: format!(
                    "`{path}`: {error}; was the medium pulled out, or the file changed?"
                ),
            },
        }),
    }
}

/// Whether a file is there with the bytes that it had, by what tells of every write to it.
pub(super) fn is_same(before: &fs::Metadata, after: &fs::Metadata) -> bool {
    let told = |meta: &fs::Metadata| {
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        (meta.len(), meta.nlink(), times)
    };
    told(before) == told(after)
}

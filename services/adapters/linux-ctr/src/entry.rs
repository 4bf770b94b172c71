//! Entries of a layer's tar stream, read without trusting a length.
//!
//! The archive library's own handling of long names reads as much memory as the stream asks for, so names
//! and extended headers are read here, from raw entries, each with a limit.

use std::fmt;
use std::io::{self, Read};

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use tar::{Archive, Entry, EntryType, PaxExtensions};

use crate::unpack::UnpackError;

/// Longest long name, and longest path altogether (PATH_MAX).
const MAX_PATH: u64 = 4096;
/// Longest extended header.
const MAX_PAX: u64 = 64 << 10;
/// Longest name of one file (NAME_MAX).
const MAX_NAME: usize = 255;
/// Deepest directory.
const MAX_DEPTH: usize = 128;

/// A path within a layer: relative, without `.` and `..`. Empty for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPath(Vec<Vec<u8>>);

impl EntryPath {
    /// Checks a path of the stream.
    pub fn parse(bytes: &[u8]) -> Result<Self, UnpackError> {
        let bad =
            |why: &'static str| UnpackError::Refused { path: printable(bytes), why: why.into() };
        if bytes.starts_with(b"/") {
            return Err(bad("an absolute path"));
        }
        if bytes.is_empty() {
            return Err(bad("an empty path"));
        }
        if bytes.contains(&0) {
            return Err(bad("a path with a zero byte"));
        }
        let mut parts = Vec::new();
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(bad("a path with `..`")),
                name if name.len() > MAX_NAME => return Err(bad("a name that is too long")),
                name => parts.push(name.to_vec()),
            }
        }
        if parts.len() > MAX_DEPTH || bytes.len() as u64 > MAX_PATH {
            return Err(bad("a path that is too long"));
        }
        Ok(Self(parts))
    }

    /// The directories on the way, and the last name. `None` for the root.
    pub fn split(&self) -> Option<(&[Vec<u8>], &OsStr)> {
        let (last, parents) = self.0.split_last()?;
        Some((parents, OsStr::from_bytes(last)))
    }

    /// The path in the form that [`EntryPath::parse`] takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.0.is_empty() { b".".to_vec() } else { self.0.join(&b'/') }
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.join(&b'/');
        f.write_str(if path.is_empty() { "." } else { "" })?;
        f.write_str(&printable(&path))
    }
}

/// Bytes of a stranger as text for a log: escaped and cut.
fn printable(bytes: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(bytes).chars().flat_map(char::escape_default).take(200).collect();
    text
}

/// Words that may hold names of a stranger's files, for people: quotes stay, what is no plain character is escaped.
pub fn shown(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars().take(400) {
        match char {
            ' '..='~' => shown.push(char),
            other => shown.extend(other.escape_default()),
        }
    }
    shown
}

/// One entry, with names and numbers checked.
#[derive(Debug, Clone)]
pub struct LayerEntry {
    /// Where it belongs.
    pub path: EntryPath,
    /// Its sort.
    pub kind: EntryType,
    /// The target of a link, unchecked.
    pub link: Vec<u8>,
    /// Bytes of data.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u64,
}

/// What is wrong with a stream, carried through `io::Error`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Malformed {
    /// More bytes than allowed.
    #[error("too many bytes")]
    TooLong,
}

impl Malformed {
    /// The mark in an error, if it carries one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// As the unpacker's error.
    pub fn to_error(&self, limit: u64) -> UnpackError {
        match self {
            Self::TooLong => UnpackError::TooLarge { limit, what: "bytes".into() },
        }
    }
}

/// A stream that breaks off with an error after so many bytes, so that a small file cannot become a big one.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        match self.left.checked_sub(got as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(Malformed::TooLong)),
        }
        Ok(got)
    }
}

/// Names and numbers from extended headers, which hold for the entry that follows.
#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
}

/// Reads a stream entry by entry. `each` gets the entry and a reader over its data.
pub fn read_entries(
    stream: impl Read,
    max_bytes: u64,
    mut each: impl FnMut(&LayerEntry, &mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut archive = Archive::new(Limited { inner: stream, left: max_bytes });
    let damaged = |error: io::Error| match Malformed::of(&error) {
        Some(malformed) => malformed.to_error(max_bytes),
        None => UnpackError::Damaged { why: error.to_string() },
    };
    let mut pending = Pending::default();
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => pending.path = Some(long_text(&mut entry).map_err(damaged)?),
            EntryType::GNULongLink => pending.link = Some(long_text(&mut entry).map_err(damaged)?),
            EntryType::XHeader => extended(&mut entry, &mut pending, damaged)?,
            // Says the same of the whole archive, such as which commit it was made from.
            EntryType::XGlobalHeader => {}
            _ => {
                let found = checked(&entry, std::mem::take(&mut pending))?;
                each(&found, &mut entry)?;
            }
        }
    }
    Ok(())
}

fn limited<R: Read>(entry: &mut Entry<'_, R>, limit: u64) -> io::Result<Vec<u8>> {
    if entry.size() > limit {
        return Err(io::Error::other("an extended header that is too long"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn long_text<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<u8>> {
    let mut bytes = limited(entry, MAX_PATH + 1)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn extended<R: Read>(
    entry: &mut Entry<'_, R>,
    pending: &mut Pending,
    damaged: impl Fn(io::Error) -> UnpackError,
) -> Result<(), UnpackError> {
    let bytes = limited(entry, MAX_PAX).map_err(&damaged)?;
    for record in PaxExtensions::new(&bytes) {
        let record = record.map_err(&damaged)?;
        let number = || record.value().ok().and_then(|text| text.parse::<u64>().ok());
        match record.key_bytes() {
            b"path" => pending.path = Some(record.value_bytes().to_vec()),
            b"linkpath" => pending.link = Some(record.value_bytes().to_vec()),
            b"uid" => pending.uid = number(),
            b"gid" => pending.gid = number(),
            // The library goes by the plain header's size; two sizes are one too many.
            b"size" => {
                return Err(UnpackError::Damaged {
                    why: "an extended size, as only files over 8 GiB have".to_owned(),
                });
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(UnpackError::Damaged {
                    why: "sparse files are not allowed".to_owned(),
                });
            }
            // Times finer than a second, attributes, comments.
            _ => {}
        }
    }
    Ok(())
}

fn checked<R: Read>(entry: &Entry<'_, R>, pending: Pending) -> Result<LayerEntry, UnpackError> {
    let header = entry.header();
    let path = pending.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let path = EntryPath::parse(&path)?;
    let bad = |what: &str| UnpackError::Damaged { why: format!("`{path}` has no valid {what}") };
    let link = match pending.link {
        Some(link) => link,
        None => header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
    };
    let id = |extended: Option<u64>, plain: io::Result<u64>, what: &str| {
        let number = extended.or(plain.ok()).and_then(|id| u32::try_from(id).ok());
        // The highest number means "no change" to chown.
        number.filter(|id| *id != u32::MAX).ok_or_else(|| bad(what))
    };
    Ok(LayerEntry {
        kind: header.entry_type(),
        link,
        size: entry.size(),
        mode: header.mode().map_err(|_| bad("mode"))?,
        uid: id(pending.uid, header.uid(), "owner")?,
        gid: id(pending.gid, header.gid(), "group")?,
        // A missing time harms nobody.
        mtime: header.mtime().unwrap_or(0),
        path,
    })
}

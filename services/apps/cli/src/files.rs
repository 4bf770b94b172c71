//! Files and folders as a tar stream and back. Nothing else: links and devices are left out and named.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};
use tokio::sync::mpsc;

/// Bytes of one piece of a stream.
const PIECE: usize = 32 * 1024;
/// What a stream may hold beside the files' content, and again as much as that.
const AROUND: u64 = 16 << 20;
/// Folders in folders.
const DEEPEST: usize = 64;
/// How many things that were left out are named.
const NAMED: usize = 20;

/// What was copied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub files: u64,
    pub bytes: u64,
    /// What was left out, and why; the first few.
    pub left: Vec<String>,
}

impl Copied {
    fn leave(&mut self, what: &Path, why: &str) {
        if self.left.len() < NAMED {
            self.left.push(format!("{}, {why}", what.display()));
        }
    }
}

/// Writes what a stream holds, all of it below `./name`, as `target`, or into `target` if that is a folder.
pub fn unpack(from: impl Read, name: &str, target: &Path, limit: u64) -> io::Result<Copied> {
    let root = match target.is_dir() && name != "." {
        true => target.join(name),
        false => target.to_owned(),
    };
    let mut copied = Copied::default();
    // Names and folders cost something too, and a stream without end is no copy.
    let most = limit.saturating_mul(2).saturating_add(AROUND);
    let mut archive = Archive::new(from.take(most));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let place = below(&path, name)
            .ok_or_else(|| refused(&path, "lies outside of what was asked for"))?;
        let place = if place.as_os_str().is_empty() { root.clone() } else { root.join(place) };
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&place)?,
            EntryType::Regular | EntryType::Continuous => {
                copied.bytes = copied.bytes.saturating_add(entry.size());
                if copied.bytes > limit {
                    let why = format!("is beyond the limit of {limit} bytes in all; see --limit");
                    return Err(refused(&path, &why));
                }
                if let Some(folder) = place.parent().filter(|folder| !folder.as_os_str().is_empty())
                {
                    fs::create_dir_all(folder)?;
                }
                // Neither another owner's rights nor more than reading, writing and running.
                let mode = entry.header().mode().unwrap_or(0o644) & 0o755 | 0o600;
                let mut open = File::options();
                let mut file =
                    open.write(true).create(true).truncate(true).mode(mode).open(&place)?;
                let written = io::copy(&mut entry, &mut file)?;
                if written != entry.size() {
                    return Err(refused(&path, "is cut off"));
                }
                copied.files += 1;
            }
            kind if kind.is_symlink() || kind.is_hard_link() => copied.leave(&path, "a link"),
            EntryType::XGlobalHeader => {}
            _ => copied.leave(&path, "neither file nor folder"),
        }
    }
    Ok(copied)
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {why}", path.display()))
}

/// The part of a path below `./name`; `None` if it does not stay there.
fn below(path: &Path, name: &str) -> Option<PathBuf> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir).peekable();
    if name != "." {
        match parts.next()? {
            Component::Normal(first) if first == name => {}
            _ => return None,
        }
    }
    let mut place = PathBuf::new();
    for part in parts {
        match part {
            Component::Normal(part) => place.push(part),
            _ => return None,
        }
    }
    Some(place)
}

/// Sends a file or folder as a stream in which it is called `./name`. A taker that has gone is no error: it tells why.
pub fn pack(source: &Path, name: &str, to: &mpsc::Sender<Vec<u8>>) -> io::Result<Copied> {
    let mut copied = Copied::default();
    let mut builder = Builder::new(Pieces { to: to.clone(), piece: Vec::new() });
    match add(&mut builder, source, &Path::new(".").join(name), 0, &mut copied)
        .and_then(|()| builder.into_inner())
        .and_then(|mut pieces| pieces.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(copied),
        Err(error) => Err(error),
        Ok(()) => Ok(copied),
    }
}

fn add(
    builder: &mut Builder<Pieces>,
    source: &Path,
    name: &Path,
    depth: usize,
    copied: &mut Copied,
) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", source.display()));
    let facts = match depth {
        // What the person named may be a link; what lies in it may not.
        0 => fs::metadata(source),
        _ => fs::symlink_metadata(source),
    }
    .map_err(named)?;
    let mut header = Header::new_gnu();
    header.set_mode(facts.permissions().mode() & 0o777);
    header.set_mtime(u64::try_from(facts.mtime()).unwrap_or(0));
    if facts.is_dir() {
        if depth >= DEEPEST {
            return Err(refused(source, "has too many folders in folders"));
        }
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, name, io::empty())?;
        let mut entries: Vec<_> =
            fs::read_dir(source).map_err(named)?.collect::<Result<_, _>>().map_err(named)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            add(builder, &entry.path(), &name.join(entry.file_name()), depth + 1, copied)?;
        }
    } else if facts.is_file() {
        let file = File::open(source).map_err(named)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(facts.len());
        // A file that grows meanwhile is cut at its length; one that shrinks would spoil the stream.
        let mut whole = file.take(facts.len());
        builder.append_data(&mut header, name, &mut whole)?;
        if whole.limit() > 0 {
            return Err(refused(source, "became shorter while it was read"));
        }
        copied.files += 1;
        copied.bytes = copied.bytes.saturating_add(facts.len());
    } else {
        copied.leave(source, "neither file nor folder");
    }
    Ok(())
}

/// Cuts what is written into pieces.
struct Pieces {
    to: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.to.blocking_send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1 << 20;

    /// Everything that `pack` sends.
    fn packed(source: &Path, name: &str) -> (Vec<u8>, Copied) {
        let (sender, mut receiver) = mpsc::channel(4);
        let (source, name) = (source.to_owned(), name.to_owned());
        let packing = std::thread::spawn(move || pack(&source, &name, &sender).unwrap());
        let mut all = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            all.extend(piece);
        }
        (all, packing.join().unwrap())
    }

    /// A stream with one entry, whose name the library would not write.
    fn stream(name: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o6777);
        header.set_size(content.len() as u64);
        header.set_link_name("/etc/passwd").unwrap();
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
        bytes
    }

    #[test]
    fn a_folder_goes_there_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir_all(source.join("sub")).unwrap();
        let large = vec![7; 100_000];
        fs::write(source.join("sub/large"), &large).unwrap();
        fs::write(source.join("-odd name"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", source.join("link")).unwrap();
        let (bytes, copied) = packed(&source, "there");
        assert_eq!((copied.files, copied.bytes, copied.left.len()), (2, 100_001, 1));
        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        let back = unpack(&bytes[..], "there", &target, LIMIT).unwrap();
        assert_eq!((back.files, back.bytes), (2, 100_001));
        assert!(fs::read(target.join("there/sub/large")).unwrap() == large);
        assert_eq!(fs::read(target.join("there/-odd name")).unwrap(), b"x");
        assert!(!target.join("there/link").exists());
        let other = unpack(&bytes[..], "there", &folder.path().join("new"), LIMIT).unwrap();
        assert_eq!(other.files, 2);
        assert!(folder.path().join("new/sub/large").exists());
    }

    #[test]
    fn what_would_go_elsewhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("in");
        fs::create_dir(&target).unwrap();
        for name in ["/etc/x", "../x", "a/../../x", "./a/../b", "b", "./b/x", "a/..", "./../a"] {
            let bytes = stream(name, EntryType::Regular, b"bad");
            let error = unpack(&bytes[..], "a", &target, LIMIT).unwrap_err();
            assert!(error.to_string().contains("outside"), "{name}: {error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    }

    #[test]
    fn links_and_devices_are_left_out_and_rights_are_plain() {
        let folder = tempfile::tempdir().unwrap();
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
            let copied = unpack(&stream("a", kind, b"")[..], "a", folder.path(), LIMIT).unwrap();
            assert_eq!((copied.files, copied.left.len()), (0, 1), "{kind:?}");
            assert!(fs::symlink_metadata(folder.path().join("a")).is_err());
        }
        let file = stream("./a", EntryType::Regular, b"good");
        unpack(&file[..], "a", folder.path(), LIMIT).unwrap();
        let mode = fs::metadata(folder.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7022, 0, "{mode:o}");
    }

    #[test]
    fn too_much_and_too_little_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = stream("a", EntryType::Regular, &[1; 600]);
        let error = unpack(&file[..], "a", folder.path(), 599).unwrap_err();
        assert!(error.to_string().contains("599"), "{error}");
        assert!(unpack(&file[..700], "a", folder.path(), LIMIT).is_err());
        assert!(unpack(&[5; 512][..], "a", folder.path(), LIMIT).is_err());
    }
}

//! The blobs of images, each under its SHA-256, shared by all images that name it.
//!
//! ```text
//! blobs/sha256/<digest>      whole and written out; appears by one rename
//! blobs/quarantine/<digest>  found with other bytes than its name says; kept for an expert, at most a few
//! blobs/tmp/                 what is coming in; swept at start
//! ```
//!
//! Nothing here is believed for lying in the right place: whoever reads a blob to its end compares the digest,
//! and [`BlobStore::check`] does it for the rest. Only root may enter.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use sha2::{Digest, Sha256};
use skerry_containers::oci::{Blob, MAX_JSON, is_sha256};
use tokio::sync::broadcast;

use crate::claims::Claims;
use crate::folders;

/// Damaged blobs that are kept.
const MAX_QUARANTINED: usize = 4;

/// What went wrong with a blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not there.
    #[error("part sha256:{digest} of the image is not on this node")]
    Missing {
        /// The digest.
        digest: String,
    },
    /// It has other bytes than its name says.
    #[error("part sha256:{digest} of the image is damaged")]
    Damaged {
        /// The digest.
        digest: String,
    },
    /// It is larger than a document of an image.
    #[error("part sha256:{digest} of the image is larger than the {MAX_JSON} bytes of a document")]
    Large {
        /// The digest.
        digest: String,
    },
    /// What was to be taken over is not what was announced.
    #[error("the file for sha256:{digest} has other bytes than that")]
    Wrong {
        /// The digest.
        digest: String,
    },
    /// A digest that is none.
    #[error("a digest must be 64 hex digits")]
    Name,
    /// The file system.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

/// The store of blobs. Clones are the same.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: PathBuf,
    /// Whether its folders have been made: the data partition may come late.
    ready: Arc<AtomicBool>,
    lost: broadcast::Sender<String>,
    /// What of the library of unpacked images is being worked on: its parties have this store in common.
    claims: Claims,
}

impl BlobStore {
    /// The store below `root`. Nothing is touched before the first use.
    pub fn new(root: PathBuf) -> Self {
        let (lost, claims) = (broadcast::channel(64).0, Claims::default());
        Self { root, ready: Arc::default(), lost, claims }
    }

    /// What of the library of unpacked images is being worked on.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Makes the folders and sweeps what was coming in, once.
    fn prepare(&self) -> Result<(), BlobError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let temporary = self.root.join("tmp");
        folders::sweep(&temporary).map_err(|e| failed("sweep", &temporary, e))?;
        for folder in ["sha256", "quarantine", "tmp"] {
            let path = self.root.join(folder);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|e| failed("make", &path, e))?;
        }
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Digests of blobs that are found damaged and set aside, from now on.
    pub fn lost(&self) -> broadcast::Receiver<String> {
        self.lost.subscribe()
    }

    /// Where a blob lies, if it is there.
    pub fn place(&self, digest: &str) -> Result<PathBuf, BlobError> {
        self.path(digest)
    }

    fn path(&self, digest: &str) -> Result<PathBuf, BlobError> {
        if is_sha256(digest) {
            Ok(self.root.join("sha256").join(digest))
        } else {
            Err(BlobError::Name)
        }
    }

    /// The digests of all blobs.
    pub fn present(&self) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.root.join("sha256")) else { return BTreeSet::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_sha256(name)).collect()
    }

    /// The size of a blob; `None` if it is not there.
    pub fn size(&self, digest: &str) -> Option<u64> {
        fs::symlink_metadata(self.path(digest).ok()?).ok().map(|meta| meta.len())
    }

    /// Opens a blob. Whoever reads it must compare the digest.
    pub fn read(&self, digest: &str) -> Result<File, BlobError> {
        let path = self.path(digest)?;
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing { digest: digest.to_owned() },
            _ => failed("open", &path, error),
        })
    }

    /// The bytes of a small blob, compared with its digest. A damaged one is set aside, as by [`Self::check`].
    pub fn document(&self, digest: &str) -> Result<Vec<u8>, BlobError> {
        let mut bytes = Vec::new();
        let file = self.read(digest)?;
        let path = self.path(digest)?;
        file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(|e| failed("read", &path, e))?;
        if bytes.len() as u64 > MAX_JSON {
            // It may be whole: somebody named it as what it is not.
            return Err(BlobError::Large { digest: digest.to_owned() });
        }
        if hex::encode(Sha256::digest(&bytes)) == digest {
            return Ok(bytes);
        }
        self.quarantine(digest)?;
        Err(BlobError::Damaged { digest: digest.to_owned() })
    }

    /// Takes over a file that somebody else wrote, if it has the bytes that the digest names.
    ///
    /// It is copied, which on XFS shares the blocks, and the copy is what is hashed: whoever still has the
    /// original open can change nothing any more. Links are not followed. Doing it again changes nothing, but
    /// what is there already is read, and exchanged if it is damaged.
    pub fn adopt(&self, from: &Path, blob: &Blob) -> Result<(), BlobError> {
        self.prepare()?;
        let target = self.path(&blob.digest)?;
        match self.check(&blob.digest) {
            Ok(_) => return Ok(()),
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut source = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(from)
            .map_err(|e| failed("open", from, e))?;
        let meta = source.metadata().map_err(|e| failed("look at", from, e))?;
        if !meta.is_file() || meta.len() != blob.size {
            return Err(BlobError::Wrong { digest: blob.digest.clone() });
        }
        self.write(&target, |file| {
            io::copy(&mut (&mut source).take(blob.size), file)?;
            file.rewind()?;
            let found = hash(file)?;
            if found == blob.digest { Ok(()) } else { Err(io::Error::other(Mismatch)) }
        })
        .map_err(|error| match &error {
            BlobError::Io { source, .. } if is_mismatch(source) => {
                BlobError::Wrong { digest: blob.digest.clone() }
            }
            _ => error,
        })
    }

    /// Writes a file that appears under its name whole or not at all.
    fn write(
        &self,
        target: &Path,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), BlobError> {
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.root.join("tmp"))?;
            fill(file.as_file_mut())?;
            file.as_file().sync_all()?;
            file.persist(target).map_err(|error| error.error)?;
            File::open(self.root.join("sha256"))?.sync_all()
        };
        write().map_err(|e| failed("write", target, e))
    }

    /// Reads a blob whole and compares. A damaged one is set aside, so that it counts as missing from then on.
    pub fn check(&self, digest: &str) -> Result<u64, BlobError> {
        let path = self.path(digest)?;
        let mut file = self.read(digest)?;
        let found = hash(&mut file).map_err(|e| failed("read", &path, e))?;
        if found != digest {
            self.quarantine(digest)?;
            return Err(BlobError::Damaged { digest: digest.to_owned() });
        }
        Ok(file.metadata().map_err(|e| failed("look at", &path, e))?.len())
    }

    /// Sets a damaged blob aside.
    pub fn quarantine(&self, digest: &str) -> Result<(), BlobError> {
        self.prepare()?;
        let (path, folder) = (self.path(digest)?, self.root.join("quarantine"));
        // Room first: old ones go, so that damage cannot fill the disk.
        let mut kept: Vec<_> = fs::read_dir(&folder)
            .map_err(|e| failed("read", &folder, e))?
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        kept.sort();
        let surplus = (kept.len() + 1).saturating_sub(MAX_QUARANTINED);
        for (_, old) in kept.iter().take(surplus) {
            fs::remove_file(old).map_err(|e| failed("remove", old, e))?;
        }
        match fs::rename(&path, folder.join(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("set aside", &path, error))
            }
            _ => {
                // Nobody listening is no error.
                let _ = self.lost.send(digest.to_owned());
                Ok(())
            }
        }
    }

    /// Removes every blob that is not in `keep`; gives how many and how many bytes.
    pub fn sweep(&self, keep: &BTreeSet<String>) -> Result<(usize, u64), BlobError> {
        let (mut count, mut bytes) = (0, 0);
        for digest in self.present().difference(keep) {
            let size = self.size(digest).unwrap_or(0);
            let path = self.path(digest)?;
            fs::remove_file(&path).map_err(|e| failed("remove", &path, e))?;
            count += 1;
            bytes += size;
        }
        Ok((count, bytes))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("other bytes")]
struct Mismatch;

fn is_mismatch(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Mismatch>())
}

pub(crate) fn hash(file: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut BufReader::with_capacity(1 << 17, file), &mut HashWriter(&mut hasher))?;
    Ok(hex::encode(hasher.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> BlobError {
    BlobError::Io { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn sha256(bytes: &[u8]) -> String {
        hex::encode(Sha256::digest(bytes))
    }

    fn blob(bytes: &[u8]) -> Blob {
        Blob { digest: sha256(bytes), size: bytes.len() as u64 }
    }

    struct Place {
        folder: tempfile::TempDir,
        store: BlobStore,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = BlobStore::new(folder.path().join("blobs"));
            Self { folder, store }
        }

        fn file(&self, bytes: &[u8]) -> PathBuf {
            let path = self.folder.path().join("spooled");
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    #[test]
    fn a_file_is_taken_over_only_with_the_right_bytes() {
        let place = Place::new();
        let good = blob(b"abc");
        place.store.adopt(&place.file(b"abc"), &good).unwrap();
        place.store.adopt(Path::new("/nowhere"), &good).unwrap();
        assert_eq!(place.store.document(&good.digest).unwrap(), b"abc");
        assert_eq!(place.store.check(&good.digest).unwrap(), 3);
        let other = blob(b"other");
        for bytes in [&b"othe"[..], b"OTHER", b"other!"] {
            let error = place.store.adopt(&place.file(bytes), &other).unwrap_err();
            assert!(matches!(error, BlobError::Wrong { .. }), "{error:?}");
        }
        let link = place.folder.path().join("link");
        symlink(place.file(b"other"), &link).unwrap();
        assert!(place.store.adopt(&link, &other).is_err(), "a link is not followed");
        assert!(place.store.adopt(place.folder.path(), &other).is_err(), "a folder");
        let odd = Blob { digest: "../../x".to_owned(), size: 1 };
        assert!(matches!(place.store.adopt(&link, &odd), Err(BlobError::Name)));
        assert_eq!(place.store.present(), BTreeSet::from([good.digest]));
        assert_eq!(fs::read_dir(place.folder.path().join("blobs/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_flipped_bit_is_found_and_the_blob_set_aside_and_taken_again() {
        let place = Place::new();
        for round in 0..6_u8 {
            let bytes = [round; 1000];
            let good = blob(&bytes);
            place.store.adopt(&place.file(&bytes), &good).unwrap();
            let path = place.folder.path().join("blobs/sha256").join(&good.digest);
            let mut damaged = bytes;
            damaged[500] ^= 4;
            fs::write(&path, damaged).unwrap();
            assert!(matches!(place.store.check(&good.digest), Err(BlobError::Damaged { .. })));
            assert!(matches!(place.store.check(&good.digest), Err(BlobError::Missing { .. })));
            place.store.adopt(&place.file(&bytes), &good).unwrap();
            assert!(place.store.check(&good.digest).is_ok());
        }
        let aside = fs::read_dir(place.folder.path().join("blobs/quarantine")).unwrap().count();
        assert_eq!(aside, MAX_QUARANTINED, "damage does not fill the disk");
    }

    #[test]
    fn a_damaged_document_is_set_aside_on_use_and_taken_again() {
        let place = Place::new();
        let good = blob(b"{\"a\": 1}");
        let path = place.folder.path().join("blobs/sha256").join(&good.digest);
        let mut lost = place.store.lost();
        for _ in 0..2 {
            place.store.adopt(&place.file(b"{\"a\": 1}"), &good).unwrap();
            fs::write(&path, b"{\"a\": 2}").unwrap();
            let error = place.store.document(&good.digest).unwrap_err();
            assert!(matches!(error, BlobError::Damaged { .. }), "{error:?}");
            assert_eq!(lost.try_recv().unwrap(), good.digest);
            let error = place.store.document(&good.digest).unwrap_err();
            assert!(matches!(error, BlobError::Missing { .. }), "{error:?}");
        }
        // One of the right size is not believed either when the right bytes come again.
        fs::write(&path, b"{\"a\": 2}").unwrap();
        place.store.adopt(&place.file(b"{\"a\": 1}"), &good).unwrap();
        assert_eq!(place.store.document(&good.digest).unwrap(), b"{\"a\": 1}");
    }

    #[test]
    fn what_is_no_document_is_not_set_aside_for_being_asked_as_one() {
        let place = Place::new();
        let bytes = vec![7_u8; usize::try_from(MAX_JSON).unwrap() + 1];
        let layer = blob(&bytes);
        place.store.adopt(&place.file(&bytes), &layer).unwrap();
        let error = place.store.document(&layer.digest).unwrap_err();
        assert!(matches!(error, BlobError::Large { .. }), "{error:?}");
        assert!(place.store.check(&layer.digest).is_ok());
    }

    #[test]
    fn a_sweep_keeps_what_is_named() {
        let place = Place::new();
        for bytes in [&b"a"[..], b"bb", b"ccc"] {
            place.store.adopt(&place.file(bytes), &blob(bytes)).unwrap();
        }
        let keep = BTreeSet::from([sha256(b"bb")]);
        assert_eq!(place.store.sweep(&keep).unwrap(), (2, 4));
        assert_eq!(place.store.present(), keep);
    }
}

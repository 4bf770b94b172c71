//! Small files that must survive a power cut: written whole, in two places, with a checksum.
//!
//! For what the node needs before it has a store: its identity and whether it was claimed. Everything else
//! belongs in the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Largest file that is read.
const LARGEST: u64 = 256 * 1024;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", .path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// A file kept in two folders, best on two partitions. The first good one counts.
#[derive(Debug, Clone)]
pub struct TwinFile {
    paths: [PathBuf; 2],
}

impl TwinFile {
    /// The file `name` in each of the folders.
    pub fn new(first: &Path, second: &Path, name: &str) -> Self {
        Self { paths: [first.join(name), second.join(name)] }
    }

    /// The content of the first good copy; a missing or damaged other copy is written again from it.
    /// `None` if no copy is good.
    pub fn read(&self) -> Option<Vec<u8>> {
        let copies: Vec<_> = self.paths.iter().map(|path| read_checked(path)).collect();
        let good = copies.iter().find_map(Clone::clone)?;
        for (path, copy) in self.paths.iter().zip(&copies) {
            if copy.as_ref() != Some(&good) {
                tracing::warn!(path = %path.display(), "copy is missing, damaged or old; writing it again");
                if let Err(error) = write_checked(path, &good) {
                    tracing::error!(path = %path.display(), %error, "the copy could not be written");
                }
            }
        }
        Some(good)
    }

    /// Whether any copy is there, good or not.
    pub fn exists(&self) -> bool {
        self.paths.iter().any(|path| path.exists())
    }

    /// Writes both copies, durably. The first one must succeed; the second is a precaution.
    pub fn write(&self, content: &[u8]) -> Result<(), WriteError> {
        let [first, second] = &self.paths;
        write_checked(first, content)
            .map_err(|source| WriteError { path: first.clone(), source })?;
        if let Err(error) = write_checked(second, content) {
            tracing::warn!(path = %second.display(), %error, "the second copy could not be written");
        }
        Ok(())
    }
}

fn read_checked(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    let (sum, content) = bytes.split_at_checked(65)?;
    let expected = format!("{}\n", blake3::hash(content).to_hex());
    (sum == expected.as_bytes()).then(|| content.to_vec())
}

/// Temporary file, flush, rename, flush of the folder: after a power cut there is the old file or the new one.
fn write_checked(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{}", blake3::hash(content).to_hex())?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_copy_is_enough_and_the_other_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        let twin = TwinFile::new(&first, &second, "x");
        assert!(!twin.exists());
        assert_eq!(twin.read(), None);
        twin.write(b"content").unwrap();
        for damage in [
            "",
            "short",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\ncontent",
        ] {
            fs::write(first.join("x"), damage).unwrap();
            assert_eq!(twin.read().unwrap(), b"content");
            fs::write(second.join("x"), damage).unwrap();
            assert_eq!(twin.read().unwrap(), b"content");
        }
        fs::remove_file(first.join("x")).unwrap();
        assert_eq!(twin.read().unwrap(), b"content");
        assert!(first.join("x").exists());
        fs::write(first.join("x"), "bad").unwrap();
        fs::write(second.join("x"), "bad").unwrap();
        assert_eq!(twin.read(), None);
        assert!(twin.exists());
    }
}

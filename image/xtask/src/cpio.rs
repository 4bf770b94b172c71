//! Writing initrd archives (the "newc" cpio format) with nothing in them that depends on the machine or the time.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;

/// An archive being written. Parent folders are added on their own.
#[derive(Debug, Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Cpio {
    /// Adds a folder, with its parents.
    ///
    /// # Errors
    /// When the archive would become too large for its format.
    pub fn folder(&mut self, path: &str) -> Result<()> {
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent)?;
        }
        self.entry(path, DIRECTORY, &[])
    }

    /// Adds a file with the given content; `mode` is its permissions.
    ///
    /// # Errors
    /// When the archive would become too large for its format.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.parent(path)?;
        self.entry(path, 0o100_000 | mode, content)
    }

    /// Adds a copy of a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn copy(&mut self, path: &str, mode: u32, from: &Path) -> Result<()> {
        let content =
            std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, mode, &content)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When the archive would become too large for its format.
    pub fn symlink(&mut self, path: &str, to: &str) -> Result<()> {
        self.parent(path)?;
        self.entry(path, SYMLINK, to.as_bytes())
    }

    /// The finished archive, padded to a multiple of 512 bytes.
    ///
    /// # Errors
    /// When the archive would become too large for its format.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.pad(512);
        Ok(self.bytes)
    }

    fn parent(&mut self, path: &str) -> Result<()> {
        path.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.folder(parent))
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).context("a file is too large for an initrd")?;
        let name = u32::try_from(path.len() + 1).context("a path is too long for an initrd")?;
        // Inode, mode, uid, gid, links, mtime, size, four device numbers, length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad(4);
        self.bytes.extend_from_slice(content);
        self.pad(4);
        Ok(())
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut cpio = Cpio::default();
        cpio.file("a/b/c", 0o644, b"hello").unwrap();
        cpio.symlink("a/link", "b/c").unwrap();
        let bytes = cpio.finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let text = String::from_utf8_lossy(&bytes);
        let order: Vec<usize> =
            ["a\0", "a/b\0", "a/b/c\0", "a/link\0"].iter().map(|n| text.find(n).unwrap()).collect();
        assert!(order.is_sorted(), "a folder comes before what is in it: {order:?}");
        assert!(text.contains("hello") && text.contains("b/c"));
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        let make = || {
            let mut cpio = Cpio::default();
            cpio.file("x/y", 0o755, b"1").unwrap();
            cpio.finish().unwrap()
        };
        assert_eq!(make(), make());
    }
}

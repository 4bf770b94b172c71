//! Where the kernel's file trees lie, and reading of the small files in them.
//!
//! Tests point the roots at a tree of made-up files. Reading never fails: a file that is absent, too large or
//! not readable gives nothing, because machines differ in what they tell.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest file taken from `/sys` or `/proc`; `/proc/cpuinfo` of 1024 threads is about 2 MiB.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// The trees in which the kernel and udev describe the machine.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/run`, for the udev database.
    pub run: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Roots {
    /// The trees below a folder.
    pub fn below(folder: &Path) -> Self {
        Self {
            proc: folder.join("proc"),
            sys: folder.join("sys"),
            dev: folder.join("dev"),
            run: folder.join("run"),
        }
    }
}

/// The bytes of a file of the kernel's.
pub(crate) fn bytes(path: impl AsRef<Path>) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut data).ok()?;
    Some(data)
}

/// The text of a file, without surrounding blanks; `None` if that leaves nothing.
///
/// Control characters go: firmware strings and USB descriptors may hold anything.
pub(crate) fn text(path: impl AsRef<Path>) -> Option<String> {
    let data = bytes(path)?;
    let clean: String = String::from_utf8_lossy(&data)
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    let trimmed = clean.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// A number in a file, decimal or `0x…`.
pub(crate) fn number(path: impl AsRef<Path>) -> Option<u64> {
    let text = text(path)?;
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Names in a folder, sorted, so that every list has a stable order.
pub(crate) fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The last part of what a link points at, such as the driver's name behind `device/driver`.
pub(crate) fn link_name(path: impl AsRef<Path>) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// The properties that udev keeps for a device, by its database key (`n2`, `b259:0`, `+pci:0000:01:00.0`).
pub(crate) struct Udev(Vec<(String, String)>);

impl Udev {
    pub(crate) fn read(roots: &Roots, key: &str) -> Self {
        let lines = text(roots.run.join("udev/data").join(key)).unwrap_or_default();
        let property = |line: &str| {
            let (name, value) = line.strip_prefix("E:")?.split_once('=')?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        Self(lines.lines().filter_map(property).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    }
}

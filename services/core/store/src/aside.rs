//! Damaged journals, kept for whoever wants to look at them: few, and none that is large.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How many are kept.
const KEPT: usize = 2;
/// One larger than this is not kept.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Moves a damaged journal to the others. Gives where it is, if it was kept.
pub(crate) fn put(damaged: &Path, old: &Path) -> io::Result<Option<PathBuf>> {
    if size_of(old)? > LARGEST {
        fs::remove_dir_all(old)?;
        return Ok(None);
    }
    fs::create_dir_all(damaged)?;
    keep_newest(damaged, KEPT - 1);
    let highest = numbered(damaged).last().map_or(0, |(number, _)| *number);
    let target = damaged.join((highest + 1).to_string());
    fs::rename(old, &target)?;
    Ok(Some(target))
}

/// Removes all but the newest.
pub(crate) fn keep_newest(damaged: &Path, kept: usize) {
    let copies = numbered(damaged);
    for (_, path) in copies.iter().take(copies.len().saturating_sub(kept)) {
        if let Err(error) = fs::remove_dir_all(path) {
            tracing::warn!(path = %path.display(), %error, "a damaged journal stays");
        }
    }
}

/// The kept copies, oldest first.
fn numbered(damaged: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(damaged) else { return Vec::new() };
    let copy = |entry: io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        Some((path.file_name()?.to_str()?.parse().ok()?, path))
    };
    let mut copies: Vec<(u64, PathBuf)> = entries.filter_map(copy).collect();
    copies.sort();
    copies
}

fn size_of(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { size_of(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

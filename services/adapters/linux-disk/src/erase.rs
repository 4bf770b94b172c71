//! Overwrites a file's data before its space is given back.
//!
//! Blocks that a snapshot or a clone shares are not overwritten: they still belong to that. What a flash
//! disk keeps of overwritten blocks is out of reach.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::copy::Segments;

static ZEROS: [u8; 65_536] = [0; 65_536];

/// Overwrites everything in a file that is not a hole, and brings that to the disk.
pub fn overwrite(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let segments: Vec<_> = Segments::of(&file).collect();
    for (start, end) in segments {
        zero(&file, start, end)?;
    }
    file.sync_all()
}

fn zero(mut file: &File, start: u64, end: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    let mut left = end.saturating_sub(start);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all(ZEROS.get(..length).unwrap_or_default())?;
        left = left.saturating_sub(u64::try_from(length).unwrap_or(left));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_data_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, vec![7; 200_000]).unwrap();
        overwrite(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 200_000);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}

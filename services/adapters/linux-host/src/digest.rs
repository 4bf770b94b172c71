//! Digests of whole files. Blocking: callers run it on a thread for blocking work.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};
use skerry_upkeep::{FileDigest, HostError};

/// Reads a file to its end and says what it is.
pub(crate) fn of_file(path: &Path) -> Result<FileDigest, HostError> {
    let failed = |source| HostError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 256 * 1024];
    let mut size: u64 = 0;
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        size = size.saturating_add(u64::try_from(count).unwrap_or(0));
    }
    Ok(FileDigest { sha256: hex::encode(hasher.finalize()), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_text_has_its_known_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let digest = of_file(&path).unwrap();
        // FIPS 180-4's first example.
        assert_eq!(
            digest.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.size, 3);
        assert!(of_file(folder.path()).is_err(), "a folder has no digest");
        assert!(of_file(&folder.path().join("absent")).is_err());
    }
}

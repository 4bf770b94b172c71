//! The first bytes of a qcow2 file (QEMU: docs/interop/qcow2.txt): size, and whether it names other files.
//!
//! Read here instead of asking a program for each file, since a pool may hold a thousand. The bytes of an
//! image that was brought in are not trusted.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of the header that are read.
const LENGTH: usize = 104;

/// The data lies in another file.
const EXTERNAL_DATA: u64 = 1 << 2;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Size that a guest sees, in bytes.
    pub size: u64,
    /// Whether it is based on another file.
    pub has_backing: bool,
    /// Whether its data lies in another file.
    pub has_external_data: bool,
}

/// Reads a header from bytes.
pub fn parse(bytes: &[u8]) -> Option<Header> {
    let number = |at: usize, length: usize| {
        let part = bytes.get(at..at.checked_add(length)?)?;
        Some(part.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if bytes.get(..4)? != b"QFI\xfb" {
        return None;
    }
    let version = number(4, 4)?;
    let has_external_data = match version {
        2 => false,
        3 => number(72, 8)? & EXTERNAL_DATA != 0,
        _ => return None,
    };
    Some(Header { size: number(24, 8)?, has_backing: number(8, 8)? != 0, has_external_data })
}

/// Reads the header of a file.
pub fn read(path: &Path) -> io::Result<Header> {
    let mut bytes = Vec::with_capacity(LENGTH);
    let length = u64::try_from(LENGTH).unwrap_or(u64::MAX);
    File::open(path)?.take(length).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| {
        let message = format!("{} is no qcow2 file", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(version: u8, backing: u8, size: u8, incompatible: u8) -> Vec<u8> {
        let mut bytes = b"QFI\xfb".to_vec();
        bytes.resize(LENGTH, 0);
        (bytes[7], bytes[15], bytes[30], bytes[79]) = (version, backing, size, incompatible);
        bytes
    }

    #[test]
    fn the_size_and_other_files_are_found() {
        let plain = Header { size: 0x400, has_backing: false, has_external_data: false };
        assert_eq!(parse(&bytes(3, 0, 4, 0)), Some(plain));
        assert_eq!(parse(&bytes(2, 1, 4, 4)), Some(Header { has_backing: true, ..plain }));
        assert_eq!(parse(&bytes(3, 0, 4, 4)), Some(Header { has_external_data: true, ..plain }));
        assert_eq!(parse(&bytes(4, 0, 4, 0)), None);
        assert_eq!(parse(b"no"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
            let mut marked = b"QFI\xfb".to_vec();
            marked.extend(bytes);
            let _ = parse(&marked);
        }
    }
}

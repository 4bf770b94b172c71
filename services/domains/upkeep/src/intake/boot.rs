//! A kernel with its initial file system: what comes in as one archive and is kept as two files.
//!
//! Both go to QEMU as they are, so what is looked at here is what its loader reads, at fixed places: the header of Linux's
//! boot protocol (Documentation/arch/x86/boot.rst), and the first bytes of the initial file system, which the kernel knows
//! its compression by (lib/decompress.c).

use super::refusal::IntakeRefusal;
use crate::FileDigest;

/// Names of the files in the archive; the last may be left out.
pub const BOOT_FILES: [&str; 3] = ["kernel", "initrd", "cmdline"];
/// Bytes of a kernel that its head is read from.
pub const BOOT_HEAD: usize = 0x240;
/// Most bytes of a kernel: ten times what distributions have.
pub const LARGEST_KERNEL: u64 = 256 << 20;
/// Most bytes of an initial file system.
pub const LARGEST_INITRD: u64 = 1 << 30;
/// Most bytes of a command line, as the record holds them.
pub const LONGEST_ARGUMENTS: u64 = 1024;

/// What such an archive was taken apart into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootParts {
    /// The kernel.
    pub kernel: FileDigest,
    /// Its initial file system.
    pub initrd: FileDigest,
    /// Its command line; empty if none came along.
    pub arguments: String,
}

fn wrong(detail: impl Into<String>) -> IntakeRefusal {
    IntakeRefusal::Boot { detail: detail.into() }
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Looks at the head of a kernel of so many bytes.
pub fn check_kernel(head: &[u8], size: u64) -> Result<(), IntakeRefusal> {
    if size > LARGEST_KERNEL {
        return Err(wrong(format!("its kernel has {size} bytes, more than {LARGEST_KERNEL}")));
    }
    let is_kernel = le16(head, 0x1fe) == Some(0xaa55) && head.get(0x202..0x206) == Some(b"HdrS");
    let version = le16(head, 0x206).filter(|_| is_kernel);
    let Some(version) = version else {
        return Err(wrong("its file `kernel` is no kernel as x86 machines boot it (bzImage)"));
    };
    // The one since which a kernel says whether it is one of 64 bits, of 2012.
    if version < 0x020c {
        let (major, minor) = (version >> 8, version & 0xff);
        return Err(wrong(format!("its kernel is of boot protocol {major}.{minor}, before 2.12")));
    }
    if le16(head, 0x236).is_none_or(|flags| flags & 1 == 0) {
        return Err(wrong("its kernel is not for x86-64"));
    }
    let sectors = match head.get(0x1f1) {
        None | Some(0) => 4,
        Some(sectors) => u64::from(*sectors),
    };
    let paragraphs = le32(head, 0x1f4).map_or(0, u64::from);
    let needed = (sectors.saturating_add(1)).saturating_mul(512) + paragraphs.saturating_mul(16);
    if size < needed {
        return Err(IntakeRefusal::CutOff { bytes: size, needed });
    }
    Ok(())
}

/// What an initial file system begins with: plain, or in one of the kernel's compressions.
const INITRD_MARKS: [&[u8]; 10] = [
    b"070701",
    b"070702",
    b"\x1f\x8b",
    b"\x1f\x9e",
    b"BZh",
    b"\x5d\x00\x00",
    b"\xfd7zXZ\x00",
    b"\x89LZO",
    b"\x02\x21\x4c\x18",
    b"\x28\xb5\x2f\xfd",
];

/// Looks at the first bytes of an initial file system of so many bytes.
pub fn check_initrd(head: &[u8], size: u64) -> Result<(), IntakeRefusal> {
    if size > LARGEST_INITRD {
        return Err(wrong(format!("its initrd has {size} bytes, more than {LARGEST_INITRD}")));
    }
    if INITRD_MARKS.iter().any(|mark| head.starts_with(mark)) {
        return Ok(());
    }
    Err(wrong("its file `initrd` is no initial file system: a cpio archive, plain or compressed"))
}

/// The command line in a file of so many bytes: one line.
pub fn read_arguments(bytes: &[u8]) -> Result<String, IntakeRefusal> {
    let text = std::str::from_utf8(bytes).ok().map(str::trim).filter(|text| {
        text.len() as u64 <= LONGEST_ARGUMENTS && !text.chars().any(char::is_control)
    });
    text.map(ToOwned::to_owned).ok_or_else(|| {
        wrong(format!("its file `cmdline` is not one line of at most {LONGEST_ARGUMENTS} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kernel() -> Vec<u8> {
        let mut head = vec![0_u8; BOOT_HEAD];
        for (at, bytes) in [
            (0x1f1, &[1_u8][..]),
            (0x1f4, &2_u32.to_le_bytes()),
            (0x1fe, &[0x55, 0xaa]),
            (0x202, b"HdrS"),
            (0x206, &0x020f_u16.to_le_bytes()),
            (0x236, &0x7f_u16.to_le_bytes()),
        ] {
            head[at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn a_kernel_is_known_by_its_header_and_has_to_be_whole() {
        assert_eq!(check_kernel(&kernel(), 1056), Ok(()));
        let short = check_kernel(&kernel(), 1055);
        assert_eq!(short, Err(IntakeRefusal::CutOff { bytes: 1055, needed: 1056 }));
        let with = |at: usize, byte: u8| {
            let mut head = kernel();
            head[at] = byte;
            check_kernel(&head, 1 << 20)
        };
        for (at, byte) in [(0x1fe, 0), (0x202, b'h'), (0x207, 1), (0x206, 0x0b), (0x236, 0x7e)] {
            assert!(matches!(with(at, byte), Err(IntakeRefusal::Boot { .. })), "{at:#x}");
        }
        assert_eq!(with(0x206, 0x0c), Ok(()));
        // None given means four.
        let mut old = kernel();
        old[0x1f1] = 0;
        assert_eq!(check_kernel(&old, 5 * 512 + 32), Ok(()));
        assert!(check_kernel(&old, 5 * 512 + 31).is_err());
        assert!(check_kernel(&kernel(), LARGEST_KERNEL + 1).is_err());
        assert!(check_kernel(b"MZ", 2).is_err() && check_kernel(b"\x7fELF", 4).is_err());
    }

    #[test]
    fn an_initial_file_system_is_known_by_its_first_bytes() {
        for mark in INITRD_MARKS {
            assert_eq!(check_initrd(mark, 100), Ok(()));
            assert!(check_initrd(&mark[..mark.len() - 1], 100).is_err(), "{mark:?}");
            assert!(check_initrd(mark, LARGEST_INITRD + 1).is_err());
        }
        assert!(check_initrd(b"070707", 100).is_err(), "an archive that no kernel unpacks");
    }

    #[test]
    fn a_command_line_is_one_line() {
        assert_eq!(read_arguments(b" console=ttyS0 quiet\n"), Ok("console=ttyS0 quiet".to_owned()));
        assert_eq!(read_arguments(b""), Ok(String::new()));
        for bad in [&b"a\nb"[..], b"a\0b", b"\xff", &[b'a'; 1025]] {
            assert!(read_arguments(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            let size = bytes.len() as u64;
            let _ = (check_kernel(&bytes, size), check_initrd(&bytes, size), read_arguments(&bytes));
        }
    }
}

//! The first bytes of a file: whether it is what it is declared to be, and whether it leads to other files.
//!
//! This look comes before any program opens the file, because opening a disk is what follows a backing file or a
//! descriptor. It reads fixed places and never what an offset in the file points to beyond these first bytes.

use skerry_model::ImageFormat;

use super::refusal::{IntakeRefusal, shown};

/// How many of the first bytes are looked at; a shorter file is looked at whole.
pub const HEAD: usize = 64 * 1024;

/// Looks at the first bytes of a file of `size` bytes. Gives the size of the disk inside where the head tells it.
pub fn check_head(
    declared: ImageFormat,
    head: &[u8],
    size: u64,
) -> Result<Option<u64>, IntakeRefusal> {
    let found = kind_of(head);
    let wrong = |found: &'static str| Err(IntakeRefusal::Format { declared, found });
    match (declared, found) {
        (ImageFormat::Qcow2, Some(Kind::Qcow2)) => qcow2(head, size).map(Some),
        (ImageFormat::Vmdk, Some(Kind::Vmdk)) => vmdk(head, size).map(Some),
        (ImageFormat::Vmdk, Some(Kind::VmdkDescriptor)) => {
            Err(IntakeRefusal::OtherFile { name: descriptor_names(head) })
        }
        (ImageFormat::Vdi, Some(Kind::Vdi)) => vdi(head, size).map(Some),
        (ImageFormat::Iso, _) if head.get(32_769..32_774) == Some(b"CD001") => Ok(None),
        (ImageFormat::OciArchive | ImageFormat::KernelInitrd, _)
            if head.get(257..262) == Some(b"ustar") =>
        {
            Ok(None)
        }
        // Whatever has no mark of another format may be a plain disk.
        (ImageFormat::Raw, None) if size > 0 => Ok(Some(size)),
        (_, Some(found)) => wrong(found.text()),
        (_, None) if size == 0 => wrong("empty"),
        (_, None) => wrong("something else"),
    }
}

/// What a mark at the start of a file says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Qcow2,
    Vmdk,
    VmdkDescriptor,
    Vdi,
    Vhd,
    Vhdx,
    Qed,
    Luks,
    Parallels,
    Packed,
}

impl Kind {
    const fn text(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::VmdkDescriptor => "a vmdk descriptor",
            Self::Vdi => "vdi",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Qed => "qed",
            Self::Luks => "encrypted with LUKS",
            Self::Parallels => "of Parallels' format",
            Self::Packed => "compressed as a whole (unpack it first)",
        }
    }
}

fn kind_of(head: &[u8]) -> Option<Kind> {
    let marks: [(&[u8], Kind); 14] = [
        (b"QFI\xfb", Kind::Qcow2),
        (b"KDMV", Kind::Vmdk),
        (b"COWD", Kind::VmdkDescriptor),
        (b"# Disk DescriptorFile", Kind::VmdkDescriptor),
        (b"conectix", Kind::Vhd),
        (b"vhdxfile", Kind::Vhdx),
        (b"QED\0", Kind::Qed),
        (b"LUKS\xba\xbe", Kind::Luks),
        (b"WithoutFreeSpace", Kind::Parallels),
        (b"WithouFreSpacExt", Kind::Parallels),
        (b"\x1f\x8b", Kind::Packed),
        (b"\xfd7zXZ\0", Kind::Packed),
        (b"\x28\xb5\x2f\xfd", Kind::Packed),
        (b"BZh", Kind::Packed),
    ];
    if head.get(64..68) == Some(&0xbeda_107f_u32.to_le_bytes()) {
        return Some(Kind::Vdi);
    }
    // A descriptor may begin with other comments.
    let text = head.get(..head.len().min(1024)).unwrap_or_default();
    if text.windows(16).any(|window| {
        window.eq_ignore_ascii_case(b"createtype=\"mono")
            || window.eq_ignore_ascii_case(b"createtype=\"vmfs")
            || window.eq_ignore_ascii_case(b"createtype=\"twog")
    }) && head.first() == Some(&b'#')
    {
        return Some(Kind::VmdkDescriptor);
    }
    marks.into_iter().find(|(mark, _)| head.starts_with(mark)).map(|(_, kind)| kind)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    be32(bytes, at).map(u32::swap_bytes)
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    be64(bytes, at).map(u64::swap_bytes)
}

/// Bytes that a header of a format takes, for one that is cut off.
fn cut_off(size: u64, needed: u64) -> IntakeRefusal {
    IntakeRefusal::CutOff { bytes: size, needed }
}

/// Incompatible features of qcow2 (docs/interop/qcow2.rst of QEMU): dirty, compression type, extended L2.
const QCOW2_FEATURES: u64 = 1 | 1 << 3 | 1 << 4;
const QCOW2_CORRUPT: u64 = 1 << 1;
const QCOW2_DATA_FILE: u64 = 1 << 2;

fn qcow2(head: &[u8], size: u64) -> Result<u64, IntakeRefusal> {
    let short = || cut_off(size, 104);
    let version = be32(head, 4).ok_or_else(short)?;
    if !(2..=3).contains(&version) {
        return Err(IntakeRefusal::Feature { detail: format!("version {version}") });
    }
    let backing = be64(head, 8).ok_or_else(short)?;
    if backing != 0 {
        let length = usize::try_from(be32(head, 16).ok_or_else(short)?).unwrap_or(0).min(1023);
        let from = usize::try_from(backing).unwrap_or(usize::MAX);
        let name = head.get(from..from.saturating_add(length)).unwrap_or_default();
        return Err(IntakeRefusal::BackingFile { name: shown(&String::from_utf8_lossy(name)) });
    }
    let virtual_size = be64(head, 24).ok_or_else(short)?;
    if be32(head, 32).ok_or_else(short)? != 0 {
        return Err(IntakeRefusal::Encrypted);
    }
    let mut extensions = 72;
    if version == 3 {
        let features = be64(head, 72).ok_or_else(short)?;
        if features & QCOW2_DATA_FILE != 0 {
            return Err(IntakeRefusal::OtherFile { name: "an external data file".to_owned() });
        }
        if features & QCOW2_CORRUPT != 0 {
            return Err(IntakeRefusal::Damaged { detail: "it is marked as corrupt".to_owned() });
        }
        if features & !QCOW2_FEATURES != 0 {
            let detail = format!("incompatible features {features:#x}");
            return Err(IntakeRefusal::Feature { detail });
        }
        let length = be32(head, 100).ok_or_else(short)?;
        extensions = usize::try_from(length).unwrap_or(usize::MAX).max(104);
    }
    qcow2_extensions(head, extensions)?;
    Ok(virtual_size)
}

/// Extensions follow the header up to one of type 0; there are a handful at most.
fn qcow2_extensions(head: &[u8], mut at: usize) -> Result<(), IntakeRefusal> {
    for _ in 0..64 {
        let (Some(kind), Some(length)) = (be32(head, at), be32(head, at.saturating_add(4))) else {
            return Ok(());
        };
        let from = at.saturating_add(8);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let data = || head.get(from..from.saturating_add(length.min(1023))).unwrap_or_default();
        let name = || shown(&String::from_utf8_lossy(data()));
        match kind {
            0 => return Ok(()),
            0xe279_2aca => return Err(IntakeRefusal::BackingFile { name: name() }),
            0x4441_5441 => return Err(IntakeRefusal::OtherFile { name: name() }),
            0x0537_be77 => return Err(IntakeRefusal::Encrypted),
            _ => at = from.saturating_add(length.next_multiple_of(8).max(length)),
        }
    }
    Err(IntakeRefusal::Feature { detail: "more than 64 header extensions".to_owned() })
}

const SECTOR: u64 = 512;

fn vmdk(head: &[u8], size: u64) -> Result<u64, IntakeRefusal> {
    let short = || cut_off(size, 512);
    let capacity = le64(head, 12).ok_or_else(short)?;
    let (offset, length) = (le64(head, 28).ok_or_else(short)?, le64(head, 36).ok_or_else(short)?);
    // Without a capacity the descriptor inside is followed wherever it leads.
    if capacity == 0 {
        return Err(IntakeRefusal::OtherFile { name: "a descriptor inside the file".to_owned() });
    }
    if offset != 0 {
        let place = |sectors: u64| usize::try_from(sectors.saturating_mul(SECTOR)).ok();
        let text = place(offset)
            .zip(place(length))
            .and_then(|(from, length)| head.get(from..from.saturating_add(length).min(head.len())));
        let Some(text) = text else {
            let detail = "a descriptor that is not at the start of the file".to_owned();
            return Err(IntakeRefusal::Feature { detail });
        };
        vmdk_descriptor(&String::from_utf8_lossy(text))?;
    }
    capacity
        .checked_mul(SECTOR)
        .ok_or(IntakeRefusal::TooLarge { size: u64::MAX, limit: super::verdict::LARGEST_DISK })
}

/// Only disks in one file that build on no other.
fn vmdk_descriptor(text: &str) -> Result<(), IntakeRefusal> {
    for line in text.split(['\n', '\r', '\0']) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
        match key.as_str() {
            "createtype" => {
                let one_file = ["monolithicSparse", "streamOptimized"];
                if !one_file.iter().any(|known| value.eq_ignore_ascii_case(known)) {
                    return Err(IntakeRefusal::OtherFile { name: shown(value) });
                }
            }
            "parentfilenamehint" => {
                return Err(IntakeRefusal::BackingFile { name: shown(value) });
            }
            "parentcid" if !value.eq_ignore_ascii_case("ffffffff") => {
                return Err(IntakeRefusal::BackingFile {
                    name: format!("parent {}", shown(value)),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The names in a descriptor, for the message.
fn descriptor_names(head: &[u8]) -> String {
    let text =
        String::from_utf8_lossy(head.get(..head.len().min(4096)).unwrap_or_default()).into_owned();
    let quoted = text
        .lines()
        .filter(|line| line.starts_with("RW ") || line.starts_with("RDONLY "))
        .filter_map(|line| line.split('"').nth(1));
    let names: Vec<_> = quoted.take(3).map(shown).collect();
    if names.is_empty() { "named by a descriptor".to_owned() } else { names.join(", ") }
}

fn vdi(head: &[u8], size: u64) -> Result<u64, IntakeRefusal> {
    let short = || cut_off(size, 512);
    match le32(head, 76).ok_or_else(short)? {
        1 | 2 => {}
        kind => {
            let name = format!("vdi of type {kind}");
            return Err(IntakeRefusal::BackingFile { name });
        }
    }
    le64(head, 368).ok_or_else(short)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

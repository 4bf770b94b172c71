//! What is made of what QEMU's own tool says about a disk.

use skerry_model::ImageFormat;

use super::library::{CheckReport, DiskReport};
use super::refusal::{IntakeRefusal, shown};

/// No disk inside an image may be larger, whatever the node's pools could hold.
pub const LARGEST_DISK: u64 = 16 << 40;

/// Judges a disk by the tool's report on it. Gives the size that a guest would see.
pub fn judge_disk(
    declared: ImageFormat,
    report: &DiskReport,
    limit: u64,
) -> Result<u64, IntakeRefusal> {
    if let Some(name) = &report.backing_file {
        return Err(IntakeRefusal::BackingFile { name: shown(name) });
    }
    if let Some(name) = report.other_files.first() {
        return Err(IntakeRefusal::OtherFile { name: shown(name) });
    }
    if report.encrypted {
        return Err(IntakeRefusal::Encrypted);
    }
    if report.corrupt {
        return Err(IntakeRefusal::Damaged { detail: "it is marked as corrupt".to_owned() });
    }
    if report.format != declared.word() {
        return Err(IntakeRefusal::Format { declared, found: "read as another format" });
    }
    let limit = limit.min(LARGEST_DISK);
    if report.virtual_size > limit {
        return Err(IntakeRefusal::TooLarge { size: report.virtual_size, limit });
    }
    Ok(report.virtual_size)
}

/// Judges the tables of a disk of `bytes` bytes. Leaked clusters waste space and harm nothing.
pub fn judge_check(report: &CheckReport, bytes: u64) -> Result<(), IntakeRefusal> {
    if report.corruptions > 0 || report.errors > 0 {
        let detail = format!(
            "its tables have {} errors, and {} could not be checked",
            report.corruptions, report.errors
        );
        return Err(IntakeRefusal::Damaged { detail });
    }
    match report.end_offset {
        // The last cluster need not be there whole.
        Some(end) if end.saturating_sub(bytes) >= report.cluster_size.max(1) => {
            Err(IntakeRefusal::CutOff { bytes, needed: end })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> DiskReport {
        DiskReport {
            format: "qcow2".to_owned(),
            virtual_size: 1 << 30,
            cluster_size: 65_536,
            ..DiskReport::default()
        }
    }

    fn reason(report: &DiskReport) -> &'static str {
        judge_disk(ImageFormat::Qcow2, report, 2 << 30).map_or_else(|r| r.reason(), |_| "")
    }

    #[test]
    fn every_way_out_of_the_file_is_refused() {
        assert_eq!(judge_disk(ImageFormat::Qcow2, &sound(), 1 << 30), Ok(1 << 30));
        let backing = DiskReport { backing_file: Some("b\n".to_owned()), ..sound() };
        let other = DiskReport { other_files: vec!["d".to_owned()], ..sound() };
        for (report, expected) in [
            (backing, "BackingFile"),
            (other, "OtherFile"),
            (DiskReport { encrypted: true, ..sound() }, "Encrypted"),
            (DiskReport { corrupt: true, ..sound() }, "Damaged"),
            (DiskReport { format: "raw".to_owned(), ..sound() }, "WrongFormat"),
            (DiskReport { virtual_size: 3 << 30, ..sound() }, "TooLarge"),
        ] {
            assert_eq!(reason(&report), expected);
        }
        let bomb = DiskReport { virtual_size: LARGEST_DISK + 1, ..sound() };
        assert!(judge_disk(ImageFormat::Qcow2, &bomb, u64::MAX).is_err());
    }

    #[test]
    fn a_disk_must_be_there_whole() {
        let report =
            CheckReport { cluster_size: 100, end_offset: Some(1000), ..CheckReport::default() };
        assert_eq!(judge_check(&report, 1000), Ok(()));
        assert_eq!(judge_check(&report, 901), Ok(()));
        let cut = judge_check(&report, 900);
        assert_eq!(cut, Err(IntakeRefusal::CutOff { bytes: 900, needed: 1000 }));
        let leaks = CheckReport { leaks: 5, ..report.clone() };
        assert_eq!(judge_check(&leaks, 1000), Ok(()));
        let broken = CheckReport { corruptions: 1, ..report };
        assert_eq!(judge_check(&broken, 1000).unwrap_err().reason(), "Damaged");
    }
}

//! Heads made byte by byte. What QEMU itself makes of such files is tried by the adapter's tests.

use proptest::prelude::*;
use skerry_model::ImageFormat as F;

use super::*;

fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
    head[at..at + bytes.len()].copy_from_slice(bytes);
}

fn qcow2_head() -> Vec<u8> {
    let mut head = vec![0; 512];
    put(&mut head, 0, b"QFI\xfb");
    put(&mut head, 4, &3_u32.to_be_bytes());
    put(&mut head, 20, &16_u32.to_be_bytes());
    put(&mut head, 24, &(1_u64 << 30).to_be_bytes());
    put(&mut head, 100, &104_u32.to_be_bytes());
    head
}

fn vmdk_head(descriptor: &str) -> Vec<u8> {
    let mut head = vec![0; 8192];
    put(&mut head, 0, b"KDMV");
    put(&mut head, 12, &2048_u64.to_le_bytes());
    put(&mut head, 28, &1_u64.to_le_bytes());
    put(&mut head, 36, &4_u64.to_le_bytes());
    put(&mut head, 512, descriptor.as_bytes());
    head
}

fn vdi_head(kind: u32) -> Vec<u8> {
    let mut head = vec![0; 512];
    put(&mut head, 64, &0xbeda_107f_u32.to_le_bytes());
    put(&mut head, 76, &kind.to_le_bytes());
    put(&mut head, 368, &4096_u64.to_le_bytes());
    head
}

fn reason(format: F, head: &[u8]) -> &'static str {
    match check_head(format, head, head.len() as u64) {
        Ok(_) => "",
        Err(refusal) => refusal.reason(),
    }
}

#[test]
fn sound_heads_tell_the_size_of_the_disk() {
    let good = "createType=\"monolithicSparse\"\nparentCID=ffffffff\n";
    for (format, head, size) in [
        (F::Qcow2, qcow2_head(), Some(1 << 30)),
        (F::Vmdk, vmdk_head(good), Some(1 << 20)),
        (F::Vdi, vdi_head(1), Some(4096)),
        (F::Raw, vec![0; 512], Some(512)),
    ] {
        assert_eq!(check_head(format, &head, head.len() as u64), Ok(size), "{format:?}");
    }
    let mut iso = vec![0; 40_000];
    put(&mut iso, 32_769, b"CD001");
    assert_eq!(reason(F::Iso, &iso), "");
    let mut tar = vec![0; 1024];
    put(&mut tar, 257, b"ustar");
    assert_eq!(reason(F::OciArchive, &tar), "");
}

#[test]
fn a_qcow2_that_leads_elsewhere_is_refused() {
    let mut backing = qcow2_head();
    put(&mut backing, 8, &256_u64.to_be_bytes());
    put(&mut backing, 16, &11_u32.to_be_bytes());
    put(&mut backing, 256, b"/etc/shadow");
    let refusal = check_head(F::Qcow2, &backing, 512).unwrap_err();
    assert_eq!(refusal, IntakeRefusal::BackingFile { name: "/etc/shadow".to_owned() });

    let with = |at: usize, bytes: &[u8]| {
        let mut head = qcow2_head();
        put(&mut head, at, bytes);
        reason(F::Qcow2, &head)
    };
    assert_eq!(with(72, &(1_u64 << 2).to_be_bytes()), "OtherFile");
    assert_eq!(with(72, &(1_u64 << 1).to_be_bytes()), "Damaged");
    assert_eq!(with(72, &(1_u64 << 9).to_be_bytes()), "UnsupportedFeature");
    assert_eq!(with(72, &1_u64.to_be_bytes()), "", "dirty is for the check to judge");
    assert_eq!(with(32, &2_u32.to_be_bytes()), "Encrypted");
    assert_eq!(with(4, &4_u32.to_be_bytes()), "UnsupportedFeature");
    for (kind, expected) in
        [(0xe279_2aca_u32, "BackingFile"), (0x4441_5441, "OtherFile"), (0x0537_be77, "Encrypted")]
    {
        // Behind an extension that does no harm.
        let mut head = qcow2_head();
        put(&mut head, 104, &0x6803_f857_u32.to_be_bytes());
        put(&mut head, 108, &5_u32.to_be_bytes());
        put(&mut head, 120, &kind.to_be_bytes());
        put(&mut head, 124, &3_u32.to_be_bytes());
        assert_eq!(reason(F::Qcow2, &head), expected, "{kind:x}");
    }
    assert_eq!(reason(F::Qcow2, &qcow2_head()[..50]), "CutOff");
}

#[test]
fn a_vmdk_that_leads_elsewhere_is_refused() {
    let text = "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n";
    let refusal = check_head(F::Vmdk, text.as_bytes(), text.len() as u64).unwrap_err();
    assert_eq!(refusal, IntakeRefusal::OtherFile { name: "/etc/passwd".to_owned() });
    let late = format!("# a comment\n# another\n{text}").replace("# Disk DescriptorFile\n", "");
    assert_eq!(reason(F::Vmdk, late.as_bytes()), "OtherFile");
    assert_eq!(reason(F::Raw, late.as_bytes()), "WrongFormat");
    for (descriptor, expected) in [
        ("createType=\"twoGbMaxExtentSparse\"", "OtherFile"),
        ("CREATETYPE = \"vmfs\"", "OtherFile"),
        ("createType=\"monolithicSparse\"\nparentCID=12345678", "BackingFile"),
        ("createType=\"streamOptimized\"\nparentFileNameHint=\"/etc/shadow\"", "BackingFile"),
    ] {
        assert_eq!(reason(F::Vmdk, &vmdk_head(descriptor)), expected, "{descriptor}");
    }
    let mut no_capacity = vmdk_head("");
    put(&mut no_capacity, 12, &0_u64.to_le_bytes());
    assert_eq!(reason(F::Vmdk, &no_capacity), "OtherFile");
    let mut far = vmdk_head("");
    put(&mut far, 28, &u64::MAX.to_le_bytes());
    assert_eq!(reason(F::Vmdk, &far), "UnsupportedFeature");
    let mut huge = vmdk_head("createType=\"monolithicSparse\"");
    put(&mut huge, 12, &u64::MAX.to_le_bytes());
    assert_eq!(reason(F::Vmdk, &huge), "TooLarge");
    assert_eq!(reason(F::Vdi, &vdi_head(4)), "BackingFile");
}

#[test]
fn what_is_declared_must_be_what_it_is() {
    let marked: [&[u8]; 6] =
        [b"QFI\xfb", b"KDMV", b"conectix", b"LUKS\xba\xbe", b"\x1f\x8b", b"vhdxfile"];
    for mark in marked {
        let mut head = vec![0; 512];
        put(&mut head, 0, mark);
        assert_eq!(reason(F::Raw, &head), "WrongFormat", "{mark:?}");
    }
    for format in [F::Qcow2, F::Vmdk, F::Vdi, F::Iso, F::OciArchive] {
        assert_eq!(reason(format, &[0; 512]), "WrongFormat", "{format:?}");
        assert_eq!(reason(format, &[]), "WrongFormat", "{format:?}");
    }
    assert_eq!(reason(F::Raw, &[]), "WrongFormat");
    assert_eq!(reason(F::Raw, &vdi_head(1)), "WrongFormat");
    assert_eq!(reason(F::Qcow2, &vmdk_head("")), "WrongFormat");
}

proptest! {
    /// No bytes panic, and what passes as a linked-free disk holds none of the marks that lead elsewhere.
    #[test]
    fn no_head_panics(
        mark in prop::sample::select(vec![&b"QFI\xfb"[..], b"KDMV", b"# Disk DescriptorFile", b""]),
        rest in prop::collection::vec(any::<u8>(), 0..700), size in any::<u64>(),
    ) {
        let head = [mark, &rest].concat();
        for format in [F::Qcow2, F::Raw, F::Vmdk, F::Vdi, F::Iso, F::OciArchive, F::KernelInitrd] {
            match check_head(format, &head, size) {
                Ok(_) if format == F::Qcow2 => prop_assert_eq!(be64(&head, 8), Some(0)),
                Ok(_) => {}
                Err(refusal) => {
                    prop_assert!(refusal.to_string().chars().all(|c| !c.is_control()));
                }
            }
        }
    }
}

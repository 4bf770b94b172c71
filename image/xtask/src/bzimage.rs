//! The kernel proper out of a bzImage, for machines that can start it without its own unpacking: half of what a small
//! guest's boot takes under emulation goes into that.
//!
//! Reads what the boot protocol says about itself (Documentation/arch/x86/boot.rst of Linux: `setup_sects`, `header`,
//! `version`, `payload_offset`, `payload_length`). Must not guess: what is not laid out so is refused.

use anyhow::{Context, Result, ensure};

/// Where the fields of the setup header stand in the file.
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The first protocol that tells where the payload is.
const TELLS_PAYLOAD: u16 = 0x0208;

/// First bytes of a zstd frame.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The build of Linux puts the unpacked size behind what it has packed.
const SIZE_BEHIND: usize = 4;

/// The packed kernel in a bzImage: one zstd frame.
///
/// # Errors
/// When it is no bzImage, or packed another way.
pub fn payload(image: &[u8]) -> Result<&[u8]> {
    let cut_short = "the bzImage is cut short";
    let magic = image.get(MAGIC..MAGIC + 4).context(cut_short)?;
    ensure!(magic == b"HdrS", "the kernel is no bzImage");
    let version = u16::from_le_bytes([
        *image.get(VERSION).context(cut_short)?,
        *image.get(VERSION + 1).context(cut_short)?,
    ]);
    ensure!(version >= TELLS_PAYLOAD, "boot protocol {version:#x} does not tell the payload");
    // A zero stands for four, from the days of floppy disks; one sector of boot code comes before them.
    let sectors = match image.get(SETUP_SECTORS).copied().context(cut_short)? {
        0 => 4,
        count => usize::from(count),
    };
    let start = (sectors + 1) * 512 + word(image, PAYLOAD_OFFSET).context(cut_short)?;
    let length = word(image, PAYLOAD_LENGTH).context(cut_short)?;
    let packed = start
        .checked_add(length)
        .and_then(|end| image.get(start..end.saturating_sub(SIZE_BEHIND)))
        .context(cut_short)?;
    ensure!(packed.starts_with(ZSTD), "the kernel is not packed with zstd");
    Ok(packed)
}

fn word(image: &[u8], at: usize) -> Option<usize> {
    let bytes = image.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(sectors: u8, version: u16, payload: &[u8]) -> Vec<u8> {
        let setup = (usize::from(if sectors == 0 { 4 } else { sectors }) + 1) * 512;
        let mut image = vec![0; setup + 16];
        image[SETUP_SECTORS] = sectors;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[VERSION..VERSION + 2].copy_from_slice(&version.to_le_bytes());
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"more");
        image
    }

    #[test]
    fn the_payload_is_found_without_the_size_behind_it() {
        for sectors in [0, 1, 39] {
            let image = image(sectors, 0x20f, b"\x28\xb5\x2f\xfdkernelSIZE");
            assert_eq!(payload(&image).unwrap(), b"\x28\xb5\x2f\xfdkernel");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for (bad, why) in [
            (image(4, 0x207, b"\x28\xb5\x2f\xfdkernelSIZE"), "protocol"),
            (image(4, 0x20f, b"\xfd7zXZ kernelSIZE"), "zstd"),
            (image(4, 0x20f, b""), "zstd"),
            (vec![0; 4096], "no bzImage"),
        ] {
            let error = payload(&bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        // Whatever is missing at the end, it is said and nothing is made up.
        let good = image(4, 0x20f, b"\x28\xb5\x2f\xfdkernelSIZE");
        for length in 0..good.len() - b"more".len() - SIZE_BEHIND {
            assert!(payload(&good[..length]).is_err(), "{length}");
        }
    }
}

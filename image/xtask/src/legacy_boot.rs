//! What a machine without UEFI shows: the boot code in the first sector of the disk prints a sentence and stops.
//!
//! The sector is the protective MBR of the partition table; only its first 440 bytes are ours.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

const MESSAGE: &str = "\r\nThis disk holds Skerry, which starts with UEFI firmware only.\r\nSwitch the machine from BIOS (legacy, CSM) to UEFI in its setup and start again.\r\n";

/// Writes the boot code into the image.
///
/// # Errors
/// When the image cannot be written.
pub fn install(raw: &Path) -> Result<()> {
    let code = code()?;
    let mut file = OpenOptions::new()
        .write(true)
        .open(raw)
        .with_context(|| format!("cannot open {}", raw.display()))?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&code).with_context(|| format!("cannot write {}", raw.display()))
}

/// The 16-bit program: print the message on the screen and on the first serial line, then halt.
fn code() -> Result<Vec<u8>> {
    const LOAD_ADDRESS: u16 = 0x7c00;
    let mut code: Vec<u8> = vec![
        0xfa, // cli: nobody may interrupt while there is no stack
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0x8e, 0xd0, // mov ss, ax
        0xbc, 0x00, 0x7c, // mov sp, 0x7c00
        0xfb, // sti
        0xfc, // cld
        0xb8, 0xe3, 0x00, // mov ax, 0x00e3: set up the serial line, 9600 baud, 8 bits
        0x31, 0xd2, // xor dx, dx: the first one
        0xcd, 0x14, // int 0x14
        0xbe, 0x00, 0x00, // mov si, message (filled in below)
    ];
    let operand = code.len() - 2;
    code.extend([
        // next:
        0xac, // lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x11, // jz stop
        0x50, // push ax
        0xb4, 0x0e, // mov ah, 0x0e: write a character to the screen
        0xbb, 0x07, 0x00, // mov bx, 0x0007
        0xcd, 0x10, // int 0x10
        0x58, // pop ax
        0xb4, 0x01, // mov ah, 0x01: write a character to the serial line
        0x31, 0xd2, // xor dx, dx
        0xcd, 0x14, // int 0x14
        0xeb, 0xea, // jmp next
        // stop:
        0xf4, // hlt
        0xeb, 0xfd, // jmp stop
    ]);
    let message = u16::try_from(code.len()).context("the boot code is too long")? + LOAD_ADDRESS;
    for (byte, value) in code.iter_mut().skip(operand).zip(message.to_le_bytes()) {
        *byte = value;
    }
    code.extend_from_slice(MESSAGE.as_bytes());
    code.push(0);
    ensure!(code.len() <= 440, "the boot code has {} bytes, 440 are allowed", code.len());
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_land_where_they_should() {
        let code = code().unwrap();
        let next = code.iter().position(|b| *b == 0xac).unwrap();
        let stop = code.iter().position(|b| *b == 0xf4).unwrap();
        let target =
            |at: usize| (at + 2).wrapping_add_signed(isize::from(code[at + 1].cast_signed()));
        let jz = (next..stop).find(|i| code[*i] == 0x74).unwrap();
        assert_eq!(target(jz), stop);
        assert_eq!(target(stop - 2), next);
        assert_eq!(target(stop + 1), stop);
    }

    #[test]
    fn the_message_is_where_the_code_looks_for_it() {
        let code = code().unwrap();
        let mov = code.windows(1).position(|b| b == [0xbe]).unwrap();
        let at = usize::from(u16::from_le_bytes([code[mov + 1], code[mov + 2]])) - 0x7c00;
        assert!(code[at..].starts_with(MESSAGE.as_bytes()));
        assert_eq!(code.last(), Some(&0));
    }
}

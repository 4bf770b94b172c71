//! A CD image (ISO 9660, ECMA-119) with one file on it, written byte by byte: nothing else on the builder's list makes one.

const SECTOR: usize = 2048;
/// Where the parts lie, in sectors: what describes the disc, its end, two tables of paths, the folder, the file.
const DESCRIPTOR: usize = 16;
const LITTLE_PATHS: u32 = 18;
const BIG_PATHS: u32 = 19;
const ROOT: u32 = 20;
const FILE: u32 = 21;

/// A CD whose only file, at most 8 letters that a guest sees in lower case, holds this text.
#[must_use]
pub fn iso(name: &str, text: &str) -> Vec<u8> {
    let content = text.as_bytes().chunks(SECTOR).count().max(1);
    let sectors = FILE as usize + content;
    let mut disc = vec![0_u8; sectors * SECTOR];
    let mut put = |sector: usize, at: usize, bytes: &[u8]| {
        let from = sector * SECTOR + at;
        if let Some(place) = disc.get_mut(from..from + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    let root = record(ROOT, SECTOR, 2, &[0]);

    put(DESCRIPTOR, 0, b"\x01CD001\x01");
    // Texts are filled with spaces: names of the system and the disc, and those of its makers.
    put(DESCRIPTOR, 8, &[b' '; 64]);
    put(DESCRIPTOR, 40, b"SKERRY");
    put(DESCRIPTOR, 80, &both32(sectors));
    for at in [120, 124] {
        put(DESCRIPTOR, at, &both16(1));
    }
    put(DESCRIPTOR, 128, &both16(2048));
    put(DESCRIPTOR, 132, &both32(10));
    put(DESCRIPTOR, 140, &LITTLE_PATHS.to_le_bytes());
    put(DESCRIPTOR, 148, &BIG_PATHS.to_be_bytes());
    put(DESCRIPTOR, 156, &root);
    put(DESCRIPTOR, 190, &[b' '; 623]);
    for at in [813, 830, 847, 864] {
        put(DESCRIPTOR, at, &[b'0'; 16]);
    }
    put(DESCRIPTOR, 881, &[1]);
    put(DESCRIPTOR + 1, 0, b"\xffCD001\x01");

    let path = |extent: [u8; 4], parent: [u8; 2]| [&[1, 0][..], &extent, &parent, &[0, 0]].concat();
    put(LITTLE_PATHS as usize, 0, &path(ROOT.to_le_bytes(), [1, 0]));
    put(BIG_PATHS as usize, 0, &path(ROOT.to_be_bytes(), [0, 1]));

    let file = record(FILE, text.len(), 0, format!("{}.;1", name.to_uppercase()).as_bytes());
    put(ROOT as usize, 0, &[root, record(ROOT, SECTOR, 2, &[1]), file].concat());
    put(FILE as usize, 0, text.as_bytes());
    disc
}

/// An entry of a folder.
fn record(extent: u32, size: usize, flags: u8, name: &[u8]) -> Vec<u8> {
    let length = (33 + name.len()).next_multiple_of(2);
    let mut record = vec![u8::try_from(length).unwrap_or(u8::MAX), 0];
    record.extend(both32(extent as usize));
    record.extend(both32(size));
    // The first of January 2000, in Greenwich.
    record.extend([100, 1, 1, 0, 0, 0, 0, flags, 0, 0]);
    record.extend(both16(1));
    record.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    record.extend(name);
    record.resize(length, 0);
    record
}

/// Numbers stand there in both orders of bytes.
fn both16(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

fn both32(number: usize) -> [u8; 8] {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let ([a, b, c, d], [e, f, g, h]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

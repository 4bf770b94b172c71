//! Blobs that are small and become large, or are not what they are said to be.

use std::io::Write;

use crate::{Harm, Layer, Packing};

/// Bombs for a layer that may have so many bytes, some MiB of them.
#[must_use]
pub fn bombs(limit: usize) -> Vec<Harm> {
    let bomb = Layer::default().file("bomb", &"0".repeat(4 * limit)).end();
    // All is small in the layer itself; what follows its end is not.
    let mut tail = Layer::default().file("a", "x").end();
    tail.resize(8 * limit, 0);
    let members = gzip(&bomb[..4096]).repeat(5 * limit / 2048);
    let large = "larger than allowed";
    let gzipped = |what, blob, says| Harm { what, blob, packing: Packing::Gzip, says };
    vec![
        gzipped("gzip", gzip(&bomb), large),
        gzipped("gzip in many members", members, large),
        Harm { what: "zstd", blob: zstd(&bomb), packing: Packing::Zstd, says: large },
        gzipped("zeros at the end", gzip(&tail), "bytes without end after the archive"),
    ]
}

/// Blobs that are not what they are said to be, whatever the limits are.
#[must_use]
pub fn mispacked() -> Vec<Harm> {
    // Broken off behind the header of a large file.
    let mut cut = Layer::header(b'0', b"bomb", b"", 1 << 21, 0o644).to_vec();
    cut.resize(1 << 20, 0);
    let plain = Layer::default().file("a", "x").end();
    let case = |what, blob, packing, says| Harm { what, blob, packing, says };
    vec![
        case("cut off", gzip(&cut), Packing::Gzip, "breaks off"),
        case("no gzip", plain.clone(), Packing::Gzip, "invalid gzip header"),
        case("no zstd", plain, Packing::Zstd, "Unknown frame descriptor"),
        case(
            "zstd with a window of 2 GiB",
            zstd_window(31),
            Packing::Zstd,
            "Frame requires too much memory",
        ),
    ]
}

/// gzip, as small as it gets.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The head of a frame that wants a window of two to this power.
fn zstd_window(power: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (power - 10) << 3];
    // One last block of one byte, repeated a million times.
    frame.extend([0x03, 0x00, 0x80, b'x']);
    frame
}

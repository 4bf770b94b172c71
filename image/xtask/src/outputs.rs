//! The files that are published beside the raw image: compressed image, list of parts, checksums.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::builder::Builder;
use crate::paths::Paths;
use crate::{command, sbom};

/// Makes everything that is published for the raw image of a board.
///
/// # Errors
/// When a file cannot be read or written.
pub fn publish(paths: &Paths, builder: &Builder, board: &str, packages: &Path) -> Result<()> {
    let folder = paths.image();
    let raw = paths.raw_image(board);
    let compressed = folder.join(format!("skerry-{board}.raw.zst"));
    println!("Compressing the image");
    // Long-distance matching pays because the empty slots and the unpacked kernel repeat; 27 bits is what every
    // zstd unpacks without being asked.
    command::run(
        builder
            .user_command("zstd")
            .args(["-q", "-f", "-19", "--long=27", "-T0"])
            .arg(&raw)
            .arg("-o")
            .arg(&compressed),
    )?;

    let parts = folder.join(format!("skerry-{board}.spdx.json"));
    std::fs::write(&parts, sbom::build(&paths.repo, board, packages)?)
        .with_context(|| format!("cannot write {}", parts.display()))?;
    let manifest = folder.join(format!("skerry-{board}.packages.json"));
    std::fs::copy(packages, &manifest)
        .with_context(|| format!("cannot copy {}", packages.display()))?;

    let mut sums = String::new();
    for file in [&raw, &compressed, &parts, &manifest] {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        sums.push_str(&format!("{}  {name}\n", sha256(file)?));
    }
    std::fs::write(folder.join("SHA256SUMS"), sums)?;
    let size = std::fs::metadata(&compressed)?.len();
    println!("{}: {}.{} MB", compressed.display(), size / 1_000_000, size / 100_000 % 10);
    Ok(())
}

/// Checksum of a file of any size.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(file: &Path) -> Result<String> {
    let mut input =
        std::fs::File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

/// The compressed image of a board.
#[must_use]
pub fn compressed_image(paths: &Paths, board: &str) -> PathBuf {
    paths.image().join(format!("skerry-{board}.raw.zst"))
}

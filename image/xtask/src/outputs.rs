//! The files that are published beside the raw image: compressed image, list of parts, checksums.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::builder::Builder;
use crate::paths::Paths;
use crate::{command, sbom};

/// How hard the image is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For a check that it can be made: seconds, and half as large again.
    Quick,
    /// For users: minutes.
    Small,
}

/// Makes everything that is published for the raw image of a board.
///
/// # Errors
/// When a file cannot be read or written.
pub fn publish(
    paths: &Paths,
    builder: &Builder,
    board: &str,
    packages: &Path,
    effort: Effort,
) -> Result<()> {
    let folder = paths.image();
    let raw = paths.raw_image(board);
    let compressed = folder.join(format!("skerry-{board}.raw.zst"));
    println!("Compressing the image");
    let level = match effort {
        Effort::Quick => "-3",
        Effort::Small => "-19",
    };
    // Long-distance matching pays because the empty slots and the unpacked kernel repeat; 27 bits is what every
    // zstd unpacks without being asked.
    command::run(
        builder
            .user_command("zstd")
            .args(["-q", "-f", level, "--long=27", "-T0"])
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

    // By the program, which is many times faster than ours built for debugging.
    let mut sums = std::process::Command::new("sha256sum");
    sums.current_dir(&folder)
        .args([&raw, &compressed, &parts, &manifest].iter().filter_map(|file| file.file_name()));
    let sums = command::output(&mut sums)?;
    std::fs::write(folder.join("SHA256SUMS"), sums).context("cannot write SHA256SUMS")?;
    let size = std::fs::metadata(&compressed)?.len();
    println!("{}: {}.{} MB", compressed.display(), size / 1_000_000, size / 100_000 % 10);
    Ok(())
}

/// The compressed image of a board.
#[must_use]
pub fn compressed_image(paths: &Paths, board: &str) -> PathBuf {
    paths.image().join(format!("skerry-{board}.raw.zst"))
}

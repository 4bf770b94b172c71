//! Sizes of what is built, and how long building takes.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use skerry_system_tests::NodeUnderTest;
use xtask::builder::Builder;
use xtask::image::{Compression, Options, fresh};
use xtask::outputs::Effort;
use xtask::paths::Paths;
use xtask::{command, image, outputs, tree};

use crate::figures::{Figure, Figures};

/// The board whose image is measured.
const BOARD: &str = "qemu-q35";

/// Sizes of the image, which is made when it is missing. The published form is made in any case: the one at hand may be
/// older, or compressed in a hurry.
pub fn sizes(paths: &Paths, figures: &mut Figures) -> Result<()> {
    let raw = paths.raw_image(BOARD);
    if raw.exists() {
        // The published form alone: a new image would take the disk from machines that run on this one.
        let packages = paths.work().join("tree/root.manifest");
        let builder = Builder::existing(paths)?;
        outputs::publish(paths, &builder, BOARD, &packages, Effort::Small)?;
    } else {
        image::build(paths, &options(true))?;
    }
    let size = std::fs::metadata(outputs::compressed_image(paths, BOARD))?.len();
    let remark = "zstd -19 --long";
    figures.add(Figure::at_most("compressed image", megabytes(size), 150.0, "MB").remark(remark));
    let data = std::fs::metadata(&raw)?;
    figures.add(
        Figure::new("raw image", format!("{:.0} MB", megabytes(data.len())))
            .remark(format!("{:.0} MB of it not empty", megabytes(data.blocks() * 512))),
    );
    Ok(())
}

/// Size of the root file system, which the node knows.
pub fn root_size(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let text = node.shell("stat -f -c '%b %S %T' /")?;
    let mut words = text.split_whitespace();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (blocks, size) = number().zip(number()).with_context(|| format!("not sizes: {text}"))?;
    figures.add(
        Figure::new("root file system", format!("{:.0} MB", megabytes(blocks * size)))
            .remark("erofs, not compressed inside"),
    );
    Ok(())
}

/// How long the programs take from nothing, and the image with the builder root and the programs there.
pub fn times(paths: &Paths, figures: &mut Figures) {
    let folder = paths.target.join("perf");
    for (what, remark, result) in [
        (
            "image build",
            "`cargo xtask image --no-programs`: builder root and programs there, nothing else kept",
            image_time(paths, &folder.join("image")),
        ),
        (
            "programs, from scratch",
            "`cargo build --release` of the node's programs with all dependencies, sources fetched",
            programs_time(paths, &folder.join("programs")),
        ),
    ] {
        figures.add(match result {
            Ok(seconds) => Figure::new(what, format!("{seconds:.0} s")).remark(remark),
            Err(error) => Figure::missing(what, "", &error),
        });
    }
}

/// Builds in a folder of its own, since the real one may be in use by running machines.
fn image_time(paths: &Paths, folder: &Path) -> Result<f64> {
    let target = fresh(folder)?;
    for shared in ["builder", "release"] {
        symlink(paths.target.join(shared), target.join(shared))?;
    }
    let apart = Paths { repo: paths.repo.clone(), target };
    let started = Instant::now();
    image::build(&apart, &options(false))?;
    let seconds = started.elapsed().as_secs_f64();
    remove(folder)?;
    Ok(seconds)
}

fn programs_time(paths: &Paths, folder: &Path) -> Result<f64> {
    let target = fresh(folder)?;
    let mut cargo = std::process::Command::new("cargo");
    cargo.current_dir(&paths.repo).args(["build", "--release", "--locked", "--quiet"]);
    cargo.arg("--target-dir").arg(&target);
    for (package, _) in tree::PROGRAMS {
        cargo.args(["-p", package]);
    }
    let started = Instant::now();
    command::run(&mut cargo)?;
    let seconds = started.elapsed().as_secs_f64();
    remove(folder)?;
    Ok(seconds)
}

fn remove(folder: &Path) -> Result<()> {
    command::run(command::as_root("rm").arg("-rf").arg("--one-file-system").arg(folder))
}

fn options(publish: bool) -> Options {
    Options {
        board: BOARD.into(),
        compression: Compression::None,
        publish: publish.then_some(Effort::Small),
        programs: publish,
    }
}

#[allow(clippy::cast_precision_loss, reason = "sizes of files are far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

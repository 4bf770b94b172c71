//! `cargo xtask check`: what can be checked about data files without booting anything.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::builder::Builder;
use crate::command;
use crate::layout::Layout;
use crate::paths::Paths;

/// Units whose exposure, as `systemd-analyze security` counts it (0 to 10), has a limit.
const EXPOSURE: &[(&str, u32)] = &[
    ("skerry-northd.service", 20),
    ("skerry-metad.service", 20),
    ("skerry-console@.service", 20),
    // It starts the reader of image layers as another user, for which it needs to change user and group.
    ("skerry-noded.service", 46),
    ("skerry-dnsmasq@.service", 35),
];

/// Checks one board, and prints what it comes to.
///
/// # Errors
/// When the board is wrong; the message names file, line and key.
pub fn board(paths: &Paths, name: &str) -> Result<()> {
    let board = skerry_board_hal::resolve(&paths.repo.join("board"), name)?;
    println!("{name}: {}", board.description);
    println!(
        "  command line  {} {}",
        board.kernel.command_line.join(" "),
        board.console_arguments().join(" ")
    );
    println!(
        "  watchdog      {} after {} s",
        board.watchdog.modules.join(", "),
        board.watchdog.timeout_s
    );
    println!(
        "  modules       {} patterns, {} in the initrd",
        board.kernel.modules.len(),
        board.kernel.initrd_modules.len()
    );
    Ok(())
}

/// Checks all boards and the layout of the disk.
///
/// # Errors
/// When one of them is wrong.
pub fn data(paths: &Paths) -> Result<()> {
    let folder = paths.repo.join("board");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| {
            entry
                .ok()
                .filter(|e| e.path().join("board.toml").exists())
                .map(|e| e.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    ensure!(!names.is_empty(), "{} holds no board", folder.display());
    for name in names {
        board(paths, &name)?;
    }
    let layout = Layout::read(&paths.repo.join("image/layout.toml"))?;
    println!(
        "layout: {} partitions, {} MiB of a disk of {} MiB at least",
        layout.partitions.len(),
        layout.used_mib(),
        layout.minimum_disk_mib
    );
    Ok(())
}

/// Measures how exposed our units are, without running them, and holds them to their limits.
///
/// # Errors
/// When a unit is wrong or more exposed than allowed.
pub fn units(paths: &Paths, builder: &Builder) -> Result<()> {
    let folder = paths.repo.join("config/systemd/system");
    let mut beyond = Vec::new();
    for (unit, limit) in EXPOSURE {
        let exposure = exposure(builder, &folder.join(unit))?;
        println!(
            "{unit}: exposure {}.{} (limit {}.{})",
            exposure / 10,
            exposure % 10,
            limit / 10,
            limit % 10
        );
        if exposure > *limit {
            beyond.push(*unit);
        }
    }
    ensure!(beyond.is_empty(), "more exposed than allowed: {}", beyond.join(", "));
    Ok(())
}

/// Tenths of the exposure level.
fn exposure(builder: &Builder, unit: &Path) -> Result<u32> {
    let mut analyze = builder.user_command("systemd-analyze");
    analyze.args(["security", "--offline=yes", "--threshold=100", "--no-pager"]).arg(unit);
    let text = command::output(&mut analyze)?;
    let Some(level) = text
        .lines()
        .find(|l| l.contains("Overall exposure level"))
        .and_then(|l| l.split(':').nth(1))
        .and_then(|l| l.split_whitespace().next())
    else {
        bail!("systemd-analyze said nothing about {}: {text}", unit.display());
    };
    let (whole, tenth) = level.split_once('.').unwrap_or((level, "0"));
    Ok(whole.parse::<u32>()? * 10 + tenth.parse::<u32>()?)
}

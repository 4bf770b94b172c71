//! Building the page, with Node from the builder root so that the host's version does not matter.
//!
//! The result is a folder that `northd` embeds, so it is built before the programs. It is built again only when a
//! source of the page has changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::builder::Builder;
use crate::command;
use crate::paths::Paths;

/// Made by npm, Vite and the page's own scripts; everything else in the folder is a source.
const MADE: &[&str] = &["node_modules", "dist", "coverage", "screenshots", "schema.d.ts"];

/// A program of the page's toolchain, to be run in the page's folder.
#[must_use]
pub fn node_command(builder: &Builder, paths: &Paths, program: &str) -> Command {
    let mut command = builder.user_command("env");
    command.arg(format!("--chdir={}", folder(paths).display()));
    // npm reaches its registry with the certificates that this machine trusts.
    command.args([
        "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt",
        "npm_config_update_notifier=false",
        "npm_config_fund=false",
    ]);
    command.arg(format!("npm_config_cache={}", paths.target.join("npm").display())).arg(program);
    command
}

/// Builds the page if it is not up to date.
///
/// # Errors
/// When packages cannot be fetched or the build fails.
pub fn build(paths: &Paths, builder: &Builder) -> Result<()> {
    let folder = folder(paths);
    if !folder.join("package.json").exists() {
        return Ok(());
    }
    let stamp = paths.target.join("web.sha256");
    let mut hash = Sha256::new();
    // The page's types come from the description of the interface.
    for part in [folder.clone(), paths.repo.join("config/openapi")] {
        add(&mut hash, &part)?;
    }
    let wanted = hex::encode(hash.finalize());
    if folder.join("dist/index.html").exists()
        && std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted)
    {
        return Ok(());
    }
    println!("Building the page");
    install(paths, builder)?;
    command::run(node_command(builder, paths, "npm").args(["run", "-s", "build"]))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Installs what the page is built and tested with, when its list has changed.
///
/// # Errors
/// When packages cannot be fetched.
pub fn install(paths: &Paths, builder: &Builder) -> Result<()> {
    let lock = std::fs::read(folder(paths).join("package-lock.json"))
        .context("the page has no package-lock.json")?;
    let wanted = hex::encode(Sha256::digest(&lock));
    let stamp = folder(paths).join("node_modules/.installed.sha256");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    command::run(node_command(builder, paths, "npm").args(["ci", "--no-audit"]))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

fn folder(paths: &Paths) -> PathBuf {
    paths.repo.join("services/apps/web")
}

fn add(hash: &mut Sha256, path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    if path.is_dir() {
        let mut entries =
            std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
        entries.sort();
        for entry in entries {
            if !MADE.iter().any(|made| entry.file_name().is_some_and(|name| name == *made)) {
                add(hash, &entry)?;
            }
        }
        return Ok(());
    }
    hash.update(path.to_string_lossy().as_bytes());
    hash.update(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    Ok(())
}

//! `cargo xtask sim`: the services on this machine, with a simulated one below them.

use std::process::{Child, Command};

use anyhow::{Context, Result};

use crate::builder::Builder;
use crate::paths::Paths;
use crate::run::PAGE_PORT;
use crate::{command, web};

/// Builds and starts `noded --sim` and `northd`, and returns when either ends. Nothing outside `target/sim` is touched.
///
/// # Errors
/// When something cannot be built or started.
pub fn run(paths: &Paths) -> Result<()> {
    let builder = Builder::ensure(paths)?;
    web::build(paths, &builder)?;
    let mut build = Command::new("cargo");
    build.current_dir(&paths.repo).args(["build", "-p", "skerry-northd", "-p", "skerry-noded"]);
    command::run(build.args(["--features", "skerry-noded/sim"]))?;
    let folder = paths.target.join("sim");
    let program = |name: &str| Command::new(paths.target.join("debug").join(name));
    let mut noded = Service::start(
        program("noded")
            .arg("--sim")
            .arg("--config")
            .arg(paths.repo.join("config/node.toml"))
            .arg("--root")
            .arg(&folder),
    )?;
    let _northd = Service::start(
        program("northd")
            .args(["--listen", &format!("127.0.0.1:{PAGE_PORT}"), "--socket"])
            .arg(folder.join("run/noded.sock"))
            .arg("--spool")
            .arg(folder.join("data/spool")),
    )?;
    println!(
        "A simulated node runs; Ctrl-C ends it.\n\
         \x20 page   https://localhost:{PAGE_PORT}/\n\
         \x20 claim  `skerry --socket {} summary` shows the code\n\
         \x20 state  {} (remove it to begin anew)",
        folder.join("run/noded.sock").display(),
        folder.display()
    );
    noded.0.wait().context("cannot wait for noded")?;
    Ok(())
}

/// A program that ends with this one.
struct Service(Child);

impl Service {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self(child))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that has ended already is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

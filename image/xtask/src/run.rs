//! `cargo xtask run`: a node in QEMU whose serial console is the terminal.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::paths::Paths;
use crate::qemu::{Forward, Machine, Terminal};

/// Where the node's page is on this machine.
pub const PAGE_PORT: u16 = 8443;

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory of the machine.
    pub memory_mib: u32,
    /// Forget the disk of the last run.
    pub fresh: bool,
    /// Cut the node off from everything but the forwarded ports.
    pub cut_off: bool,
    /// Let emulated processors run guests, see [`Machine::virtualization`].
    pub virtualization: bool,
}

/// Starts the node and returns when it is off.
///
/// # Errors
/// When QEMU cannot be started.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    let mut machine = Machine::new(paths, &paths.run())?;
    if machine.is_stale() {
        println!("The image has been built anew: the node starts with an empty disk.");
    }
    if options.fresh || machine.is_stale() {
        machine.forget()?;
    }
    machine.memory_mib = options.memory_mib;
    machine.terminal = Terminal::User;
    machine.restrict = options.cut_off;
    machine.virtualization = options.virtualization;
    machine.forwards.push(Forward { host: PAGE_PORT, guest: 443 });
    // Ports that workloads may publish.
    machine.forwards.extend((8080..8090).map(|guest| Forward { host: guest + 10_000, guest }));
    println!(
        "Starting the node; this terminal becomes its serial console.\n\
         \x20 page    https://localhost:{PAGE_PORT}/ (certificate made by the node itself)\n\
         \x20 claim   the code is shown on the console below when the node is up\n\
         \x20 ports   18080 to 18089 here lead to 8080 to 8089 of the node\n\
         \x20 disk    {} (kept; --fresh starts anew)\n\
         \x20 leave   Ctrl-a x\n",
        machine.disk().display()
    );
    machine.start()?.wait_end()?;
    Ok(())
}

/// A look into a booted node.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Forget the disk of the last probe.
    pub fresh: bool,
    /// Memory of the machine.
    pub memory_mib: u32,
    /// Board whose image to boot.
    pub board: String,
    /// Command lines for the debug shell.
    pub commands: Vec<String>,
}

/// Boots a node of its own in `target/probe` (or the next one when that is in use), runs command lines in its debug shell and prints what they say.
///
/// # Errors
/// When the node does not come up or a command does not end.
pub fn probe(paths: &Paths, probe: &Probe) -> Result<()> {
    let (folder, _lock) = free_folder(&paths.target)?;
    let mut machine = Machine::new(paths, &folder)?;
    machine.image = paths.raw_image(&probe.board);
    if probe.fresh || machine.is_stale() {
        machine.forget()?;
    }
    machine.memory_mib = probe.memory_mib;
    machine.debug_shell = true;
    let started = std::time::Instant::now();
    let mut vm = machine.start()?;
    // A service that never gets ready is a reason to look, not to give up.
    vm.shell("timeout 120 systemctl is-system-running --wait", Duration::from_secs(400))?;
    println!("-- up after {} s", started.elapsed().as_secs());
    for line in &probe.commands {
        let (output, code) = vm.shell(line, Duration::from_secs(300))?;
        println!("-- {line}\n{output}");
        if code != 0 {
            println!("-- ended with {code}");
        }
    }
    // The power button rather than the plug, so that the next probe finds a clean disk.
    vm.power_button()?;
    vm.wait_off(Duration::from_secs(120))?;
    Ok(())
}

/// The first of `probe`, `probe-2`, ... that no other probe uses, and the lock that keeps it.
fn free_folder(target: &Path) -> Result<(PathBuf, Flock<File>)> {
    for number in 1..=9 {
        let folder =
            target.join(if number == 1 { "probe".to_owned() } else { format!("probe-{number}") });
        std::fs::create_dir_all(&folder)?;
        if let Ok(lock) =
            Flock::lock(File::create(folder.join("lock"))?, FlockArg::LockExclusiveNonblock)
        {
            return Ok((folder, lock));
        }
    }
    bail!("nine probes are running already")
}

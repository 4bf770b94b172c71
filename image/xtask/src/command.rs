//! Running programs, always with an argument vector.
//!
//! Output goes to the terminal unless it is wanted as a value; a failure carries the whole argument vector.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

/// Runs the program and waits; output goes to the terminal.
///
/// # Errors
/// When the program cannot be started or ends with a failure.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed with {status}", shown(command));
    }
    Ok(())
}

/// Runs the program with its output in `log`, and shows the end of the log when it fails.
///
/// # Errors
/// When the log cannot be written, or the program cannot be started or ends with a failure.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        let tail: Vec<&str> = text.lines().rev().take(25).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!(
            "{} failed with {status}; the end of {}:\n{}",
            shown(command),
            log.display(),
            tail.join("\n")
        );
    }
    Ok(())
}

/// Runs the program and returns what it wrote to standard output.
///
/// # Errors
/// When the program cannot be started, ends with a failure, or writes something that is not text.
pub fn output(command: &mut Command) -> Result<String> {
    let bytes = output_bytes(command)?;
    String::from_utf8(bytes)
        .with_context(|| format!("{} wrote something that is not text", shown(command)))
}

/// A command that needs root: through `sudo` unless we are root already.
#[must_use]
pub fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    command
}

/// A held lock file.
pub type Lock = Flock<File>;

/// Holds a lock file until the value is dropped; says `waiting` when somebody else holds it.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn lock(path: &Path, waiting: &str) -> Result<Lock> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, _)) => {
            println!("{waiting}");
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, error)| error)
                .with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Gives what root made to the caller, who goes on working with it.
///
/// # Errors
/// When the owner cannot be changed.
pub fn take_over(path: &Path) -> Result<()> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if user.is_root() {
        return Ok(());
    }
    run(as_root("chown").arg("-R").arg(format!("{user}:{group}")).arg(path))
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs the program and returns the bytes it wrote to standard output.
///
/// # Errors
/// When the program cannot be started or ends with a failure.
pub fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !out.status.success() {
        bail!("{} failed with {}", shown(command), out.status);
    }
    Ok(out.stdout)
}

/// Runs the program with its output both on the terminal and in `log`.
///
/// # Errors
/// When the log cannot be written, or the program cannot be started or ends with a failure.
pub fn run_shown(command: &mut Command, log: &Path) -> Result<()> {
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if let Some(errors) = child.stderr.take() {
        for line in BufReader::new(errors).lines() {
            let line = line?;
            eprintln!("{line}");
            writeln!(file, "{line}")?;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed with {status}", shown(command));
    }
    Ok(())
}

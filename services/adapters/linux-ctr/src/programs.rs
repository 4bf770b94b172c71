//! Who keeps the programs that people run inside containers: systemd, or a stand-in for tests.
//!
//! Each is a transient unit of its own, whose control group holds whatever it starts, so that ending the unit ends
//! all of it. `RuntimeMaxUSec` is what is left when nobody ends it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use async_trait::async_trait;
use skerry_containers::{RuntimeError, RuntimeFault};
use skerry_linux_host::systemd::{Active, Exec, MainExit, Properties, Systemd, SystemdError};

/// What all units of programs start with.
pub const PREFIX: &str = "skerry-exec-";
/// How long a start or an end may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// What programs get between being told to end (a hang-up) and being killed.
const KINDNESS_USEC: u64 = 2_000_000;
/// The longest that one may run.
const LONGEST_USEC: u64 = 24 * 3_600_000_000;
const SIGHUP: i32 = 1;

/// A program to start.
#[derive(Debug)]
pub struct Program {
    /// The unit's name.
    pub unit: String,
    /// The slice that it counts to.
    pub slice: String,
    /// The runtime and its arguments; never the program's own, which may be secrets.
    pub argv: Vec<String>,
    /// Standard input; nothing to read if not given.
    pub input: Option<OwnedFd>,
    /// Standard output; thrown away if not given.
    pub output: Option<OwnedFd>,
    /// Standard error output.
    pub errors: OwnedFd,
    /// Memory in bytes.
    pub memory: u64,
    /// Processes and threads.
    pub tasks: u64,
}

/// Keeps programs.
#[async_trait]
pub trait Programs: Send + Sync + 'static {
    /// Starts one.
    async fn start(&self, program: Program) -> Result<(), RuntimeError>;
    /// Waits for its end: its code, or 128 and the signal's number.
    async fn ended(&self, unit: &str) -> Result<i32, RuntimeError>;
    /// Ends everything in a unit and forgets it. One that is gone is no error.
    async fn end(&self, unit: &str) -> Result<(), RuntimeError>;
    /// The units that are there.
    async fn left(&self) -> Result<Vec<String>, RuntimeError>;
}

fn passing(what: String) -> impl FnOnce(SystemdError) -> RuntimeError {
    move |source| RuntimeError::new(RuntimeFault::Passing, what).because(source)
}

fn properties(program: Program) -> Properties {
    let mut properties = Properties::new()
        .text("Description", "Skerry: a program that a person runs in a container")
        .text("Type", "exec")
        .text("Slice", &program.slice)
        .text("CollectMode", "inactive-or-failed")
        .flag("AddRef", true)
        .exec("ExecStart", [Exec::new(program.argv)])
        .text("KillMode", "control-group")
        .signal("KillSignal", SIGHUP)
        .number("TimeoutStopUSec", KINDNESS_USEC)
        .number("RuntimeMaxUSec", LONGEST_USEC)
        .number("MemoryMax", program.memory)
        .number("MemorySwapMax", 0)
        .text("OOMPolicy", "kill")
        .signal("OOMScoreAdjust", 500)
        .number("TasksMax", program.tasks)
        .text("DevicePolicy", "closed")
        .pairs("DeviceAllow", [("/dev/tty", "rwm"), ("/dev/ptmx", "rwm"), ("char-pts", "rwm")])
        .file("StandardErrorFileDescriptor", program.errors);
    if let Some(input) = program.input {
        properties = properties.file("StandardInputFileDescriptor", input);
    }
    match program.output {
        Some(output) => properties.file("StandardOutputFileDescriptor", output),
        None => properties.text("StandardOutput", "null"),
    }
}

#[async_trait]
impl Programs for Systemd {
    async fn start(&self, program: Program) -> Result<(), RuntimeError> {
        let unit = program.unit.clone();
        match self.start_transient(&unit, &properties(program), DEADLINE).await {
            // It was there and says itself how it ended.
            Ok(()) | Err(SystemdError::Job { .. }) => Ok(()),
            Err(error) => Err(passing(format!("cannot start {unit}"))(error)),
        }
    }

    async fn ended(&self, unit: &str) -> Result<i32, RuntimeError> {
        let lost = || RuntimeError::new(RuntimeFault::Passing, format!("{unit} was lost sight of"));
        let failed = || passing(format!("cannot watch {unit}"));
        let mut watch = self.watch(unit).await.map_err(failed())?;
        loop {
            let status = self.status(unit).await.map_err(failed())?.ok_or_else(lost)?;
            match status.main_exit {
                Some(MainExit::Code(code)) => return Ok(code),
                Some(MainExit::Signal(signal)) => return Ok(signal.saturating_add(128)),
                None if matches!(status.active, Active::Inactive | Active::Failed) => {
                    return Err(lost());
                }
                None => {}
            }
            watch.next().await.ok_or_else(lost)?;
        }
    }

    async fn end(&self, unit: &str) -> Result<(), RuntimeError> {
        let ended = async {
            self.stop(unit, DEADLINE).await?;
            self.reset_failed(unit).await?;
            // The pin is only this process's own, if there is one; it goes with the connection anyway.
            let _ = self.release(unit).await;
            Ok(())
        };
        ended.await.map_err(passing(format!("cannot end {unit}")))
    }

    async fn left(&self) -> Result<Vec<String>, RuntimeError> {
        let pattern = format!("{PREFIX}*.service");
        let listed = self.list(&[&pattern]).await;
        let listed = listed.map_err(passing("cannot list programs in containers".to_owned()))?;
        Ok(listed.into_iter().map(|unit| unit.name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_limited_and_holds_no_word_of_the_program() {
        let (_, errors) = std::io::pipe().unwrap();
        let program = Program {
            unit: "skerry-exec-1.service".to_owned(),
            slice: "skerry-pods.slice".to_owned(),
            argv: vec!["/usr/bin/crun".to_owned(), "exec".to_owned()],
            input: None,
            output: None,
            errors: errors.into(),
            memory: 1 << 26,
            tasks: 9,
        };
        let properties = properties(program);
        let show = |name: &str| properties.show(name).unwrap();
        assert_eq!(show("MemoryMax"), format!("uint64 {}", 1 << 26));
        assert_eq!(show("TasksMax"), "uint64 9");
        assert_eq!(show("KillMode"), "\"control-group\"");
        assert_eq!(show("KillSignal"), "1");
        assert_eq!(show("StandardOutput"), "\"null\"");
    }
}

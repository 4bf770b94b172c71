//! One-shot commands as transient units: run in the host's own namespaces, not in noded's sandbox.
//!
//! The unit is pinned (`AddRef`) until its exit status has been read, and collected afterwards whatever
//! came of it; if noded dies in between, the manager drops the pin with the bus connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::property::{Exec, Properties};
use super::unit::MainExit;
use super::{Systemd, SystemdError};

/// At most this much of each output is kept, so that a runaway program cannot fill memory.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// A program to run once.
#[derive(Debug)]
pub struct Command {
    /// What the unit is called: `skerry-run-<label>-<number>.service`.
    pub label: String,
    /// The program and its arguments; the first word is an absolute path.
    pub argv: Vec<String>,
    /// Bytes for its standard input.
    pub stdin: Vec<u8>,
    /// It is killed after this time.
    pub deadline: Duration,
    /// More properties of its unit, such as a user and limits.
    pub more: Properties,
    /// What it may take; as much as any service if not given.
    pub limits: Option<Limits>,
}

/// What a program may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The slice that it counts to.
    pub slice: String,
    /// Memory in bytes.
    pub memory: u64,
    /// Processes and threads at once.
    pub tasks: u64,
}

impl Command {
    /// A program with a deadline of 30 s and empty input. `label` is a word of letters, digits and `-`.
    pub fn new<S: Into<String>>(label: &str, argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            label: label.to_owned(),
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
            deadline: Duration::from_secs(30),
            limits: None,
            more: Properties::new(),
        }
    }

    /// Limits what it takes.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Gives it bytes to read.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Gives its unit more properties, to confine it.
    #[must_use]
    pub fn with(mut self, more: Properties) -> Self {
        self.more = more;
        self
    }

    /// Sets another deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// What became of a command that could be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if it was killed.
    pub signal: Option<i32>,
    /// Standard output, up to 1 MiB.
    pub stdout: Vec<u8>,
    /// Standard error output, up to 1 MiB.
    pub stderr: Vec<u8>,
}

impl CommandOutput {
    /// It ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Distinguishes the units of this process; the process id distinguishes them from an earlier one's.
static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Systemd {
    /// Runs a program in the host's namespaces and waits for its end.
    pub async fn run(&self, command: Command) -> Result<CommandOutput, SystemdError> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let unit = format!("skerry-run-{}-{}-{number}.service", command.label, std::process::id());
        let broken = |source: std::io::Error| SystemdError::Pipe { unit: unit.clone(), source };
        let (input_end, input) = pipe_pair().map_err(broken)?;
        let (output, output_end) = pipe_pair().map_err(broken)?;
        let (errors, errors_end) = pipe_pair().map_err(broken)?;
        let input = pipe::Sender::from_owned_fd(input).map_err(broken)?;
        let output = pipe::Receiver::from_owned_fd(output).map_err(broken)?;
        let errors = pipe::Receiver::from_owned_fd(errors).map_err(broken)?;

        let micros = u64::try_from(command.deadline.as_micros()).unwrap_or(u64::MAX);
        let limits = match &command.limits {
            Some(limits) => Properties::new()
                .text("Slice", &limits.slice)
                .number("MemoryMax", limits.memory)
                .number("MemorySwapMax", 0)
                .number("TasksMax", limits.tasks),
            None => Properties::new(),
        };
        let properties = limits
            .text("Description", &format!("Skerry: {}", command.label))
            .text("Type", "oneshot")
            .text("CollectMode", "inactive-or-failed")
            .flag("AddRef", true)
            .number("TimeoutStartUSec", micros)
            .number("TimeoutStopUSec", 5_000_000)
            .file("StandardInputFileDescriptor", input_end)
            .file("StandardOutputFileDescriptor", output_end)
            .file("StandardErrorFileDescriptor", errors_end)
            .exec("ExecStart", [Exec::new(command.argv)])
            .and(command.more);

        let feed = feed(input, command.stdin);
        let slack = command.deadline + Duration::from_secs(10);
        let work = async {
            let started = self.start_transient(&unit, &properties, slack).await;
            // Our ends of the pipes go with the properties; only then do the readers see the end.
            drop(properties);
            started
        };
        let all = async { tokio::join!(work, feed, collect(output), collect(errors)) };
        // A program that leaves a process behind keeps the pipes open after its own end.
        let output = match tokio::time::timeout(slack + Duration::from_secs(5), all).await {
            Ok((started, (), stdout, stderr)) => self.outcome(&unit, started, stdout, stderr).await,
            Err(_) => Err(SystemdError::Deadline { unit: unit.clone(), deadline: slack }),
        };
        // Best effort: the pin goes with the connection anyway.
        let _ = self.release(&unit).await;
        output
    }

    /// Reads how the program ended. A failed job with a known exit is an answer, not an error.
    async fn outcome(
        &self,
        unit: &str,
        started: Result<(), SystemdError>,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    ) -> Result<CommandOutput, SystemdError> {
        if let Err(error) = &started
            && !matches!(error, SystemdError::Job { .. })
        {
            started?;
            return Err(SystemdError::Lost { unit: unit.to_owned() });
        }
        let exit = self.status(unit).await?.and_then(|status| status.main_exit);
        let (code, signal) = match (exit, started) {
            (Some(MainExit::Code(code)), _) => (Some(code), None),
            (Some(MainExit::Signal(signal)), _) => (None, Some(signal)),
            (None, Ok(())) => (Some(0), None),
            (None, Err(error)) => return Err(error),
        };
        Ok(CommandOutput { code, signal, stdout, stderr })
    }
}

/// A pipe; both ends close on exec.
fn pipe_pair() -> std::io::Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(std::io::Error::from)
}

/// Writes all bytes and closes. A program that reads no input is no error.
async fn feed(mut input: pipe::Sender, bytes: Vec<u8>) {
    let _ = input.write_all(&bytes).await;
}

/// Reads up to the limit, then reads on and throws away so that the program does not stall.
async fn collect(mut output: pipe::Receiver) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = (&mut output).take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::{Active, UnitEvent};

    fn shell(script: &str) -> Command {
        Command::new("test", ["/bin/sh", "-c", script])
    }

    /// Needs a machine that runs systemd, and root; asked for by `--ignored`.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs systemd and root"]
    async fn commands_run_in_units_of_their_own_and_tell_how_they_ended() {
        let systemd = Systemd::system();
        let command = shell("cat; echo problem >&2; exit 3").stdin("input\n");
        let output = systemd.run(command).await.unwrap();
        assert_eq!((output.code, output.signal), (Some(3), None));
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (&b"input\n"[..], &b"problem\n"[..])
        );
        let output = systemd.run(shell("kill -9 $$")).await.unwrap();
        assert_eq!((output.code, output.signal), (None, Some(9)));
        assert!(systemd.run(shell("true")).await.unwrap().success());
        let large = vec![b'x'; 3 << 20];
        let output = systemd.run(shell("cat").stdin(large)).await.unwrap();
        assert_eq!(output.stdout.len() as u64, OUTPUT_LIMIT);
        let slow = shell("sleep 100").deadline(Duration::from_secs(1));
        let output = systemd.run(slow).await.unwrap();
        assert_eq!(output.signal, Some(15), "systemd ended it at its deadline");
        let missing = systemd.run(Command::new("test", ["/no/such/program"])).await.unwrap();
        assert_eq!(missing.code, Some(203), "systemd's own code for a program that cannot be run");
        assert_eq!(systemd.list(&["skerry-run-*"]).await.unwrap(), [], "nothing is left behind");
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs systemd and root"]
    async fn mounts_and_units_come_and_go() {
        let systemd = Systemd::system();
        let deadline = Duration::from_secs(20);
        let target = "/run/skerry-test-mount/a-b";
        systemd.mount("tmpfs", target, "tmpfs", "size=1m", deadline).await.unwrap();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(table.contains(target));
        let again = systemd.mount("tmpfs", target, "tmpfs", "size=1m", deadline).await;
        assert!(again.unwrap_err().is_unit_exists());
        systemd.unmount(target, deadline).await.unwrap();
        systemd.unmount(target, deadline).await.unwrap();
        assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(target));

        let unit = "skerry-test-unit.service";
        let mut watch = systemd.watch("skerry-test-").await.unwrap();
        let sleep = Properties::new()
            .text("Type", "exec")
            .exec("ExecStart", [Exec::new(["/bin/sleep", "1000"])]);
        systemd.start_transient(unit, &sleep, deadline).await.unwrap();
        let status = systemd.status(unit).await.unwrap().unwrap();
        assert_eq!(status.active, Active::Active);
        assert!(status.main_pid.is_some() && status.invocation.len() == 32);
        let heard = tokio::time::timeout(deadline, watch.next()).await.unwrap();
        assert_eq!(heard, Some(UnitEvent::Changed(unit.to_owned())));
        systemd.kill(unit, crate::systemd::KillWhom::All, 9).await.unwrap();
        let failed = async {
            while let Some(event) = watch.next().await {
                let status = systemd.status(unit).await.unwrap();
                if status.is_some_and(|status| status.active == Active::Failed) {
                    return event;
                }
            }
            panic!("the watch ended");
        };
        tokio::time::timeout(deadline, failed).await.unwrap();
        let status = systemd.status(unit).await.unwrap().unwrap();
        assert_eq!(status.main_exit, Some(MainExit::Signal(9)));
        assert!(status.ran_for.is_some());
        systemd.reset_failed(unit).await.unwrap();
        assert_eq!(systemd.status(unit).await.unwrap(), None);
        systemd.stop(unit, deadline).await.unwrap();
        let error = systemd.start("skerry-no-such.service", deadline).await.unwrap_err();
        assert!(error.is_no_such_unit(), "{error:?}");
    }
}

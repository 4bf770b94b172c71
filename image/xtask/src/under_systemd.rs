//! The tests that need systemd as the first process: it is started in namespaces of its own, over the builder root,
//! and runs them as its only unit. Needs no virtual machine and takes seconds.
//!
//! Must not touch the services, devices or network of the machine it runs on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::builder::Builder;
use crate::command;
use crate::paths::Paths;
use crate::suite::{ALL, OTHER_RUNTIME, TESTED_RUNTIME};

/// Packages with such tests, which of the ignored ones they are (`""`: all), and the container runtime that they are run
/// with if it is not the usual one.
const SELECTION: &[(&str, &str, Option<&str>)] = &[
    ("skerry-linux-host", "", None),
    ("skerry-linux-ctr", "under_systemd", None),
    ("skerry-linux-ctr", "under_systemd", Some(OTHER_RUNTIME)),
];

/// The unit that runs the tests, and what systemd is told to reach.
const UNIT: &str = "skerry-tests.service";

/// Control group, in the second version of control groups, that systemd takes for its root.
const GROUP: &str = "/sys/fs/cgroup/skerry-tests";

/// What systemd itself exits with when a test failed.
const FAILED: &str = "9";

/// Builds the tests and runs them; the closing line tells how many passed.
///
/// # Errors
/// When they cannot be built, systemd cannot be started, or a test fails.
pub fn run(paths: &Paths, cargo: &dyn Fn() -> Command) -> Result<String> {
    let folder = folder(paths);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut lines = Vec::new();
    for (package, filter, runtime) in SELECTION {
        let program = test_program(cargo(), package)?;
        let told = runtime.map(|it| format!("/usr/bin/env {TESTED_RUNTIME}={it} "));
        let (told, program) = (told.unwrap_or_default(), program.display());
        lines.push(format!("ExecStart={told}{program} --ignored --test-threads=1 {filter}"));
    }
    let log = folder.join("log");
    let _ = fs::remove_file(&log);
    fs::write(folder.join(UNIT), unit(&lines, &log))?;
    fs::write(folder.join("simple.conf"), "[Service]\nType=simple\n")?;
    fs::write(folder.join("machine-id"), "5c0e7f4ad9f64f0f8f6f3a8c0d1b2e37\n")?;
    // By the process, not by its path: a build may have put a newer program there.
    let own = format!("/proc/{}/exe", std::process::id());
    let mut inner = command::as_root("unshare");
    inner.args(["--mount", "--propagation", "private"]).arg(own).arg("under-systemd");
    let ended = command::run(&mut inner);
    let text = fs::read_to_string(&log).unwrap_or_default();
    println!("{text}");
    ended?;
    closing(&text)
}

/// Starts systemd. To be called as root in a mount namespace of its own.
///
/// # Errors
/// When control groups cannot be mounted, or a test failed.
pub fn boot(paths: &Paths) -> Result<()> {
    let builder = Builder::ensure(paths)?;
    command::run(Command::new("mount").args(["-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]))?;
    let group = Group::enter()?;
    let folder = folder(paths);
    let mut systemd = builder.machine_command("/usr/lib/systemd/systemd", |command| {
        let units = Path::new("/run/systemd/system");
        command.arg("--ro-bind").arg(folder.join(UNIT)).arg(units.join(UNIT));
        // The bus cannot tell systemd that it is up across these namespaces; and nothing here may handle devices.
        command.arg("--ro-bind").arg(folder.join("simple.conf"));
        command.arg(units.join("dbus.service.d/simple.conf"));
        for masked in ["", "-control", "-kernel", "-varlink"] {
            let kind = if masked.is_empty() { "service" } else { "socket" };
            command.arg("--symlink").arg("/dev/null");
            command.arg(units.join(format!("systemd-udevd{masked}.{kind}")));
        }
        command.arg("--ro-bind").arg(folder.join("machine-id")).arg("/etc/machine-id");
        // Containers with users of their own may mount `/proc` only where one is seen whole, and parts of the one here
        // are covered.
        command.args(["--dev-bind", "/proc", "/mnt"]);
    });
    systemd.arg(format!("--unit={UNIT}")).stdin(Stdio::null());
    let ended = beside(systemd);
    drop(group);
    ended.context("systemd, or the tests under it")
}

/// Runs systemd in the group, and nothing else there: the kernel lets nobody switch controllers on in a group that has
/// processes of its own, and systemd has its own in groups below.
#[expect(clippy::disallowed_methods, reason = "nothing tells when it is there")]
fn beside(mut systemd: Command) -> Result<()> {
    let mut child = systemd.spawn().context("cannot start systemd")?;
    let processes = |group: &Path| fs::read_to_string(group.join("cgroup.procs"));
    let deadline = Instant::now() + Duration::from_secs(20);
    let own = Path::new(GROUP).join("init.scope");
    while processes(&own).unwrap_or_default().is_empty() && child.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "systemd takes no control group");
        std::thread::sleep(Duration::from_millis(50));
    }
    let outside = Path::new("/sys/fs/cgroup/cgroup.procs");
    let left = processes(Path::new(GROUP)).unwrap_or_default();
    for process in left.lines() {
        fs::write(outside, process).with_context(|| format!("cannot move {process}"))?;
    }
    let ended = child.wait().context("cannot wait for systemd")?;
    ensure!(ended.success(), "systemd ended with {ended}");
    Ok(())
}

fn folder(paths: &Paths) -> PathBuf {
    paths.target.join("under-systemd")
}

fn unit(starts: &[String], log: &Path) -> String {
    format!(
        "[Unit]\n\
         Wants=dbus.socket dbus.service\n\
         After=dbus.socket dbus.service sysinit.target\n\
         SuccessAction=exit\n\
         FailureAction=exit\n\
         FailureActionExitStatus={FAILED}\n\
         [Service]\n\
         Type=oneshot\n\
         TimeoutStartSec=600\n\
         StandardOutput=append:{}\n\
         StandardError=inherit\n\
         {}\n",
        log.display(),
        starts.join("\n")
    )
}

/// Where cargo has put the program of the package's own tests.
fn test_program(mut cargo: Command, package: &str) -> Result<PathBuf> {
    cargo.args(["test", "--no-run", "--message-format=json"]).args(ALL);
    let messages = command::output(&mut cargo)?;
    let own = package.replace('-', "_");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/profile/test").is_some_and(|test| test == true))
        .filter(|message| message.pointer("/target/name").is_some_and(|name| *name == *own))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .with_context(|| format!("cargo names no test program of {package}"))
}

/// From the closing lines of each program to one: every program must have run something, and nothing may have failed.
fn closing(log: &str) -> Result<String> {
    let passed: Vec<u32> = log
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "))
        .filter_map(|rest| rest.split_once(" passed").and_then(|(number, _)| number.parse().ok()))
        .collect();
    ensure!(
        passed.len() == SELECTION.len() && passed.iter().all(|number| *number > 0),
        "not every test under systemd ran: {passed:?}"
    );
    let all: u32 = passed.iter().sum();
    Ok(format!("Summary {all} tests run under systemd: {all} passed"))
}

/// A control group for systemd and everything below it. When it is dropped, nothing of it is left.
struct Group;

impl Group {
    fn enter() -> Result<Self> {
        // A run that was broken off leaves it without processes; such a one can be removed.
        if Path::new(GROUP).exists() && remove().is_err() {
            bail!("{GROUP} is in use: do the tests under systemd run a second time?");
        }
        fs::create_dir(GROUP).with_context(|| format!("cannot make {GROUP}"))?;
        let group = Self;
        join(Path::new(GROUP))?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Out of it first: what is killed next is everything within.
        let _ = join(Path::new("/sys/fs/cgroup"));
        let _ = fs::write(Path::new(GROUP).join("cgroup.kill"), "1");
        if let Err(error) = remove() {
            println!("left behind: {GROUP}: {error:#}");
        }
    }
}

/// Removes the group and those below it; fails while a process is in one of them.
fn remove() -> Result<()> {
    command::run(Command::new("find").args([GROUP, "-depth", "-type", "d", "-delete"]))
}

fn join(group: &Path) -> Result<()> {
    let file = group.join("cgroup.procs");
    fs::write(&file, "0").with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ran_nothing_is_not_a_success() {
        let line = |number: u32| format!("test result: ok. {number} passed; 0 failed; 0 ignored\n");
        assert_eq!(
            closing(&format!("{}{}{}", line(2), line(1), line(1))).unwrap(),
            "Summary 4 tests run under systemd: 4 passed"
        );
        assert!(closing(&format!("{}{}", line(2), line(1))).is_err());
        assert!(closing(&format!("{}{}{}", line(2), line(1), line(0))).is_err());
        assert!(closing("test result: FAILED. 1 passed; 1 failed\n").is_err());
    }
}

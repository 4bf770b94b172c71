//! The program `skerry-shim`: the parent of what a runtime starts that does not stay itself, such as runc.
//!
//! It makes control groups read-only for itself and its children, so that the runtime leaves what it starts where the shim
//! is: in the unit's group. Then it runs the runtime to its end, takes its place as the parent, passes signals on, and ends
//! as the container does, with 128 and the signal for one that was killed. It must not know anything of pods, and does
//! nothing that a runtime that stays would not do.
//!
//! It has one thread and waits for signals alone: that a child has ended is one of them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::folders;

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// This program.
const SELF: &str = "/proc/self/exe";
/// What the shim says to its second process alone, before the runtime and its arguments.
const CLEAR: &str = "clear-signals";

/// What it is told.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// Where the runtime writes the process that it started, to which signals are passed on.
    pid_file: Option<PathBuf>,
    /// The runtime and its arguments.
    runtime: Vec<String>,
}

/// The program itself: `skerry-shim [--pid-file=FILE] -- RUNTIME ARGUMENTS`.
pub fn program(words: impl Iterator<Item = String>) -> ExitCode {
    let mut words = words.peekable();
    if words.next_if(|word| word == CLEAR).is_some() {
        return become_runtime(&words.collect::<Vec<_>>());
    }
    let Some(told) = Told::parse(words) else {
        say("usage: skerry-shim [--pid-file=FILE] -- RUNTIME ARGUMENTS");
        return ExitCode::from(2);
    };
    match stand_in(&told) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("the container runtime cannot be run: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The second process: lets all signals through, which would else be blocked in the container too, and becomes the runtime.
fn become_runtime(words: &[String]) -> ExitCode {
    let [name, arguments @ ..] = words else { return ExitCode::from(2) };
    let error = match SigSet::all().thread_unblock() {
        Ok(()) => Command::new(name).args(arguments).exec(),
        Err(error) => error.into(),
    };
    say(&format!("the container runtime {name} cannot be started: {error}"));
    ExitCode::FAILURE
}

fn say(text: &str) {
    // It is for the log; without one there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

impl Told {
    fn parse(words: impl Iterator<Item = String>) -> Option<Self> {
        let mut words = words.peekable();
        let option = words.next_if(|word| word != "--");
        let pid_file = match option {
            Some(word) => {
                let file = word.strip_prefix("--pid-file=").filter(|file| !file.is_empty())?;
                Some(PathBuf::from(file))
            }
            None => None,
        };
        (words.next()? == "--").then_some(())?;
        let runtime: Vec<String> = words.collect();
        (!runtime.is_empty()).then_some(Self { pid_file, runtime })
    }
}

fn stand_in(told: &Told) -> io::Result<u8> {
    let all = SigSet::all();
    all.thread_block()?;
    let signals = SignalFd::new(&all)?;
    set_child_subreaper(true)?;
    close_groups(Path::new(GROUPS)).map_err(about(GROUPS))?;
    if let Some(file) = &told.pid_file {
        // Of an earlier run: that process may be somebody else by now.
        folders::absent_is_fine(fs::remove_file(file))?;
    }
    let runtime = Command::new(SELF).arg(CLEAR).args(&told.runtime).spawn().map_err(about(SELF))?;
    Watch::new(runtime, told.pid_file.as_deref())?.until_end(&signals)
}

fn about(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Makes control groups read-only for this process and those that it starts; what others mount is still seen.
fn close_groups(groups: &Path) -> io::Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    Ok(mount(none, groups, none, again | quiet, none)?)
}

/// The children: the runtime, and then what it has started.
struct Watch<'w> {
    runtime: Pid,
    /// The runtime has ended well.
    started: bool,
    pid_file: Option<&'w Path>,
    /// A signal that came before: the runtime may have been past hearing it.
    early: Option<Signal>,
    /// How the last of the others has ended.
    last: Option<u8>,
}

impl<'w> Watch<'w> {
    fn new(runtime: Child, pid_file: Option<&'w Path>) -> io::Result<Self> {
        let runtime = i32::try_from(runtime.id()).map_err(io::Error::other)?;
        let runtime = Pid::from_raw(runtime);
        Ok(Self { runtime, started: false, pid_file, early: None, last: None })
    }

    fn until_end(mut self, signals: &SignalFd) -> io::Result<u8> {
        loop {
            let Some(signal) = signals.read_signal()? else { continue };
            // One of the real-time signals, which have no names here, is asked for by few.
            let signal = i32::try_from(signal.ssi_signo).ok();
            let signal = signal.and_then(|it| Signal::try_from(it).ok());
            match signal.unwrap_or(Signal::SIGTERM) {
                Signal::SIGCHLD => {
                    if let Some(code) = self.reap()? {
                        return Ok(code);
                    }
                }
                other => self.pass(other),
            }
        }
    }

    /// Takes note of all that have ended; the exit code if that is the end.
    fn reap(&mut self) -> io::Result<Option<u8>> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return Ok(None),
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                // Nobody is left. A runtime that started nothing and calls it well is one that we do not understand.
                Err(Errno::ECHILD) => return Ok(Some(self.last.unwrap_or(1))),
                Err(error) => return Err(error.into()),
            };
            let Some((pid, code)) = ended(status) else { continue };
            if pid != self.runtime {
                self.last = Some(code);
            } else if code == 0 {
                self.started = true;
                if let Some(signal) = self.early.take() {
                    self.pass(signal);
                }
            } else {
                // What it said stands in the log; what it left ends with the unit.
                return Ok(Some(code));
            }
        }
    }

    /// Passes a signal on to the container, or to the runtime that is still making it.
    fn pass(&mut self, signal: Signal) {
        let to = if self.started {
            self.pid_file.and_then(read_pid)
        } else {
            self.early = Some(signal);
            Some(self.runtime)
        };
        let Some(to) = to else { return };
        match kill(to, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => say(&format!("{signal} cannot be passed on: {error}")),
        }
    }
}

/// Who has ended, and with what code.
fn ended(status: WaitStatus) -> Option<(Pid, u8)> {
    match status {
        WaitStatus::Exited(pid, code) => Some((pid, u8::try_from(code & 0xff).unwrap_or(1))),
        WaitStatus::Signaled(pid, signal, _) => {
            Some((pid, u8::try_from(128 + signal as i32).unwrap_or(1)))
        }
        _ => None,
    }
}

fn read_pid(file: &Path) -> Option<Pid> {
    let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    Some(Pid::from_raw(pid)).filter(|pid| pid.as_raw() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<Told> {
        Told::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn words_are_understood_or_nothing_is_done() {
        let all = told("--pid-file=/b/pid -- runc run --detach x").unwrap();
        assert_eq!(all.pid_file.as_deref(), Some(Path::new("/b/pid")));
        assert_eq!(all.runtime, ["runc", "run", "--detach", "x"]);
        let least = told("-- runc").unwrap();
        assert_eq!((least.pid_file, least.runtime.len()), (None, 1));
        for bad in
            ["", "--", "runc", "runc --", "--pid-file= -- runc", "--pid-file=/a runc", "-x -- r"]
        {
            assert_eq!(told(bad), None, "{bad}");
        }
    }

    #[test]
    fn ends_are_told_as_a_shell_tells_them() {
        let pid = Pid::from_raw(7);
        assert_eq!(ended(WaitStatus::Exited(pid, 3)), Some((pid, 3)));
        assert_eq!(ended(WaitStatus::Signaled(pid, Signal::SIGKILL, false)), Some((pid, 137)));
        assert_eq!(ended(WaitStatus::StillAlive), None);
    }

    #[test]
    fn a_signal_never_goes_to_a_group_or_to_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        assert_eq!(read_pid(&file), None);
        for (text, pid) in [
            ("42", Some(42)),
            ("42\n", Some(42)),
            ("-1", None),
            ("0", None),
            ("1", None),
            ("x", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(read_pid(&file), pid.map(Pid::from_raw), "{text}");
        }
    }
}

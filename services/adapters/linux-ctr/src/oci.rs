//! The command lines of OCI runtimes, and what else differs between them: all that is said to a runtime is said here.
//!
//! Whatever the runtime, a container lives in the control group of its unit, and a program in it in that of its own, so
//! that limits, the kill of everything left and the out-of-memory verdict are systemd's. How that is come by:
//!
//! | family | control groups | parent of the container |
//! |---|---|---|
//! | crun | told to leave them alone (`--cgroup-manager=disabled`) | crun itself, which stays |
//! | runc | finds them read-only and is told to bear that (`--rootless=true`) | `skerry-shim`: runc does not stay |
//!
//! A bundle remembers the runtime that it was made for. It starts nothing and decides nothing.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skerry_containers::{OciRuntime, RuntimeError, RuntimeFamily, RuntimeFault};
use skerry_model::{Id, Name, Pod};

use crate::folders;
use crate::places::{Places, runtime_name};
use crate::runtime::io_failed;

/// The socket in a bundle on which a runtime hands over the container's terminal. Who holds that works in the bundle.
pub const CONSOLE: &str = "console";
/// The file in a bundle that says which runtime it is for.
const FILE: &str = "runtime";
/// The file in a bundle to which the runtime writes the container's first process.
pub const PID: &str = "pid";

/// How long a runtime may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a runtime takes in the control group of what it starts, beside that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    /// Bytes of memory.
    pub memory: u64,
    /// Tasks.
    pub tasks: u64,
}

/// A runtime and where its things are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oci {
    runtime: OciRuntime,
    state: PathBuf,
    shim: PathBuf,
}

impl Oci {
    /// The one that new containers are started with.
    pub fn present(places: &Places) -> Self {
        Self::with(places.runtime.clone(), places)
    }

    fn with(runtime: OciRuntime, places: &Places) -> Self {
        let state = places.runtime_state(runtime.family);
        Self { runtime, state, shim: places.shim.clone() }
    }

    /// The one that a bundle is for.
    pub fn of_bundle(bundle: &Path, places: &Places) -> Result<Self, RuntimeError> {
        let failed = || io_failed("cannot read which runtime the container is of");
        match fs::read(bundle.join(FILE)) {
            Ok(text) => {
                let runtime = serde_json::from_slice(&text).map_err(|e| failed()(e.into()))?;
                Ok(Self::with(runtime, places))
            }
            // A bundle from before there was a choice.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::with(OciRuntime::default(), places))
            }
            Err(error) => Err(failed()(error)),
        }
    }

    /// Notes in a bundle that it is for this one.
    pub fn note(&self, bundle: &Path) -> io::Result<()> {
        folders::write(&bundle.join(FILE), &serde_json::to_vec(&self.runtime)?, 0o600)
    }

    /// Refuses a program that cannot be started.
    pub fn check(&self) -> Result<(), RuntimeError> {
        let refuse = |what: &str| {
            let message = format!(
                "the container runtime {} {what}: install it, or name another one in node.toml ([containers] runtime)",
                self.runtime
            );
            Err(RuntimeError::new(RuntimeFault::Passing, message))
        };
        match fs::metadata(&self.runtime.program) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => refuse("is not there"),
            Err(error) => refuse(&format!("cannot be looked at ({error})")),
            Ok(found) if !found.is_file() => refuse("is no program"),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => refuse("cannot be executed"),
            Ok(_) => Ok(()),
        }
    }

    /// The setting.
    pub const fn runtime(&self) -> &OciRuntime {
        &self.runtime
    }

    /// The first line of what it says of its version.
    pub async fn version(&self) -> io::Result<String> {
        let mut ask = tokio::process::Command::new(&self.runtime.program);
        let told = tokio::time::timeout(PATIENCE, ask.arg("--version").kill_on_drop(true).output());
        let told = told.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let text = String::from_utf8_lossy(&told.stdout);
        let line: String = text.lines().next().unwrap_or_default().chars().take(100).collect();
        match told.status.success() && !line.is_empty() {
            true => Ok(line),
            false => Err(io::Error::other(format!("it ended with {}", told.status))),
        }
    }

    /// The folder of its records.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What it takes itself.
    pub const fn overhead(&self) -> Overhead {
        match self.runtime.family {
            RuntimeFamily::Crun => Overhead { memory: 4 << 20, tasks: 2 },
            // Mostly while it makes the container: a program of a few MiB that has more threads the more processors there
            // are. Then there is only the shim.
            RuntimeFamily::Runc => Overhead { memory: 16 << 20, tasks: 64 },
        }
    }

    /// Whether it turns owners of mounts around (`idmap`). Debian's runc does not, which knows this from version 1.2 on.
    pub const fn turns_owners(&self) -> bool {
        match self.runtime.family {
            RuntimeFamily::Crun => true,
            RuntimeFamily::Runc => false,
        }
    }

    /// Makes a container and runs it to its end. One with a terminal is started in its bundle by who holds that.
    pub fn run(
        &self,
        pod: Id<Pod>,
        container: &Name,
        bundle: &Path,
        terminal: bool,
    ) -> Vec<String> {
        let pid_file = format!("--pid-file={}", text(&bundle.join(PID)));
        let mut words = self.parent(Some(pid_file.as_str()));
        words.extend(self.verb("run"));
        words.extend(terminal.then(|| format!("--console-socket={CONSOLE}")));
        words.extend([
            format!("--bundle={}", text(bundle)),
            pid_file,
            runtime_name(pod, container),
        ]);
        words
    }

    /// Runs a program in a container that runs, to its end: what is in the file `process`, on the terminal that is handed over on
    /// the socket `console` if there is one.
    pub fn exec(
        &self,
        pod: Id<Pod>,
        container: &Name,
        process: &Path,
        console: Option<&Path>,
    ) -> Vec<String> {
        let mut words = self.parent(None);
        words.extend(self.verb("exec"));
        words.push(format!("--process={}", text(process)));
        words.extend(console.map(|socket| format!("--console-socket={}", text(socket))));
        words.push(runtime_name(pod, container));
        words
    }

    /// Runs the program of a probe in a container that runs, to its end.
    pub fn probe(&self, pod: Id<Pod>, container: &Name, command: &[String]) -> Vec<String> {
        let mut words = self.parent(None);
        words.extend(self.verb("exec"));
        words.extend(["--no-new-privs".to_owned(), runtime_name(pod, container)]);
        words.extend(command.iter().cloned());
        words
    }

    /// What stands before the runtime's own words, if it does not stay.
    fn parent(&self, pid_file: Option<&str>) -> Vec<String> {
        match self.runtime.family {
            RuntimeFamily::Crun => Vec::new(),
            RuntimeFamily::Runc => {
                let mut words = vec![text(&self.shim)];
                words.extend(pid_file.map(str::to_owned));
                words.push("--".to_owned());
                words
            }
        }
    }

    /// The program up to a verb, with what the verb has to be told in any case.
    fn verb(&self, verb: &str) -> Vec<String> {
        let (how, more) = match self.runtime.family {
            RuntimeFamily::Crun => ("--cgroup-manager=disabled", None),
            RuntimeFamily::Runc => ("--rootless=true", Some("--detach")),
        };
        let mut words = vec![text(&self.runtime.program), "--root".to_owned(), text(&self.state)];
        words.extend([how.to_owned(), verb.to_owned()]);
        words.extend(more.map(str::to_owned));
        words
    }
}

/// The runtimes' own records of a container: of whichever it was, there is one.
pub fn records(places: &Places, pod: Id<Pod>, container: &Name) -> [PathBuf; 2] {
    RuntimeFamily::ALL.map(|it| places.runtime_state(it).join(runtime_name(pod, container)))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    const NAME: &str = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c-web";

    fn places(program: &str) -> Places {
        let mut places = Places::below(Path::new("/d"), Path::new("/r"));
        let family = if program.ends_with("runc") { "runc" } else { "crun" };
        places.runtime = OciRuntime::new(program, Some(family)).unwrap();
        places
    }

    fn oci(program: &str) -> Oci {
        Oci::present(&places(program))
    }

    fn name() -> Name {
        "web".parse().unwrap()
    }

    #[test]
    fn a_container_is_run_without_a_control_group_of_the_runtimes_own() {
        let run = |program, terminal| {
            oci(program).run(pod(), &name(), Path::new("/b"), terminal).join(" ")
        };
        assert_eq!(
            run("/usr/bin/crun", false),
            format!(
                "/usr/bin/crun --root /r/crun --cgroup-manager=disabled run --bundle=/b --pid-file=/b/pid {NAME}"
            )
        );
        assert_eq!(
            run("/usr/bin/crun", true),
            format!(
                "/usr/bin/crun --root /r/crun --cgroup-manager=disabled run --console-socket=console --bundle=/b \
                 --pid-file=/b/pid {NAME}"
            )
        );
        assert_eq!(
            run("/usr/sbin/runc", false),
            format!(
                "/usr/bin/skerry-shim --pid-file=/b/pid -- /usr/sbin/runc --root /r/runc --rootless=true run --detach \
                 --bundle=/b --pid-file=/b/pid {NAME}"
            )
        );
        assert_eq!(
            run("/usr/sbin/runc", true),
            format!(
                "/usr/bin/skerry-shim --pid-file=/b/pid -- /usr/sbin/runc --root /r/runc --rootless=true run --detach \
                 --console-socket=console --bundle=/b --pid-file=/b/pid {NAME}"
            )
        );
    }

    #[test]
    fn a_program_is_named_by_a_file_alone() {
        let exec = |program, console: Option<&str>| {
            let console = console.map(Path::new);
            oci(program).exec(pod(), &name(), Path::new("/r/exec/1.json"), console).join(" ")
        };
        assert_eq!(
            exec("/usr/bin/crun", None),
            format!(
                "/usr/bin/crun --root /r/crun --cgroup-manager=disabled exec --process=/r/exec/1.json {NAME}"
            )
        );
        assert_eq!(
            exec("/usr/bin/crun", Some("/r/exec/1.sock")),
            format!(
                "/usr/bin/crun --root /r/crun --cgroup-manager=disabled exec --process=/r/exec/1.json \
                 --console-socket=/r/exec/1.sock {NAME}"
            )
        );
        assert_eq!(
            exec("/usr/sbin/runc", None),
            format!(
                "/usr/bin/skerry-shim -- /usr/sbin/runc --root /r/runc --rootless=true exec --detach \
                 --process=/r/exec/1.json {NAME}"
            )
        );
        assert!(exec("/usr/sbin/runc", Some("/r/s")).contains("--console-socket=/r/s"));
    }

    #[test]
    fn a_probe_gains_no_privileges_and_its_words_stay_its_own() {
        let command = ["test".to_owned(), "--detach".to_owned()];
        let crun = oci("/usr/bin/crun").probe(pod(), &name(), &command).join(" ");
        assert_eq!(
            crun,
            format!(
                "/usr/bin/crun --root /r/crun --cgroup-manager=disabled exec --no-new-privs {NAME} test --detach"
            )
        );
        let runc = oci("/usr/sbin/runc").probe(pod(), &name(), &command).join(" ");
        assert!(
            runc.ends_with(&format!("exec --detach --no-new-privs {NAME} test --detach")),
            "{runc}"
        );
    }

    #[test]
    fn a_bundle_knows_its_runtime_whatever_the_node_uses_now() {
        let bundle = tempfile::tempdir().unwrap();
        let now = places("/usr/sbin/runc");
        let before = Oci::of_bundle(bundle.path(), &now).unwrap();
        assert_eq!(before.runtime(), &OciRuntime::default(), "from before there was a choice");
        oci("/opt/crun").note(bundle.path()).unwrap();
        let found = Oci::of_bundle(bundle.path(), &now).unwrap();
        assert_eq!(found, oci("/opt/crun"));
        fs::write(bundle.path().join(FILE), "{").unwrap();
        assert!(Oci::of_bundle(bundle.path(), &now).is_err(), "never with the wrong one");
    }

    #[test]
    fn a_program_that_cannot_be_started_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("runc");
        let check = || oci(program.to_str().unwrap()).check();
        let says = |what: &str| {
            let message = check().unwrap_err().message;
            assert!(message.contains(what) && message.contains("node.toml"), "{message}");
        };
        says("is not there");
        fs::create_dir(&program).unwrap();
        says("is no program");
        fs::remove_dir(&program).unwrap();
        fs::write(&program, "").unwrap();
        says("cannot be executed");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        check().unwrap();
    }

    #[tokio::test]
    async fn its_version_is_the_first_line_that_it_tells() {
        let told = oci("/bin/false").version().await;
        assert!(told.is_err(), "{told:?}");
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("runc");
        std::os::unix::fs::symlink("/bin/echo", &program).unwrap();
        let told = oci(program.to_str().unwrap()).version().await.unwrap();
        assert!(!told.is_empty() && !told.contains('\n'), "{told}");
        assert!(oci("/no/such/runc").version().await.is_err());
    }

    #[test]
    fn each_familys_records_are_found() {
        let [crun, runc] = records(&places("/usr/bin/crun"), pod(), &name());
        assert_eq!(
            (crun, runc),
            (format!("/r/crun/{NAME}").into(), format!("/r/runc/{NAME}").into())
        );
    }
}

//! Programs that read what strangers made: as a user without rights, and within limits.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use skerry_linux_host::systemd::{Command, Properties, Systemd, SystemdError};
use tokio::io::AsyncReadExt;

/// At most this much of each output is kept.
const OUTPUT: u64 = 1 << 20;

/// Places that a caged program has no business in, whatever their modes are.
const CLOSED: [&str; 6] = [
    "-/boot",
    "-/etc/skerry",
    "-/run/dbus",
    "-/run/libvirt",
    "-/run/skerry",
    "-/var/lib/skerry/state",
];

/// A program to run, and what it may use.
#[derive(Debug, Clone)]
pub struct Order {
    /// A word for the unit's name and the log.
    pub label: &'static str,
    /// The program and its arguments; the first word is an absolute path.
    pub argv: Vec<String>,
    /// The only folder that it may write into, if any.
    pub writes: Option<PathBuf>,
    /// Bytes of memory.
    pub memory: u64,
    /// Processor time.
    pub cpu: Duration,
    /// Largest file that it may write, in bytes.
    pub file_size: u64,
    /// It is ended after this time.
    pub deadline: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none if a limit or signal ended it.
    pub code: Option<i32>,
    /// Standard output, up to 1 MiB.
    pub stdout: Vec<u8>,
    /// Standard error output, up to 1 MiB.
    pub stderr: Vec<u8>,
}

/// A program that could not be run.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// The service manager did not run it.
    #[error("the service manager could not run it")]
    Systemd(#[from] SystemdError),
    /// It could not be started.
    #[error("it could not be started")]
    Start(#[source] std::io::Error),
    /// It took too long.
    #[error("it took longer than {} s", .0.as_secs())]
    Deadline(Duration),
}

/// A way to run a program confined.
#[async_trait]
pub trait Cage: Send + Sync + 'static {
    /// Runs it to its end. Dropping the future ends it.
    async fn run(&self, order: Order) -> Result<Ended, CageError>;

    /// Who owns the folders that caged programs write into, as user and group ids.
    fn owner(&self) -> Option<(u32, u32)>;
}

/// As a transient unit of the service manager: what the node itself uses.
#[derive(Debug, Clone)]
pub struct UnitCage {
    systemd: Systemd,
    user: String,
    owner: Option<(u32, u32)>,
}

impl UnitCage {
    /// Runs programs as this user of the system.
    pub fn new(systemd: Systemd, user: &str) -> Self {
        let found = nix::unistd::User::from_name(user).ok().flatten();
        let owner = found.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
        Self { systemd, user: user.to_owned(), owner }
    }

    fn confinement(&self, order: &Order) -> Properties {
        let writes = order.writes.iter().map(|folder| folder.display().to_string());
        Properties::new()
            .text("User", &self.user)
            .flag("NoNewPrivileges", true)
            .number("CapabilityBoundingSet", 0)
            .text("ProtectSystem", "strict")
            .text("ProtectHome", "yes")
            .texts("ReadWritePaths", writes)
            .texts("InaccessiblePaths", CLOSED)
            .flag("PrivateNetwork", true)
            .flag("PrivateDevices", true)
            .flag("PrivateTmp", true)
            .flag("PrivateIPC", true)
            .text("ProtectProc", "invisible")
            .flag("ProtectKernelTunables", true)
            .flag("ProtectKernelModules", true)
            .flag("ProtectKernelLogs", true)
            .flag("ProtectControlGroups", true)
            .flag("ProtectClock", true)
            .flag("ProtectHostname", true)
            .flag("RestrictSUIDSGID", true)
            .flag("LockPersonality", true)
            .count("UMask", 0o077)
            .signal("OOMScoreAdjust", 900)
            .signal("Nice", 10)
            .number("MemoryMax", order.memory)
            .number("MemorySwapMax", 0)
            .number("TasksMax", 32)
            .number("LimitCPU", order.cpu.as_secs())
            .number("LimitFSIZE", order.file_size)
            .number("LimitNOFILE", 64)
            .number("LimitCORE", 0)
    }
}

#[async_trait]
impl Cage for UnitCage {
    async fn run(&self, order: Order) -> Result<Ended, CageError> {
        let confinement = self.confinement(&order);
        let command =
            Command::new(order.label, order.argv).deadline(order.deadline).with(confinement);
        let output = self.systemd.run(command).await?;
        Ok(Ended { code: output.code, stdout: output.stdout, stderr: output.stderr })
    }

    fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }
}

/// As a child with limits (`prlimit`), another user (`setpriv`) and no network: for machines that are not run by
/// systemd, such as those of developers. It needs root.
#[derive(Debug, Clone)]
pub struct ChildCage {
    user: u32,
    group: u32,
}

impl ChildCage {
    /// Runs programs with these ids.
    pub const fn new(user: u32, group: u32) -> Self {
        Self { user, group }
    }

    fn argv(&self, order: &Order) -> Vec<String> {
        let mut argv: Vec<String> = vec![
            "/usr/bin/prlimit".to_owned(),
            format!("--as={}", order.memory.saturating_mul(4)),
            format!("--cpu={}", order.cpu.as_secs()),
            format!("--fsize={}", order.file_size),
            "--nofile=64".to_owned(),
            "--core=0".to_owned(),
            "/usr/bin/setpriv".to_owned(),
            format!("--reuid={}", self.user),
            format!("--regid={}", self.group),
            "--clear-groups".to_owned(),
            "--no-new-privs".to_owned(),
            "--bounding-set=-all".to_owned(),
        ];
        argv.extend(order.argv.iter().cloned());
        argv
    }
}

#[async_trait]
impl Cage for ChildCage {
    async fn run(&self, order: Order) -> Result<Ended, CageError> {
        let argv = self.argv(&order);
        let mut words = argv.iter();
        let program = words.next().map_or("", String::as_str);
        let mut child = tokio::process::Command::new(program)
            .args(words)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(CageError::Start)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let all = async { tokio::join!(child.wait(), collect(stdout), collect(stderr)) };
        let (status, stdout, stderr) = tokio::time::timeout(order.deadline, all)
            .await
            .map_err(|_| CageError::Deadline(order.deadline))?;
        Ok(Ended { code: status.map_err(CageError::Start)?.code(), stdout, stderr })
    }

    fn owner(&self) -> Option<(u32, u32)> {
        Some((self.user, self.group))
    }
}

/// Reads up to the limit; what comes after is read and thrown away, so that the program does not stall.
async fn collect(output: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let (mut bytes, Some(mut output)) = (Vec::new(), output) else { return Vec::new() };
    // A program that ends while its output is read has said what it had to say.
    let _ = (&mut output).take(OUTPUT).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(argv: &[&str]) -> Order {
        Order {
            label: "test",
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            writes: Some("/work".into()),
            memory: 1 << 28,
            cpu: Duration::from_secs(2),
            file_size: 1000,
            deadline: Duration::from_secs(20),
        }
    }

    #[test]
    fn a_unit_has_nothing_that_it_does_not_need() {
        let cage = UnitCage::new(Systemd::at("unix:path=/none"), "nobody");
        let properties = cage.confinement(&order(&["/bin/true"]));
        let show = |name| properties.show(name).unwrap();
        assert!(show("User").contains("nobody") && show("ProtectSystem").contains("strict"));
        assert!(show("ReadWritePaths").contains("/work"));
        assert!(show("MemoryMax").contains("268435456") && show("LimitFSIZE").contains("1000"));
        assert!(
            show("PrivateNetwork").contains("true") && show("CapabilityBoundingSet").contains('0')
        );
    }

    #[tokio::test]
    async fn a_child_has_no_rights_and_ends_at_its_limits() {
        let cage = ChildCage::new(65_534, 65_534);
        let ids = cage.run(order(&["/usr/bin/id", "-u"])).await.unwrap();
        assert_eq!(ids.stdout, b"65534\n");
        let denied = cage.run(order(&["/bin/cat", "/etc/shadow"])).await.unwrap();
        assert_eq!((denied.code, denied.stdout.len()), (Some(1), 0));
        let spin = cage.run(order(&["/bin/sh", "-c", "while :; do :; done"])).await.unwrap();
        assert_eq!(spin.code, None, "the limit of processor time ended it");
        let flood = order(&["/usr/bin/head", "-c", "5000000", "/dev/zero"]);
        assert_eq!(cage.run(flood).await.unwrap().stdout.len() as u64, OUTPUT);
        let slow = Order { deadline: Duration::from_millis(200), ..order(&["/bin/sleep", "60"]) };
        assert!(matches!(cage.run(slow).await, Err(CageError::Deadline(_))));
    }
}

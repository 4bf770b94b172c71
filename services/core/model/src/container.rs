//! Containers: what runs in a pod, and how it is held.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ContainerPages, Invalid, IoLimits, LogRate, Name, Probe, Validate, VolumeMount};

/// What Linux lets a root user do, capability by capability, without the `CAP_` in front.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// A variable in a container's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    /// Name: letters, digits and `_`, not starting with a digit.
    pub name: String,
    /// Value; no NUL.
    #[serde(default)]
    pub value: String,
    /// The value is that of a config's key. A change counts from the container's next start.
    #[serde(default)]
    pub config: Option<KeyOf>,
    /// The value is that of a secret's key. A change counts from the container's next start.
    #[serde(default)]
    pub secret: Option<KeyOf>,
}

/// A key of a config or a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyOf {
    /// Name of the config or secret.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// The key.
    pub key: String,
}

/// A folder in memory; what is in it is gone with the container's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Where in the container, an absolute path.
    pub path: String,
    /// Most that fits, in MiB, 1 to 1048576. It counts as memory of the container.
    #[serde(default = "Tmpfs::default_size")]
    pub size_mib: u64,
}

impl Tmpfs {
    const fn default_size() -> u64 {
        16
    }
}

/// Changes to the short list of capabilities that a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Added, such as `NET_ADMIN`. Only an admin may ask for one.
    pub add: Vec<String>,
    /// Taken away, such as `CHOWN`; `ALL` for every one that is not added.
    pub drop: Vec<String>,
}

/// What is wanted of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Unique within the pod.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// Name of the image.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub image: Name,
    /// Program and arguments; the image's own if empty. No shell is put around it.
    #[serde(default)]
    pub command: Vec<String>,
    /// Arguments that replace the image's own.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its standard input stays open, and people may attach to it. Otherwise it reads the end at once.
    #[serde(default)]
    pub stdin: bool,
    /// Its input and outputs are a terminal, for people who attach to it. It needs `stdin`. Both outputs go to its log
    /// as the terminal has them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Added to the image's environment.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// Folder in which the program starts, an absolute path; the image's own if empty.
    #[serde(default)]
    pub working_dir: String,
    /// Who the program runs as, `user` or `user:group`, by name or number; the image's own if empty.
    #[serde(default)]
    pub user: String,
    /// Its root file system cannot be written.
    #[serde(default)]
    pub read_only_root: bool,
    /// Folders in memory, at most 16.
    #[serde(default)]
    pub tmpfs: Vec<Tmpfs>,
    /// Volumes of the pod that it sees, at most 32.
    #[serde(default)]
    pub mounts: Vec<VolumeMount>,
    /// Devices of the machine that it may use, at most 16, each of a known class: `/dev/net/tun`, `/dev/fuse`,
    /// `/dev/kvm`; and, only for an admin to ask for, `/dev/vfio/vfio`, `/dev/vfio/N`, `/dev/ttySN`, `/dev/ttyUSBN`
    /// and `/dev/ttyACMN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Changes to what its root user may do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Nearly nothing holds it: it has all capabilities but those under `capabilities.drop`, may gain privileges, may
    /// make every system call, and sees all of `/proc` and `/sys`. Only an admin may ask for it, change a pod with it,
    /// or enter it. It gets no devices beyond `devices`, and keeps its own processes, mounts, host name and limits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// Hard memory limit in MiB, 4 to 1048576.
    #[serde(default = "Container::default_memory")]
    pub memory_mib: u64,
    /// Memory in MiB that the node counts as taken, up to the limit; the limit itself if not given.
    #[serde(default)]
    pub memory_request_mib: Option<u64>,
    /// Memory in MiB that the kernel leaves to it while there is anything else to take, up to what is counted; none if
    /// not given. It is `memory.low` of its control group: what is kept is not taken from it to spare others, but
    /// nobody is killed to keep it.
    #[serde(default)]
    pub memory_reservation_mib: Option<u64>,
    /// Processor limit in thousandths of a CPU, 10 to 1024000; none if not given.
    #[serde(default)]
    pub cpu_limit_m: Option<u32>,
    /// Its share of busy processors, in thousandths of a CPU, 10 to 1024000: containers get time in this
    /// proportion.
    #[serde(default = "Container::default_cpu_request")]
    pub cpu_request_m: u32,
    /// Most processes at once, 1 to 32768.
    #[serde(default = "Container::default_pids")]
    pub pids: u32,
    /// Memory in huge pages, each size at most once; none if not given. It is set aside for the container as long as
    /// its pod is on, which starts only if the machine has as much left, and it comes on top of `memory_mib`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub huge_pages: Vec<ContainerPages>,
    /// What it may do with the disk; no limits if not given.
    #[serde(default)]
    pub io: Option<IoLimits>,
    /// How fast it may write to its log; as fast as the node's settings say if not given.
    #[serde(default)]
    pub log_rate: Option<LogRate>,
    /// Tells when it has started up; until then the other probes wait. A failure restarts it.
    #[serde(default)]
    pub startup: Option<Probe>,
    /// Tells whether it lives. A failure restarts it.
    #[serde(default)]
    pub liveness: Option<Probe>,
    /// Tells whether it can do its work.
    #[serde(default)]
    pub readiness: Option<Probe>,
}

impl Container {
    const fn default_memory() -> u64 {
        64
    }
    const fn default_pids() -> u32 {
        1024
    }
    const fn default_cpu_request() -> u32 {
        100
    }

    /// Its probes with their names.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        [("startup", &self.startup), ("liveness", &self.liveness), ("readiness", &self.readiness)]
            .into_iter()
            .filter_map(|(name, probe)| Some((name, probe.as_ref()?)))
    }

    /// Memory in MiB that the node counts as taken.
    pub fn memory_taken_mib(&self) -> u64 {
        self.memory_request_mib.unwrap_or(self.memory_mib)
    }

    /// What of it loosens the hold on it, one sentence each.
    pub fn risks(&self) -> Vec<String> {
        let add = &self.capabilities.add;
        let name = &self.name;
        let privileged = self.privileged.then(|| {
            format!("container `{name}` is privileged: it can do what it will with the node")
        });
        let added = add.iter().map(|word| format!("container `{name}` has the capability {word}"));
        privileged.into_iter().chain(added).chain(self.device_risks()).collect()
    }
}

/// For what is not written if it is false.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) const fn is_false(value: &bool) -> bool {
    !*value
}

/// Whether a path can be a place in a container: absolute, without `..`, not the root itself.
pub(crate) fn is_place(path: &str) -> bool {
    let parts = || path.split('/').filter(|part| !part.is_empty());
    path.starts_with('/')
        && path.len() <= 1024
        && !path.contains('\0')
        && parts().next().is_some()
        && parts().all(|part| part != "." && part != "..")
}

impl Validate for Container {
    fn validate(&self, found: &mut Invalid) {
        self.validate_limits(found);
        self.validate_pages(found);
        for word in self.command.iter().chain(&self.args) {
            found.require(!word.contains('\0'), "command", "must not contain NUL");
        }
        for variable in &self.env {
            let first = variable.name.chars().next();
            let good = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && variable.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            found.require(
                good,
                "env",
                "a name must be letters, digits and _, not starting with a digit",
            );
            found.require(!variable.value.contains('\0'), "env", "a value must not contain NUL");
            let given =
                [!variable.value.is_empty(), variable.config.is_some(), variable.secret.is_some()];
            found.require(
                given.into_iter().filter(|given| *given).count() <= 1,
                "env",
                "a variable has one of `value`, `config` and `secret`",
            );
        }
        let folder = &self.working_dir;
        found.require(
            folder.is_empty() || folder == "/" || is_place(folder),
            "working_dir",
            "must be an absolute path without `..`",
        );
        let user_good = self.user.len() <= 128
            && self.user.chars().all(|c| c.is_ascii_graphic())
            && self.user.matches(':').count() <= 1;
        found.require(user_good, "user", "must be `user` or `user:group`, by name or number");
        found.require(
            self.stdin || !self.tty,
            "tty",
            "needs `stdin`: a terminal at which nobody can type is of no use",
        );
        self.validate_folders(found);
        self.validate_capabilities(found);
        self.validate_devices(found);
        for (name, probe) in self.probes() {
            probe.validate_as(name, name != "readiness", found);
        }
    }
}

impl Container {
    fn validate_folders(&self, found: &mut Invalid) {
        found.require(self.tmpfs.len() <= 16, "tmpfs", "must be at most 16 folders");
        for folder in &self.tmpfs {
            found.require(
                is_place(&folder.path),
                "tmpfs",
                "a path must be absolute, without `..`, and not `/`",
            );
            found.require(
                (1..=1_048_576).contains(&folder.size_mib),
                "tmpfs",
                "a size must be 1 to 1048576 MiB",
            );
        }
        found.require(self.mounts.len() <= 32, "mounts", "must be at most 32 volumes");
        let tmpfs = self.tmpfs.iter().map(|folder| folder.path.trim_end_matches('/'));
        let mounts = self.mounts.iter().map(|mount| mount.path.trim_end_matches('/'));
        let mut places: Vec<&str> = tmpfs.chain(mounts).collect();
        places.sort_unstable();
        let twice = places.windows(2).any(|pair| pair.first() == pair.last());
        found.require(!twice, "mounts", "each path may be given once, in `mounts` or `tmpfs`");
    }

    fn validate_capabilities(&self, found: &mut Invalid) {
        let known = |word: &String| CAPABILITIES.contains(&word.as_str());
        for word in self.capabilities.add.iter().filter(|word| !known(word)) {
            let shown: String = word.chars().take(40).collect();
            found.add("capabilities.add", format!("there is no capability `{shown}`"));
        }
        for word in self.capabilities.drop.iter().filter(|word| !known(word) && *word != "ALL") {
            let shown: String = word.chars().take(40).collect();
            found.add("capabilities.drop", format!("there is no capability `{shown}`"));
        }
        for (list, words) in [("add", &self.capabilities.add), ("drop", &self.capabilities.drop)] {
            let field = format!("capabilities.{list}");
            let once: BTreeSet<_> = words.iter().collect();
            let twice = once.len() < words.len();
            found.require(!twice, &field, "each capability may be given once");
        }
    }
}

//! The builder root: a small Debian in `target/builder` that holds every tool the image needs, so that the host
//! needs almost none.
//!
//! It is made by mmdebstrap and made anew when its definition changes. Programs run in it through bubblewrap, which
//! enters it with `pivot_root`: mkosi's own sandbox fails in a plain chroot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::command;
use crate::host::{Mirrors, mirrors};
use crate::paths::Paths;

/// The Debian release of builder root and image.
pub const RELEASE: &str = "trixie";

const PACKAGES: &[&str] = &[
    // Assembling the image
    "mkosi",
    "systemd-repart",
    "systemd-ukify",
    "systemd-boot-efi",
    "systemd-container",
    "apt",
    "ca-certificates",
    "debian-archive-keyring",
    "erofs-utils",
    "xfsprogs",
    "e2fsprogs",
    "dosfstools",
    "mtools",
    "cryptsetup-bin",
    "kmod",
    "cpio",
    "zstd",
    "xz-utils",
    "util-linux",
    "busybox-static",
    "dmsetup",
    "systemd",
    // Starting it
    "qemu-system-x86",
    "qemu-utils",
    "ovmf",
    "swtpm",
    // The page; the host's Node may be too old
    "nodejs",
    "npm",
    // Tests of registries and container images
    "skopeo",
    "umoci",
    "docker-registry",
    // Tests under systemd
    "dbus",
    "crun",
    "runc",
    "iproute2",
];

/// The builder root, ready to run programs.
#[derive(Debug, Clone)]
pub struct Builder {
    root: PathBuf,
    repo: PathBuf,
    target: PathBuf,
}

impl Builder {
    /// Makes the builder root if it is missing or its definition has changed.
    ///
    /// # Errors
    /// When packages cannot be fetched or installed.
    pub fn ensure(paths: &Paths) -> Result<Self> {
        let dir = paths.builder();
        let root = dir.join("root");
        let stamp = dir.join("definition.sha256");
        let wanted = definition();
        let builder =
            Self { root: root.clone(), repo: paths.repo.clone(), target: paths.target.clone() };
        let is_current = || {
            root.join("usr/bin/mkosi").exists()
                && std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted)
        };
        if is_current() {
            builder.mount_points(&root)?;
            return Ok(builder);
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Somebody else may be making it at this moment; then theirs will do.
        let _lock =
            command::lock(&dir.join("lock"), "Waiting for the builder root that is being made")?;
        if is_current() {
            return Ok(builder);
        }
        println!("Making the builder root in {} (about half a minute, 650 MB)", root.display());
        // Made beside the old one, which may be in use, and put in its place when it is whole.
        let (part, old) = (dir.join("root.part"), dir.join("root.old"));
        let remove = |path: &Path| {
            command::run(command::as_root("rm").args(["-rf", "--one-file-system"]).arg(path))
        };
        remove(&part)?;
        debian(&part, PACKAGES, &dir.join("mmdebstrap.log"))?;
        builder.mount_points(&part)?;
        remove(&old)?;
        if root.exists() {
            std::fs::rename(&root, &old)
                .with_context(|| format!("cannot move {}", root.display()))?;
        }
        std::fs::rename(&part, &root).with_context(|| format!("cannot move {}", part.display()))?;
        std::fs::write(&stamp, &wanted)
            .with_context(|| format!("cannot write {}", stamp.display()))?;
        remove(&old)?;
        Ok(builder)
    }

    /// Makes what [`Self::enter`] mounts over, where it is missing: the builder root belongs to root, so the program
    /// of a user could not.
    fn mount_points(&self, root: &Path) -> Result<()> {
        let within = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let folders =
            [within(&self.repo), within(&self.target), within(Path::new("/etc/ssl/certs"))];
        if folders.iter().any(|folder| !folder.exists()) {
            command::run(command::as_root("mkdir").arg("-p").args(&folders))?;
        }
        let resolver = within(Path::new("/etc/resolv.conf"));
        if !resolver.exists() {
            command::run(command::as_root("touch").arg(&resolver))?;
        }
        Ok(())
    }

    /// The builder root that must already be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn existing(paths: &Paths) -> Result<Self> {
        let root = paths.builder().join("root");
        ensure!(
            root.join("usr/bin/mkosi").exists(),
            "there is no builder root in {}; run `cargo xtask builder`",
            root.display()
        );
        Ok(Self { root, repo: paths.repo.clone(), target: paths.target.clone() })
    }

    /// Adds a package that only some work needs, such as the browser of the page's tests.
    ///
    /// # Errors
    /// When it cannot be fetched or installed.
    pub fn add(&self, package: &str, file: &str) -> Result<()> {
        if self.root.join(file).exists() {
            return Ok(());
        }
        println!("Adding {package} to the builder root");
        self.update()?;
        let log = self.root.with_file_name(format!("{package}.log"));
        let mut install = self.apt_get(Path::new("/"), &["install", "-y"]);
        command::run_logged(install.args(["--no-install-recommends", package]), &log)
    }

    /// Unpacks packages into a folder without installing them or what they need: for files of theirs alone.
    ///
    /// # Errors
    /// When one cannot be fetched or unpacked.
    pub fn unpack(&self, packages: &[&str], folder: &Path) -> Result<()> {
        let archives = folder.join("packages");
        std::fs::create_dir_all(&archives)
            .with_context(|| format!("cannot make {}", archives.display()))?;
        command::run(self.apt_get(&archives, &["download"]).args(packages))?;
        for archive in std::fs::read_dir(&archives)? {
            let mut unpack = self.root_command("dpkg-deb");
            command::run(unpack.arg("-x").arg(archive?.path()).arg(folder))?;
        }
        // Unpacked by root, the folder is root's, and so is what is in it.
        command::take_over(folder)
    }

    /// Asks the mirror which packages it has now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn update(&self) -> Result<()> {
        command::run(&mut self.apt_get(Path::new("/"), &["update"]))
    }

    /// A call of apt-get with this folder as its own.
    fn apt_get(&self, folder: &Path, words: &[&str]) -> Command {
        let mut apt = self.root_command("env");
        apt.arg(format!("--chdir={}", folder.display()));
        apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        apt.args(["-o", "APT::Sandbox::User=root"]).args(words);
        apt
    }

    /// Where the builder root is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A program in the builder root with the powers of root: for assembling images. Repository and `target/` are at
    /// their own paths.
    #[must_use]
    pub fn root_command(&self, program: &str) -> Command {
        let mut command = command::as_root("bwrap");
        self.enter(&mut command);
        command.args(["--bind", "/sys", "/sys", "--cap-add", "ALL"]);
        command.args([
            "--clearenv",
            "--setenv",
            "PATH",
            "/usr/sbin:/usr/bin",
            "--setenv",
            "HOME",
            "/root",
            "--setenv",
            "LC_ALL",
            "C.UTF-8",
        ]);
        command.arg("--").arg(program);
        command
    }

    /// A program in the builder root with the powers of the caller: for QEMU.
    #[must_use]
    pub fn user_command(&self, program: &str) -> Command {
        let mut command = Command::new("bwrap");
        self.enter(&mut command);
        command.args([
            "--clearenv",
            "--setenv",
            "PATH",
            "/usr/sbin:/usr/bin",
            "--setenv",
            "HOME",
            "/tmp",
        ]);
        command.arg("--").arg(program);
        command
    }

    /// A first process over the builder root, which stays as it is: its own processes, network and `/var`. `add` may
    /// mount more. To be called as root.
    #[must_use]
    pub fn machine_command(&self, program: &str, add: impl FnOnce(&mut Command)) -> Command {
        let mut command = Command::new("bwrap");
        self.enter(&mut command);
        command.arg("--remount-ro").arg("/");
        command.args([
            "--tmpfs",
            "/var",
            "--tmpfs",
            "/var/lib/skerry",
            "--dev-bind",
            "/sys",
            "/sys",
        ]);
        add(&mut command);
        command.args(["--unshare-ipc", "--unshare-uts", "--unshare-net", "--as-pid-1"]);
        command.args(["--cap-add", "ALL", "--clearenv", "--setenv", "container", "bubblewrap"]);
        command.args(["--setenv", "PATH", "/usr/sbin:/usr/bin", "--"]).arg(program);
        command
    }

    fn enter(&self, command: &mut Command) {
        command.arg("--bind").arg(&self.root).arg("/");
        command.args([
            "--dev-bind",
            "/dev",
            "/dev",
            "--proc",
            "/proc",
            "--tmpfs",
            "/run",
            "--perms",
            "1777",
            "--tmpfs",
            "/tmp",
        ]);
        command.args(["--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf"]);
        // A machine behind a proxy of its own trusts certificates that Debian does not know.
        command.args(["--ro-bind-try", "/etc/ssl/certs", "/etc/ssl/certs"]);
        command.arg("--bind").arg(&self.repo).arg(&self.repo);
        if !self.target.starts_with(&self.repo) {
            command.arg("--bind").arg(&self.target).arg(&self.target);
        }
        command.args(["--unshare-pid", "--die-with-parent"]);
    }
}

/// Makes a Debian with these packages and what they need; `root` must not exist.
///
/// # Errors
/// When a package cannot be fetched or installed; the log tells more.
pub fn debian(root: &Path, packages: &[&str], log: &Path) -> Result<()> {
    let mut command = command::as_root("mmdebstrap");
    command.args([
        "--mode=root",
        "--variant=minbase",
        "--aptopt=APT::Install-Recommends \"false\"",
    ]);
    command.arg("--keyring=/usr/share/keyrings/debian-archive-keyring.gpg");
    command.arg(format!("--include={}", packages.join(",")));
    command.arg(RELEASE).arg(root).args(sources(&mirrors()?));
    command::run_logged(&mut command, log)
}

fn sources(mirrors: &Mirrors) -> [String; 3] {
    let Mirrors { main, security } = mirrors;
    [
        format!("deb {main} {RELEASE} main"),
        format!("deb {main} {RELEASE}-updates main"),
        format!("deb {security} {RELEASE}-security main"),
    ]
}

fn definition() -> String {
    let mut hash = Sha256::new();
    // Which mirror they come from makes no difference to what they are.
    for word in PACKAGES.iter().chain(&[RELEASE]) {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

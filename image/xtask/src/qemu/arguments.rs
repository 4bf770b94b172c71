//! The hardware of a machine, its files, and its start.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::{QemuError, Vm};
use crate::builder::Builder;
use crate::paths::Paths;

/// A TCP port of this machine that leads to a port of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Port here.
    pub host: u16,
    /// Port of the node.
    pub guest: u16,
}

/// What the machine starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// OVMF.
    Uefi,
    /// SeaBIOS, with which the node says that it cannot start.
    Bios,
}

/// How the disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBus {
    /// Paravirtual.
    Virtio,
    /// NVMe.
    Nvme,
    /// SATA, on the machine's AHCI controller.
    Sata,
    /// A USB stick.
    Usb,
}

/// Where the serial line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// To the program that holds the [`Vm`].
    Program,
    /// To the terminal; Ctrl-a x ends the machine.
    User,
}

/// The hardware of a machine. Fields can be changed between [`Machine::new`] and [`Machine::start`].
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) builder: Builder,
    /// Folder of everything that belongs to this machine: disk, firmware variables, sockets, logs.
    pub folder: PathBuf,
    /// Raw image that the disk starts from; it is never written to.
    pub image: PathBuf,
    /// Size of the disk.
    pub disk_mib: u64,
    /// How the disk is attached.
    pub disk_bus: DiskBus,
    /// Memory.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// Whether emulated processors can run guests themselves. Without it the node emulates them, ten times as slowly; with
    /// it QEMU 10 breaks off at guests that set their task priority, as UEFI firmware does.
    pub virtualization: bool,
    /// Firmware.
    pub firmware: Firmware,
    /// Whether there is a network card.
    pub network: bool,
    /// Whether the node is cut off from everything but the forwarded ports.
    pub restrict: bool,
    /// Forwarded ports.
    pub forwards: Vec<Forward>,
    /// Where the serial line goes.
    pub terminal: Terminal,
    /// A root shell on a second serial line, for tests: see [`Vm::shell`]. It is asked for through the firmware, which
    /// a kernel image signed for Secure Boot ignores.
    pub debug_shell: bool,
    /// More words for the kernel command line, by the same way.
    pub kernel_words: Vec<String>,
    /// More words for QEMU's command line.
    pub qemu_words: Vec<String>,
}

impl Machine {
    /// A machine like the smallest node: 1 GiB, two processors, 8 GiB disk, one network card, no forwarded ports.
    ///
    /// # Errors
    /// When there is no builder root or no image; `cargo xtask image` makes both.
    pub fn new(paths: &Paths, folder: &Path) -> Result<Self, QemuError> {
        let missing = |what: &str| QemuError::Program {
            program: what.into(),
            reason: "is missing; run `cargo xtask image`".into(),
        };
        let builder = Builder::existing(paths).map_err(|_| missing("the builder root"))?;
        let image = paths.raw_image("qemu-q35");
        if !image.exists() {
            return Err(missing(&image.display().to_string()));
        }
        Ok(Self {
            builder,
            folder: folder.to_owned(),
            image,
            disk_mib: 8192,
            disk_bus: DiskBus::Virtio,
            memory_mib: 1024,
            cpus: 2,
            virtualization: false,
            firmware: Firmware::Uefi,
            network: true,
            restrict: false,
            forwards: Vec::new(),
            terminal: Terminal::Program,
            debug_shell: false,
            kernel_words: Vec::new(),
            qemu_words: Vec::new(),
        })
    }

    /// Forwards a free port of this machine to the node's port and returns it.
    ///
    /// # Errors
    /// When this machine has no free port.
    pub fn forward(&mut self, guest: u16) -> Result<u16, QemuError> {
        let prepare = |source| QemuError::Prepare { path: "127.0.0.1".into(), source };
        let host =
            TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(prepare)?.port();
        self.forwards.push(Forward { host, guest });
        Ok(host)
    }

    /// Starts the machine. Disk and firmware variables are made when the folder has none, and kept otherwise, so that
    /// a second start in the same folder is the next boot of the same machine.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn start(&self) -> Result<Vm, QemuError> {
        self.prepare()?;
        Vm::start(self, &[])
    }

    /// Starts the machine in the state saved under `name` by [`Vm::save`], instead of booting.
    ///
    /// # Errors
    /// When QEMU cannot be started or there is no such state.
    pub fn start_from(&self, name: &str) -> Result<Vm, QemuError> {
        self.prepare()?;
        let mut vm = Vm::start(self, &["-S"])?;
        vm.restore(name)?;
        vm.wake_shell()?;
        Ok(vm)
    }

    /// Becomes another machine with the same past: takes over disk and firmware variables, saved states included, of
    /// the machine in `from`, which must be off.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn take_over(&self, from: &Path) -> Result<(), QemuError> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|source| QemuError::Prepare { path: self.folder.clone(), source })?;
        for file in [self.disk(), self.variables(), self.stamp()] {
            let source = file.file_name().map(|name| from.join(name)).unwrap_or_default();
            std::fs::copy(&source, &file)
                .map_err(|error| QemuError::Prepare { path: source, source: error })?;
        }
        Ok(())
    }

    /// Forgets disk and firmware variables, so that the next start is a first boot.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn forget(&self) -> Result<(), QemuError> {
        for file in [self.disk(), self.variables()] {
            match std::fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(QemuError::Prepare { path: file, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The disk: a qcow2 file over the image.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk.qcow2")
    }

    /// Whether there is a disk, and it lies over another image than the one that is there now. Its blocks that were
    /// never written come from the image, so it cannot be used any more.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.disk().exists() && std::fs::read_to_string(self.stamp()).ok() != self.image_stamp()
    }

    /// Everything the serial line said since the machine was first started.
    #[must_use]
    pub fn serial_log(&self) -> PathBuf {
        self.folder.join("serial.log")
    }

    pub(super) fn qemu_log(&self) -> PathBuf {
        self.folder.join("qemu.log")
    }

    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.sock"))
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("image.stamp")
    }

    /// What tells one build of the image from the next.
    fn image_stamp(&self) -> Option<String> {
        let data = std::fs::metadata(&self.image).ok()?;
        let written = data.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(format!("{} {}", data.len(), written.as_nanos()))
    }

    pub(super) fn variables(&self) -> PathBuf {
        self.folder.join("variables.qcow2")
    }

    fn prepare(&self) -> Result<(), QemuError> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|source| QemuError::Prepare { path: self.folder.clone(), source })?;
        let image = self.image.display().to_string();
        let size = format!("{}M", self.disk_mib);
        if self.is_stale() {
            return Err(QemuError::Stale { disk: self.disk() });
        }
        if !self.disk().exists() {
            self.qemu_img(
                &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &image],
                &self.disk(),
                &[&size],
            )?;
            let stamp = self.image_stamp().unwrap_or_default();
            std::fs::write(self.stamp(), stamp)
                .map_err(|source| QemuError::Prepare { path: self.stamp(), source })?;
        }
        if !self.variables().exists() {
            // qcow2, because only that can hold a saved state of the machine.
            self.qemu_img(
                &["convert", "-q", "-f", "raw", "-O", "qcow2", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
                &self.variables(),
                &[],
            )?;
        }
        Ok(())
    }

    fn qemu_img(&self, before: &[&str], file: &Path, after: &[&str]) -> Result<(), QemuError> {
        let failed = |reason: String| QemuError::Program { program: "qemu-img".into(), reason };
        let out = self
            .builder
            .user_command("qemu-img")
            .args(before)
            .arg(file)
            .args(after)
            .output()
            .map_err(|e| failed(e.to_string()))?;
        if out.status.success() {
            Ok(())
        } else {
            Err(failed(String::from_utf8_lossy(&out.stderr).trim().to_owned()))
        }
    }
}

/// Whether KVM can really be used: the device may be there on a machine whose processor cannot, and guests then hang.
#[must_use]
pub fn kvm_is_usable() -> bool {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flag = processor
        .lines()
        .filter(|l| l.starts_with("flags"))
        .any(|l| l.split_whitespace().any(|f| f == "vmx" || f == "svm"));
    flag && std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

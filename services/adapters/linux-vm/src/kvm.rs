//! Whether guests can run on the processor itself, found out by running one.
//!
//! The device and the processor's flag are not enough: there are machines that have both and on which guests
//! hang or are reset for ever, such as those that emulate virtualization themselves. So once per boot a
//! throw-away guest of one disk sector goes through real and protected mode into long mode with paging and
//! says so at a debug port. The verdict is kept in the folder of things that end with the boot.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use skerry_compute::Acceleration;
use skerry_model::Accelerator;
use tokio::process::Command;

/// The guest has this long. It needs less than a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// What QEMU ends with when the guest writes 0x10 to the debug port.
const PASSED: i32 = 33;

/// The verdict when guests run.
const USABLE: &str = "usable";

/// The guest: page tables that map the first 2 MiB onto itself at 0x1000, long mode, a short loop, and 0x10 to
/// port 0x501. In the words of the assembler:
///
/// ```text
/// cli; xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,0x7c00
/// mov di,0x1000; mov cx,0x1800; cld; rep stosw
/// mov dword [0x1000],0x2003; mov dword [0x2000],0x3003; mov dword [0x3000],0x83
/// mov eax,cr4; or eax,0x20; mov cr4,eax; mov eax,0x1000; mov cr3,eax
/// mov ecx,0xc0000080; rdmsr; or eax,0x100; wrmsr
/// lgdt [0x7c98]; mov eax,cr0; or eax,0x80000001; mov cr0,eax; jmp 8:0x7c6d
/// (64 bit) mov ecx,1000; again: inc rax; loop again; mov dx,0x501; mov al,0x10; out dx,al; end: hlt; jmp end
/// ```
const CODE: [u8; 129] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xbf, 0x00, 0x10, 0xb9,
    0x00, 0x18, 0xfc, 0xf3, 0xab, 0x66, 0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, 0x00, 0x00, 0x66, 0xc7,
    0x06, 0x00, 0x20, 0x03, 0x30, 0x00, 0x00, 0x66, 0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, 0x00, 0x00,
    0x0f, 0x20, 0xe0, 0x66, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0, 0x66, 0xb8, 0x00, 0x10, 0x00, 0x00,
    0x0f, 0x22, 0xd8, 0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x66, 0x0d, 0x00, 0x01, 0x00,
    0x00, 0x0f, 0x30, 0x66, 0x0f, 0x01, 0x16, 0x98, 0x7c, 0x0f, 0x20, 0xc0, 0x66, 0x0d, 0x01, 0x00,
    0x00, 0x80, 0x0f, 0x22, 0xc0, 0x66, 0xea, 0x6d, 0x7c, 0x00, 0x00, 0x08, 0x00, 0xb9, 0xe8, 0x03,
    0x00, 0x00, 0x48, 0xff, 0xc0, 0xe2, 0xfb, 0x66, 0xba, 0x01, 0x05, 0xb0, 0x10, 0xee, 0xf4, 0xeb,
    0xfd,
];

/// Segments: none, and 64-bit code; then what `lgdt` loads.
const TABLE: [u8; 22] =
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x9a, 0x20, 0, 0x0f, 0, 0x88, 0x7c, 0, 0];
const TABLE_AT: usize = 0x88;

/// What the answer depends on.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The kernel's device.
    pub device: PathBuf,
    /// What the processor can do.
    pub cpuinfo: PathBuf,
    /// QEMU.
    pub qemu: PathBuf,
    /// A folder that is empty after each boot.
    pub run: PathBuf,
}

impl Probe {
    /// The machine's own.
    pub fn system(run: impl Into<PathBuf>) -> Self {
        Self {
            device: "/dev/kvm".into(),
            cpuinfo: "/proc/cpuinfo".into(),
            qemu: "/usr/bin/qemu-system-x86_64".into(),
            run: run.into(),
        }
    }

    /// What runs guests here. Cheap after the first time in a boot.
    pub async fn ask(&self) -> Acceleration {
        let verdict = match self.promising() {
            Ok(()) => self.verdict().await,
            Err(why) => Err(why),
        };
        match verdict {
            Ok(()) => Acceleration { accelerator: Accelerator::Kvm, why: String::new() },
            Err(why) => Acceleration { accelerator: Accelerator::Emulation, why },
        }
    }

    /// What can be said without running anything.
    fn promising(&self) -> Result<(), String> {
        let device = self.device.display();
        if !self.device.exists() {
            return Err(format!(
                "{device} does not exist: the kvm module is not loaded, or virtualization is switched off \
                 in the firmware"
            ));
        }
        let cpuinfo = std::fs::read_to_string(&self.cpuinfo).unwrap_or_default();
        if !has_virtualization(&cpuinfo) {
            return Err(
                "the processor offers neither vmx nor svm: switch virtualization on in the \
                        firmware, or in the outer hypervisor"
                    .to_owned(),
            );
        }
        match OpenOptions::new().read(true).write(true).open(&self.device) {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(format!("{device} cannot be opened for reading and writing ({error})"))
            }
        }
    }

    async fn verdict(&self) -> Result<(), String> {
        let kept = self.run.join("kvm-verdict");
        match std::fs::read_to_string(&kept) {
            Ok(verdict) if verdict == USABLE => return Ok(()),
            Ok(verdict) if !verdict.is_empty() => return Err(verdict),
            _ => {}
        }
        let verdict = run_guest(&self.qemu, "kvm", "host", &self.run).await;
        let text = verdict.as_ref().err().map_or(USABLE, String::as_str);
        if let Err(error) = keep(&kept, text) {
            tracing::warn!(%error, "the verdict on KVM is not kept; it is found out again");
        }
        tracing::info!(verdict = text, "a throw-away guest was run to see whether KVM works");
        verdict
    }
}

fn has_virtualization(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// Renamed into place, so that what is found there is whole.
fn keep(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, text)?;
    std::fs::rename(part, path)
}

/// The disk sector that a firmware of the old kind starts.
fn sector() -> Vec<u8> {
    let mut sector = CODE.to_vec();
    sector.resize(TABLE_AT, 0);
    sector.extend(TABLE);
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Runs the guest. A reset ends QEMU, so a guest that is reset for ever is told from one that hangs.
async fn run_guest(qemu: &Path, accelerator: &str, cpu: &str, run: &Path) -> Result<(), String> {
    let disk = run.join("kvm-probe.img");
    std::fs::write(&disk, sector()).map_err(|error| format!("no test guest was made: {error}"))?;
    let mut command = Command::new(qemu);
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-m", "32"])
        .args(["-no-reboot", "-accel", accelerator, "-cpu", cpu])
        .args(["-device", "isa-debug-exit,iobase=0x501,iosize=1"])
        .arg("-drive")
        .arg(format!("file={},format=raw,if=ide", disk.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.status()).await;
    // A leftover of one sector harms nobody.
    let _ = std::fs::remove_file(&disk);
    match ended {
        Err(_) => Err(format!(
            "a test guest hung under KVM for {} s: its virtualization is there but does not work",
            PATIENCE.as_secs()
        )),
        Ok(Err(error)) => Err(format!("{} cannot be run: {error}", qemu.display())),
        Ok(Ok(status)) => match status.code() {
            Some(PASSED) => Ok(()),
            Some(0) => {
                Err("a test guest was reset under KVM: its virtualization is there but does not \
                            work"
                    .to_owned())
            }
            code => Err(format!("a test guest did not run under KVM; QEMU ended with {code:?}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(flags: &str, qemu: &str) -> Self {
            let root = tempfile::tempdir().unwrap();
            std::fs::write(root.path().join("kvm"), "").unwrap();
            std::fs::write(root.path().join("cpuinfo"), format!("flags\t: {flags}\n")).unwrap();
            let program = root.path().join("qemu");
            std::fs::write(&program, format!("#!/bin/sh\necho x >> {}\n{qemu}\n", counter(&root)))
                .unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            Self(root)
        }

        fn probe(&self) -> Probe {
            let at = |name: &str| self.0.path().join(name);
            Probe {
                device: at("kvm"),
                cpuinfo: at("cpuinfo"),
                qemu: at("qemu"),
                run: self.0.path().into(),
            }
        }

        fn runs(&self) -> usize {
            std::fs::read_to_string(counter(&self.0)).unwrap_or_default().lines().count()
        }
    }

    fn counter(root: &tempfile::TempDir) -> String {
        root.path().join("runs").display().to_string()
    }

    #[tokio::test]
    async fn only_a_guest_that_ran_proves_kvm_and_it_is_run_once() {
        let machine = Machine::new("fpu svm", "exit 33");
        for _ in 0..2 {
            let told = machine.probe().ask().await;
            assert_eq!((told.accelerator, told.why.as_str()), (Accelerator::Kvm, ""));
        }
        assert_eq!(machine.runs(), 1);
        let machine = Machine::new("fpu svm", "exit 0");
        for _ in 0..2 {
            let told = machine.probe().ask().await;
            assert_eq!(told.accelerator, Accelerator::Emulation);
            assert!(told.why.contains("was reset"), "{}", told.why);
        }
        assert_eq!(machine.runs(), 1, "a bad verdict is kept too");
        let told = Machine::new("vmx", "exit 1").probe().ask().await;
        assert!(told.why.contains("Some(1)"), "{}", told.why);
    }

    #[tokio::test]
    async fn what_cannot_work_is_not_tried() {
        let machine = Machine::new("fpu vmx_like", "exit 33");
        let told = machine.probe().ask().await;
        assert!(told.why.contains("neither vmx nor svm"), "{}", told.why);
        std::fs::remove_file(machine.probe().device).unwrap();
        let told = machine.probe().ask().await;
        assert!(told.why.contains("does not exist"), "{}", told.why);
        assert_eq!(machine.runs(), 0);
    }

    #[test]
    fn the_sector_is_one_and_its_parts_are_where_the_code_looks() {
        let sector = sector();
        assert_eq!((sector.len(), sector.get(510..)), (512, Some(&[0x55, 0xaa][..])));
        // The last six bytes of the table: its length less one, and where it lies.
        assert_eq!(sector.get(0x98..0x9e), Some(&[0x0f, 0, 0x88, 0x7c, 0, 0][..]));
        assert_eq!(sector.get(0x57..0x59), Some(&[0x98, 0x7c][..]), "lgdt");
        assert_eq!(sector.get(0x6d), Some(&0xb9), "where the far jump goes");
    }
}

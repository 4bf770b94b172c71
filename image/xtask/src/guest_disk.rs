//! A disk from which a machine boots, by BIOS and by UEFI, for tests: a tiny guest that brings along Debian's guest
//! agent. No part of the image.
//!
//! One FAT file system without partitions, with Debian's cloud kernel and the initrd of the tiny machine. What starts it
//! is either signed by nobody, and of use by BIOS and by UEFI, or signed for Secure Boot: see [`Loader`].

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::builder::Builder;
use crate::command;
use crate::cpio::Cpio;
use crate::image::fresh;
use crate::initrd::Modules;
use crate::paths::Paths;
use crate::tree;
use crate::workloads::{VM_ARGUMENTS, cloud_kernel, tiny_vm};

/// Size of the disk.
pub const BYTES: u64 = 48 << 20;

/// What the boot loader prints at the serial line, and only under BIOS.
pub const BIOS_LOADER: &str = "SYSLINUX";

/// Where UEFI looks for a loader that nobody told it of.
const FALLBACK: &str = "EFI/BOOT/BOOTX64.EFI";

/// What starts the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// syslinux by BIOS, systemd-boot by UEFI, which Debian signs neither of.
    Unsigned,
    /// By UEFI alone: shim, signed by Microsoft, which starts GRUB, signed by Debian as the kernel is.
    Signed,
}

/// Builds the disk as qcow2. `files` holds the guest's first program, `init`, what runs beside, `beside`, and what it
/// tells over HTTP, `told`.
///
/// # Errors
/// When a package cannot be fetched or a program fails.
pub fn build(paths: &Paths, builder: &Builder, files: &Path, loader: Loader) -> Result<PathBuf> {
    builder.add("syslinux", "usr/bin/syslinux")?;
    builder.add("qemu-guest-agent", "usr/sbin/qemu-ga")?;
    let cloud = cloud_kernel(paths, builder)?;
    let folder = fresh(&paths.work().join(match loader {
        Loader::Unsigned => "guest-disk",
        Loader::Signed => "guest-disk-signed",
    }))?;
    let plain = folder.join("initrd.cpio");
    std::fs::write(&plain, initrd(paths, builder, &cloud, files)?)?;
    let initrd =
        command::output_bytes(builder.user_command("gzip").args(["-9", "-n", "-c"]).arg(&plain))?;
    let content = folder.join("content");
    tree::put(&content, "initrd", &initrd, 0o644)?;
    tree::put(&content, "kernel", &std::fs::read(cloud.join("kernel"))?, 0o644)?;
    match loader {
        Loader::Unsigned => unsigned(builder, &content)?,
        Loader::Signed => signed(paths, builder, &content)?,
    }
    fill(builder, &folder, loader)
}

fn arguments() -> String {
    format!("{VM_ARGUMENTS} rdinit=/own-init")
}

fn unsigned(builder: &Builder, content: &Path) -> Result<()> {
    let arguments = arguments();
    let syslinux = format!(
        "SERIAL 0 115200\nDEFAULT guest\nLABEL guest\n  KERNEL kernel\n  INITRD initrd\n  \
         APPEND {arguments}\n"
    );
    tree::put(content, "syslinux.cfg", syslinux.as_bytes(), 0o644)?;
    let entry = format!("title guest\nlinux /kernel\ninitrd /initrd\noptions {arguments}\n");
    tree::put(content, "loader/entries/guest.conf", entry.as_bytes(), 0o644)?;
    tree::put(content, "loader/loader.conf", b"timeout 0\n", 0o644)?;
    copy(builder.root(), "usr/lib/systemd/boot/efi/systemd-bootx64.efi", content, FALLBACK)
}

fn signed(paths: &Paths, builder: &Builder, content: &Path) -> Result<()> {
    let loaders = signed_loaders(paths, builder)?;
    copy(&loaders, SHIM, content, FALLBACK)?;
    // Where shim looks for what it starts: beside itself.
    copy(&loaders, GRUB, content, "EFI/BOOT/grubx64.efi")?;
    let grub = format!("linux /kernel {}\ninitrd /initrd\nboot\n", arguments());
    // Where GRUB was told to look when it was signed.
    tree::put(content, "EFI/debian/grub.cfg", grub.as_bytes(), 0o644)
}

const SHIM: &str = "usr/lib/shim/shimx64.efi.signed";
const GRUB: &str = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";

/// Unpacks Debian's signed loaders once; they are not installed, since they would want to care for this machine's boot.
fn signed_loaders(paths: &Paths, builder: &Builder) -> Result<PathBuf> {
    let folder = paths.work().join("signed-loaders");
    if [SHIM, GRUB].iter().all(|file| folder.join(file).exists()) {
        return Ok(folder);
    }
    let folder = fresh(&folder)?;
    builder.update()?;
    builder.unpack(&["shim-signed", "grub-efi-amd64-signed"], &folder)?;
    Ok(folder)
}

fn copy(from: &Path, file: &str, content: &Path, to: &str) -> Result<()> {
    let file = from.join(file);
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    tree::put(content, to, &bytes, 0o644)
}

/// The tiny machine's, with the agent and the libraries that it needs.
fn initrd(paths: &Paths, builder: &Builder, cloud: &Path, files: &Path) -> Result<Vec<u8>> {
    let mut cpio = tiny_vm(paths, builder, cloud)?;
    cpio.copy("own-init", 0o755, &files.join("init"))?;
    cpio.copy("bin/beside", 0o755, &files.join("beside"))?;
    cpio.copy("www/cgi-bin/told", 0o755, &files.join("told"))?;
    for (name, file) in Modules::read(cloud)?.in_load_order(&["efivarfs".to_owned()])? {
        let bytes = command::output_bytes(builder.user_command("xz").arg("-dc").arg(&file))?;
        cpio.file(&format!("modules/{name}.ko"), 0o644, &bytes)?;
    }
    let agent = "/usr/sbin/qemu-ga";
    let needed = command::output(builder.user_command("ldd").arg(agent))?;
    let libraries = needed.split_whitespace().filter(|word| word.starts_with('/'));
    let mut count = 0;
    for file in libraries.chain([agent]) {
        put(builder, &mut cpio, file)?;
        count += 1;
    }
    ensure!(count > 2, "the agent's libraries cannot be told from: {needed}");
    cpio.finish()
}

/// A file of the builder root under the name by which it is asked for.
fn put(builder: &Builder, cpio: &mut Cpio, file: &str) -> Result<()> {
    let real = command::output(builder.user_command("realpath").arg(file))?;
    let real = builder.root().join(real.trim().trim_start_matches('/'));
    cpio.copy(file.trim_start_matches('/'), 0o755, &real)
}

fn fill(builder: &Builder, folder: &Path, loader: Loader) -> Result<PathBuf> {
    let disk = folder.join("disk.raw");
    File::create(&disk)?.set_len(BYTES)?;
    let tool = |program: &str| builder.user_command(program);
    command::run(tool("mkfs.vfat").args(["-F", "16", "-n", "GUEST"]).arg(&disk))?;
    let mut content = std::fs::read_dir(folder.join("content"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    content.sort();
    command::run(tool("mcopy").arg("-s").arg("-i").arg(&disk).args(content).arg("::/"))?;
    if loader == Loader::Unsigned {
        command::run(tool("syslinux").arg("--install").arg(&disk))?;
    }
    let made = folder.join("guest.qcow2");
    let convert = ["convert", "-c", "-f", "raw", "-O", "qcow2"];
    command::run(tool("qemu-img").args(convert).arg(&disk).arg(&made))?;
    Ok(made)
}

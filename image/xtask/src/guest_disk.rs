//! A disk from which a machine boots, by BIOS and by UEFI, for tests: a tiny guest that brings along Debian's guest
//! agent. No part of the image.
//!
//! One FAT file system without partitions, with Debian's cloud kernel and the initrd of the tiny machine; syslinux starts
//! it by BIOS, systemd-boot by UEFI.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::builder::Builder;
use crate::command;
use crate::cpio::Cpio;
use crate::image::fresh;
use crate::paths::Paths;
use crate::workloads::{VM_ARGUMENTS, cloud_kernel, tiny_vm};

/// Size of the disk.
pub const BYTES: u64 = 48 << 20;

/// What the boot loader prints at the serial line, and only under BIOS.
pub const BIOS_LOADER: &str = "SYSLINUX";

/// Builds the disk as qcow2. `files` holds the guest's first program, `init`, what runs beside, `beside`, and what it
/// tells over HTTP, `told`.
///
/// # Errors
/// When a package cannot be fetched or a program fails.
pub fn build(paths: &Paths, builder: &Builder, files: &Path) -> Result<PathBuf> {
    builder.add("syslinux", "usr/bin/syslinux")?;
    builder.add("qemu-guest-agent", "usr/sbin/qemu-ga")?;
    let cloud = cloud_kernel(paths, builder)?;
    let folder = fresh(&paths.work().join("guest-disk"))?;
    let plain = folder.join("initrd.cpio");
    std::fs::write(&plain, initrd(paths, builder, &cloud, files)?)?;
    let initrd =
        command::output_bytes(builder.user_command("gzip").args(["-9", "-n", "-c"]).arg(&plain))?;
    std::fs::write(folder.join("initrd"), initrd)?;
    std::fs::copy(cloud.join("kernel"), folder.join("kernel"))?;
    let arguments = format!("{VM_ARGUMENTS} rdinit=/own-init");
    let syslinux = format!(
        "SERIAL 0 115200\nDEFAULT guest\nLABEL guest\n  KERNEL kernel\n  INITRD initrd\n  \
         APPEND {arguments}\n"
    );
    std::fs::write(folder.join("syslinux.cfg"), syslinux)?;
    let entry = format!("title guest\nlinux /kernel\ninitrd /initrd\noptions {arguments}\n");
    std::fs::write(folder.join("guest.conf"), entry)?;
    std::fs::write(folder.join("loader.conf"), "timeout 0\n")?;
    let loader = builder.root().join("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    std::fs::copy(loader, folder.join("BOOTX64.EFI"))?;
    fill(builder, &folder)
}

/// The tiny machine's, with the agent and the libraries that it needs.
fn initrd(paths: &Paths, builder: &Builder, cloud: &Path, files: &Path) -> Result<Vec<u8>> {
    let mut cpio = tiny_vm(paths, builder, cloud)?;
    cpio.copy("own-init", 0o755, &files.join("init"))?;
    cpio.copy("bin/beside", 0o755, &files.join("beside"))?;
    cpio.copy("www/cgi-bin/told", 0o755, &files.join("told"))?;
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

fn fill(builder: &Builder, folder: &Path) -> Result<PathBuf> {
    let disk = folder.join("disk.raw");
    File::create(&disk)?.set_len(BYTES)?;
    let tool = |program: &str| builder.user_command(program);
    command::run(tool("mkfs.vfat").args(["-F", "16", "-n", "GUEST"]).arg(&disk))?;
    let folders = ["::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"];
    command::run(tool("mmd").arg("-i").arg(&disk).args(folders))?;
    for (to, names) in [
        ("::/", &["kernel", "initrd", "syslinux.cfg"][..]),
        ("::/EFI/BOOT/", &["BOOTX64.EFI"]),
        ("::/loader/", &["loader.conf"]),
        ("::/loader/entries/", &["guest.conf"]),
    ] {
        let names = names.iter().map(|name| folder.join(name));
        command::run(tool("mcopy").arg("-i").arg(&disk).args(names).arg(to))?;
    }
    command::run(tool("syslinux").arg("--install").arg(&disk))?;
    let made = folder.join("guest.qcow2");
    let convert = ["convert", "-c", "-f", "raw", "-O", "qcow2"];
    command::run(tool("qemu-img").args(convert).arg(&disk).arg(&made))?;
    Ok(made)
}

//! The two workload images that every node carries, so that both kinds of workload can be tried without any network:
//! a container image and a VM image, both made of Debian's static busybox.
//!
//! The container image is an OCI image layout in a tar archive, written here byte by byte so that it is the same in
//! every build. The VM is Debian's cloud kernel with an initrd of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::builder::Builder;
use crate::cpio::Cpio;
use crate::image::fresh;
use crate::initrd::Modules;
use crate::paths::Paths;
use crate::{command, tree};

/// Drivers of the VM that are not built in: network card; disks; memory that comes while it runs; power button and its key;
/// the device that tells of a panic.
const VM_MODULES: &[&str] = &[
    "virtio_net",
    "virtio_blk",
    "virtio_pci",
    "virtio_console",
    "virtio_mem",
    "button",
    "evdev",
    "pvpanic-mmio",
];

/// Drivers that it loads when a test asks it for its CD: without one they would only cost time.
const CD_MODULES: &[&str] = &["ahci", "sr_mod", "isofs"];

/// Builds both images and the list of them; returns the folder that holds them.
///
/// # Errors
/// When the kernel package cannot be fetched or a file cannot be written.
pub fn build(paths: &Paths, builder: &Builder, epoch: u64) -> Result<PathBuf> {
    let folder = fresh(&paths.work().join("images"))?;
    let busybox = builder.root().join("usr/bin/busybox");
    let files = paths.repo.join("image/workloads");
    let container = container_archive(&busybox, &files, epoch)?;
    tree::put(&folder, "tiny-oci.tar", &container, 0o644)?;

    let cloud = cloud_kernel(paths, builder)?;
    // In its wrapping: without it, started as PVH, it boots in two thirds of the time, but has no screen.
    let kernel =
        std::fs::read(cloud.join("kernel")).context("the cloud kernel package holds no kernel")?;
    tree::put(&folder, "tiny-vm/kernel", &kernel, 0o644)?;
    let initrd = tiny_vm(paths, builder, &cloud)?.finish()?;
    let plain = paths.work().join("tiny-vm.cpio");
    std::fs::write(&plain, initrd)?;
    let initrd =
        command::output_bytes(builder.user_command("gzip").args(["-9", "-n", "-c"]).arg(&plain))?;
    tree::put(&folder, "tiny-vm/initrd", &initrd, 0o644)?;

    tree::put(&folder, "images.toml", list(&container, &kernel, &initrd).as_bytes(), 0o644)?;
    Ok(folder)
}

/// What the kernel of the VM is told: where to talk, to start anew by itself, and to leave out what it would need if more
/// than one party were in it. Under emulation its tests of its own ciphers take half of the boot, and the guards between
/// programs a tenth.
pub(crate) const VM_ARGUMENTS: &str =
    "console=ttyS0 quiet panic=10 mitigations=off cryptomgr.notests";

/// The list of the images, in the form that `skerry_upkeep::builtin_images` reads.
fn list(container: &[u8], kernel: &[u8], initrd: &[u8]) -> String {
    let image = |name: &str, format: &str, extra: &str| {
        format!(
            "\n[[image]]\nname = \"{name}\"\nformat = \"{format}\"\narchitecture = \"x86_64\"\n\
             description = \"busybox web server on port 8080\"\n{extra}"
        )
    };
    let file = |role: &str, path: &str, bytes: &[u8]| {
        format!(
            "\n[[image.file]]\nrole = \"{role}\"\npath = \"{path}\"\nsha256 = \"{}\"\nsize = {}\n",
            hex::encode(Sha256::digest(bytes)),
            bytes.len()
        )
    };
    // Names are unique among images, whatever their format.
    [
        "# Workload images that come with the node.\nschema = 1\n".to_owned(),
        image("tiny", "oci_archive", ""),
        file("archive", "tiny-oci.tar", container),
        image("tiny-vm", "kernel_initrd", &format!("kernel_arguments = \"{VM_ARGUMENTS}\"\n")),
        file("kernel", "tiny-vm/kernel", kernel),
        file("initrd", "tiny-vm/initrd", initrd),
    ]
    .concat()
}

/// One layer with busybox, its links and the web page; one configuration; one manifest; one index.
fn container_archive(busybox: &Path, files: &Path, epoch: u64) -> Result<Vec<u8>> {
    let mut layer = Archive::new(epoch);
    for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"] {
        layer.folder(folder)?;
    }
    layer.file("bin/busybox", 0o755, &read(busybox)?)?;
    for applet in ["sh", "httpd", "echo", "sleep", "ps", "wget", "cat", "ls", "ip", "kill", "tar"] {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    layer.file("bin/start", 0o755, &read(&files.join("tiny-container/start"))?)?;
    layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    )?;
    layer.file("www/index.html", 0o644, b"skerry tiny container\n")?;
    let layer = layer.finish()?;

    let sha = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/bin/start"], "Env": ["PATH=/bin"], "WorkingDir": "/", "ExposedPorts": { "8080/tcp": {} }, "StopSignal": "SIGTERM" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha(&layer))] },
    }))?;
    let blob = |media: &str, bytes: &[u8]| json!({ "mediaType": media, "digest": format!("sha256:{}", sha(bytes)), "size": bytes.len() });
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", &config),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut entry = blob("application/vnd.oci.image.manifest.v1+json", &manifest);
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("annotations".into(), json!({ "org.opencontainers.image.ref.name": "tiny" }));
    }
    let index = serde_json::to_vec(
        &json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] }),
    )?;

    let mut archive = Archive::new(epoch);
    for folder in ["blobs", "blobs/sha256"] {
        archive.folder(folder)?;
    }
    let blobs: BTreeMap<String, &[u8]> =
        [&layer, &config, &manifest].into_iter().map(|b| (sha(b), b.as_slice())).collect();
    for (digest, bytes) in blobs {
        archive.file(&format!("blobs/sha256/{digest}"), 0o644, bytes)?;
    }
    archive.file("index.json", 0o644, &index)?;
    archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.finish()
}

/// Unpacks Debian's kernel for virtual machines once; the folder holds `kernel` and `usr/lib/modules`.
pub(crate) fn cloud_kernel(paths: &Paths, builder: &Builder) -> Result<PathBuf> {
    let folder = paths.work().join("cloud-kernel");
    if folder.join("kernel").exists() {
        return Ok(folder);
    }
    let folder = fresh(&folder)?;
    builder.update()?;
    let depends = command::output(
        builder.root_command("apt-cache").args(["depends", "linux-image-cloud-amd64"]),
    )?;
    let Some(package) = depends.split_whitespace().find(|word| word.starts_with("linux-image-6"))
    else {
        bail!("linux-image-cloud-amd64 depends on no kernel that we know: {depends}");
    };
    builder.unpack(&[package], &folder)?;
    for entry in std::fs::read_dir(folder.join("boot"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("vmlinuz-") {
            let release =
                entry.file_name().to_string_lossy().trim_start_matches("vmlinuz-").to_owned();
            command::run(
                builder.root_command("depmod").arg("-b").arg(folder.join("usr")).arg(&release),
            )?;
            std::fs::copy(entry.path(), folder.join("kernel"))
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(folder)
}

/// What the tiny machine is made of.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn tiny_vm(paths: &Paths, builder: &Builder, cloud: &Path) -> Result<Cpio> {
    let files = paths.repo.join("image/workloads/tiny-vm");
    let mut cpio = Cpio::default();
    for folder in ["dev", "etc", "proc", "root", "run", "sys", "tmp"] {
        cpio.folder(folder)?;
    }
    cpio.copy("bin/busybox", 0o755, &builder.root().join("usr/bin/busybox"))?;
    cpio.copy("init", 0o755, &files.join("init"))?;
    cpio.copy("bin/dhcp-event", 0o755, &files.join("dhcp-event"))?;
    cpio.file("www/index.html", 0o644, b"skerry tiny vm\n")?;
    cpio.folder("www/cgi-bin")?;
    cpio.copy("www/cgi-bin/disk", 0o755, &files.join("disk"))?;
    let modules = Modules::read(cloud)?;
    let mut packed = BTreeSet::new();
    for (list, wanted) in [("order", VM_MODULES), ("cd", CD_MODULES)] {
        let wanted: Vec<String> = wanted.iter().map(|m| (*m).to_owned()).collect();
        let mut order = String::new();
        for (name, file) in modules.in_load_order(&wanted)? {
            // What both lists need is loaded by the first.
            if packed.insert(name.clone()) {
                let bytes =
                    command::output_bytes(builder.user_command("xz").arg("-dc").arg(&file))?;
                cpio.file(&format!("modules/{name}.ko"), 0o644, &bytes)?;
                order.push_str(&name);
                order.push('\n');
            }
        }
        cpio.file(&format!("modules/{list}"), 0o644, order.as_bytes())?;
    }
    Ok(cpio)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A tar archive whose entries all belong to root and carry the same time.
struct Archive {
    tar: tar::Builder<Vec<u8>>,
    epoch: u64,
}

impl Archive {
    fn new(epoch: u64) -> Self {
        Self { tar: tar::Builder::new(Vec::new()), epoch }
    }

    fn header(&self, kind: tar::EntryType, mode: u32, size: usize) -> Result<tar::Header> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.epoch);
        header.set_size(u64::try_from(size)?);
        Ok(header)
    }

    fn folder(&mut self, path: &str) -> Result<()> {
        let mode = if path == "tmp" { 0o1777 } else { 0o755 };
        let mut header = self.header(tar::EntryType::Directory, mode, 0)?;
        Ok(self.tar.append_data(&mut header, format!("{path}/"), std::io::empty())?)
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = self.header(tar::EntryType::Regular, mode, content.len())?;
        Ok(self.tar.append_data(&mut header, path, content)?)
    }

    fn link(&mut self, path: &str, to: &str) -> Result<()> {
        let mut header = self.header(tar::EntryType::Symlink, 0o777, 0)?;
        Ok(self.tar.append_link(&mut header, path, to)?)
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(self.tar.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_archive_is_the_same_every_time_and_its_digests_are_right() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tiny-container")).unwrap();
        std::fs::write(dir.path().join("tiny-container/start"), "#!/bin/sh\n").unwrap();
        let busybox = dir.path().join("busybox");
        std::fs::write(&busybox, "program").unwrap();
        let one = container_archive(&busybox, dir.path(), 7).unwrap();
        assert_eq!(one, container_archive(&busybox, dir.path(), 7).unwrap());

        let mut blobs = 0;
        for entry in tar::Archive::new(one.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let Some(digest) =
                path.strip_prefix("blobs/sha256/").filter(|d| !d.is_empty()).map(ToOwned::to_owned)
            else {
                continue;
            };
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            assert_eq!(hex::encode(Sha256::digest(&bytes)), digest);
            blobs += 1;
        }
        assert_eq!(blobs, 3);
    }
}

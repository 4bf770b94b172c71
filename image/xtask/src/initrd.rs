//! The node's own initrd: busybox, dmsetup, blkid, the drivers that find the disk, and `image/initrd/init`.
//!
//! Debian's initrds carry a whole systemd and take most of the boot time under emulation. This one does four things:
//! find the disk, put dm-verity over the root, mount it, hand over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use skerry_board_hal::Board;

use crate::builder::Builder;
use crate::command;
use crate::cpio::Cpio;
use crate::layout::Layout;

const APPLETS: &[&str] = &[
    "awk",
    "basename",
    "cat",
    "cut",
    "dd",
    "dirname",
    "echo",
    "find",
    "grep",
    "head",
    "hexdump",
    "md5sum",
    "mkdir",
    "modprobe",
    "mount",
    "readlink",
    "sed",
    "sh",
    "sleep",
    "sort",
    "switch_root",
    "xargs",
];

/// Programs of the builder root that busybox does not replace, and where they go.
const PROGRAMS: &[(&str, &str)] =
    &[("usr/sbin/dmsetup", "bin/dmsetup"), ("usr/sbin/blkid", "bin/blkid")];

/// Kernel modules of the image's kernel, as found in the root tree.
#[derive(Debug)]
pub struct Modules {
    /// The kernel's release name.
    pub release: String,
    folder: PathBuf,
    needs: BTreeMap<String, Vec<String>>,
    files: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads the module lists of the one kernel in `root`.
    ///
    /// # Errors
    /// When there is not exactly one kernel or its lists cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let all = root.join("usr/lib/modules");
        let mut kernels = std::fs::read_dir(&all)
            .with_context(|| format!("cannot read {}", all.display()))?
            .collect::<Result<Vec<_>, _>>()?;
        let (Some(kernel), true) = (kernels.pop(), kernels.is_empty()) else {
            bail!("{} must hold exactly one kernel", all.display())
        };
        let folder = kernel.path();
        let text = |name: &str| {
            std::fs::read_to_string(folder.join(name))
                .with_context(|| format!("cannot read {}", folder.join(name).display()))
        };
        let mut needs = BTreeMap::new();
        let mut files = BTreeMap::new();
        for line in text("modules.dep")?.lines() {
            let Some((file, rest)) = line.split_once(':') else { continue };
            files.insert(name_of(file), file.to_owned());
            needs.insert(name_of(file), rest.split_whitespace().map(name_of).collect());
        }
        let builtin = text("modules.builtin")?.lines().map(name_of).collect();
        Ok(Self {
            release: kernel.file_name().to_string_lossy().into_owned(),
            folder,
            needs,
            files,
            builtin,
        })
    }

    /// The files of the named modules and of everything they need; built-in ones are left out.
    ///
    /// # Errors
    /// When a module does not exist.
    pub fn closure(&self, names: &[String]) -> Result<BTreeMap<String, PathBuf>> {
        let mut found = BTreeMap::new();
        let mut todo: Vec<String> = names.iter().map(|n| n.replace('-', "_")).collect();
        while let Some(name) = todo.pop() {
            if self.builtin.contains(&name) || found.contains_key(&name) {
                continue;
            }
            let Some(file) = self.files.get(&name) else {
                bail!(
                    "the kernel has no module {name}; correct kernel.modules or kernel.initrd_modules of the board"
                )
            };
            found.insert(name.clone(), self.folder.join(file));
            todo.extend(self.needs.get(&name).into_iter().flatten().cloned());
        }
        Ok(found)
    }
}

impl Modules {
    /// Like [`closure`](Self::closure), in an order in which each module comes after what it needs.
    ///
    /// # Errors
    /// When a module does not exist.
    pub fn in_load_order(&self, names: &[String]) -> Result<Vec<(String, PathBuf)>> {
        let mut left = self.closure(names)?;
        let mut ordered = Vec::new();
        while !left.is_empty() {
            let ready: Vec<String> = left
                .keys()
                .filter(|name| {
                    self.needs.get(*name).into_iter().flatten().all(|need| !left.contains_key(need))
                })
                .cloned()
                .collect();
            if ready.is_empty() {
                bail!("the kernel's module list has a circle among {:?}", left.keys());
            }
            ordered.extend(ready.into_iter().filter_map(|name| left.remove_entry(&name)));
        }
        Ok(ordered)
    }
}

fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

/// Builds the initrd and returns its uncompressed bytes; `work` is an empty folder for intermediate files.
///
/// # Errors
/// When a program or module is missing or cannot be read.
pub fn build(
    builder: &Builder,
    repo: &Path,
    root: &Path,
    board: &Board,
    layout: &Layout,
    work: &Path,
) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for folder in ["dev", "proc", "sys", "run", "sysroot", "tmp"] {
        cpio.folder(folder)?;
    }
    cpio.copy("init", 0o755, &repo.join("image/initrd/init"))?;
    let limits = format!(
        "MINIMUM_MEMORY_MIB={}\nMINIMUM_DISK_MIB={}\n",
        layout.minimum_memory_mib, layout.minimum_disk_mib
    );
    cpio.file("etc/limits", 0o644, limits.as_bytes())?;
    add_programs(&mut cpio, builder)?;
    add_modules(&mut cpio, builder, root, board, work)?;
    cpio.finish()
}

/// The microcode updates of both makers in `root`, as the kernel wants them at the very start: one file for each, in an
/// archive that is not compressed.
///
/// # Errors
/// When an update cannot be read.
pub fn microcode(root: &Path) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for (folder, name) in [("intel-ucode", "GenuineIntel.bin"), ("amd-ucode", "AuthenticAMD.bin")] {
        let folder = root.join("usr/lib/firmware").join(folder);
        let mut files = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()?;
        files.retain(|file| {
            file.is_file()
                && file
                    .file_name()
                    .is_some_and(|n| !n.to_string_lossy().ends_with(".asc") && n != "README")
        });
        files.sort();
        let mut all = Vec::new();
        for file in files {
            all.extend(
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?,
            );
        }
        cpio.file(&format!("kernel/x86/microcode/{name}"), 0o644, &all)?;
    }
    cpio.finish()
}

fn add_programs(cpio: &mut Cpio, builder: &Builder) -> Result<()> {
    cpio.copy("bin/busybox", 0o755, &builder.root().join("usr/bin/busybox"))?;
    for applet in APPLETS {
        cpio.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    // Where the kernel looks when it wants a module itself.
    cpio.symlink("sbin/modprobe", "../bin/busybox")?;
    let mut libraries = BTreeSet::new();
    for (from, to) in PROGRAMS {
        cpio.copy(to, 0o755, &builder.root().join(from))?;
        let text = command::output(builder.user_command("ldd").arg(format!("/{from}")))?;
        libraries.extend(
            text.split_whitespace().filter(|word| word.starts_with('/')).map(ToOwned::to_owned),
        );
    }
    for library in libraries {
        // Debian's /lib and /lib64 are links to /usr/lib and /usr/lib64; the initrd has real folders instead.
        let from = builder
            .root()
            .join("usr")
            .join(library.trim_start_matches('/').trim_start_matches("usr/"));
        cpio.copy(library.trim_start_matches('/'), 0o755, &from)?;
    }
    Ok(())
}

fn add_modules(
    cpio: &mut Cpio,
    builder: &Builder,
    root: &Path,
    board: &Board,
    work: &Path,
) -> Result<()> {
    let modules = Modules::read(root)?;
    let stage = work.join("lib/modules").join(&modules.release);
    std::fs::create_dir_all(&stage)?;
    for (name, file) in modules.closure(&board.kernel.initrd_modules)? {
        let to = stage.join(format!("{name}.ko"));
        // busybox and the kernel would both have to unpack xz; the initrd as a whole is compressed anyway.
        match file.extension().and_then(|e| e.to_str()) {
            Some("xz") => std::fs::write(
                &to,
                command::output_bytes(builder.user_command("xz").arg("-dc").arg(&file))?,
            )?,
            _ => std::fs::copy(&file, &to)
                .map(drop)
                .with_context(|| format!("cannot copy {}", file.display()))?,
        }
    }
    for list in ["modules.builtin", "modules.order", "modules.builtin.modinfo"] {
        std::fs::copy(
            root.join("usr/lib/modules").join(&modules.release).join(list),
            stage.join(list),
        )?;
    }
    command::run(builder.user_command("depmod").arg("-b").arg(work).arg(&modules.release))?;
    let mut entries = std::fs::read_dir(&stage)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let wanted = Path::new(&name).extension().is_some_and(|e| e == "ko")
            || ["modules.dep", "modules.alias", "modules.softdep"].contains(&name.as_str());
        if wanted {
            cpio.copy(&format!("lib/modules/{}/{name}", modules.release), 0o644, &entry.path())?;
        }
    }
    Ok(())
}

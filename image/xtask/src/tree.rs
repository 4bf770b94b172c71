//! The root tree of the image: Debian packages by mkosi, with our own files laid over them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use skerry_board_hal::Board;

use crate::builder::{Builder, RELEASE};
use crate::host::{Mirrors, mirrors};
use crate::layout::Layout;
use crate::paths::Paths;
use crate::{command, initrd};

/// Programs of the node: name of the cargo package, name of the binary.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("skerry-noded", "noded"),
    ("skerry-linux-ctr", "skerry-unpack"),
    ("skerry-linux-ctr", "skerry-terminal"),
    ("skerry-linux-ctr", "skerry-shim"),
    ("skerry-linux-ctr", "skerry-pages"),
    ("skerry-linux-net", "skerry-netns"),
    ("skerry-northd", "northd"),
    ("skerry-metad", "metad"),
    ("skerry-console", "skerry-console"),
    ("skerry-cli", "skerry"),
];

/// Folders of `config/systemd` and where the image has them.
const CONFIG: &[(&str, &str)] = &[
    ("system", "usr/lib/systemd/system"),
    ("sysusers.d", "usr/lib/sysusers.d"),
    ("tmpfiles.d", "usr/lib/tmpfiles.d"),
    ("system-preset", "usr/lib/systemd/system-preset"),
    ("journald.conf.d", "usr/lib/systemd/journald.conf.d"),
    ("sysctl.d", "usr/lib/sysctl.d"),
];

/// What mkosi left behind.
#[derive(Debug)]
pub struct Tree {
    /// The root.
    pub root: PathBuf,
    /// The kernel, which is not part of the root.
    pub kernel: PathBuf,
    /// Microcode updates in the form of an uncompressed initrd.
    pub microcode: Vec<u8>,
    /// List of packages with their versions, as JSON.
    pub manifest: PathBuf,
}

/// Builds the services with cargo, for the machine this runs on.
///
/// # Errors
/// When cargo fails.
pub fn build_programs(paths: &Paths) -> Result<()> {
    let mut cargo = std::process::Command::new("cargo");
    cargo.current_dir(&paths.repo).args(["build", "--release", "--locked"]);
    for (package, _) in PROGRAMS {
        cargo.args(["-p", package]);
    }
    command::run(&mut cargo)
}

/// Lays out everything in the image that is ours, in `extra`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn lay_out(
    paths: &Paths,
    board: &Board,
    layout: &Layout,
    workloads: &Path,
    extra: &Path,
) -> Result<()> {
    for (_, binary) in PROGRAMS {
        let from = paths.target.join("release").join(binary);
        if from.exists() {
            put(extra, &format!("usr/bin/{binary}"), &std::fs::read(&from)?, 0o755)?;
        } else {
            println!("note: cargo made no program called {binary}; the image is built without it");
        }
    }
    for (from, to) in CONFIG {
        copy_folder(&paths.repo.join("config/systemd").join(from), &extra.join(to))?;
    }
    copy_folder(&paths.repo.join("config/libvirt"), &extra.join("etc/libvirt"))?;
    copy_folder(workloads, &extra.join("usr/share/skerry/images"))?;
    let node = paths.repo.join("config/node.toml");
    if node.exists() {
        put(extra, "etc/skerry/node.toml", &std::fs::read(&node)?, 0o644)?;
    }
    put(extra, "usr/share/skerry/board.toml", skerry_board_hal::to_toml(board)?.as_bytes(), 0o644)?;
    put(
        extra,
        "usr/share/skerry/layout.toml",
        &std::fs::read(paths.repo.join("image/layout.toml"))?,
        0o644,
    )?;
    for (name, text) in layout.node_definitions() {
        put(extra, &format!("usr/lib/repart.d/{name}"), text.as_bytes(), 0o644)?;
    }
    put_board(extra, board)?;
    Ok(())
}

fn put_board(extra: &Path, board: &Board) -> Result<()> {
    let menus: Vec<&str> = board.consoles.iter().map(|c| c.menu.as_str()).collect();
    let preset =
        format!("# Consoles of the board.\nenable skerry-console@.service {}\n", menus.join(" "));
    put(extra, "usr/lib/systemd/system-preset/00-skerry-board.preset", preset.as_bytes(), 0o644)?;
    let seconds = board.watchdog.timeout_s;
    let system = format!(
        "# Watchdog of the board.\n[Manager]\nRuntimeWatchdogSec={seconds}\nRebootWatchdogSec=5min\nShowStatus=no\n"
    );
    put(extra, "usr/lib/systemd/system.conf.d/50-skerry.conf", system.as_bytes(), 0o644)?;
    let mut modules =
        String::from("# Watchdogs of the board, and what workload networks and VMs need.\n");
    for name in board.watchdog.modules.iter().map(String::as_str).chain([
        "br_netfilter",
        "tun",
        "vhost_net",
    ]) {
        modules.push_str(name);
        modules.push('\n');
    }
    put(extra, "usr/lib/modules-load.d/skerry.conf", modules.as_bytes(), 0o644)
}

/// Runs mkosi over the packages and `extra`.
///
/// # Errors
/// When packages cannot be fetched or mkosi fails; its log is named.
pub fn install(
    paths: &Paths,
    builder: &Builder,
    board: &Board,
    extra: &Path,
    epoch: u64,
) -> Result<Tree> {
    let work = paths.work();
    let sources = work.join("apt");
    put(
        &sources,
        "etc/apt/sources.list.d/mkosi.sources",
        apt_sources(&mirrors()?).as_bytes(),
        0o644,
    )?;
    for folder in ["cache", "packages", "tree", "scratch"] {
        std::fs::create_dir_all(work.join(folder))?;
    }
    let mut mkosi = builder.root_command("mkosi");
    let flag = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
    mkosi.arg(flag("directory", paths.repo.join("image/mkosi"))).arg("--force");
    mkosi.arg(flag("sandbox-tree", sources)).arg(flag("extra-tree", extra.to_owned()));
    mkosi
        .arg(flag("cache-directory", work.join("cache")))
        .arg(flag("package-cache-directory", work.join("packages")));
    mkosi
        .arg(flag("output-directory", work.join("tree")))
        .arg(flag("workspace-directory", work.join("scratch")));
    mkosi.arg(format!("--source-date-epoch={epoch}"));
    mkosi.arg(format!("--kernel-modules-include={}", board.kernel.modules.join(",")));
    mkosi.arg("--kernel-modules-exclude=.*").arg("build");
    println!("Installing the packages of the image (log: {})", work.join("mkosi.log").display());
    command::run_logged(&mut mkosi, &work.join("mkosi.log"))?;
    let root = work.join("tree/root");
    // The kernel is in the kernel image; a second copy would only fill the root.
    let release = initrd::Modules::read(&root)?.release;
    command::run(
        command::as_root("rm")
            .arg("-f")
            .arg(root.join("usr/lib/modules").join(&release).join("vmlinuz")),
    )?;
    unpack_modules(builder, &root, &release)?;
    // So is the microcode, for boards that want it; the kernel does not load it later.
    let microcode = initrd::microcode(&root)?;
    let firmware = root.join("usr/lib/firmware");
    command::run(
        command::as_root("rm")
            .arg("-rf")
            .arg(firmware.join("intel-ucode"))
            .arg(firmware.join("amd-ucode")),
    )?;
    Ok(Tree {
        microcode,
        root,
        kernel: work.join("tree/root.vmlinuz"),
        manifest: work.join("tree/root.manifest"),
    })
}

/// Unpacks the kernel's modules. Each would be unpacked at each boot, by the slowest of all ways to pack; the image that people
/// download is compressed as a whole, and smaller without packed files in it.
fn unpack_modules(builder: &Builder, root: &Path, release: &str) -> Result<()> {
    let mut unpack = builder.root_command("find");
    unpack.arg(root.join("usr/lib/modules").join(release));
    unpack.args(["-name", "*.ko.xz", "-exec", "xz", "--decompress", "--threads=1", "{}", "+"]);
    command::run(&mut unpack)?;
    command::run(builder.root_command("depmod").arg("-b").arg(root.join("usr")).arg(release))
}

/// Our own sources, because mkosi's include an archive of debug symbols that mirrors do not carry.
fn apt_sources(mirrors: &Mirrors) -> String {
    let one = |uri: &str, suites: &str| {
        format!(
            "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main non-free-firmware\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        )
    };
    format!(
        "{}\n{}",
        one(&mirrors.main, &format!("{RELEASE} {RELEASE}-updates")),
        one(&mirrors.security, &format!("{RELEASE}-security"))
    )
}

/// Writes one file below `base`, with its folders.
///
/// # Errors
/// When it cannot be written.
pub fn put(base: &Path, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let file = base.join(path);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Copies a folder with files, folders and links in it; a folder that does not exist is an empty one.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in
        std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?
    {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(std::fs::read_link(entry.path())?, &target)?;
        } else {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

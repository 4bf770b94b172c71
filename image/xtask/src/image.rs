//! The image build from beginning to end: programs, root tree, initrd, root file system with hashes, kernel image,
//! disk, and the files that are published.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use skerry_board_hal::Board;

use crate::builder::Builder;
use crate::layout::Layout;
use crate::paths::Paths;
use crate::{command, initrd, legacy_boot, outputs, tree, web, workloads};

/// How the root file system is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// As it is.
    None,
    /// LZ4, high effort.
    Lz4hc,
    /// Zstandard.
    Zstd,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the board.
    pub board: String,
    /// Compression inside the root file system.
    pub compression: Compression,
    /// Whether to also make the compressed image, checksums and the list of parts, and how small.
    pub publish: Option<outputs::Effort>,
    /// Whether to build the programs first; without it, those of the last build are taken.
    pub programs: bool,
}

/// Builds the image of a board and returns the raw image.
///
/// # Errors
/// When any step fails.
pub fn build(paths: &Paths, options: &Options) -> Result<PathBuf> {
    let started = std::time::Instant::now();
    let board = skerry_board_hal::resolve(&paths.repo.join("board"), &options.board)?;
    let layout = Layout::read(&paths.repo.join("image/layout.toml"))?;
    std::fs::create_dir_all(&paths.target)?;
    // Two builds at a time would spoil each other's files.
    let _lock =
        command::lock(&paths.target.join("image.lock"), "Waiting for another build of the image")?;
    let builder = Builder::ensure(paths)?;
    let epoch = source_date(&paths.repo)?;
    if options.programs {
        web::build(paths, &builder)?;
        tree::build_programs(paths)?;
    }

    let work = paths.work();
    let images = workloads::build(paths, &builder, epoch)?;
    let extra = fresh(&work.join("extra"))?;
    tree::lay_out(paths, &board, &layout, &images, &extra)?;
    let tree = tree::install(paths, &builder, &board, &extra, epoch)?;

    let stage = fresh(&work.join("initrd"))?;
    let archive = initrd::build(&builder, &paths.repo, &tree.root, &board, &layout, &stage)?;
    let initrd = work.join("initrd.cpio");
    std::fs::write(&initrd, &archive)?;
    command::run(builder.user_command("zstd").args(["-q", "-f", "-19"]).arg(&initrd))?;

    let disk =
        Disk { paths, builder: &builder, layout: &layout, epoch, compression: options.compression };
    let raw = disk.assemble(&board, &tree, &work.join("initrd.cpio.zst"))?;
    println!("{} ready after {} s", raw.display(), started.elapsed().as_secs());
    if let Some(effort) = options.publish {
        outputs::publish(paths, &builder, &options.board, &tree.manifest, effort)?;
    }
    Ok(raw)
}

/// The time that all files in the image carry: that of the last commit, or the Unix epoch's first day outside of git.
fn source_date(repo: &Path) -> Result<u64> {
    if let Ok(value) = std::env::var("SOURCE_DATE_EPOCH") {
        return value
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is {value:?}, not a number of seconds"));
    }
    let mut git = std::process::Command::new("git");
    git.arg("-C").arg(repo).args(["log", "-1", "--format=%ct"]).stderr(std::process::Stdio::null());
    match git.output() {
        Ok(out) if out.status.success() => Ok(String::from_utf8(out.stdout)?.trim().parse()?),
        _ => Ok(86_400),
    }
}

/// Makes an empty folder.
///
/// # Errors
/// When it cannot be made, or what was there cannot be removed.
pub fn fresh(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        command::run(command::as_root("rm").arg("-rf").arg(path))?;
    }
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path.to_owned())
}

/// Gives everything in a folder the same time: FAT keeps it.
fn set_times(folder: &Path, time: SystemTime) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_times(&entry.path(), time)?;
        } else {
            File::open(entry.path())?.set_modified(time)?;
        }
    }
    File::open(folder)?
        .set_modified(time)
        .with_context(|| format!("cannot set the time of {}", folder.display()))
}

struct Disk<'a> {
    paths: &'a Paths,
    builder: &'a Builder,
    layout: &'a Layout,
    epoch: u64,
    compression: Compression,
}

/// One partition in the report of systemd-repart.
#[derive(Debug, Deserialize)]
struct Reported {
    label: Option<String>,
    roothash: Option<String>,
}

impl Disk<'_> {
    fn assemble(&self, board: &Board, tree: &tree::Tree, initrd: &Path) -> Result<PathBuf> {
        let work = self.paths.work();
        let definitions = fresh(&work.join("repart.d"))?;
        for (name, text) in self.layout.image_definitions() {
            std::fs::write(definitions.join(name), text)?;
        }
        let raw = self.paths.raw_image(&board.name);
        std::fs::create_dir_all(self.paths.image())?;
        let unfinished = raw.with_extension("raw.part");
        if unfinished.exists() {
            command::run(command::as_root("rm").arg("-f").arg(&unfinished))?;
        }

        // Two passes: the kernel image needs the root hash, which is known only when the root is written.
        let stage = fresh(&work.join("stage"))?;
        let report = self.repart(
            &definitions,
            &tree.root,
            &unfinished,
            &["--empty=create", "--defer-partitions=esp"],
        )?;
        let hash = report
            .iter()
            .filter(|p| p.label.as_deref() == Some("root-a"))
            .find_map(|p| p.roothash.clone());
        let Some(hash) = hash else { bail!("systemd-repart reported no root hash for root-a") };
        self.fill_esp(board, tree, initrd, &hash, &stage)?;
        command::take_over(&stage)?;
        set_times(&stage, SystemTime::UNIX_EPOCH + Duration::from_secs(self.epoch))?;
        self.repart(&definitions, &stage, &unfinished, &["--empty=refuse"])?;

        command::take_over(&unfinished)?;
        legacy_boot::install(&unfinished)?;
        std::fs::rename(&unfinished, &raw)
            .with_context(|| format!("cannot rename {}", unfinished.display()))?;
        Ok(raw)
    }

    fn repart(
        &self,
        definitions: &Path,
        root: &Path,
        raw: &Path,
        more: &[&str],
    ) -> Result<Vec<Reported>> {
        let mut command = self.builder.root_command("unshare");
        command.args(["--mount", "--", "env"]);
        command.arg(format!("SOURCE_DATE_EPOCH={}", self.epoch));
        // One time for all files: the tree's own times differ from build to build.
        let erofs = match self.compression {
            Compression::None => "--all-root -E noinline_data",
            Compression::Lz4hc => "--all-root -zlz4hc,12 -C65536",
            Compression::Zstd => "--all-root -zzstd,15 -C65536",
        };
        command.arg(format!("SYSTEMD_REPART_MKFS_OPTIONS_EROFS=-T{} {erofs}", self.epoch));
        command.args([
            "systemd-repart",
            "--dry-run=no",
            "--offline=yes",
            "--size=auto",
            "--json=pretty",
            "--no-pager",
        ]);
        command
            .arg(format!("--seed={}", self.layout.seed))
            .arg(format!("--definitions={}", definitions.display()));
        command.arg(format!("--root={}", root.display())).args(more).arg(raw);
        serde_json::from_str(&command::output(&mut command)?)
            .context("systemd-repart's report is not what was expected")
    }

    fn fill_esp(
        &self,
        board: &Board,
        tree: &tree::Tree,
        initrd: &Path,
        hash: &str,
        esp: &Path,
    ) -> Result<()> {
        ensure!(hash.len() == 64, "the root hash {hash:?} does not have 64 digits");
        let boot = self.builder.root().join("usr/lib/systemd/boot/efi");
        let loader = std::fs::read(boot.join("systemd-bootx64.efi"))
            .context("the builder root has no systemd-boot")?;
        tree::put(esp, "EFI/BOOT/BOOTX64.EFI", &loader, 0o644)?;
        tree::put(esp, "EFI/systemd/systemd-bootx64.efi", &loader, 0o644)?;
        tree::put(esp, "loader/loader.conf", b"timeout 0\neditor no\nauto-firmware no\n", 0o644)?;
        let name = format!("EFI/Linux/skerry-a_{}.efi", env!("CARGO_PKG_VERSION"));
        tree::put(esp, &name, b"", 0o644)?;

        let modules = initrd::Modules::read(&tree.root)?;
        let mut words = vec![format!("roothash={hash}")];
        words.extend(board.kernel.command_line.iter().cloned());
        words.extend(board.console_arguments());
        let mut ukify = self.builder.root_command("ukify");
        ukify.arg("build").arg("--linux").arg(&tree.kernel).arg("--initrd").arg(initrd);
        if board.kernel.microcode {
            let microcode = self.paths.work().join("microcode.cpio");
            std::fs::write(&microcode, &tree.microcode)
                .with_context(|| format!("cannot write {}", microcode.display()))?;
            ukify.arg(format!("--microcode={}", microcode.display()));
        }
        ukify.arg("--cmdline").arg(words.join(" ")).arg("--uname").arg(&modules.release);
        ukify
            .arg("--os-release")
            .arg(format!("@{}", tree.root.join("usr/lib/os-release").display()));
        ukify
            .arg("--stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
            .arg("--output")
            .arg(esp.join(&name));
        command::run(&mut ukify)
    }
}

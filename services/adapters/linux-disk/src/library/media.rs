//! Import media: USB sticks and cards with image files, and folders of the node ([`super::folders`]). A stick is mounted
//! only while something is read from it, read-only and without any right that files on it could give; what is on it is a
//! stranger's. It may be pulled out at any moment: what was being read then ends with an error.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skerry_linux_host::Roots;
use skerry_linux_host::block::{busy, partitions};
use skerry_linux_host::systemd::Systemd;
use skerry_upkeep::{ImportMedium, LibraryError, MediumFile, MediumKind};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::folders::{FolderPlace, ImportFolders};
use crate::disks::text;

/// Time for mounting and for taking a mount away.
const MOUNT: Duration = Duration::from_secs(30);
/// How long a request waits while another import reads.
const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel counts sizes in these, whatever the disk's own sectors are.
const SECTOR: u64 = 512;
/// What a file on a stick may do: be read.
const OPTIONS: &str = "ro,nosuid,nodev,noexec";
/// File systems that are mounted, and what each needs so that nothing is written.
const FILE_SYSTEMS: [(&str, &str); 7] = [
    ("vfat", ""),
    ("exfat", ""),
    ("iso9660", ""),
    ("udf", ""),
    ("ext2", ""),
    ("ext3", ",noload"),
    ("ext4", ",noload"),
];
/// What image files end with.
const ENDINGS: [&str; 7] = ["qcow2", "img", "raw", "vmdk", "vdi", "iso", "tar"];
/// Files that are listed, entries that are looked at for that, and how deep.
const MOST_FILES: usize = 200;
const MOST_ENTRIES: usize = 5000;
const DEEPEST: usize = 3;
/// Longest name of a medium.
const LONGEST: usize = 64;

/// The media of this machine.
#[derive(Debug, Clone)]
pub struct Media {
    systemd: Systemd,
    roots: Roots,
    folder: PathBuf,
    folders: ImportFolders,
    turn: Arc<Mutex<()>>,
}

/// A file system on something that can be taken out, or the place of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stick {
    name: String,
    /// What tells it from another of the same name, also when both are plugged in again.
    mark: String,
    device: String,
    file_system: String,
    size_bytes: u64,
    /// Why it cannot be read, if that is known without a try.
    unfit: Option<String>,
}

/// A medium while it is read. [`Reading::end`] takes the mount away.
#[derive(Debug)]
pub struct Reading<'a> {
    media: &'a Media,
    /// The folder of the node that is read, if it is one.
    folder: Option<FolderPlace>,
    target: Option<PathBuf>,
    _turn: Option<MutexGuard<'a, ()>>,
}

impl Media {
    /// Media are mounted below this folder.
    pub fn new(systemd: Systemd, roots: Roots, folder: impl Into<PathBuf>) -> Self {
        let folders = ImportFolders::default();
        Self { systemd, roots, folder: folder.into(), folders, turn: Arc::default() }
    }

    /// The same, with these folders of the node.
    #[must_use]
    pub fn with_folders(self, folders: ImportFolders) -> Self {
        Self { folders, ..self }
    }

    fn sticks(&self) -> Vec<Stick> {
        let taken = self.folders.places().into_iter().map(|place| place.name).collect();
        sticks(&self.roots, &self.folder, &taken)
    }

    /// All media, with the image files on them.
    pub async fn list(&self) -> Vec<ImportMedium> {
        let folders = self.folders.clone();
        let listed = tokio::task::spawn_blocking(move || folders.list()).await;
        let mut found = listed.unwrap_or_default();
        for stick in self.sticks() {
            let (files, reason) = match self.files(&stick).await {
                Ok(files) => (files, String::new()),
                Err(error) => (Vec::new(), error.to_string()),
            };
            let Stick { name, device, file_system, size_bytes, .. } = stick;
            let (kind, path) = (MediumKind::Stick, String::new());
            let medium =
                ImportMedium { kind, name, device, file_system, path, size_bytes, files, reason };
            found.push(medium);
        }
        found
    }

    async fn files(&self, stick: &Stick) -> Result<Vec<MediumFile>, LibraryError> {
        let reading = self.open(stick, PATIENCE).await?;
        let folder = self.folder.join(&stick.name);
        let listed = tokio::task::spawn_blocking(move || images_below(&folder, None)).await;
        reading.end().await;
        listed.map_err(|_| LibraryError::Stopped)
    }

    /// Makes the medium readable that a path begins with; one of which nothing is known may be mounted by somebody
    /// else. `long`: whether another import is waited for.
    pub async fn read(&self, path: &str, long: bool) -> Result<Reading<'_>, LibraryError> {
        let name = path.split('/').next().unwrap_or_default();
        let folder = self.folders.places().into_iter().find(|place| place.name == name);
        if folder.is_some() {
            return Ok(Reading { media: self, folder, target: None, _turn: None });
        }
        let known = self.sticks().into_iter().find(|stick| stick.name == name);
        match known {
            None => Ok(Reading { media: self, folder: None, target: None, _turn: None }),
            Some(stick) => self.open(&stick, if long { Duration::MAX } else { PATIENCE }).await,
        }
    }

    async fn open(&self, stick: &Stick, patience: Duration) -> Result<Reading<'_>, LibraryError> {
        if let Some(unfit) = &stick.unfit {
            return Err(failed(unfit.clone()));
        }
        let turn = timeout(patience, self.turn.lock());
        let turn =
            turn.await.map_err(|_| failed("another import reads a medium; try again later"))?;
        self.mount(stick).await?;
        let target = Some(self.folder.join(&stick.name));
        Ok(Reading { media: self, folder: None, target, _turn: Some(turn) })
    }

    async fn mount(&self, stick: &Stick) -> Result<(), LibraryError> {
        let (device, target) = (self.device(stick), self.folder.join(&stick.name));
        let (from, to) = (device.display().to_string(), target.display().to_string());
        let more = FILE_SYSTEMS.iter().find(|(kind, _)| *kind == stick.file_system);
        let options = format!("{OPTIONS}{}", more.map_or("", |(_, more)| *more));
        let mount = || self.systemd.mount(&from, &to, &stick.file_system, &options, MOUNT);
        match mount().await {
            // An import that was broken off has left it, or another stick was there.
            Err(error) if error.is_unit_exists() => {
                if is_mounted(&device, &target) {
                    return Ok(());
                }
                self.unmount(&target).await;
                mount().await.map_err(|error| failed(error.to_string()))
            }
            done => done.map_err(|error| failed(error.to_string())),
        }
    }

    fn device(&self, stick: &Stick) -> PathBuf {
        self.roots.dev.join(&stick.device)
    }

    async fn unmount(&self, target: &Path) {
        if let Err(error) = self.systemd.unmount(&target.display().to_string(), MOUNT).await {
            tracing::warn!(target = %target.display(), %error, "a medium stays mounted");
        }
    }
}

impl Reading<'_> {
    /// The folder of the node that is read, if it is one.
    pub const fn folder(&self) -> Option<&FolderPlace> {
        self.folder.as_ref()
    }

    /// The stick can be pulled out.
    pub async fn end(self) {
        if let Some(target) = &self.target {
            self.media.unmount(target).await;
        }
    }
}

fn failed(detail: impl Into<String>) -> LibraryError {
    LibraryError::Tool { tool: "reading the medium", detail: detail.into() }
}

fn is_mounted(device: &Path, target: &Path) -> bool {
    let (device, target) = (fs::metadata(device), fs::metadata(target));
    matches!((device, target), (Ok(device), Ok(target)) if device.rdev() == target.dev())
}

/// What can be taken out, but for disks of which something is used by the node itself: it may have been started from
/// one, or have a pool on it. None is called like what is `taken`: a label is a stranger's text.
fn sticks(roots: &Roots, folder: &Path, taken: &BTreeSet<String>) -> Vec<Stick> {
    let block = roots.sys.join("block");
    let mut found: Vec<Stick> = Vec::new();
    for disk in names(&block) {
        let path = block.join(&disk);
        if !is_removable(&path) {
            continue;
        }
        let parts = partitions(&path);
        if [&path].into_iter().chain(&parts).any(|part| busy(roots, part, Some(folder)).is_some()) {
            continue;
        }
        let parts = if parts.is_empty() { vec![path] } else { parts };
        found.extend(parts.iter().filter_map(|part| stick(roots, part)));
    }
    // Both are renamed: which of them is found first may differ from one time to the next.
    let all: Vec<String> = found.iter().map(|stick| stick.name.clone()).collect();
    for stick in &mut found {
        let twice = all.iter().filter(|name| **name == stick.name).count() > 1;
        if twice || taken.contains(&stick.name) {
            stick.name = format!("{}-{}", stick.name, stick.mark);
        }
    }
    // Two copies of one file system cannot be told apart.
    let mut taken = taken.clone();
    found.retain(|stick| taken.insert(stick.name.clone()));
    found
}

/// On USB, or with a medium that can be changed.
fn is_removable(path: &Path) -> bool {
    let on_usb = path.canonicalize().is_ok_and(|real| {
        let mut parts = real.components().filter_map(|part| part.as_os_str().to_str());
        parts.any(|part| {
            let number = part.strip_prefix("usb");
            number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    });
    on_usb || text(&path.join("removable")).as_deref() == Some("1")
}

fn stick(roots: &Roots, part: &Path) -> Option<Stick> {
    let number = text(&part.join("dev"))?;
    let device = part.file_name()?.to_str()?.to_owned();
    let size: u64 = text(&part.join("size"))?.parse().ok()?;
    // A drive without a medium in it.
    if size == 0 {
        return None;
    }
    let udev = text(&roots.run.join("udev/data").join(format!("b{number}"))).unwrap_or_default();
    let property = |key: &str| {
        let found = udev.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(key));
        found.and_then(|value| value.strip_prefix('=')).map(ToOwned::to_owned)
    };
    let kind: String = property("ID_FS_TYPE").unwrap_or_default();
    let file_system: String = kind.chars().filter(char::is_ascii_graphic).take(LONGEST).collect();
    let known = || FILE_SYSTEMS.iter().map(|(kind, _)| *kind).collect::<Vec<_>>().join(", ");
    let unfit = if file_system.is_empty() {
        Some(format!("there is no file system on it; what can be read is {}", known()))
    } else if FILE_SYSTEMS.iter().all(|(kind, _)| *kind != file_system) {
        Some(format!("it holds `{file_system}`; what can be read is {}", known()))
    } else {
        None
    };
    let mark = name_of(&property("ID_FS_UUID").unwrap_or_default(), &device);
    let name = name_of(&property("ID_FS_LABEL").unwrap_or_default(), &mark);
    let size_bytes = size.saturating_mul(SECTOR);
    Some(Stick { name, mark, device, file_system, size_bytes, unfit })
}

/// A label is a stranger's text; what cannot be the name of a folder becomes `_`.
fn name_of(label: &str, other: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = label.trim().chars().map(plain).take(LONGEST).collect();
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() { other.to_owned() } else { name.to_owned() }
}

/// The image files below a folder, but for those below `but`. Links are not followed, and what cannot be read is left out.
pub(super) fn images_below(folder: &Path, but: Option<&Path>) -> Vec<MediumFile> {
    let (mut found, mut seen) = (Vec::new(), 0);
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((at, depth)) = folders.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().filter_map(Result::ok) {
            seen += 1;
            if seen > MOST_ENTRIES || found.len() >= MOST_FILES {
                break;
            }
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
            if meta.is_dir() && depth + 1 < DEEPEST {
                if but != Some(path.as_path()) {
                    folders.push((path, depth + 1));
                }
            } else if meta.is_file()
                && let Some(path) = image_path(folder, &path)
            {
                found.push(MediumFile { path, size_bytes: meta.len() });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn image_path(folder: &Path, path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let below = path.strip_prefix(folder).ok()?.to_str()?;
    let good = ENDINGS.contains(&ending.as_str()) && !below.chars().any(char::is_control);
    good.then(|| below.to_owned())
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let names: BTreeSet<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.into_iter().collect()
}

#[cfg(test)]
#[path = "media_tests.rs"]
mod tests;

//! Disks that pools are made of: looked at through `/dev`, `/sys` and `/proc`, formatted and mounted by programs and
//! mount units of the system's own, since noded may open no device. It decides nothing.
//!
//! The file system of a pool carries the pool's id as its UUID, so it is found on whatever disk it lies.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skerry_linux_host::Roots;
use skerry_linux_host::block::{busy, partitions};
use skerry_linux_host::systemd::{Command, CommandOutput, Systemd, SystemdError};
use skerry_model::{Id, Name, Pool};
use skerry_storage::{DiskSeen, PlaceSeen, PlaceStep, PoolRef, StorageError};

use crate::kept::KeptFileSystems;

/// Time for a look at a disk, and for mounting one that has to replay its log.
const LOOK: Duration = Duration::from_secs(60);
/// Time for a file system on a large and slow disk.
const FORMAT: Duration = Duration::from_secs(900);
/// As for the data partition: pods run programs from volumes, and project quotas hold files to their limits.
const OPTIONS: &str = "nosuid,nodev,noatime,prjquota";
/// What the file system is called, for people who find the disk elsewhere.
const LABEL: &str = "skerry-pool";
/// The kernel counts sizes in these, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// The disks of this machine.
#[derive(Debug, Clone)]
pub struct PoolDisks {
    systemd: Systemd,
    roots: Roots,
    mounts: PathBuf,
    kept: KeptFileSystems,
}

impl PoolDisks {
    /// Pools are mounted below this folder.
    pub fn new(systemd: Systemd, roots: Roots, mounts: impl Into<PathBuf>) -> Self {
        let mounts: PathBuf = mounts.into();
        let kept = KeptFileSystems::new(systemd.clone(), roots.clone(), mounts.clone());
        Self { systemd, roots, mounts, kept }
    }

    /// The file systems that pools lie on without having them for themselves.
    pub const fn kept(&self) -> &KeptFileSystems {
        &self.kept
    }

    /// Where a pool is mounted.
    pub fn target(&self, pool: &Name) -> PathBuf {
        self.mounts.join(pool.as_str())
    }

    /// Whether the file system of a pool is mounted in its place, and not another one or none.
    pub fn is_mounted(&self, pool: &PoolRef) -> bool {
        let device = fs::metadata(self.file_system(pool.id)).map(|meta| meta.rdev());
        let place = fs::metadata(self.target(&pool.name)).map(|meta| meta.dev());
        matches!((device, place), (Ok(device), Ok(place)) if device == place)
    }

    fn file_system(&self, pool: Id<Pool>) -> PathBuf {
        self.roots.dev.join("disk/by-uuid").join(pool.uuid().hyphenated().to_string())
    }

    /// Where a pool stands.
    pub async fn place(&self, pool: &PoolRef, disk: &str) -> Result<PlaceSeen, StorageError> {
        let (mounted, file_system) = (self.is_mounted(pool), self.file_system(pool.id).exists());
        let disk = if file_system { None } else { self.disk(disk).await? };
        Ok(PlaceSeen { file_system, mounted, disk })
    }

    /// A disk by its stable name.
    pub async fn disk(&self, id: &str) -> Result<Option<DiskSeen>, StorageError> {
        let Some(mut seen) = look(&self.roots, id) else { return Ok(None) };
        if seen.content.is_none() && seen.busy.is_none() {
            seen.content = self.probe(&seen.name).await?;
        }
        Ok(Some(seen))
    }

    /// What is found on a disk without partitions.
    async fn probe(&self, name: &str) -> Result<Option<String>, StorageError> {
        let what = "looking at a disk";
        let device = format!("/dev/{name}");
        let argv = ["/usr/sbin/blkid", "-p", "-o", "export", "--", device.as_str()];
        let output = self.run(what, "blkid", &argv, LOOK).await?;
        match output.code {
            Some(0) => Ok(Some(content_of(&String::from_utf8_lossy(&output.stdout)))),
            // Nothing was found.
            Some(2) => Ok(None),
            // Several things were found, none of which can be meant.
            Some(8) => Ok(Some("what looks like more than one file system".to_owned())),
            _ => Err(failed(what, &output)),
        }
    }

    /// Does one step.
    pub async fn apply(
        &self,
        pool: &PoolRef,
        disk: &str,
        step: PlaceStep,
    ) -> Result<(), StorageError> {
        match step {
            PlaceStep::Format => self.format(pool, disk).await,
            PlaceStep::Mount => self.mount(pool).await,
            PlaceStep::Settle | PlaceStep::Clear => Err(StorageError::Refused {
                what: step.name(),
                message: "the pool has its disk for itself".to_owned(),
            }),
            PlaceStep::Unmount => {
                let target = self.target(&pool.name).display().to_string();
                self.systemd.unmount(&target, LOOK).await.map_err(systemd("unmounting the pool"))
            }
        }
    }

    async fn format(&self, pool: &PoolRef, disk: &str) -> Result<(), StorageError> {
        let what = "formatting a disk";
        let Some(seen) = look(&self.roots, disk) else {
            let message = format!("the disk `{disk}` is not there any more");
            return Err(StorageError::Failed { what, message });
        };
        let device = format!("/dev/{}", seen.name);
        // Also the second partition table at the end of the disk, which would be found again.
        let wipe = ["/usr/sbin/wipefs", "--all", "--force", "--quiet", "--", device.as_str()];
        self.must(what, "wipefs", &wipe, LOOK).await?;
        let uuid = format!("uuid={}", pool.id.uuid().hyphenated());
        let make =
            ["/usr/sbin/mkfs.xfs", "-q", "-f", "-m", uuid.as_str(), "-L", LABEL, device.as_str()];
        self.must(what, "mkfs", &make, FORMAT).await?;
        let settle = ["/usr/bin/udevadm", "settle", "--timeout=30"];
        self.must(what, "settle", &settle, LOOK).await
    }

    async fn mount(&self, pool: &PoolRef) -> Result<(), StorageError> {
        let (from, to) = (self.file_system(pool.id), self.target(&pool.name));
        let (from, to) = (from.display().to_string(), to.display().to_string());
        match self.systemd.mount(&from, &to, "xfs", OPTIONS, LOOK).await {
            // That of a disk which went away and came back as another device.
            Err(error) if error.is_unit_exists() => {
                let done = self.systemd.unmount(&to, LOOK).await;
                done.map_err(systemd("unmounting a disk that is gone"))?;
                let again = self.systemd.mount(&from, &to, "xfs", OPTIONS, LOOK).await;
                again.map_err(systemd("mounting the pool"))
            }
            done => done.map_err(systemd("mounting the pool")),
        }
    }

    async fn must(
        &self,
        what: &'static str,
        label: &str,
        argv: &[&str],
        deadline: Duration,
    ) -> Result<(), StorageError> {
        let output = self.run(what, label, argv, deadline).await?;
        if output.success() { Ok(()) } else { Err(failed(what, &output)) }
    }

    async fn run(
        &self,
        what: &'static str,
        label: &str,
        argv: &[&str],
        deadline: Duration,
    ) -> Result<CommandOutput, StorageError> {
        let command = Command::new(label, argv.iter().copied()).deadline(deadline);
        self.systemd.run(command).await.map_err(systemd(what))
    }
}

pub(crate) fn systemd(what: &'static str) -> impl Fn(SystemdError) -> StorageError {
    move |error| StorageError::Failed { what, message: error.to_string() }
}

fn failed(what: &'static str, output: &CommandOutput) -> StorageError {
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().filter(|c| !c.is_control()).take(300).collect();
    let message = match (said.is_empty(), output.code) {
        (false, _) => said,
        (true, Some(code)) => format!("the program ended with {code}"),
        (true, None) => "the program was ended".to_owned(),
    };
    StorageError::Failed { what, message }
}

/// What `blkid -o export` found.
fn content_of(text: &str) -> String {
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.map(|word| word.chars().filter(|c| c.is_ascii_graphic()).take(40).collect::<String>())
    };
    match (value("TYPE"), value("PTTYPE")) {
        (Some(kind), _) => format!("data of the kind {kind}"),
        (None, Some(kind)) => format!("a partition table of the kind {kind}"),
        (None, None) => "data of an unknown kind".to_owned(),
    }
}

/// A disk by its stable name, as far as the kernel tells.
fn look(roots: &Roots, id: &str) -> Option<DiskSeen> {
    let link = fs::read_link(roots.dev.join("disk/by-id").join(id)).ok()?;
    let name = link.file_name()?.to_str()?.to_owned();
    // Partitions have no folder there.
    let folder = roots.sys.join("block").join(&name);
    let sectors: u64 = text(&folder.join("size"))?.parse().ok()?;
    let parts = partitions(&folder);
    let busy = [&folder].into_iter().chain(&parts).find_map(|part| busy(roots, part, None));
    let locked = text(&folder.join("ro")).as_deref() == Some("1");
    let busy = busy.or_else(|| locked.then(|| "is write-protected".to_owned()));
    let content = match parts.len() {
        0 => None,
        1 => Some("a partition".to_owned()),
        count => Some(format!("{count} partitions")),
    };
    Some(DiskSeen { name, size_bytes: sectors.saturating_mul(SECTOR), content, busy })
}

/// A small file of the kernel's or of udev's.
pub(crate) fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
#[path = "disks_tests.rs"]
mod tests;

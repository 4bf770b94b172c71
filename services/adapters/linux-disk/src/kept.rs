//! File systems that are kept: found by what udev says of them, mounted by mount units of the system's own, and the
//! pool's folder on each, which carries a mark. Nothing is formatted, and nothing outside that folder is written.
//!
//! What lies on such a file system is a stranger's, so its programs do not run on the node, and no link on it is followed
//! on the way to the pool's folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::stat::{major, minor};
use nix::sys::statvfs::{FsFlags, statvfs};
use skerry_linux_host::Roots;
use skerry_linux_host::block::{FileSystem, busy, file_systems, own_partition};
use skerry_linux_host::systemd::Systemd;
use skerry_model::{Name, PoolFileSystem};
use skerry_storage::{FileSystemSeen, FolderSeen, KeptSeen, PlaceStep, PoolRef, StorageError};

use crate::disks::{systemd, text};
use crate::mark;

/// Time for mounting a file system that has to replay its log, and for taking it away.
const MOUNT: Duration = Duration::from_secs(60);
/// What files on it may not do.
const OPTIONS: &str = "nosuid,nodev,noexec,noatime";
/// Further options by kind. XFS counts by project whether or not its files have any; ext4 can only if it was made for
/// that, which those found on disks are not.
const BY_KIND: [(&str, &str); 2] = [("xfs", ",prjquota"), ("ext4", "")];

/// A kept file system that is in use, for whoever reads other files on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPlace {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The pool's folder, whose files are nobody else's.
    pub folder: PathBuf,
    /// Its kind.
    pub kind: String,
    /// Its UUID.
    pub uuid: String,
    /// What the kernel calls its device.
    pub device: String,
}

/// The kept file systems that pools lie on now, by the name of the pool.
#[derive(Debug, Clone, Default)]
pub struct KeptPlaces(Arc<Mutex<BTreeMap<Name, KeptPlace>>>);

impl KeptPlaces {
    /// All of them.
    pub fn all(&self) -> BTreeMap<Name, KeptPlace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, pool: &Name, place: Option<KeptPlace>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Some(place) => drop(places.insert(pool.clone(), place)),
            None => drop(places.remove(pool)),
        }
    }
}

/// The file systems of this machine that pools may lie on.
#[derive(Debug, Clone)]
pub struct KeptFileSystems {
    systemd: Systemd,
    roots: Roots,
    mounts: PathBuf,
    places: KeptPlaces,
}

impl KeptFileSystems {
    /// They are mounted below this folder.
    pub fn new(systemd: Systemd, roots: Roots, mounts: PathBuf) -> Self {
        Self { systemd, roots, mounts, places: KeptPlaces::default() }
    }

    /// Those in use.
    pub const fn places(&self) -> &KeptPlaces {
        &self.places
    }

    /// Where a pool's file system is mounted.
    fn mount_point(&self, pool: &Name) -> PathBuf {
        self.mounts.join(pool.as_str())
    }

    /// Where a pool's files lie.
    pub fn folder(&self, pool: &Name, wanted: &PoolFileSystem) -> PathBuf {
        self.mount_point(pool).join(&wanted.folder)
    }

    /// All that carry a UUID: a copy of a disk carries that of its origin.
    fn found(&self, uuid: &str) -> Vec<FileSystem> {
        let mut found = file_systems(&self.roots);
        found.retain(|each| each.uuid.eq_ignore_ascii_case(uuid));
        found
    }

    /// A file system by its UUID. Mounts at `own` do not count as use.
    pub fn look(&self, uuid: &str, own: Option<&Path>) -> Option<FileSystemSeen> {
        let found = self.found(uuid);
        let first = found.first()?;
        let names = found.iter().map(|each| each.name.as_str()).collect::<Vec<_>>().join(" and ");
        let twice = (found.len() > 1)
            .then(|| format!("is there more than once ({names}); take copies of it out"));
        let own_part = || {
            let label = own_partition(&self.roots, &first.name)?;
            Some(format!("is the node's own partition `{label}`"))
        };
        let locked = || {
            let locked = text(&first.folder.join("ro")).as_deref() == Some("1");
            locked.then(|| "is write-protected".to_owned())
        };
        let used = || busy(&self.roots, &first.folder, own);
        Some(FileSystemSeen {
            name: first.name.clone(),
            kind: first.kind.clone(),
            size_bytes: first.size_bytes,
            busy: twice.or_else(own_part).or_else(used).or_else(locked),
        })
    }

    /// The file system that is mounted in a pool's place, if it is the pool's.
    fn mounted(&self, pool: &Name, uuid: &str) -> Option<FileSystem> {
        let number = fs::metadata(self.mount_point(pool)).ok()?.dev();
        let number = format!("{}:{}", major(number), minor(number));
        self.found(uuid).into_iter().find(|each| each.number == number)
    }

    /// Where a pool stands.
    pub fn seen(&self, pool: &PoolRef, wanted: &PoolFileSystem) -> KeptSeen {
        let mount = self.mount_point(&pool.name);
        let file_system = self.look(&wanted.uuid, Some(&mount));
        let Some(mounted) = self.mounted(&pool.name, &wanted.uuid) else {
            self.places.set(&pool.name, None);
            return KeptSeen { file_system, ..KeptSeen::default() };
        };
        let read_only = statvfs(&mount).is_ok_and(|s| s.flags().contains(FsFlags::ST_RDONLY));
        let folder = mark::look(&mount, &wanted.folder, pool.id);
        let place = (folder == FolderSeen::Own).then(|| KeptPlace {
            folder: mount.join(&wanted.folder),
            mount,
            kind: mounted.kind,
            uuid: mounted.uuid,
            device: mounted.name,
        });
        self.places.set(&pool.name, place);
        KeptSeen { file_system, mounted: true, read_only, folder }
    }

    /// Whether the pool's files can be had: its file system is mounted in its place, and its folder carries its mark.
    pub fn is_usable(&self, pool: &PoolRef, wanted: &PoolFileSystem) -> bool {
        self.mounted(&pool.name, &wanted.uuid).is_some()
            && mark::look(&self.mount_point(&pool.name), &wanted.folder, pool.id) == FolderSeen::Own
    }

    /// Does one step.
    pub async fn apply(
        &self,
        pool: &PoolRef,
        wanted: &PoolFileSystem,
        step: PlaceStep,
    ) -> Result<(), StorageError> {
        match step {
            PlaceStep::Format => Err(StorageError::Refused {
                what: "formatting a disk",
                message: "the file system of this pool is kept".to_owned(),
            }),
            PlaceStep::Mount => self.mount(pool, wanted).await,
            PlaceStep::Settle => {
                self.on_mounted(pool, wanted, "making the pool's folder", mark::settle).await
            }
            PlaceStep::Clear => {
                self.on_mounted(pool, wanted, "removing the pool's folder", mark::clear).await
            }
            PlaceStep::Unmount => {
                self.places.set(&pool.name, None);
                let target = self.mount_point(&pool.name).display().to_string();
                let done = self.systemd.unmount(&target, MOUNT).await;
                done.map_err(systemd("unmounting the file system"))
            }
        }
    }

    async fn on_mounted(
        &self,
        pool: &PoolRef,
        wanted: &PoolFileSystem,
        what: &'static str,
        work: fn(&Path, &str, &PoolRef) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        if self.mounted(&pool.name, &wanted.uuid).is_none() {
            let message = "its file system is not mounted".to_owned();
            return Err(StorageError::PoolAway { pool: pool.name.clone(), message });
        }
        let (mount, folder) = (self.mount_point(&pool.name), wanted.folder.clone());
        let pool = pool.clone();
        let done = tokio::task::spawn_blocking(move || work(&mount, &folder, &pool)).await;
        let done = done.unwrap_or_else(|ended| Err(io::Error::other(ended)));
        done.map_err(|source| StorageError::Failed { what, message: source.to_string() })
    }

    async fn mount(&self, pool: &PoolRef, wanted: &PoolFileSystem) -> Result<(), StorageError> {
        let what = "mounting the file system";
        let found = self.found(&wanted.uuid);
        let [found] = found.as_slice() else {
            let message = format!("{} of this UUID are there", found.len());
            return Err(StorageError::Failed { what, message });
        };
        let Some((kind, more)) = BY_KIND.iter().find(|(kind, _)| *kind == found.kind) else {
            let message = format!("it is of the kind `{}`", found.kind);
            return Err(StorageError::Refused { what, message });
        };
        let options = format!("{OPTIONS}{more}");
        let from = self.roots.dev.join("disk/by-uuid").join(&found.uuid).display().to_string();
        let to = self.mount_point(&pool.name).display().to_string();
        let mount = || self.systemd.mount(&from, &to, kind, &options, MOUNT);
        match mount().await {
            // That of a disk which went away and came back as another device.
            Err(error) if error.is_unit_exists() => {
                let done = self.systemd.unmount(&to, MOUNT).await;
                done.map_err(systemd("unmounting a file system that is gone"))?;
                mount().await.map_err(systemd(what))
            }
            done => done.map_err(systemd(what)),
        }
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;

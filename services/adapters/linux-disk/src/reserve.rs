//! The reserve that guests leave free. Their disks are files of one project, whose limit is what they take now and
//! what is free beyond the reserve. A write over it finds no space, and the guest is held; the node and containers
//! write on, containers not without end either ([`containers_room`]).
//!
//! The limit follows what is free, so it has to be renewed ([`Reserve::keep`]). Between two looks it holds new data
//! exactly; data that a guest writes over blocks shared with a snapshot takes space which the project does not count,
//! so whoever asks for looks asks the sooner the less is left.
//!
//! Nothing but the files has the project: a folder that has one takes only files that have it, too, so nothing could
//! be moved there.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::statvfs::statvfs;
use tokio::sync::Mutex;

use crate::containers_room::{self, kept_from_containers};
use crate::files::make_folder;
use crate::folder::mount_of;
use crate::places::Places;
use crate::xfs;

/// The project of the disks of guests. Folders have projects of their own.
pub const GUESTS: u32 = 0xF00D_0001;

/// Less than this is not worth another limit.
const LEAST_CHANGE: u64 = 4 * 1024 * 1024;

/// What is to be left free in pools. The lock is held while a limit is renewed or a file comes under it, which would
/// otherwise undo each other.
#[derive(Debug, Clone, Default)]
pub struct Reserve {
    /// By the folder of the pool.
    told: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
    /// Folders that containers write to.
    containers: Arc<[PathBuf]>,
}

/// What can be seen of the space of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    mount: PathBuf,
    /// Free in the file system, in bytes.
    free: u64,
    /// What the limit leaves to guests, if there is one.
    left: Option<u64>,
}

impl Reserve {
    /// The same, which also holds what containers write to these folders.
    pub fn with_containers(self, folders: impl Into<Arc<[PathBuf]>>) -> Self {
        Self { containers: folders.into(), ..self }
    }

    /// Sees to it that guests leave so much free, and tells what they may write yet; `None` where the file system
    /// cannot be told.
    pub async fn keep(&self, places: &Places, reserve: u64) -> io::Result<Option<u64>> {
        let mut told = self.told.lock().await;
        told.insert(places.root().to_owned(), reserve);
        let kept = kept_from_containers(reserve);
        containers_room::hold(&self.containers, places.root(), kept).await;
        renew(places, reserve).await
    }

    /// The same as it was last told to, when files have come or gone.
    pub async fn renew(&self, places: &Places) {
        let told = self.told.lock().await;
        if let Some(reserve) = told.get(places.root())
            && let Err(error) = renew(places, *reserve).await
        {
            tracing::warn!(pool = %places.root().display(), %error, "the reserve is not renewed");
        }
    }

    /// Brings a disk's file under the limit.
    pub async fn take_in(&self, places: &Places, file: &Path) {
        let _told = self.told.lock().await;
        if let Err(message) = take_in(places, file).await {
            tracing::warn!(file = %file.display(), message, "the disk does not keep to the reserve");
        }
    }
}

async fn take_in(places: &Places, file: &Path) -> Result<(), String> {
    let words = |error: io::Error| error.to_string();
    if !xfs::knows_projects(file).map_err(words)? {
        return Ok(());
    }
    let seen = see(places).map_err(words)?;
    // First room for what the file has: it may share that with others, so that less was free than it takes.
    if let Some(left) = seen.left {
        let own = file.metadata().map_err(words)?.blocks().saturating_mul(512);
        let used = xfs::used(&seen.mount, GUESTS).await?;
        xfs::set_limit(&seen.mount, GUESTS, used.saturating_add(own).saturating_add(left)).await?;
    }
    xfs::set_project(file, GUESTS).await
}

async fn renew(places: &Places, reserve: u64) -> io::Result<Option<u64>> {
    if !xfs::knows_projects(places.root())? {
        return Ok(None);
    }
    let seen = see(places)?;
    let room = seen.free.saturating_sub(reserve);
    if let Some(left) = seen.left.filter(|left| is_close(*left, room)) {
        return Ok(Some(left));
    }
    match set(places, &seen, room).await {
        Ok(()) => Ok(see(places)?.left.map(|left| left.min(room))),
        Err(message) => {
            tracing::debug!(pool = %places.root().display(), message, "no limit of guests");
            Ok(None)
        }
    }
}

async fn set(places: &Places, seen: &Seen, room: u64) -> Result<(), String> {
    if seen.left.is_none() {
        xfs::set_folder_project(&places.gauge(), GUESTS).await?;
    }
    let used = xfs::used(&seen.mount, GUESTS).await?;
    xfs::set_limit(&seen.mount, GUESTS, used.saturating_add(room)).await
}

/// Whether what the limit leaves is near enough to what it should.
pub const fn is_close(left: u64, room: u64) -> bool {
    if left > room { left - room <= room / 16 } else { room - left <= room / 16 + LEAST_CHANGE }
}

/// The gauge is an empty folder of the project; its space is what the limit speaks of.
fn see(places: &Places) -> io::Result<Seen> {
    make_folder(&places.gauge())?;
    let (whole, gauge) = (statvfs(places.root())?, statvfs(&places.gauge())?);
    let limited = gauge.blocks() < whole.blocks();
    Ok(Seen {
        mount: mount_of(places.root())?,
        free: whole.blocks_available().saturating_mul(whole.fragment_size()),
        left: limited.then(|| gauge.blocks_available().saturating_mul(gauge.fragment_size())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_limit_is_renewed_when_it_leaves_too_much_or_far_too_little() {
        assert!(is_close(0, 0), "nothing is left and nothing is to be");
        assert!(!is_close(1, 0), "what is left is the node's");
        assert!(is_close(0, 3 * MIB));
        assert!(!is_close(0, 64 * MIB), "guests go on");
        assert!(is_close(1000 * MIB, 1010 * MIB));
        assert!(is_close(1010 * MIB, 1000 * MIB));
        assert!(!is_close(1100 * MIB, 1000 * MIB));
        assert!(!is_close(900 * MIB, 1000 * MIB));
    }

    #[tokio::test]
    async fn a_file_system_without_projects_holds_nobody_back() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(folder.path().to_owned());
        if xfs::knows_projects(places.root()).unwrap() {
            return;
        }
        let reserve = Reserve::default();
        assert_eq!(reserve.keep(&places, MIB).await.unwrap(), None);
        let file = folder.path().join("file");
        std::fs::write(&file, "data").unwrap();
        reserve.take_in(&places, &file).await;
        reserve.renew(&places).await;
        assert_eq!(std::fs::read(&file).unwrap(), b"data");
    }
}

//! What containers leave free. The folders that they write to, root file systems and volumes of pods, are of one project,
//! whose limit is what they take now and what is free beyond half of the reserve: guests are held first, then programs
//! in containers find no space, and the node itself writes on.
//!
//! A folder takes on its project with what is made in it from then on. Volumes that are folders have projects and limits of their own and are no part of this.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::folder::mount_of;
use crate::reserve::is_close;
use crate::xfs;

/// The project of what containers write.
pub const CONTAINERS: u32 = 0xF00D_0002;

/// What of the reserve containers leave to the node.
pub const fn kept_from_containers(reserve: u64) -> u64 {
    reserve / 2
}

/// Sees to it that containers leave so much free. Folders that are not there, or not on this file system, are passed over.
pub async fn hold(folders: &[PathBuf], root: &Path, kept: u64) {
    for folder in folders {
        if let Err(message) = hold_one(folder, root, kept).await {
            let folder = folder.display();
            tracing::warn!(%folder, message, "containers do not keep to the reserve");
        }
    }
}

async fn hold_one(folder: &Path, root: &Path, kept: u64) -> Result<(), String> {
    let words = |error: io::Error| error.to_string();
    if !folder.is_dir() || !xfs::knows_projects(folder).map_err(words)? {
        return Ok(());
    }
    let mount = mount_of(root).map_err(words)?;
    if mount_of(folder).map_err(words)? != mount {
        return Ok(());
    }
    let (whole, own) = (statvfs(&mount), statvfs(folder));
    let (whole, own) = (whole.map_err(|e| e.to_string())?, own.map_err(|e| e.to_string())?);
    let free = whole.blocks_available().saturating_mul(whole.fragment_size());
    let room = free.saturating_sub(kept);
    // Asked for the space of a folder of a project, the file system speaks of the project's limit.
    let left = own.blocks_available().saturating_mul(own.fragment_size());
    if own.blocks() < whole.blocks() && is_close(left, room) {
        return Ok(());
    }
    if own.blocks() >= whole.blocks() {
        xfs::set_folder_project(folder, CONTAINERS).await?;
    }
    let used = xfs::used(&mount, CONTAINERS).await?;
    xfs::set_limit(&mount, CONTAINERS, used.saturating_add(room)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_find_no_space_after_guests_and_before_the_node() {
        let reserve = skerry_storage::reserve(8 << 30);
        let kept = kept_from_containers(reserve);
        assert!(0 < kept && kept < reserve);
    }

    #[tokio::test]
    async fn what_is_not_there_or_knows_no_projects_is_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let (none, some) = (place.path().join("none"), place.path().to_owned());
        hold(&[none.clone(), some], place.path(), 0).await;
        assert!(!none.exists());
    }
}

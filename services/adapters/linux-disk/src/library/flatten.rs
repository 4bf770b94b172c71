//! From the copy of a volume to a disk that stands for itself.
//!
//! A guest that broke out of its QEMU could have written anything into the head of its volume. So the tool is told what
//! the disk is based on, and what the head says about that is not followed; the tool itself runs in its cage.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skerry_upkeep::{DiskBase, IntakeRefusal, LibraryError, Meter};
use uuid::Uuid;

use super::files::{LinuxLibrary, fault, make_out, make_work, refused_or_tool, take_over};
use super::places::DiskPlaces;
use crate::header;

/// How often it is looked how far the tool is.
const LOOK: Duration = Duration::from_secs(1);

impl LinuxLibrary {
    pub(super) async fn lend_place(&self, job: Uuid) -> Result<PathBuf, LibraryError> {
        self.blocking(move |places| {
            make_work(places, job)?;
            Ok(places.lent(job))
        })
        .await
    }

    pub(super) async fn flatten_lent(
        &self,
        job: Uuid,
        base: Option<&DiskBase>,
        meter: Arc<dyn Meter>,
    ) -> Result<(), LibraryError> {
        let owner = self.tool().cage().owner();
        let below = base.map(|base| base.path.clone());
        let (total, free) = self
            .blocking(move |places| {
                let total = ready(places, job, owner)? + below.as_deref().map_or(0, taken);
                Ok((total, make_out(places, job, owner)?))
            })
            .await?;
        if total > free {
            return Err(LibraryError::NoSpace { needed: total, free });
        }
        let (disk, out) = (self.places().lent(job), self.places().out(job));
        let work = self.tool().flatten(&disk, base, &out, "disk", free);
        tokio::pin!(work);
        loop {
            // The work may be dropped, which ends the tool; the pause holds nothing.
            tokio::select! {
                done = &mut work => {
                    done.map_err(refused_or_tool)?;
                    break;
                }
                () = tokio::time::sleep(LOOK) => meter.bytes(taken(&out.join("disk")).min(total), total),
            }
            if meter.is_stopped() {
                return Err(LibraryError::Stopped);
            }
        }
        self.blocking(move |places| take_over(places, job)).await
    }
}

/// Checks the copy, and hands it to the tool's user alone. Gives the space that it takes.
fn ready(places: &DiskPlaces, job: Uuid, owner: Option<(u32, u32)>) -> Result<u64, LibraryError> {
    let disk = places.lent(job);
    let head = header::read(&disk).map_err(fault("read", &disk))?;
    if head.has_external_data {
        return Err(IntakeRefusal::OtherFile { name: "a data file".to_owned() }.into());
    }
    if let Some((user, group)) = owner {
        chown(&disk, Some(user), Some(group)).map_err(fault("hand over", &disk))?;
    }
    fs::set_permissions(&disk, Permissions::from_mode(0o400)).map_err(fault("seal", &disk))?;
    Ok(taken(&disk))
}

/// Space that a file takes; nothing if it is not there.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.blocks().saturating_mul(512))
}

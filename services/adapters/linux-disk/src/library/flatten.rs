//! What the tool writes: from the copy of a volume to a disk that stands for itself, and from foreign formats to the one in
//! which images are kept.
//!
//! A guest that broke out of its QEMU could have written anything into the head of its volume. So the tool is told what
//! the disk is based on, and what the head says about that is not followed; the tool itself runs in its cage.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skerry_model::ImageFormat;
use skerry_upkeep::{DiskBase, ImageLibrary, IntakeRefusal, LibraryError, Meter};
use uuid::Uuid;

use super::files::{LinuxLibrary, fault, make_out, make_work, refused_or_tool, take_over};
use super::places::DiskPlaces;
use super::tool::QemuImgError;
use crate::header;

/// What the tool's file is called.
const DISK: &str = "disk";

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
        let total = self
            .blocking(move |places| {
                Ok(ready(places, job, owner)? + below.as_deref().map_or(0, taken))
            })
            .await?;
        let (disk, tool) = (self.places().lent(job), self.tool());
        let flatten = async |out: &Path, limit| tool.flatten(&disk, base, out, DISK, limit).await;
        self.write_out(job, total, meter, flatten).await
    }

    /// Makes the job's file the same disk in the form in which images are kept.
    pub(super) async fn convert_taken(
        &self,
        job: Uuid,
        from: ImageFormat,
        meter: Arc<dyn Meter>,
    ) -> Result<(), LibraryError> {
        let (source, tool) = (self.places().source(job), self.tool());
        let total = tool.measure(&source, from).await.map_err(refused_or_tool)?;
        let convert = async |out: &Path, limit| tool.convert(&source, from, out, DISK, limit).await;
        self.write_out(job, total, meter, convert).await
    }

    /// Has the tool write a disk of about `total` bytes, tells how far it is, and makes it the job's file.
    async fn write_out(
        &self,
        job: Uuid,
        total: u64,
        meter: Arc<dyn Meter>,
        write: impl AsyncFnOnce(&Path, u64) -> Result<(), QemuImgError>,
    ) -> Result<(), LibraryError> {
        let owner = self.tool().cage().owner();
        self.blocking(move |places| make_out(places, job, owner)).await?;
        self.claim(job, total).await?;
        let limit = self.free_for(job).await?;
        let out = self.places().out(job);
        let work = write(&out, limit);
        tokio::pin!(work);
        loop {
            // The work may be dropped, which ends the tool; the pause holds nothing.
            tokio::select! {
                done = &mut work => {
                    done.map_err(|error| too_large(error, total, limit))?;
                    break;
                }
                () = tokio::time::sleep(LOOK) => {
                    let written = taken(&out.join(DISK)).min(total);
                    meter.bytes(written, total);
                    self.claim(job, total - written).await?;
                }
            }
            if meter.is_stopped() {
                return Err(LibraryError::Stopped);
            }
        }
        // A copy that shares no blocks lies beside what was written for a moment.
        let beside = if self.shares().await? { 0 } else { taken(&out.join(DISK)) };
        self.promises().release(job);
        self.claim(job, beside).await?;
        let done = self.blocking(move |places| take_over(places, job)).await;
        self.promises().release(job);
        done
    }
}

/// What stopped the tool. That the disk outgrew its room is no fault of the disk.
fn too_large(error: QemuImgError, total: u64, free: u64) -> LibraryError {
    match error {
        QemuImgError::Full { .. } => {
            LibraryError::NoSpace { needed: total.max(free.saturating_add(1)), free }
        }
        other => refused_or_tool(other),
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

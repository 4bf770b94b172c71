//! A volume's disk copied to a place outside its pool, for an image to be made of it.
//!
//! Only for the moment of the copy, which shares all data where the file system can, is a volume kept from its virtual
//! machine; a snapshot, which nobody writes to, is not kept from anybody.

use std::path::{Path, PathBuf};

use skerry_engine::{Failure, planned};
use skerry_model::{Name, Resource, Snapshot, SnapshotState, Volume, VolumeForm, VolumeOperation};

use crate::controller::{StorageController, pool_ref, store_failure};
use crate::volumes::Stop;
use crate::{DiskFormat, StorageError, is_usable};

/// Why a disk was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyOutError {
    /// Something else has to happen first.
    #[error("{0}")]
    Waits(String),
    /// It cannot be done.
    #[error("{0}")]
    Refused(String),
    /// The files failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state could not be read or written.
    #[error("{0}")]
    State(String),
}

impl From<Failure> for CopyOutError {
    fn from(failure: Failure) -> Self {
        Self::State(failure.message)
    }
}

impl From<Stop> for CopyOutError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Wait(note, _) => Self::Waits(note.message),
            Stop::Fail(failure) => failure.into(),
        }
    }
}

impl StorageController {
    /// Copies a volume's file, as it is or as a snapshot has it, and tells what it is based on.
    pub async fn copy_out(
        &self,
        volume: &Name,
        snapshot: Option<&Name>,
        to: &Path,
    ) -> Result<Option<(PathBuf, DiskFormat)>, CopyOutError> {
        match snapshot {
            Some(snapshot) => self.copy_kept(volume, snapshot, to).await,
            None => self.copy_present(volume, to).await,
        }
    }

    async fn copy_kept(
        &self,
        volume: &Name,
        name: &Name,
        to: &Path,
    ) -> Result<Option<(PathBuf, DiskFormat)>, CopyOutError> {
        let snapshot = self.store.find::<Snapshot>(name).map_err(store_failure)?;
        let snapshot = snapshot
            .ok_or_else(|| CopyOutError::Refused(format!("there is no snapshot `{name}`")))?;
        if snapshot.status.state != SnapshotState::Ready {
            return Err(CopyOutError::Waits(format!("waits for the snapshot `{name}`")));
        }
        let part = snapshot.status.volumes.iter().find(|part| part.name == *volume);
        let part = part.ok_or_else(|| {
            CopyOutError::Refused(format!("the snapshot `{name}` does not hold `{volume}`"))
        })?;
        let pool = self.pool_of(&snapshot)?;
        let pool =
            pool.ok_or_else(|| CopyOutError::Refused("there is no pool for it".to_owned()))?;
        planned("copy out");
        let id = Some(snapshot.id());
        Ok(self.host.copy_out(&pool_ref(&pool), part.volume, id, to).await?)
    }

    async fn copy_present(
        &self,
        name: &Name,
        to: &Path,
    ) -> Result<Option<(PathBuf, DiskFormat)>, CopyOutError> {
        let id = self.disk_to_copy(name)?.id();
        let busy = || CopyOutError::Waits(format!("waits until nothing is done with `{name}`"));
        let _claim = self.claims.take(&[id]).ok_or_else(busy)?;
        let _room = self.long_work.try_acquire().map_err(|_| busy())?;
        // Again, now that nobody else works on it.
        let volume = self.disk_to_copy(name)?;
        let pool = self.pool(&volume.spec.pool)?;
        let pool = pool.ok_or_else(|| {
            CopyOutError::Refused(format!("there is no pool `{}`", volume.spec.pool))
        })?;
        self.quiet(&volume, VolumeOperation::Cloning).await?;
        planned("copy out");
        let copied = self.host.copy_out(&pool_ref(&pool), id, None, to).await;
        self.clear_operation(id).await?;
        Ok(copied?)
    }

    fn disk_to_copy(&self, name: &Name) -> Result<Resource<Volume>, CopyOutError> {
        let refused = |text: String| Err(CopyOutError::Refused(text));
        let Some(volume) = self.volume(name)? else {
            return refused(format!("there is no volume `{name}`"));
        };
        if volume.spec.form == VolumeForm::Folder {
            return refused(format!("`{name}` is a folder, and no disk"));
        }
        if !is_usable(volume.status.state) || !volume.status.checked {
            return Err(CopyOutError::Waits(format!("waits for the volume `{name}` to be usable")));
        }
        Ok(volume)
    }
}

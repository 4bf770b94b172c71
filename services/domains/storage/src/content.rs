//! What a volume is to begin with: names in its record become files.

use std::time::Duration;

use skerry_engine::Failure;
use skerry_model::{
    Allocation, Id, ImageState, Name, Resource, Snapshot, SnapshotState, Volume, VolumeForm,
    VolumeOperation, VolumeStatus,
};

use crate::controller::{StorageController, failure, store_failure};
use crate::image::base_image;
use crate::volumes::{Note, Stop};
use crate::{Content, GuestPower, holders, is_usable};

/// How soon it is looked again whether what is missing has come.
const LATER: Duration = Duration::from_secs(5);

/// What a volume begins with.
pub(crate) struct Source {
    pub content: Content,
    /// The volume that is read for it, which nobody may write to meanwhile.
    pub reads: Option<Resource<Volume>>,
}

/// A virtual machine that a volume has to wait for.
pub(crate) struct Runner {
    pub name: Name,
    /// Its start has been written down, but there is no process yet.
    pub only_starts: bool,
}

impl Runner {
    pub(crate) fn stop(&self) -> Stop {
        wait("InUse", format!("waits until `{}` is stopped", self.name))
    }
}

fn wait(reason: &'static str, message: impl Into<String>) -> Stop {
    Stop::Wait(Note::new(reason, message), LATER)
}

impl StorageController {
    /// What a volume begins with, or what has to come first.
    pub(crate) fn content(&self, volume: &Resource<Volume>) -> Result<Source, Stop> {
        let source = &volume.spec.source;
        if let Some(name) = &source.snapshot {
            let snapshot = self.store.find::<Snapshot>(name).map_err(store_failure)?;
            let snapshot = snapshot
                .ok_or_else(|| wait("NoSnapshot", format!("there is no snapshot `{name}`")))?;
            return self.snapshot_content(&snapshot, source.volume.as_ref());
        }
        if let Some(name) = &source.volume {
            let other = self.volume(name)?;
            let other =
                other.ok_or_else(|| wait("NoVolume", format!("there is no volume `{name}`")))?;
            if !is_usable(other.status.state) {
                return Err(wait("WaitingForVolume", format!("waits for the volume `{name}`")));
            }
            return Ok(Source { content: Content::Volume(other.id()), reads: Some(other) });
        }
        if let Some(name) = &source.image {
            let image = self.image(name)?;
            let image =
                image.ok_or_else(|| wait("NoImage", format!("there is no image `{name}`")))?;
            if image.status.state != ImageState::Available {
                return Err(wait("WaitingForImage", format!("waits for the image `{name}`")));
            }
            let base = base_image(&image.spec)
                .ok_or_else(|| wait("NoDisk", format!("the image `{name}` is no disk")))?;
            return Ok(Source { content: Content::Image(base), reads: None });
        }
        if volume.spec.form == VolumeForm::Folder {
            return Ok(Source { content: Content::Folder, reads: None });
        }
        let preallocated = volume.spec.allocation == Allocation::Preallocated;
        Ok(Source { content: Content::Empty { preallocated }, reads: None })
    }

    fn snapshot_content(
        &self,
        snapshot: &Resource<Snapshot>,
        volume: Option<&skerry_model::Name>,
    ) -> Result<Source, Stop> {
        let name = &snapshot.meta.name;
        if snapshot.status.state != SnapshotState::Ready {
            return Err(wait("WaitingForSnapshot", format!("waits for the snapshot `{name}`")));
        }
        let parts = &snapshot.status.volumes;
        let part = match volume {
            Some(volume) => parts.iter().find(|part| part.name == *volume),
            None => parts.first().filter(|_| parts.len() == 1),
        };
        let part = part.ok_or_else(|| {
            wait("NoPart", format!("say which volume of the snapshot `{name}` is meant"))
        })?;
        let content = Content::Snapshot(snapshot.id(), part.volume);
        Ok(Source { content, reads: None })
    }

    /// Notes an operation on another volume and makes sure that no virtual machine runs with it.
    pub(crate) async fn quiet(
        &self,
        volume: &Resource<Volume>,
        operation: VolumeOperation,
    ) -> Result<(), Stop> {
        let status = VolumeStatus { operation, ..volume.status.clone() };
        self.put_volume(volume.id(), &status).await?;
        let quiet = self.nobody_runs(volume).await;
        if quiet.is_err() {
            self.clear_operation(volume.id()).await?;
        }
        quiet
    }

    /// No operation goes on any more.
    pub(crate) async fn clear_operation(&self, volume: Id<Volume>) -> Result<(), Failure> {
        let Some(volume) = self.store.get(volume).map_err(store_failure)? else { return Ok(()) };
        let operation = VolumeOperation::None;
        self.put_volume(volume.id(), &VolumeStatus { operation, ..volume.status.clone() }).await
    }

    /// Whether nobody runs with a volume. A start that has been written down counts, though its process
    /// may not be there yet.
    pub(crate) async fn nobody_runs(&self, volume: &Resource<Volume>) -> Result<(), Stop> {
        match self.runner(volume).await? {
            None => Ok(()),
            Some(runner) => Err(runner.stop()),
        }
    }

    /// The virtual machine that runs with a volume, or may any moment.
    pub(crate) async fn runner(
        &self,
        volume: &Resource<Volume>,
    ) -> Result<Option<Runner>, Failure> {
        for holder in holders(&self.store, &volume.meta.name).map_err(store_failure)? {
            let power = self.guests.power(holder.id).await.map_err(failure)?;
            let off = power == GuestPower::Off;
            if holder.is_starting() || holder.is_suspended() || !off {
                let only_starts = off && holder.is_starting();
                return Ok(Some(Runner { name: holder.name, only_starts }));
            }
        }
        Ok(None)
    }
}

//! Which images go when the disk fills up: those that nothing uses, the longest unused first.
//!
//! Never one that is wanted: what a machine, a volume or a pod names, or a revision that a pod can go back to; what is
//! pinned, or part of the system; what a job is at work on; and nothing in the hour after it came in or was last used. By
//! itself only what can be fetched again goes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_model::{Id, Image, ImageSource, Kind, LocalRef, Name, Phase, Resource, Timestamp};
use skerry_store::{Store, StoreError, Transaction};
use uuid::Uuid;

use crate::{Room, image_users};

/// How long an image is left alone after it came in or was used.
pub const PRUNE_REST: Duration = Duration::from_secs(3600);

/// How full the data partition may become, in percent: above the one, images go until the other is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneMarks {
    /// Above this it begins; never if 0.
    pub above: u8,
    /// Down to this.
    pub down_to: u8,
}

impl Default for PruneMarks {
    fn default() -> Self {
        Self { above: 80, down_to: 70 }
    }
}

impl PruneMarks {
    /// Bytes that have to be freed on a partition as full as this; none if it is not full enough.
    pub fn needed(self, room: Room) -> Option<u64> {
        let used = room.total.saturating_sub(room.available());
        let part = |percent: u8| (room.total / 100).saturating_mul(percent.into());
        let is_full = self.above > 0 && room.total > 0 && used > part(self.above);
        is_full.then(|| used.saturating_sub(part(self.down_to)))
    }
}

/// An image as it is looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneImage {
    /// Which.
    pub id: Uuid,
    /// Its revision when it was looked at.
    pub revision: u64,
    /// Its name.
    pub name: Name,
    /// When it came in or was last used, if that is known.
    pub last_used: Option<Timestamp>,
    /// Whether it has to stay in any case.
    pub stays: bool,
    /// Whether the node can fetch it again. What people brought may be nowhere else, so it never goes by itself.
    pub can_be_fetched: bool,
    /// Paths and sizes of its files.
    pub files: Vec<(String, u64)>,
}

/// An image that goes, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pruned {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// Bytes that this frees: of the files that no other image has which stays.
    pub bytes: u64,
    /// When it was last used, or came in.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_used: Timestamp,
}

/// What pruning came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PruneReport {
    /// Whether nothing was removed, and this is only what would be.
    pub dry_run: bool,
    /// The images, the longest unused first.
    pub items: Vec<Pruned>,
    /// Bytes that they free.
    pub bytes: u64,
}

/// One image to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneStep {
    /// Which.
    pub id: Uuid,
    /// Its revision when that was decided.
    pub revision: u64,
    /// What is told of it.
    pub pruned: Pruned,
}

/// The images of a store. `is_busy` tells of jobs that are at work on one.
pub fn prune_images(
    store: &Store,
    is_busy: impl Fn(LocalRef) -> bool,
) -> Result<Vec<PruneImage>, StoreError> {
    let mut found = Vec::new();
    for document in store.documents(Kind::Image) {
        // A record that cannot be read makes this an error, so that nothing of it is taken for unneeded.
        let Some(image) = store.get(Id::<Image>::new(document.metadata.id))? else { continue };
        let stays = image.spec.source == ImageSource::BuiltIn
            || image.spec.pinned
            || image.meta.phase != Phase::Present
            || is_busy(image.local_ref())
            || !image_users(store, &image.meta.name).is_empty();
        found.push(seen(&image, stays));
    }
    Ok(found)
}

fn seen(image: &Resource<Image>, stays: bool) -> PruneImage {
    let files = image.spec.files.iter().map(|file| (file.path.clone(), file.size));
    PruneImage {
        id: image.meta.id,
        revision: image.meta.revision,
        name: image.meta.name.clone(),
        last_used: image.status.last_used,
        stays,
        can_be_fetched: image.spec.source.can_be_fetched(),
        files: files.collect(),
    }
}

/// The images that go to free so many bytes, in order; all that nothing holds if no number is given.
pub fn plan_prune(images: &[PruneImage], needed: Option<u64>, now: Timestamp) -> Vec<PruneStep> {
    let rested = |at: Timestamp| {
        // A time that has not come yet was written by a clock that went wrong: it proves nothing.
        now.duration_since(at).as_secs() >= PRUNE_REST.as_secs().cast_signed()
    };
    let mut going: Vec<(Timestamp, &PruneImage)> = images
        .iter()
        .filter(|image| !image.stays && !image.files.is_empty())
        .filter_map(|image| Some((image.last_used.filter(|at| rested(*at))?, image)))
        .collect();
    going.sort_by(|(a, one), (b, other)| (a, &one.name).cmp(&(b, &other.name)));

    // How many images have each file.
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, _) in images.iter().flat_map(own_files) {
        *owners.entry(path).or_default() += 1;
    }
    let mut steps = Vec::new();
    let mut freed = 0_u64;
    for (last_used, image) in going {
        if needed.is_some_and(|needed| freed >= needed) {
            break;
        }
        let mut bytes = 0_u64;
        for (path, size) in own_files(image) {
            let left = owners.entry(path).and_modify(|left| *left = left.saturating_sub(1));
            if *left.or_default() == 0 {
                bytes = bytes.saturating_add(size);
            }
        }
        freed = freed.saturating_add(bytes);
        let pruned = Pruned { name: image.name.clone(), bytes, last_used };
        steps.push(PruneStep { id: image.id, revision: image.revision, pruned });
    }
    steps
}

/// Each file of an image once.
fn own_files(image: &PruneImage) -> impl Iterator<Item = (&str, u64)> {
    let own: BTreeMap<&str, u64> =
        image.files.iter().map(|(path, size)| (path.as_str(), *size)).collect();
    own.into_iter()
}

/// Takes the images down, one after the other. One that changed since is left for the next time. The caller keeps everybody
/// from making something of an image meanwhile.
pub async fn carry_out_prune(
    store: &Store,
    steps: Vec<PruneStep>,
    why: &str,
) -> Result<PruneReport, StoreError> {
    let mut report = PruneReport::default();
    for step in steps {
        let mut tx = Transaction::new();
        tx.begin_removal(Id::<Image>::new(step.id), Some(step.revision));
        match store.commit(tx).await {
            Ok(_) => {}
            Err(StoreError::Stale { .. }) => continue,
            Err(error) => return Err(error),
        }
        let Pruned { name, bytes, last_used } = &step.pruned;
        tracing::info!(image = %name, bytes, %last_used, why, "an image that nothing uses is removed");
        report.bytes = report.bytes.saturating_add(*bytes);
        report.items.push(step.pruned);
    }
    Ok(report)
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;

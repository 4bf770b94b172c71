//! Removes images that nothing uses: when the data partition fills up, or when somebody asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skerry_store::StoreError;
use skerry_upkeep::{
    LibraryError, PRUNE_REST, PruneImage, PruneReport, carry_out_prune, plan_prune, prune_images,
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::clock::now;
use crate::node::Node;

/// How often it is looked how full the disk is.
const EVERY: Duration = Duration::from_secs(60);

/// Why it could not be done now.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The records.
    #[error("the records of images could not be read or changed")]
    Store(#[from] StoreError),
    /// The disk.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

fn images(node: &Node) -> Result<Vec<PruneImage>, StoreError> {
    prune_images(&node.store, |subject| node.jobs.active_on(subject).is_some())
}

/// Removes all images that nothing uses and nothing holds; only tells of them for a dry run.
pub async fn prune_all(node: &Node, dry_run: bool, by: &str) -> Result<PruneReport, PruneError> {
    let _turn = node.admission.lock().await;
    let steps = plan_prune(&images(node)?, None, now());
    if dry_run {
        let items: Vec<_> = steps.into_iter().map(|step| step.pruned).collect();
        let bytes = items.iter().map(|pruned| pruned.bytes).sum();
        return Ok(PruneReport { dry_run, items, bytes });
    }
    let why = format!("{by} asked for it");
    Ok(carry_out_prune(&node.store, steps, &why).await?)
}

/// Keeps room on the data partition until dropped. After a recovery of the store its records may be of yesterday, so
/// nothing is removed then.
pub async fn keep_room(node: Arc<Node>, recovered: bool) {
    if recovered || node.config.image_marks.above == 0 {
        return;
    }
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle = BTreeMap::new();
    loop {
        tick.tick().await;
        if let Err(error) = make_room(&node, &mut idle).await {
            tracing::warn!(%error, "it could not be looked for images that nothing uses");
        }
    }
}

/// Removes what has to go now. `idle` holds since when each image has been seen without use: a clock that is set must not
/// make an hour of a minute.
async fn make_room(node: &Node, idle: &mut BTreeMap<Uuid, Instant>) -> Result<(), PruneError> {
    let _turn = node.admission.lock().await;
    let mut images = images(node)?;
    let begun = Instant::now();
    idle.retain(|id, _| images.iter().any(|image| image.id == *id && !image.stays));
    for image in images.iter_mut().filter(|image| !image.stays) {
        let since = *idle.entry(image.id).or_insert(begun);
        let rests = begun.saturating_duration_since(since) < PRUNE_REST;
        image.stays = rests || !image.can_be_fetched;
    }
    let room = node.machine.images.room().await?;
    let marks = node.config.image_marks;
    let Some(needed) = marks.needed(room) else { return Ok(()) };
    let steps = plan_prune(&images, Some(needed), now());
    if steps.is_empty() {
        return Ok(());
    }
    let why = format!("the data partition is more than {} % full", marks.above);
    let report = carry_out_prune(&node.store, steps, &why).await?;
    let (count, bytes) = (report.items.len(), report.bytes);
    tracing::info!(count, bytes, needed, "images were removed to make room");
    Ok(())
}

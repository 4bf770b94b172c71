//! Following changes: every one, once, in order, or a plain statement that some are no longer kept.

use std::sync::Arc;

use tokio::sync::watch;

use crate::Change;
use crate::store::Shared;

/// Changes after a revision, as they happen. Holds no change itself, so a slow reader costs nothing;
/// one that is slower than the store's history hears [`WatchGap`].
pub struct Watch {
    shared: Arc<Shared>,
    revisions: watch::Receiver<u64>,
    position: u64,
}

/// The changes asked for are no longer kept, or never were. List anew and watch from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "changes after revision {after} are not kept: the store has those after {oldest}, up to {newest}"
)]
pub struct WatchGap {
    /// What was asked for.
    pub after: u64,
    /// The earliest revision to watch from.
    pub oldest: u64,
    /// The store's revision.
    pub newest: u64,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, after: Option<u64>) -> Result<Self, WatchGap> {
        let revisions = shared.revisions.subscribe();
        let position = {
            let state = shared.read();
            let after = after.unwrap_or(state.revision());
            state.history().covers(after)?;
            after
        };
        Ok(Self { shared, revisions, position })
    }

    /// The revision of the last change told.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next change. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Change, WatchGap> {
        loop {
            // Marked as seen before the look, so that a change in between ends the wait.
            self.revisions.borrow_and_update();
            if let Some(change) = self.ready()? {
                return Ok(change);
            }
            if self.revisions.changed().await.is_err() {
                // Cannot be: this watch itself keeps the sender alive.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next change if there is one already.
    pub fn ready(&mut self) -> Result<Option<Change>, WatchGap> {
        let found = self.shared.read().history().after(self.position)?.cloned();
        if let Some(change) = &found {
            self.position = change.revision;
        }
        Ok(found)
    }
}

//! What a watcher hears.

use std::sync::Arc;

use skerry_model::{Document, LocalRef};

/// One committed change of one resource.
#[derive(Debug, Clone)]
pub struct Change {
    /// The store's revision with this change.
    pub revision: u64,
    /// What changed.
    pub subject: LocalRef,
    /// Before; `None` if it was made.
    pub before: Option<Arc<Document>>,
    /// After; `None` if it is gone.
    pub after: Option<Arc<Document>>,
}

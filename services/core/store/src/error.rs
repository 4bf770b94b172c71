//! What can go wrong in the store, and what to do about it.

use std::sync::Arc;

use skerry_model::{DocumentError, Kind, LocalRef, Name};

use crate::checkpoint::CheckpointError;
use crate::journal::JournalError;

/// Why the store did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another resource of the kind has the name.
    #[error("a {kind} named `{name}` exists already: choose another name, or change that one")]
    NameTaken {
        /// The kind.
        kind: Kind,
        /// The name.
        name: Name,
    },
    /// A new resource carries an id that is in use.
    #[error("the id {} of the new {} is in use: draw another one", subject.id, subject.kind)]
    IdTaken {
        /// Kind and id.
        subject: LocalRef,
    },
    /// There is no such resource.
    #[error("there is no {} with the id {}", subject.kind, subject.id)]
    NotFound {
        /// Kind and id.
        subject: LocalRef,
    },
    /// The resource changed since the caller read it.
    #[error(
        "the {} {} is at revision {found}, not {expected}: read it again and decide anew",
        subject.kind, subject.id
    )]
    Stale {
        /// Kind and id.
        subject: LocalRef,
        /// The revision that the caller saw.
        expected: u64,
        /// The revision it has.
        found: u64,
    },
    /// The resource is being taken down, so what is wanted of it can no longer change.
    #[error("the {} {} is being removed: wait until it is gone", subject.kind, subject.id)]
    Removing {
        /// Kind and id.
        subject: LocalRef,
    },
    /// One document is larger than the store takes.
    #[error(
        "the {} {} would take {bytes} bytes, more than {limit}: make it smaller",
        subject.kind, subject.id
    )]
    TooLarge {
        /// Kind and id.
        subject: LocalRef,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// All documents together would be larger than the store takes.
    #[error("the store would hold {bytes} bytes, more than {limit}: delete something first")]
    Full {
        /// Size after the change.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A document does not have the shape of its kind.
    #[error("a document does not fit its kind: {0}")]
    Document(#[from] DocumentError),
    /// The journal failed during this write, or could not be opened though it is not damaged. The
    /// store is read-only from now on.
    #[error("the store's journal failed: {0}; nothing more is written until restart")]
    Journal(#[source] Arc<JournalError>),
    /// The journal failed earlier.
    #[error("the store is read-only since an earlier failure: {reason}; restart the node service")]
    ReadOnly {
        /// What happened then.
        reason: String,
    },
    /// A checkpoint or export could not be written or read.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The store's directory cannot be used at all, not even emptied.
    #[error("the directory {path} of the store cannot be used: check the state partition")]
    Directory {
        /// Which one.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store is closing.
    #[error("the store is closing; nothing was changed")]
    Closed,
}

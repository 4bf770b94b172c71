//! The journal: where batches of records become durable.
//!
//! A journal moves bytes. It must not know what a record means and is not trusted to give back what
//! it was given: envelopes and the manifest (see [`crate::record`]) find what it lost or changed.

mod memory;
mod sled;
mod trouble;

pub use memory::MemoryJournal;
pub use sled::SledJournal;
pub(crate) use trouble::{Trouble, trouble};

/// One record as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// One change of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a record.
    Put(Entry),
    /// Removes a record; nothing happens if there is none.
    Delete {
        /// Its key.
        key: Vec<u8>,
    },
}

/// How a journal is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalHealth {
    /// Whether batches are on disk when `append` returns.
    pub durable: bool,
    /// What it takes on disk.
    pub bytes_on_disk: u64,
}

/// A journal that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database refused.
    #[error("the database could not {action}")]
    Database {
        /// What was asked of it.
        action: &'static str,
        /// What it said.
        source: ::sled::Error,
    },
    /// A file operation failed.
    #[error("the system could not {action} {path}")]
    File {
        /// What was asked of it.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// What it said.
        source: std::io::Error,
    },
    /// The database panicked; what it holds is not to be trusted any more.
    #[error("the database panicked while it should {action}: {message}")]
    Panic {
        /// What was asked of it.
        action: &'static str,
        /// The panic's message.
        message: String,
    },
    /// The database did not come back in time.
    #[error("the database did not {action} within {seconds} s")]
    Stuck {
        /// What was asked of it.
        action: &'static str,
        /// The time it had.
        seconds: u64,
    },
}

/// Keeps records. Every implementation passes the conformance suite in `tests/conformance`.
///
/// Calls block; they are made from a thread of their own unless the implementation only uses memory.
pub trait Journal: Send {
    /// Every record, in the order of keys.
    fn load(&mut self) -> Result<Vec<Entry>, JournalError>;

    /// Applies a batch, all or nothing. It is durable when this returns `Ok`; after an error the
    /// batch may be there or not, as a whole, and no further batch is accepted.
    fn append(&mut self, batch: &[Write]) -> Result<(), JournalError>;

    /// Gives back space that no record needs. Changes no record.
    fn compact(&mut self) -> Result<(), JournalError>;

    /// How it is.
    fn health(&self) -> JournalHealth;
}

//! The one place where the node's state lives.
//!
//! Memory is the truth at run time: reads never touch the disk. A commit is checked, written to the
//! [`journal`], and only then visible. Checkpoints hold the whole state in one file. On start the
//! recovery ladder takes the best of what the disk still has, and says so. This crate must not know
//! any resource's rules, and no lock in it is held while anything is waited for.

mod aside;
mod change;
mod checkpoint;
mod draft;
mod error;
pub mod journal;
mod ledger;
mod mark;
mod merge;
mod record;
mod recover;
mod report;
#[cfg(test)]
mod samples;
mod shelf;
mod state;
mod store;
mod transaction;
mod watch;
mod writer;

pub use change::Change;
pub use checkpoint::CheckpointError;
pub use error::StoreError;
pub use report::{OpenReport, Rung, StoreDirs};
pub use shelf::CheckpointInfo;
pub use store::{Store, StoreHealth};
pub use transaction::{Committed, Transaction};
pub use watch::{Watch, WatchGap};

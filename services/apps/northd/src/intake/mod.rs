//! What comes in from outside as files: uploads of users, and downloads that the node daemon orders.
//!
//! Bytes go into the spool, a folder of this service on the data partition, and nowhere else. Nothing here looks
//! into a file; the node daemon takes it over, verifies it and decides what becomes of it. Nothing is remembered
//! but what is on the disk, so restarts and power cuts lose at most the bytes that were on their way.

mod fetch;
mod spool;
mod upload;

pub use fetch::{Fetcher, Reach};
pub use spool::{Spool, SpoolError, Upload, UploadInput};
pub use upload::Sent;

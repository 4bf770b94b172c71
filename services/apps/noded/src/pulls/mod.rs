//! Pulling container images: orders for the north side, the job that takes over what came, and what is kept.
//!
//! The north side downloads; it is not believed. Every blob is hashed again while it is taken over, and what an
//! image is made of is read from the blobs themselves.

mod desk;
mod keep;
mod operation;
mod trusted;

pub use desk::PullDesk;
pub use keep::Keeper;
pub use operation::{PULL, PullImage};
pub use trusted::SIGNATURE_REFUSED;

//! Pulls from a real registry (Debian's docker-registry, filled by skopeo) and from one that lies.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod image;
mod liar;
mod lies;
mod proxy;
mod real;
mod registry;
mod signatures;
mod signing;

//! The network of a node with real packets, in namespaces. Needs root.

// In a test a failure to prepare the ground is a failed test, wherever it happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod ground;
mod metadata;
mod packets;
mod wanted;

//! A simulated machine: the product's second implementation of every port, held in memory.
//!
//! It keeps links, domains, containers and files, emits the same events as the real one, and can be told to
//! fail a step, to answer slowly, or to lose power. Time is tokio's, so tests pause it. It touches nothing
//! outside the process, and it decides nothing: what the rules want, it does.

mod access;
mod agent;
mod blobs;
mod consoles;
mod containers;
mod faults;
mod host;
mod hypervisor;
mod images;
mod library;
mod logs;
mod network;
mod screens;
mod storage;
mod tpm;
mod world;

pub use blobs::SimBlobs;
pub use faults::FaultPlan;
pub use images::write_images;
pub use world::SimHost;

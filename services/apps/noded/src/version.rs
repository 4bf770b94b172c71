//! Which software this is.

/// The released version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub use skerry_ipc::BUILD;

//! The one place where the node's state lives.

mod change;
pub use change::Change;

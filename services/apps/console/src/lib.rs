//! The maintenance menu on the node's serial lines and screens.
//!
//! Line-oriented and plain, so that it works at 80 by 24, at 9600 baud, through a lossy line and on any
//! terminal. What to say and do is decided by [`menu`], a state machine without input or output; [`drive`] is the
//! only part that touches the terminal, the node's socket and programs. It needs no network, and it stays
//! useful when the node's service is down.

pub mod drive;
pub mod keys;
pub mod line;
pub mod menu;
mod output;
pub mod rescue;
pub mod screen;
mod tty;

pub use output::Output;
pub use tty::Raw;

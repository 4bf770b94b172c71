//! Board descriptions: what a machine of a given make needs from image and services.
//!
//! A board is a folder with a `board.toml`. `inherit = "other"` takes everything from another board and replaces what
//! the file itself says. [`resolve`] reads a board from the folder of all boards; [`parse_resolved`] reads the merged
//! file that is installed in the image as `/usr/share/skerry/board.toml`.
//!
//! This crate must not touch hardware: it turns files into checked values and back, nothing else.

mod board;
mod error;
mod raw;
mod resolve;

pub use board::{Board, Console, Kernel, Nic, NicMatch, NicRole, Watchdog};
pub use error::BoardError;
pub use resolve::{parse_resolved, resolve, to_toml};

/// Where the image keeps the resolved description.
pub const INSTALLED: &str = "/usr/share/skerry/board.toml";

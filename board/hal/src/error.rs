//! What can be wrong with a board description. Every message names the file, the line and the key where there is one.

use std::path::PathBuf;

/// A board description could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The file could not be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not valid TOML, has an unknown key or a value of the wrong type.
    #[error("{}:{line}: {key}: {reason}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Path of the key, or `.` for the file as a whole.
        key: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A value parses but cannot be used.
    #[error("{}: {key}: {reason}", file.display())]
    Value {
        /// The file of the board, which may have inherited the value.
        file: PathBuf,
        /// Path of the key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Boards inherit from each other in a circle.
    #[error("{}: inherit: the boards {} inherit from each other; remove one of the lines", file.display(), chain.join(" -> "))]
    Circle {
        /// The file that closes the circle.
        file: PathBuf,
        /// The boards on the way.
        chain: Vec<String>,
    },
}

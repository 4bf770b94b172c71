//! Two-way streams: what a program in a container or a console of a machine and its user say to each other.
//!
//! Each direction has a window of its own. The server sends as many items as the client made room for
//! (`ClientFrame::More`), the client as many inputs as the server did (`ServerFrame::Room`), so neither end
//! can fill the other's memory, and a program that does not read slows down only its own user.

use serde::{Deserialize, Serialize};

/// Inputs of a stream for which there is room when it opens.
pub(crate) const INPUT_WINDOW: usize = 32;
/// The most bytes of one input; [`crate::TwoWayInput::send`] cuts longer ones.
pub const MAX_INPUT_BYTES: usize = 32 * 1024;

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns, at least 1.
    pub cols: u16,
    /// Rows, at least 1.
    pub rows: u16,
}

/// What a user sends into a two-way stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Bytes for the program or the machine, at most [`MAX_INPUT_BYTES`].
    Bytes(Vec<u8>),
    /// The user's terminal has this size now.
    Resize(TerminalSize),
    /// There will be no more bytes.
    End,
}

/// Which output of a program bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    /// Standard output; everything of a terminal or a console.
    Out,
    /// Standard error output.
    Err,
}

/// A program to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecQuery {
    /// Id or name of the pod.
    pub key: String,
    /// The container; may be left out for a pod of one.
    pub container: Option<String>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Further variables of its environment.
    pub env: Vec<(String, String)>,
    /// A terminal of this size; without one, outputs stay apart.
    pub terminal: Option<TerminalSize>,
}

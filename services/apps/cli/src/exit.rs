//! The program's exit codes, as its help text lists them.

/// Done.
pub const DONE: u8 = 0;
/// The node refused, or what was waited for failed.
pub const REFUSED: u8 = 1;
/// Wrong words on the command line.
pub const USAGE: u8 = 2;
/// The node could not be reached.
pub const UNREACHABLE: u8 = 3;
/// Not logged in, not allowed, or the node's certificate is not the known one.
pub const NOT_ALLOWED: u8 = 4;
/// The time ran out.
pub const TIMED_OUT: u8 = 5;
/// Interrupted with Ctrl-C: 128 and the signal's number, as shells have it.
pub const INTERRUPTED: u8 = 130;

//! What can go wrong on the socket.

use crate::Refusal;
use crate::codec::FrameError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The socket cannot be reached.
    #[error("the node service cannot be reached at {path}: is it running?")]
    Unreachable {
        /// The socket.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server said no.
    #[error("the node service refused the connection: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The server did not answer the hello in time.
    #[error("the node service did not answer within {seconds} s")]
    Silent {
        /// The time it had.
        seconds: u64,
    },
    /// The server hung up or sent something else than an answer.
    #[error("the node service broke off the connection")]
    BrokenOff,
    /// The hello could not be written.
    #[error("the hello cannot be sent")]
    Hello(#[source] FrameError),
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The node said no. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection ended. Whether the request was done is not known.
    #[error("the connection to the node service ended; connect again")]
    Disconnected,
    /// The request is larger than a frame may be.
    #[error("the request cannot be sent")]
    Request(#[source] FrameError),
    /// A stream came where an answer was expected, or the other way round.
    #[error("the node service answered with {found} where {expected} was expected")]
    Mismatch {
        /// What was expected.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("the socket {path} cannot be made: check its directory")]
pub struct BindError {
    /// The socket.
    pub path: String,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

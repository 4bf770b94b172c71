//! Frames: a four-byte big-endian length, then one postcard value.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::bytes::Bytes;
use tokio_util::codec::LengthDelimitedCodec;

/// The largest frame in either direction.
pub const MAX_FRAME_BYTES: usize = 8 * 1024 * 1024;

/// A value that does not fit a frame, or bytes that are no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The value is larger than a frame may be.
    #[error("the message takes {bytes} bytes, more than {MAX_FRAME_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The value cannot be written.
    #[error("the message cannot be written")]
    Encode(#[source] postcard::Error),
    /// The bytes are no message, or more than one.
    #[error("the frame is not a message")]
    Decode(#[source] postcard::Error),
    /// Bytes are left after the message.
    #[error("the frame holds more than a message")]
    Trailing,
}

/// The framing of both directions.
pub(crate) fn framing() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME_BYTES).new_codec()
}

/// Writes a message. The result fits a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, FrameError> {
    let bytes = postcard::to_stdvec(message).map_err(FrameError::Encode)?;
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes.into())
}

/// Reads a message; the whole frame must be it.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let (message, rest) = postcard::take_from_bytes(frame).map_err(FrameError::Decode)?;
    if rest.is_empty() { Ok(message) } else { Err(FrameError::Trailing) }
}

//! The client's way into a two-way stream.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::client::Link;
use crate::codec::encode;
use crate::two_way::MAX_INPUT_BYTES;
use crate::{CallError, ClientFrame, Input};

/// Sends inputs into a two-way stream, waiting while there is no room. It outlives neither the stream nor
/// its items: once those are dropped, sending fails.
pub struct TwoWayInput {
    pub(crate) id: u32,
    pub(crate) link: Arc<Link>,
    /// How many inputs the server will still take; closed with the stream.
    pub(crate) room: Arc<Semaphore>,
}

impl TwoWayInput {
    /// Sends one input. Long bytes are cut. [`CallError::Disconnected`] once the stream has ended; why it did
    /// is told by its items.
    pub async fn send(&self, input: Input) -> Result<(), CallError> {
        match input {
            Input::Bytes(bytes) => {
                for part in bytes.chunks(MAX_INPUT_BYTES) {
                    self.send_one(Input::Bytes(part.to_vec())).await?;
                }
                Ok(())
            }
            other => self.send_one(other).await,
        }
    }

    async fn send_one(&self, input: Input) -> Result<(), CallError> {
        let permit = self.room.acquire().await.map_err(|_| CallError::Disconnected)?;
        permit.forget();
        let frame = encode(&ClientFrame::Input { id: self.id, input });
        self.link.send(frame.map_err(CallError::Request)?)
    }
}

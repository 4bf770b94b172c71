//! The port to what a person at a guest would sit in front of: its serial line and its screen.
//!
//! Apart from the hypervisor's port, because nothing here brings a machine nearer to what is wanted of it.

use async_trait::async_trait;
use futures::stream::BoxStream;
use skerry_model::{Id, Vm};
use tokio::sync::mpsc;

use crate::HypervisorError;

/// A connection to a guest's device.
pub struct GuestConnection {
    /// Bytes for the guest. Takes a few pieces; then senders wait until the guest reads.
    pub input: mpsc::Sender<Vec<u8>>,
    /// What the guest writes from now on, in pieces of at most 32 KiB. Ends when the guest does; dropping it
    /// ends the connection.
    pub output: BoxStream<'static, Result<Vec<u8>, HypervisorError>>,
}

/// Connects people with guests.
#[async_trait]
pub trait GuestConsoles: Send + Sync + 'static {
    /// Connects with the serial line of a running guest. There may be one connection for each guest at a time.
    async fn serial(&self, vm: Id<Vm>) -> Result<GuestConnection, HypervisorError>;

    /// Connects with the screen of a running guest, by RFB (RFC 6143) without a password; `None` if it was started
    /// without one. There may be many connections.
    async fn screen(&self, vm: Id<Vm>) -> Result<Option<GuestConnection>, HypervisorError>;
}

//! Asking the node daemon what a guest may know.
//!
//! Connects when there is something to ask and again after the connection ended. Nothing is kept between two
//! questions: what is told follows what is wanted at once, and an address that is given to another guest tells
//! nothing of the one before.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skerry_ipc::{Answer, Auth, BUILD, CallError, Client, RefusalClass, Request};
use skerry_model::GuestMetadata;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

/// For everything that the node daemon is asked.
const DEADLINE: Duration = Duration::from_secs(5);

/// Questions at a time: guests are not to keep the node daemon from its work.
const AT_A_TIME: usize = 4;

/// The node daemon does not answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away;

/// A node behind a socket.
pub struct Node {
    path: PathBuf,
    client: Mutex<Option<Client>>,
    turns: Semaphore,
}

impl Node {
    /// The node daemon that listens at `path`.
    pub fn new(path: &Path) -> Self {
        let turns = Semaphore::new(AT_A_TIME);
        Self { path: path.to_owned(), client: Mutex::new(None), turns }
    }

    /// What the guest with this address is told; `None` if nothing, or if there is no such guest.
    ///
    /// # Errors
    /// When the node daemon does not answer, or not as it should.
    pub async fn told(&self, address: Ipv4Addr) -> Result<Option<GuestMetadata>, Away> {
        // A lost answer is asked for again by the guest.
        timeout(DEADLINE, self.ask(address)).await.unwrap_or(Err(Away))
    }

    async fn ask(&self, address: Ipv4Addr) -> Result<Option<GuestMetadata>, Away> {
        let _turn = self.turns.acquire().await.map_err(|_closed| Away)?;
        let client = self.client().await?;
        match client.call(Auth::Peer, Request::GuestMetadata { address }).await {
            Ok(Answer::Document(told)) => {
                serde_json::from_str(&told.0).map(Some).map_err(|_error| {
                    // The error could quote a secret.
                    tracing::error!("what the node daemon says of a guest cannot be read");
                    Away
                })
            }
            Err(CallError::Refused(refusal)) if refusal.class == RefusalClass::NotFound => Ok(None),
            Err(CallError::Disconnected) => Err(Away),
            Err(error) => {
                tracing::error!(%error, "the node daemon refuses to say what guests are told");
                Err(Away)
            }
            Ok(_) => {
                tracing::error!(
                    "the node daemon answered something else than what a guest is told"
                );
                Err(Away)
            }
        }
    }

    async fn client(&self) -> Result<Client, Away> {
        let mut place = self.client.lock().await;
        if let Some(client) = place.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        *place = None;
        let client = Client::connect(&self.path, BUILD, "metad").await.map_err(|error| {
            tracing::debug!(%error, "no connection to the node daemon");
            Away
        })?;
        tracing::info!(role = ?client.role(), "connected to the node daemon");
        *place = Some(client.clone());
        Ok(client)
    }
}

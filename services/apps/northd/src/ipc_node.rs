//! The node daemon over its local socket.
//!
//! Connects when asked something and again after the connection ended; between, questions are answered with
//! [`NodeError::Away`] at once, so that callers can say so. Nothing is asked twice: whether a change was made
//! when the connection broke is not known here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use skerry_ipc::{Answer, Auth, CallError, Client, Refusal, RefusalClass, Request, TwoWayInput};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::node::{Items, Node, NodeError};

/// The node daemon answers at once or not at all; waiting longer only piles up requests.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Some questions make it look at the machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

pub use skerry_ipc::BUILD;

/// A node behind a socket.
pub struct IpcNode {
    path: PathBuf,
    build: String,
    client: Mutex<Option<Client>>,
    /// How often a connection was made.
    connections: watch::Sender<u64>,
}

impl IpcNode {
    /// The node listening at `path`, of the same build as this program.
    pub fn new(path: &Path) -> Self {
        Self::with_build(path, BUILD)
    }

    /// The node listening at `path`, of that build.
    pub fn with_build(path: &Path, build: &str) -> Self {
        Self {
            path: path.to_owned(),
            build: build.to_owned(),
            client: Mutex::new(None),
            connections: watch::Sender::new(0),
        }
    }

    /// Changes whenever a connection has been made.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    async fn client(&self) -> Result<Client, NodeError> {
        let mut place = self.client.lock().await;
        if let Some(client) = place.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        *place = None;
        let connect = Client::connect(&self.path, self.build.as_str(), "northd");
        match timeout(CONNECT_DEADLINE, connect).await {
            Ok(Ok(client)) => {
                tracing::info!(role = ?client.role(), "connected to the node daemon");
                *place = Some(client.clone());
                self.connections.send_modify(|count| *count = count.wrapping_add(1));
                Ok(client)
            }
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::debug!(%error, cause, "no connection to the node daemon");
                Err(NodeError::Away)
            }
            Err(_elapsed) => Err(NodeError::Away),
        }
    }
}

fn translate(error: CallError) -> NodeError {
    match error {
        CallError::Refused(refusal) => NodeError::Refused(refusal),
        CallError::Disconnected => NodeError::Lost,
        CallError::Request(_) => NodeError::Refused(Refusal::from(error)),
        other => {
            tracing::error!(error = %other, "the node daemon broke the protocol");
            let detail = "the node's services do not understand each other; its log tells more";
            NodeError::Refused(Refusal::new(RefusalClass::Internal, detail))
        }
    }
}

#[async_trait]
impl Node for IpcNode {
    async fn call(&self, auth: Auth, request: Request) -> Result<Answer, NodeError> {
        let client = self.client().await?;
        match timeout(ANSWER_DEADLINE, client.call(auth, request)).await {
            Ok(answer) => answer.map_err(translate),
            Err(_elapsed) => Err(NodeError::Lost),
        }
    }

    async fn open(&self, auth: Auth, request: Request) -> Result<Items, NodeError> {
        let client = self.client().await?;
        match timeout(ANSWER_DEADLINE, client.open(auth, request)).await {
            Ok(items) => Ok(items.map_err(translate)?.map_err(translate).boxed()),
            Err(_elapsed) => Err(NodeError::Lost),
        }
    }

    async fn open_two_way(
        &self,
        auth: Auth,
        request: Request,
    ) -> Result<(TwoWayInput, Items), NodeError> {
        let client = self.client().await?;
        match timeout(ANSWER_DEADLINE, client.open_two_way(auth, request)).await {
            Ok(opened) => {
                let (input, items) = opened.map_err(translate)?;
                Ok((input, items.map_err(translate).boxed()))
            }
            Err(_elapsed) => Err(NodeError::Lost),
        }
    }
}

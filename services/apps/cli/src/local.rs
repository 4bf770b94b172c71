//! A node over its own local socket: for the maintenance console and for people on the machine.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use futures::StreamExt;
use skerry_ipc::{Answer, Auth, Client, Input, Refusal, RefusalClass, Request, TwoWayInput};

use crate::nodes::Nodes;
use crate::transport::{CallError, InputSink, Items, Session, Transport, TwoWay};

/// Where the node's service listens.
pub const SOCKET: &str = "/run/skerry/noded.sock";

pub use skerry_ipc::BUILD;

/// A node over its local socket. Connects at the first request, and again after the connection ended.
pub struct Local {
    path: PathBuf,
    program: String,
    client: tokio::sync::Mutex<Option<Client>>,
    token: Mutex<Option<String>>,
    nodes: Option<Nodes>,
}

impl Local {
    /// The node listening at `path`. `program` is what its log calls us.
    pub fn new(path: &Path, program: &str, token: Option<String>, nodes: Option<Nodes>) -> Self {
        Self {
            path: path.to_owned(),
            program: program.to_owned(),
            client: tokio::sync::Mutex::new(None),
            token: Mutex::new(token),
            nodes,
        }
    }

    /// On whose behalf: the session's if there is one, but a new session is never opened by an old one.
    fn auth(&self, request: &Request) -> Auth {
        let token = self.token.lock().ok().and_then(|token| token.clone());
        match (request, token) {
            (Request::Claim { .. } | Request::Login { .. }, _) | (_, None) => Auth::Peer,
            (_, Some(token)) => Auth::Token(token),
        }
    }

    async fn client(&self) -> Result<Client, CallError> {
        let mut place = self.client.lock().await;
        if let Some(client) = place.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let client = Client::connect(&self.path, BUILD, self.program.as_str())
            .await
            .map_err(|error| self.unreachable(&error))?;
        *place = Some(client.clone());
        Ok(client)
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> CallError {
        let mut detail = error.to_string();
        if let Some(source) = error.source() {
            detail.push_str(&format!(" ({source})"));
        }
        CallError::Unreachable { node: self.node(), detail }
    }

    fn failed(&self, error: skerry_ipc::CallError) -> CallError {
        match error {
            skerry_ipc::CallError::Refused(refusal) => CallError::Refused(refusal),
            other => self.unreachable(&other),
        }
    }

    fn keep(&self, token: Option<&str>, username: Option<&str>) -> Result<(), String> {
        if let Ok(mut place) = self.token.lock() {
            *place = token.map(str::to_owned);
        }
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let change = nodes.change(&self.node(), |known| {
            known.token = token.map(str::to_owned);
            known.username = username.map(str::to_owned);
        });
        change.map_err(|error| error.to_string())
    }
}

fn failed(node: &str, error: skerry_ipc::CallError) -> CallError {
    match error {
        skerry_ipc::CallError::Refused(refusal) => CallError::Refused(refusal),
        other => CallError::Unreachable { node: node.to_owned(), detail: other.to_string() },
    }
}

/// The way into a two-way stream over the socket.
struct Sender {
    input: TwoWayInput,
    node: String,
}

#[async_trait]
impl InputSink for Sender {
    async fn send(&self, input: Input) -> Result<(), CallError> {
        self.input.send(input).await.map_err(|error| failed(&self.node, error))
    }
}

#[async_trait]
impl Transport for Local {
    async fn call(&self, request: Request) -> Result<Answer, CallError> {
        let auth = self.auth(&request);
        self.client().await?.call(auth, request).await.map_err(|error| self.failed(error))
    }

    async fn open(&self, request: Request) -> Result<Items, CallError> {
        let auth = self.auth(&request);
        let items = self.client().await?.open(auth, request).await;
        let node = self.node();
        let items = items.map_err(|error| failed(&node, error))?;
        Ok(items.map(move |item| item.map_err(|error| failed(&node, error))).boxed())
    }

    async fn open_two_way(&self, request: Request) -> Result<TwoWay, CallError> {
        let auth = self.auth(&request);
        let opened = self.client().await?.open_two_way(auth, request).await;
        let (input, items) = opened.map_err(|error| self.failed(error))?;
        let node = self.node();
        let items = items.map({
            let node = node.clone();
            move |item| item.map_err(|error| failed(&node, error))
        });
        Ok(TwoWay { input: Box::new(Sender { input, node }), items: items.boxed() })
    }

    async fn health(&self) -> Result<serde_json::Value, CallError> {
        let summary = match self.client().await?.call(Auth::Peer, Request::Summary).await {
            // A process that may nothing by itself may still hold a session.
            Err(skerry_ipc::CallError::Refused(Refusal {
                class: RefusalClass::Unauthenticated | RefusalClass::Forbidden,
                ..
            })) => self.call(Request::Summary).await?,
            other => other.map_err(|error| self.failed(error))?,
        };
        let odd = |detail: String| CallError::Protocol { node: self.node(), detail };
        match summary {
            Answer::Document(json) => {
                serde_json::from_str(&json.0).map_err(|error| odd(error.to_string()))
            }
            _ => Err(odd("expected a summary".to_owned())),
        }
    }

    fn remember(&self, session: &Session) -> Result<(), String> {
        self.keep(Some(&session.token), Some(&session.username))
    }

    fn forget(&self) -> Result<(), String> {
        self.keep(None, None)
    }

    fn node(&self) -> String {
        self.path.display().to_string()
    }
}

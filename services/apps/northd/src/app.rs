//! What every handler needs, and how answers of the node daemon become HTTP answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use skerry_ipc::{Answer, Auth, Json, Request};
use tokio_util::sync::CancellationToken;

use crate::etag;
use crate::intake::Spool;
use crate::node::Node;
use crate::problem::Problem;
use crate::sockets::Sockets;
use crate::tickets::Tickets;

/// Shared by all handlers.
#[derive(Clone)]
pub struct App {
    pub(crate) node: Arc<dyn Node>,
    pub(crate) o2: skerry_o2::Inventory,
    /// Files that come in.
    pub(crate) spool: Spool,
    /// Ends long streams when the service stops.
    pub(crate) stop: CancellationToken,
    /// Tickets for WebSockets.
    pub(crate) tickets: Arc<Tickets>,
    /// Open WebSockets.
    pub(crate) sockets: Arc<Sockets>,
}

/// The address of the other end, set by the listener.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// For rate limits: an IPv4 address looks the same however it came.
    pub(crate) fn origin(peer: Option<Extension<Self>>) -> String {
        match peer {
            Some(Extension(Self(address))) => address.to_canonical().to_string(),
            None => "unknown".to_owned(),
        }
    }
}

impl App {
    /// Handlers on top of a node; streams end when `stop` is cancelled.
    pub fn new(node: Arc<dyn Node>, spool: Spool, stop: CancellationToken) -> Self {
        let (tickets, sockets) = (Arc::default(), Arc::default());
        Self { node, o2: skerry_o2::Inventory::default(), spool, stop, tickets, sockets }
    }

    pub(crate) async fn ask(&self, auth: Auth, request: Request) -> Result<Answer, Problem> {
        Ok(self.node.call(auth, request).await?)
    }

    /// A request whose answer is a document.
    pub(crate) async fn document(&self, auth: Auth, request: Request) -> Result<String, Problem> {
        match self.ask(auth, request).await? {
            Answer::Document(Json(text)) => Ok(text),
            other => Err(unexpected("a document", &other)),
        }
    }

    /// A request whose answer is a report of a known shape.
    pub(crate) async fn report<T: DeserializeOwned>(
        &self,
        auth: Auth,
        request: Request,
    ) -> Result<T, Problem> {
        let text = self.document(auth, request).await?;
        serde_json::from_str(&text).map_err(|error| {
            tracing::error!(%error, "a report of the node daemon does not have its shape");
            Problem::internal()
        })
    }
}

/// The node daemon answered something that does not go with the question.
pub(crate) fn unexpected(wanted: &str, answer: &Answer) -> Problem {
    let got = match answer {
        Answer::Done => "done",
        Answer::Document(_) => "a document",
        Answer::List { .. } => "a list",
        Answer::Session { .. } => "a session",
        Answer::Principal { .. } => "a principal",
        Answer::Identity { .. } => "an identity",
        Answer::Text(_) => "a text",
        Answer::Bytes(_) => "bytes",
        Answer::Stream => "a stream",
        Answer::TwoWay => "a two-way stream",
    };
    tracing::error!(wanted, got, "the node daemon gave another answer than expected");
    Problem::internal()
}

/// What the transport must know of a document: everything else passes through unread.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) metadata: SeenMeta,
}

/// The metadata that matters to the transport.
#[derive(Debug, Deserialize)]
pub(crate) struct SeenMeta {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) revision: u64,
    #[serde(default)]
    pub(crate) finalizers: Vec<String>,
}

impl Seen {
    pub(crate) fn of(text: &str) -> Result<Self, Problem> {
        serde_json::from_str(text).map_err(|error| {
            tracing::error!(%error, "a document of the node daemon has no metadata");
            Problem::internal()
        })
    }
}

/// A resource with its entity tag.
pub(crate) fn resource(status: StatusCode, text: String) -> Result<Response, Problem> {
    let seen = Seen::of(&text)?;
    let mut response = json(status, text);
    if let Some(tag) = etag::of_revision(seen.metadata.revision) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// A resource, or 304 if the caller has it already.
pub(crate) fn resource_if_new(headers: &HeaderMap, text: String) -> Result<Response, Problem> {
    let response = resource(StatusCode::OK, text)?;
    match response.headers().get(header::ETAG).cloned() {
        Some(tag) if etag::is_known(headers, &tag) => {
            Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response())
        }
        _ => Ok(response),
    }
}

/// JSON text as it is.
pub(crate) fn json(status: StatusCode, text: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The variable parts of a path.
pub(crate) struct Segments(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let Ok(Path(found)) = found else {
            return Err(Problem::bad_request("the path cannot be read: check its encoding"));
        };
        // No id or name is longer.
        if found.values().any(|value| value.is_empty() || value.len() > 128) {
            return Err(Problem::not_found("there is no such resource"));
        }
        Ok(Self(found))
    }
}

impl Segments {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

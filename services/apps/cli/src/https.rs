//! A node over HTTPS: each request of the local protocol as its `/api/v1` call.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use reqwest::{Client, Method, RequestBuilder, Response, Upgraded, Url};
use serde_json::{Value, json};
use skerry_ipc::{
    Action, Answer, Json, ListQuery, LogQuery, PowerAction, Refusal, RefusalClass, Request,
    StreamItem,
};
use skerry_model::{ImageArchiveForm, Kind};

use crate::fingerprint::Fingerprint;
use crate::nodes::Nodes;
use crate::pin::Pin;
use crate::respond::{Event, Events, Lines, Shape, answer, refusal};
use crate::socket;
use crate::transport::{CallError, Items, Session, Transport, TwoWay, UploadStep};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take; streams have no limit.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a piece of a file may take.
const PIECE: Duration = Duration::from_secs(900);
/// Largest answer that is read: an export may be large, nothing else is.
const MAX_BODY: usize = 256 * 1024 * 1024;

/// A node over HTTPS.
pub struct Https {
    client: Client,
    base: Url,
    pin: Arc<Pin>,
    expected: Option<Fingerprint>,
    token: Mutex<Option<String>>,
    nodes: Option<Nodes>,
}

/// One HTTP call and the shape of its answer.
struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<String>,
    /// A part of a file, and the bytes before it.
    part: Option<(u64, Vec<u8>)>,
    if_revision: Option<u64>,
    shape: Shape,
}

impl Call {
    fn new(method: Method, path: &[&str], shape: Shape) -> Self {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Self { method, path, query: Vec::new(), body: None, part: None, if_revision: None, shape }
    }

    fn get(path: &[&str], shape: Shape) -> Self {
        Self::new(Method::GET, path, shape)
    }

    fn post(path: &[&str], body: Value, shape: Shape) -> Self {
        Self { body: Some(body.to_string()), ..Self::new(Method::POST, path, shape) }
    }

    fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }
}

/// Checks the address of a node: `https` only; a bare host gets it.
pub(crate) fn node_url(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("`{text}` is not the address of a node: {why}");
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&full).map_err(|error| wrong(&error.to_string()))?;
    if url.scheme() != "https" {
        return Err(wrong("nodes are reached by https only"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it must not hold a user or password; use `skerry login`"));
    }
    url.set_path("");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

impl Https {
    /// A node whose certificate has this fingerprint. Without one every call fails and tells what is shown.
    pub fn new(
        node: &str,
        expected: Option<Fingerprint>,
        token: Option<String>,
        nodes: Option<Nodes>,
    ) -> Result<Self, CallError> {
        let bad = |detail: String| CallError::Unreachable { node: node.to_owned(), detail };
        let base = node_url(node).map_err(bad)?;
        let pin = Pin::new(expected);
        let tls = pin.client().map_err(|error| bad(error.to_string()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| bad(chain(&error)))?;
        Ok(Self { client, base, pin, expected, token: Mutex::new(token), nodes })
    }

    /// The fingerprint of the certificate that a node shows. Nothing is sent to it.
    pub async fn shown(node: &str) -> Result<Fingerprint, CallError> {
        let probe = Self::new(node, None, None, None)?;
        let call = Call::get(&["health"], Shape::Document);
        match (probe.send(call, Some(ANSWER)).await, probe.pin.shown()) {
            (_, Some(fingerprint)) => Ok(fingerprint),
            (Err(error), None) => Err(error),
            (Ok(_), None) => Err(probe.odd("it shows no certificate".to_owned())),
        }
    }

    fn odd(&self, detail: String) -> CallError {
        CallError::Protocol { node: self.node(), detail }
    }

    fn url(&self, call: &Call) -> Result<Url, CallError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| self.odd("its address takes no path".to_owned()))?
            .extend(["api", "v1"])
            .extend(&call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    /// A request on behalf of whoever is logged in.
    fn start(&self, call: &Call) -> Result<RequestBuilder, CallError> {
        let request = self.client.request(call.method.clone(), self.url(call)?);
        let token = self.token.lock().ok().and_then(|token| token.clone());
        Ok(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// Sends a call; a good answer comes back unread, a refusal as error.
    async fn send(&self, call: Call, limit: Option<Duration>) -> Result<Response, CallError> {
        let mut request = self.start(&call)?;
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        if let Some(revision) = call.if_revision {
            request = request.header("if-match", format!("\"{revision}\""));
        }
        if let Some(body) = call.body {
            request = request.header("content-type", "application/json").body(body);
        }
        if let Some((offset, bytes)) = call.part {
            let request_part = request.header("content-type", "application/partial-upload");
            request = request_part.header("upload-offset", offset).body(bytes);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    /// Opens a WebSocket (RFC 6455 4.1).
    async fn upgrade(&self, call: Call, says: socket::Says) -> Result<Upgraded, CallError> {
        let (key, expected) = socket::handshake();
        let request = self.start(&call)?;
        let request = request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", says.protocol())
            .header("sec-websocket-key", key);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let accepted = response.headers().get("sec-websocket-accept");
        let right = accepted.is_some_and(|answer| answer.as_bytes() == expected.as_bytes());
        match response.status().as_u16() {
            101 if right => response.upgrade().await.map_err(|error| self.unreachable(&error)),
            101 => Err(self.odd("its WebSocket handshake is wrong".to_owned())),
            _ => Err(self.refused(response).await),
        }
    }

    async fn refused(&self, response: Response) -> CallError {
        let status = response.status().as_u16();
        let retry =
            response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let body = self.body(response).await.unwrap_or_default();
        refusal(status, retry, &body).into()
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, CallError> {
        let mut chunks = response.bytes_stream();
        let mut body = Vec::new();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|error| self.unreachable(&error))?);
            if body.len() > MAX_BODY {
                return Err(self.odd("its answer is too large".to_owned()));
            }
        }
        Ok(body)
    }

    /// An archive as it comes.
    async fn archive(&self, key: &str, form: ImageArchiveForm) -> Result<Items, CallError> {
        let call = Call::get(&["images", key, "export"], Shape::Nothing)
            .with("format", Some(form.to_string()));
        let response = self.send(call, None).await?;
        let size = response.content_length();
        let size = size.ok_or_else(|| self.odd("its archive has no length".to_owned()))?;
        let file = StreamItem::File { name: format!("{key}.tar"), size };
        let node = self.node();
        let pieces = response.bytes_stream().map(move |chunk| match chunk {
            Ok(bytes) => Ok(StreamItem::Piece(bytes.to_vec())),
            Err(error) => Err(broken_off(&node, &error)),
        });
        Ok(stream::iter([Ok(file)]).chain(pieces).boxed())
    }

    fn unreachable(&self, error: &reqwest::Error) -> CallError {
        match self.pin.shown() {
            Some(shown) if self.expected != Some(shown) => self.untrusted(shown),
            _ => CallError::Unreachable { node: self.node(), detail: chain(error) },
        }
    }

    fn untrusted(&self, shown: Fingerprint) -> CallError {
        let node = self.node();
        let detail = match self.expected {
            None => format!(
                "the node at {node} is not known yet. It shows the certificate\n  {shown}\n\
                 If its console shows the same: skerry login --node {node} --fingerprint {shown}"
            ),
            Some(known) => format!(
                "the node at {node} shows another certificate than before; nothing was sent to it.\n  \
                 known {known}\n  shown {shown}\nIf it was installed anew and its console shows the second one: \
                 skerry login --node {node} --fingerprint {shown}"
            ),
        };
        CallError::Untrusted { detail }
    }
}

/// An archive that ends before its end: the node found it damaged, or went away.
fn broken_off(node: &str, error: &reqwest::Error) -> CallError {
    let detail = format!(
        "it broke the archive off ({}); if the image is damaged, `skerry image list` says so",
        chain(error)
    );
    CallError::Unreachable { node: node.to_owned(), detail }
}

/// An error with everything behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The call that a request is.
fn call(request: Request) -> Result<Call, CallError> {
    let unsupported = |detail: &str| CallError::Unsupported { detail: detail.to_owned() };
    let document = Shape::Document;
    Ok(match request {
        Request::Summary => Call::get(&["summary"], document),
        Request::Inventory => Call::get(&["inventory"], document),
        Request::Media => Call::get(&["media"], document),
        Request::PruneImages { dry_run } => Call::post(&["prune"], json!({}), document)
            .with("dry_run", dry_run.then(|| "true".to_owned())),
        Request::Claim { code, username, password, .. } => {
            let body = json!({ "code": code, "username": username, "password": password });
            Call::post(&["claim"], body, Shape::Session)
        }
        Request::Login { username, password, purpose, .. } => {
            let body = json!({ "username": username, "password": password, "purpose": purpose });
            Call::post(&["login"], body, Shape::Session)
        }
        Request::Logout => Call::post(&["logout"], json!({}), Shape::Nothing),
        Request::WhoAmI => Call::get(&["session"], Shape::Principal),
        Request::List { kind, query } => list(kind, query),
        Request::Get { kind: Kind::Node, .. } => Call::get(&["node"], document),
        Request::Get { kind, key } => Call::get(&[kind.plural(), &key], document),
        Request::Create { kind, document: body, dry_run } => {
            let call = Call::new(Method::POST, &[kind.plural()], document);
            Call { body: Some(body.0), ..call }.with("dry_run", dry_run.then(|| "true".to_owned()))
        }
        Request::Apply { documents, dry_run } => {
            let parsed: Result<Vec<Value>, _> =
                documents.iter().map(|document| serde_json::from_str(&document.0)).collect();
            let parsed = parsed.map_err(|_| unsupported("a document is not JSON"))?;
            Call::post(&["apply"], json!({ "documents": parsed }), document)
                .with("dry_run", dry_run.then(|| "true".to_owned()))
        }
        Request::Replace { kind, key, document: body, if_revision } => {
            let call = Call::new(Method::PUT, &[kind.plural(), &key], document);
            Call { body: Some(body.0), if_revision, ..call }
        }
        Request::Patch { kind: Kind::Node, patch, if_revision, .. } => {
            let call = Call::new(Method::PATCH, &["node"], document);
            Call { body: Some(patch.0), if_revision, ..call }
        }
        Request::Patch { kind, key, patch, if_revision } => {
            let call = Call::new(Method::PATCH, &[kind.plural(), &key], document);
            Call { body: Some(patch.0), if_revision, ..call }
        }
        Request::Delete { kind, key, if_revision, with_volumes } => {
            let volumes = with_volumes.then(|| "true".to_owned());
            let call = Call::new(Method::DELETE, &[kind.plural(), &key], document)
                .with("delete_volumes", volumes);
            Call { if_revision, ..call }
        }
        Request::Act { kind, key, action } => {
            Call::post(&[kind.plural(), &key, "actions", action_name(action)], json!({}), document)
        }
        Request::GuestReport { key } => Call::get(&["vms", &key, "guest"], document),
        Request::PodStats { key } => Call::get(&["pods", &key, "stats"], document),
        Request::VmMetadata { key } => Call::get(&["vms", &key, "metadata"], document),
        Request::SetGuestPassword { key, user, password } => {
            let body = json!({ "user": user, "password": password.reveal() });
            Call::post(&["vms", &key, "guest", "password"], body, Shape::Nothing)
        }
        Request::Explain { kind, key } => Call::get(&[kind.plural(), &key, "explain"], document),
        Request::Power(action) => {
            let name = match action {
                PowerAction::Restart => "restart",
                PowerAction::PowerOff => "power_off",
            };
            Call::post(&["node", "actions", name], json!({}), Shape::Nothing)
        }
        Request::Watch { .. }
        | Request::Log(_)
        | Request::ExportImage { .. }
        | Request::Exec(_)
        | Request::Attach { .. }
        | Request::Serial { .. }
        | Request::Screen { .. } => {
            return Err(unsupported("this is a stream"));
        }
        Request::Export
        | Request::Graph
        | Request::ServerIdentity
        | Request::MayBringIn
        | Request::GuestMetadata { .. }
        | Request::Fetches
        | Request::FetchReport { .. }
        | Request::Pulls
        | Request::Pulled { .. } => {
            return Err(unsupported("this can be asked at the node itself only"));
        }
    })
}

/// The call that a step of an upload is.
fn upload_call(step: UploadStep) -> Call {
    let document = Shape::Document;
    match step {
        UploadStep::List => Call::get(&["uploads"], document),
        UploadStep::Create { name, size } => {
            Call::post(&["uploads"], json!({ "name": name, "size": size }), document)
        }
        UploadStep::Get { id } => Call::get(&["uploads", &id], document),
        UploadStep::Append { id, offset, bytes } => {
            let call = Call::new(Method::PATCH, &["uploads", &id], document);
            Call { part: Some((offset, bytes)), ..call }
        }
    }
}

fn list(kind: Kind, query: ListQuery) -> Call {
    if kind == Kind::Node {
        return Call::get(&["node"], Shape::ListOfOne);
    }
    let mut call = Call::get(&[kind.plural()], Shape::List)
        .with("name", query.name_contains)
        .with("limit", query.limit.map(|limit| limit.to_string()))
        .with("continue", query.after);
    call.query.extend(query.labels.iter().map(|(key, value)| ("label", format!("{key}={value}"))));
    call
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::Start => "start",
        Action::Stop => "stop",
        Action::ForceStop => "force_stop",
        Action::Restart => "restart",
        Action::Revert => "revert",
        Action::Abort => "abort",
        Action::Retry => "retry",
        Action::Pause => "pause",
        Action::Resume => "resume",
        Action::Reset => "reset",
        Action::Reboot => "reboot",
        Action::Suspend => "suspend",
    }
}

fn log_call(query: LogQuery) -> Call {
    let given = |text: String| (!text.is_empty()).then_some(text);
    let call = match query.kind {
        Kind::Vm => Call::get(&["vms", &query.key, "serial"], Shape::Nothing),
        Kind::Pod => Call::get(&["pods", &query.key, "logs"], Shape::Nothing)
            .with("container", query.container)
            .with("timestamps", query.timestamps.then(|| "true".to_owned())),
        _ => Call::get(&["node", "log"], Shape::Nothing).with("unit", given(query.key)),
    };
    call.with("tail", Some(query.tail.to_string()))
        .with("since", query.since.map(|since| since.to_string()))
        .with("follow", query.follow.then(|| "true".to_owned()))
}

fn watch_call(kinds: &[Kind], after: Option<u64>) -> Call {
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.plural()).collect();
    Call::get(&["watch"], Shape::Nothing)
        .with("after", after.map(|after| after.to_string()))
        .with("kinds", (!kinds.is_empty()).then(|| kinds.join(",")))
}

/// What an event of a watch says.
fn change(event: &Event) -> Result<StreamItem, CallError> {
    let value: Value = serde_json::from_str(&event.data).unwrap_or_default();
    if event.name == "error" {
        let status =
            value.get("status").and_then(Value::as_u64).and_then(|s| u16::try_from(s).ok());
        return Err(refusal(status.unwrap_or(500), None, event.data.as_bytes()).into());
    }
    if event.name == "gone" {
        let detail = "changes were missed; read the lists again";
        return Err(Refusal::new(RefusalClass::Gone, detail).into());
    }
    let odd =
        || CallError::from(Refusal::new(RefusalClass::Internal, "a change has an unknown form"));
    let kind = value.get("kind").and_then(Value::as_str).and_then(|kind| kind.parse().ok());
    Ok(StreamItem::Change {
        revision: value.get("revision").and_then(Value::as_u64).ok_or_else(odd)?,
        kind: kind.ok_or_else(odd)?,
        document: Json(value.get("document").ok_or_else(odd)?.to_string()),
        removed: value.get("removed").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// The lines of an answer as they come.
fn lines(
    response: Response,
    node: String,
) -> stream::BoxStream<'static, Result<String, CallError>> {
    let chunks = response.bytes_stream().map(Some).chain(stream::iter([None]));
    let lines = chunks.scan(Lines::default(), move |lines, chunk| {
        let found: Vec<Result<String, CallError>> = match chunk {
            Some(Ok(bytes)) => lines.push(&bytes).into_iter().map(Ok).collect(),
            Some(Err(error)) => {
                vec![Err(CallError::Unreachable { node: node.clone(), detail: chain(&error) })]
            }
            None => lines.finish().map(Ok).into_iter().collect(),
        };
        futures::future::ready(Some(stream::iter(found)))
    });
    lines.flatten().boxed()
}

#[async_trait]
impl Transport for Https {
    async fn call(&self, request: Request) -> Result<Answer, CallError> {
        let call = call(request)?;
        let shape = call.shape;
        let response = self.send(call, Some(ANSWER)).await?;
        let body = self.body(response).await?;
        answer(shape, body).map_err(|error| self.odd(error.to_string()))
    }

    async fn open(&self, request: Request) -> Result<Items, CallError> {
        let (call, is_watch) = match request {
            Request::Watch { kinds, after } => (watch_call(&kinds, after), true),
            Request::Log(query) => (log_call(query), false),
            Request::ExportImage { key, form } => return self.archive(&key, form).await,
            _ => return Err(CallError::Unsupported { detail: "this is no stream".to_owned() }),
        };
        let lines = lines(self.send(call, None).await?, self.node());
        if !is_watch {
            return Ok(lines.map(|line| line.map(StreamItem::Line)).boxed());
        }
        let events = lines.scan(Events::default(), |events, line| {
            let item = match line {
                Ok(line) => events.push(&line).map(|event| change(&event)),
                Err(error) => Some(Err(error)),
            };
            futures::future::ready(Some(item))
        });
        Ok(events.filter_map(futures::future::ready).boxed())
    }

    async fn upload(&self, step: UploadStep) -> Result<Value, CallError> {
        // A piece takes as long as the link needs; the node gives up a silent one by itself.
        let limit = if matches!(step, UploadStep::Append { .. }) { PIECE } else { ANSWER };
        let response = self.send(upload_call(step), Some(limit)).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.odd(error.to_string()))
    }

    async fn open_two_way(&self, request: Request) -> Result<TwoWay, CallError> {
        let Some((path, query, says)) = socket::place(request) else {
            return Err(CallError::Unsupported { detail: "this is no two-way stream".to_owned() });
        };
        let call = Call { path, query, ..Call::get(&[], Shape::Nothing) };
        Ok(socket::two_way(self.upgrade(call, says).await?, says, self.node()).await)
    }

    async fn health(&self) -> Result<Value, CallError> {
        let response = self.send(Call::get(&["health"], Shape::Document), Some(ANSWER)).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.odd(error.to_string()))
    }

    fn remember(&self, session: &Session) -> Result<(), String> {
        if let Ok(mut token) = self.token.lock() {
            *token = Some(session.token.clone());
        }
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let change = nodes.change(&self.node(), |known| {
            known.token = Some(session.token.clone());
            known.username = Some(session.username.clone());
            known.fingerprint = self.expected.map(|fingerprint| fingerprint.to_string());
        });
        change.map_err(|error| error.to_string())
    }

    fn forget(&self) -> Result<(), String> {
        if let Ok(mut token) = self.token.lock() {
            *token = None;
        }
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let change = nodes.change(&self.node(), |known| known.token = None);
        change.map_err(|error| error.to_string())
    }

    fn node(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }
}

#[cfg(test)]
mod tests;

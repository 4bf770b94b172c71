//! Answers that go on: changes as server-sent events, and logs as plain text.
//!
//! A stream ends when the service stops, when the node daemon ends it, and within half a minute after the
//! session it was opened with is no longer good.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use skerry_ipc::{Auth, LogQuery, Refusal, RefusalClass, Request, StreamItem};
use skerry_model::{Kind, Since};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::app::{App, Segments};
use crate::auth::Caller;
use crate::node::{Items, NodeError};
use crate::params::Params;
use crate::problem::Problem;
use crate::server::Lasting;

/// How often an open stream asks whether its session is still good.
const RECHECK: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const MAX_TAIL: u32 = 10_000;

struct Guarded {
    app: App,
    auth: Auth,
    items: Items,
    recheck: Interval,
}

/// The items, for as long as they may be sent.
pub(super) fn guarded(
    app: App,
    auth: Auth,
    items: Items,
) -> impl Stream<Item = Result<StreamItem, NodeError>> + Send + 'static {
    let mut recheck = interval_at(Instant::now() + RECHECK, RECHECK);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(Guarded { app, auth, items, recheck }, |mut state| async move {
        loop {
            // Each arm may be cancelled: taking an item, waiting for the stop and a tick lose nothing.
            tokio::select! {
                () = state.app.stop.cancelled() => return None,
                item = state.items.next() => return item.map(|item| (item, state)),
                _ = state.recheck.tick() => {
                    let still = state.app.node.call(state.auth.clone(), Request::WhoAmI).await;
                    if matches!(&still, Err(NodeError::Refused(refusal))
                        if refusal.class == RefusalClass::Unauthenticated)
                    {
                        return None;
                    }
                }
            }
        }
    })
}

pub(super) async fn watch(
    State(app): State<App>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.only(&["after", "kinds"])?;
    let names = params.all("kinds").flat_map(|kinds| kinds.split(','));
    let kinds = names.filter(|name| !name.is_empty()).map(|name| {
        name.parse::<Kind>()
            .map_err(|_| Problem::bad_request("kinds must be kinds of resource, such as vms,pods"))
    });
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    // A browser that reconnects says by itself where it was.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let asked = params.parsed::<u64>("after", "a revision")?;
    let request = Request::Watch { kinds, after: last.or(asked) };
    let items = app.node.open(caller.auth(), request).await?;
    let events = guarded(app, caller.auth(), items).filter_map(|item| async { event(item) });
    let events = events.map(Ok::<_, Infallible>);
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(lasting(events.into_response()))
}

/// `gone` tells a watcher that it missed changes and has to read the lists again.
fn event(item: Result<StreamItem, NodeError>) -> Option<Event> {
    match item {
        Ok(StreamItem::Change { revision, kind, document, removed }) => {
            let name = serde_json::Value::from(kind.name());
            let data = format!(
                "{{\"revision\":{revision},\"kind\":{name},\"removed\":{removed},\"document\":{}}}",
                document.0
            );
            // Line ends cannot stand in an event, and mean nothing in JSON.
            let data = data.replace(['\r', '\n'], " ");
            Some(Event::default().event("change").id(revision.to_string()).data(data))
        }
        Ok(_) => None,
        Err(NodeError::Refused(Refusal { class: RefusalClass::Gone, .. })) => {
            Some(Event::default().event("gone").data("{}"))
        }
        Err(_) => None,
    }
}

pub(super) async fn node_log(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&["unit", "tail", "since", "follow"])?;
    let key = params.one("unit")?.unwrap_or("").to_owned();
    log(app, caller, &params, Kind::Node, key, None).await
}

pub(super) async fn vm_serial(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&["tail", "follow"])?;
    log(app, caller, &params, Kind::Vm, segments.get("key").to_owned(), None).await
}

pub(super) async fn pod_logs(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&["container", "tail", "since", "timestamps", "follow"])?;
    let container = params.one("container")?.map(str::to_owned);
    log(app, caller, &params, Kind::Pod, segments.get("key").to_owned(), container).await
}

async fn log(
    app: App,
    caller: Caller,
    params: &Params,
    kind: Kind,
    key: String,
    container: Option<String>,
) -> Result<Response, Problem> {
    let what = "a number from 1 to 10000";
    let since = match params.one("since")? {
        None => None,
        Some(text) => {
            let since = text.parse::<Since>();
            Some(since.map_err(|error| Problem::bad_request(format!("since {error}")))?)
        }
    };
    // Whoever names a moment wants all that came after it.
    let usual = if since.is_some() { MAX_TAIL } else { 100 };
    let tail = params.parsed::<u32>("tail", what)?.unwrap_or(usual);
    if !(1..=MAX_TAIL).contains(&tail) {
        return Err(Problem::bad_request(format!("tail must be {what}")));
    }
    let follow = params.flag("follow")?;
    let timestamps = params.flag("timestamps")?;
    let query = LogQuery { kind, key, container, tail, since, timestamps, follow };
    let items = app.node.open(caller.auth(), Request::Log(query)).await?;
    let lines = guarded(app, caller.auth(), items).filter_map(|item| async {
        match item {
            Ok(StreamItem::Pulls(_)) => None,
            Ok(StreamItem::Line(mut line)) => {
                line.push('\n');
                Some(Ok(Bytes::from(line)))
            }
            Ok(_) => None,
            // Breaks the answer off, so that nobody takes the part for the whole.
            Err(error) => Some(Err(error)),
        }
    });
    let mut response = Body::from_stream(lines).into_response();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(if follow { lasting(response) } else { response })
}

fn lasting(mut response: Response) -> Response {
    response.extensions_mut().insert(Lasting);
    response
}

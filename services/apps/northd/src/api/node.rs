//! The machine itself: live facts, parts, settings, restart and power off.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use skerry_ipc::{Answer, ListQuery, PowerAction, Request};
use skerry_model::Kind;
use skerry_upkeep::{Inventory, MediaList, PruneReport, Summary};

use crate::app::{App, Seen, Segments, resource, resource_if_new, unexpected};
use crate::auth::Caller;
use crate::body::JsonObject;
use crate::etag;
use crate::params::Params;
use crate::problem::Problem;

/// The claim code never leaves by this door, whatever the node daemon put into the summary.
pub(super) async fn summary(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<Summary>, Problem> {
    params.only(&[])?;
    let summary: Summary = app.report(caller.auth(), Request::Summary).await?;
    Ok(Json(Summary { claim_code: None, ..summary }))
}

pub(super) async fn inventory(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<Inventory>, Problem> {
    params.only(&[])?;
    Ok(Json(app.report(caller.auth(), Request::Inventory).await?))
}

pub(super) async fn media(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<MediaList>, Problem> {
    params.only(&[])?;
    Ok(Json(app.report(caller.auth(), Request::Media).await?))
}

/// Images that nothing uses go.
pub(super) async fn prune(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<PruneReport>, Problem> {
    params.only(&["dry_run"])?;
    let dry_run = params.flag("dry_run")?;
    Ok(Json(app.report(caller.auth(), Request::PruneImages { dry_run }).await?))
}

/// There is exactly one node, whatever it is called.
async fn document(app: &App, caller: &Caller) -> Result<String, Problem> {
    let query = ListQuery { limit: Some(1), ..ListQuery::default() };
    match app.ask(caller.auth(), Request::List { kind: Kind::Node, query }).await? {
        Answer::List { items, .. } => {
            let first = items.into_iter().next();
            first.map(|item| item.0).ok_or_else(|| Problem::not_found("the node has no record"))
        }
        other => Err(unexpected("a list", &other)),
    }
}

pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    resource_if_new(&headers, document(&app, &caller).await?)
}

pub(super) async fn patch(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    JsonObject(patch): JsonObject,
) -> Result<Response, Problem> {
    let if_revision = etag::if_match(&headers)?;
    let key = Seen::of(&document(&app, &caller).await?)?.metadata.name;
    let request = Request::Patch { kind: Kind::Node, key, patch, if_revision };
    resource(StatusCode::OK, app.document(caller.auth(), request).await?)
}

pub(super) async fn act(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, Problem> {
    let action = match segments.get("action") {
        "restart" => PowerAction::Restart,
        "power_off" => PowerAction::PowerOff,
        _ => return Err(Problem::not_found("the node knows the actions restart and power_off")),
    };
    app.ask(caller.auth(), Request::Power(action)).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
}

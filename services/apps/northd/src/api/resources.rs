//! The uniform paths of every kind: list, create, show, replace, patch, delete, explain, and the actions of
//! workloads. Which of them a kind allows is the node daemon's to say.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use skerry_ipc::{Action, Answer, Json, ListQuery, Request};
use skerry_model::Kind;

use crate::app::{App, Seen, Segments, json, resource, resource_if_new, unexpected};
use crate::auth::Caller;
use crate::body::{JsonObject, JsonOf};
use crate::etag;
use crate::params::Params;
use crate::problem::Problem;

pub(super) async fn list(
    State(app): State<App>,
    Extension(kind): Extension<Kind>,
    caller: Caller,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&["name", "label", "limit", "continue"])?;
    let query = ListQuery {
        name_contains: params.one("name")?.map(str::to_owned),
        labels: params.all("label").map(label).collect::<Result<_, _>>()?,
        limit: limit(&params)?,
        after: params.one("continue")?.map(str::to_owned),
    };
    match app.ask(caller.auth(), Request::List { kind, query }).await? {
        Answer::List { items, revision, next } => {
            Ok(json(StatusCode::OK, listing(&items, revision, next.as_deref())))
        }
        other => Err(unexpected("a list", &other)),
    }
}

fn label(text: &str) -> Result<(String, String), Problem> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| Problem::bad_request("label must look like key=value"))
}

fn limit(params: &Params) -> Result<Option<u32>, Problem> {
    let what = "a number from 1 to 1000";
    match params.parsed::<u32>("limit", what)? {
        Some(limit) if !(1..=1000).contains(&limit) => {
            Err(Problem::bad_request(format!("limit must be {what}")))
        }
        limit => Ok(limit),
    }
}

/// The documents are put in as they came, unread.
fn listing(items: &[Json], revision: u64, next: Option<&str>) -> String {
    let size: usize = items.iter().map(|item| item.0.len() + 1).sum();
    let mut out = String::with_capacity(size + 64);
    out.push_str("{\"items\":[");
    for (index, Json(text)) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(text);
    }
    out.push_str(&format!("],\"revision\":{revision}"));
    if let Some(next) = next {
        out.push_str(",\"next\":");
        out.push_str(&serde_json::Value::from(next).to_string());
    }
    out.push('}');
    out
}

pub(super) async fn create(
    State(app): State<App>,
    Extension(kind): Extension<Kind>,
    caller: Caller,
    params: Params,
    JsonObject(document): JsonObject,
) -> Result<Response, Problem> {
    params.only(&["dry_run"])?;
    let dry_run = params.flag("dry_run")?;
    let request = Request::Create { kind, document, dry_run };
    let text = app.document(caller.auth(), request).await?;
    if dry_run {
        return Ok(json(StatusCode::OK, text));
    }
    let location = format!("/api/v1/{}/{}", kind.plural(), Seen::of(&text)?.metadata.id);
    // An image is there when the job that its status names has brought it in.
    let status = if kind == Kind::Image { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    let mut response = resource(status, text)?;
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Documents that are applied together.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyBody {
    /// The documents, each with `kind`, `metadata` and `spec`; 1 to 500.
    #[schema(value_type = Vec<Object>)]
    documents: Vec<Value>,
}

pub(super) async fn apply(
    State(app): State<App>,
    caller: Caller,
    params: Params,
    JsonOf(body): JsonOf<ApplyBody>,
) -> Result<Response, Problem> {
    params.only(&["dry_run"])?;
    let dry_run = params.flag("dry_run")?;
    let documents = body.documents.iter().map(|document| Json(document.to_string())).collect();
    let text = app.document(caller.auth(), Request::Apply { documents, dry_run }).await?;
    Ok(json(StatusCode::OK, text))
}

pub(super) async fn show(
    State(app): State<App>,
    Extension(kind): Extension<Kind>,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = Request::Get { kind, key: segments.get("key").to_owned() };
    resource_if_new(&headers, app.document(caller.auth(), request).await?)
}

pub(super) async fn replace(
    State(app): State<App>,
    Extension(kind): Extension<Kind>,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    JsonObject(document): JsonObject,
) -> Result<Response, Problem> {
    let if_revision = etag::if_match(&headers)?;
    let key = segments.get("key").to_owned();
    let request = Request::Replace { kind, key, document, if_revision };
    resource(StatusCode::OK, app.document(caller.auth(), request).await?)
}

pub(super) async fn patch(
    State(app): State<App>,
    Extension(kind): Extension<Kind>,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    JsonObject(patch): JsonObject,
) -> Result<Response, Problem> {
    let if_revision = etag::if_match(&headers)?;
    let key = segments.get("key").to_owned();
    let request = Request::Patch { kind, key, patch, if_revision };
    resource(StatusCode::OK, app.document(caller.auth(), request).await?)
}

/// 200 if it is gone, 202 if parts of it are still being taken down.
pub(super) async fn delete(
    State(app): State<App>,
    Extension(kind): Extension<Kind>,
    caller: Caller,
    segments: Segments,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.only(&["delete_volumes"])?;
    let with_volumes = params.flag("delete_volumes")?;
    let if_revision = etag::if_match(&headers)?;
    let key = segments.get("key").to_owned();
    let request = Request::Delete { kind, key, if_revision, with_volumes };
    let text = app.document(caller.auth(), request).await?;
    let gone = Seen::of(&text)?.metadata.finalizers.is_empty();
    Ok(json(if gone { StatusCode::OK } else { StatusCode::ACCEPTED }, text))
}

pub(super) async fn explain(
    State(app): State<App>,
    Extension(kind): Extension<Kind>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, Problem> {
    let request = Request::Explain { kind, key: segments.get("key").to_owned() };
    Ok(json(StatusCode::OK, app.document(caller.auth(), request).await?))
}

pub(super) async fn act(
    State(app): State<App>,
    Extension(kind): Extension<Kind>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, Problem> {
    let action = match (kind, segments.get("action")) {
        (Kind::Job, "abort") => Action::Abort,
        (Kind::Job, "retry") => Action::Retry,
        (Kind::Job, _) => return Err(Problem::not_found("jobs know the actions abort and retry")),
        (Kind::Snapshot, "revert") => Action::Revert,
        (Kind::Snapshot, _) => return Err(Problem::not_found("snapshots know the action revert")),
        (_, "start") => Action::Start,
        (_, "stop") => Action::Stop,
        (_, "force_stop") => Action::ForceStop,
        (_, "restart") => Action::Restart,
        (Kind::Vm, "pause") => Action::Pause,
        (Kind::Vm, "resume") => Action::Resume,
        (Kind::Vm, "reset") => Action::Reset,
        (Kind::Vm, "reboot") => Action::Reboot,
        (Kind::Vm, "suspend") => Action::Suspend,
        _ => {
            return Err(Problem::not_found(
                "workloads know the actions start, stop, force_stop and restart; virtual machines \
                 also pause, resume, reset, reboot and suspend",
            ));
        }
    };
    let request = Request::Act { kind, key: segments.get("key").to_owned(), action };
    resource(StatusCode::ACCEPTED, app.document(caller.auth(), request).await?)
}

//! What is asked of the agent in a guest, what a guest is told when it asks for its data, and what a pod takes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use skerry_ipc::{Answer, Request};
use skerry_model::Hidden;
use utoipa::ToSchema;

use crate::app::{App, Segments, json, unexpected};
use crate::auth::Caller;
use crate::body::JsonOf;
use crate::params::Params;
use crate::problem::Problem;

/// A password for an account in a guest.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestPasswordBody {
    /// The account.
    pub user: String,
    /// The password; it is kept nowhere.
    #[schema(value_type = String)]
    pub password: Hidden,
}

pub(super) async fn report(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let request = Request::GuestReport { key: segments.get("key").to_owned() };
    Ok(json(StatusCode::OK, app.document(caller.auth(), request).await?))
}

pub(super) async fn pod_stats(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let request = Request::PodStats { key: segments.get("key").to_owned() };
    Ok(json(StatusCode::OK, app.document(caller.auth(), request).await?))
}

pub(super) async fn metadata(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let request = Request::VmMetadata { key: segments.get("key").to_owned() };
    Ok(json(StatusCode::OK, app.document(caller.auth(), request).await?))
}

pub(super) async fn set_password(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
    JsonOf(body): JsonOf<GuestPasswordBody>,
) -> Result<Response, Problem> {
    let GuestPasswordBody { user, password } = body;
    let key = segments.get("key").to_owned();
    match app.ask(caller.auth(), Request::SetGuestPassword { key, user, password }).await? {
        Answer::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        other => Err(unexpected("nothing", &other)),
    }
}

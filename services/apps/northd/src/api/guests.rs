//! What is asked about one workload: what its guest says or is told, what it takes; and a password for a guest.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
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

/// Answers with what the node daemon says to one question about one resource.
pub(super) fn told(question: fn(String) -> Request) -> MethodRouter<App> {
    get(
        move |State(app): State<App>, caller: Caller, segments: Segments, params: Params| async move {
            params.only(&[])?;
            let request = question(segments.get("key").to_owned());
            Ok::<_, Problem>(json(StatusCode::OK, app.document(caller.auth(), request).await?))
        },
    )
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

//! Health, claiming the node, logging in and out.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use skerry_ipc::{Answer, Auth, Request};
use skerry_model::Role;
use skerry_upkeep::Summary;
use utoipa::ToSchema;

use crate::app::{App, Peer, unexpected};
use crate::auth::{Caller, set_cookie};
use crate::body::JsonOf;
use crate::params::Params;
use crate::problem::Problem;

/// What anybody may know of the node.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Whether the first admin has been set.
    pub claimed: bool,
    /// Version of the software.
    pub version: String,
    /// Identity of this installation.
    pub node_id: String,
    /// Whether all parts of the node are up.
    pub ready: bool,
    /// Host name.
    pub hostname: String,
}

/// Sets the first admin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimBody {
    /// The code shown on the consoles.
    pub code: String,
    /// Account name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// Opens a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// Account name.
    pub username: String,
    /// Password.
    pub password: String,
    /// `page`, `cli` or `console`; `page` if not said.
    #[serde(default)]
    pub purpose: Option<String>,
}

/// A new session. The token is told only here.
#[derive(Serialize, ToSchema)]
pub struct SessionOpened {
    /// For `Authorization: Bearer`.
    pub token: String,
    /// Account name.
    pub username: String,
    /// What it allows.
    pub role: Role,
    /// Seconds until it ends; it does not end by itself if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// Who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Principal {
    /// Account name.
    pub username: String,
    /// What it allows.
    pub role: Role,
}

pub(super) async fn health(
    State(app): State<App>,
    params: Params,
) -> Result<Json<Health>, Problem> {
    params.only(&[])?;
    let summary: Summary = app.report(Auth::Peer, Request::Summary).await?;
    let Summary { claimed, version, node_id, ready, hostname, .. } = summary;
    Ok(Json(Health { claimed, version, node_id, ready, hostname }))
}

pub(super) async fn claim(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    JsonOf(body): JsonOf<ClaimBody>,
) -> Result<Response, Problem> {
    let ClaimBody { code, username, password } = body;
    let request = Request::Claim { code, username, password, origin: Peer::origin(peer) };
    opened(StatusCode::CREATED, app.ask(Auth::Peer, request).await?)
}

pub(super) async fn login(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    JsonOf(body): JsonOf<LoginBody>,
) -> Result<Response, Problem> {
    let LoginBody { username, password, purpose } = body;
    let purpose = purpose.unwrap_or_else(|| "page".to_owned());
    let request = Request::Login { username, password, purpose, origin: Peer::origin(peer) };
    opened(StatusCode::OK, app.ask(Auth::Peer, request).await?)
}

fn opened(status: StatusCode, answer: Answer) -> Result<Response, Problem> {
    let Answer::Session { token, username, role, expires_in_s } = answer else {
        return Err(unexpected("a session", &answer));
    };
    let cookie = set_cookie(Some((&token, expires_in_s))).ok_or_else(Problem::internal)?;
    let body = Json(SessionOpened { token, username, role, expires_in_s });
    Ok((status, [(header::SET_COOKIE, cookie)], body).into_response())
}

/// The cookie goes whatever the node daemon says: whoever logs out wants it gone.
pub(super) async fn logout(State(app): State<App>, caller: Caller) -> Response {
    let mut response = match app.ask(caller.auth(), Request::Logout).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    };
    if let Some(cookie) = set_cookie(None) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

pub(super) async fn whoami(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Principal>, Problem> {
    match app.ask(caller.auth(), Request::WhoAmI).await? {
        Answer::Principal { username, role } => Ok(Json(Principal { username, role })),
        other => Err(unexpected("a principal", &other)),
    }
}

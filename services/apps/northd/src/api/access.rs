//! Into workloads: programs in containers, serial lines and screens of virtual machines, and the tickets that a page needs for them.

use axum::Json;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use skerry_ipc::{ExecQuery, Request, TerminalSize};
use utoipa::ToSchema;

use crate::app::{App, Segments};
use crate::auth::Caller;
use crate::body::JsonOf;
use crate::params::Params;
use crate::problem::Problem;
use crate::sockets::{SocketCaller, Wire, open};
use crate::tickets::{LIFETIME, NoTicket};

/// The usual size of a terminal.
const USUAL: TerminalSize = TerminalSize { cols: 80, rows: 24 };
const LONGEST_PATH: usize = 512;

/// Asks for a ticket.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TicketBody {
    /// The path of the WebSocket, such as `/api/v1/pods/web/exec`.
    pub path: String,
}

/// Good once, for its path.
#[derive(Serialize, ToSchema)]
pub struct Ticket {
    /// For the query parameter `ticket`.
    pub ticket: String,
    /// Seconds until it is good no longer.
    pub expires_in_s: u64,
}

/// A ticket for one WebSocket. The path is only compared later: what is not there is told then.
pub(super) async fn ticket(
    State(app): State<App>,
    caller: Caller,
    JsonOf(body): JsonOf<TicketBody>,
) -> Result<Response, Problem> {
    if !body.path.starts_with("/api/v1/") || body.path.len() > LONGEST_PATH {
        return Err(Problem::bad_request("path must be the path of a WebSocket of this API"));
    }
    app.ask(caller.auth(), Request::WhoAmI).await?;
    let ticket = app.tickets.give(&caller, &body.path).map_err(|error| match error {
        NoTicket::TooMany => Problem::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()),
        NoTicket::NoChance => Problem::internal(),
    })?;
    let answer = Ticket { ticket, expires_in_s: LIFETIME.as_secs() };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub(super) async fn exec(
    State(app): State<App>,
    segments: Segments,
    params: Params,
    caller: SocketCaller,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    params.only(&["ticket", "container", "command", "env", "tty", "cols", "rows"])?;
    let env = params.all("env").map(|pair| {
        let wrong = || Problem::bad_request("env must be NAME=value");
        pair.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).ok_or_else(wrong)
    });
    let query = ExecQuery {
        key: segments.get("key").to_owned(),
        container: params.one("container")?.map(str::to_owned),
        argv: params.all("command").map(str::to_owned).collect(),
        env: env.collect::<Result<_, _>>()?,
        terminal: params.flag("tty")?.then(|| size(&params)).transpose()?,
    };
    open(app, caller, upgrade, Request::Exec(query), Wire::Terminal)
}

/// A container's own program.
pub(super) async fn attach(
    State(app): State<App>,
    segments: Segments,
    params: Params,
    caller: SocketCaller,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    params.only(&["ticket", "container"])?;
    let container = params.one("container")?.map(str::to_owned);
    let request = Request::Attach { key: segments.get("key").to_owned(), container };
    open(app, caller, upgrade, request, Wire::Terminal)
}

/// The serial line of a virtual machine.
pub(super) async fn console(
    State(app): State<App>,
    segments: Segments,
    params: Params,
    caller: SocketCaller,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    params.only(&["ticket"])?;
    let request = Request::Serial { key: segments.get("key").to_owned() };
    open(app, caller, upgrade, request, Wire::Terminal)
}

/// The screen of a virtual machine.
pub(super) async fn screen(
    State(app): State<App>,
    segments: Segments,
    params: Params,
    caller: SocketCaller,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    params.only(&["ticket"])?;
    let request = Request::Screen { key: segments.get("key").to_owned() };
    open(app, caller, upgrade, request, Wire::Screen)
}

fn size(params: &Params) -> Result<TerminalSize, Problem> {
    let length = |name, usual| {
        let found = params.parsed::<u16>(name, "a number from 1 to 1000")?;
        Ok::<_, Problem>(found.unwrap_or(usual))
    };
    Ok(TerminalSize { cols: length("cols", USUAL.cols)?, rows: length("rows", USUAL.rows)? })
}

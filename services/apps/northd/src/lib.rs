//! The north side of a node: HTTPS with the page, `/api/v1` and O2.
//!
//! Runs as its own user without any right on the machine. It holds no state: every question goes to the node
//! daemon over the local socket, together with the secret of whoever asked, and the node daemon decides. Files that
//! come in are put into the spool, unread, for the node daemon to take over.

pub mod api;
mod app;
mod auth;
mod body;
mod etag;
pub mod intake;
mod ipc_node;
mod node;
mod o2;
pub mod openapi;
mod outer;
mod page;
mod params;
mod problem;
pub mod pulls;
pub mod server;
pub mod service;
mod sockets;
mod tickets;

use axum::Router;

pub use app::{App, Peer};
pub use auth::{COOKIE, FORGERY_HEADER};
pub use body::MAX_BODY;
pub use ipc_node::{BUILD, IpcNode};
pub use node::{Items, Node, NodeError};
pub use page::is_built;
pub use problem::Problem;

/// Everything that is served.
pub fn router(app: App) -> Router {
    api::router(app).layer(axum::middleware::from_fn(outer::layer))
}

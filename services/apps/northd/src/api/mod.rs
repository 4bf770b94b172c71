//! `/api/v1`: the paths and what answers them.
//!
//! Handlers turn a request into one question to the node daemon and its answer into HTTP; they decide nothing.

mod access;
mod archives;
mod guests;
mod node;
mod resources;
mod session;
mod streams;
mod uploads;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use skerry_ipc::Request as Asked;
use skerry_model::Kind;

pub use access::{Ticket, TicketBody};
pub use guests::GuestPasswordBody;
pub use resources::ApplyBody;
pub use session::{ClaimBody, Health, LoginBody, Principal, SessionOpened};
pub use uploads::UploadList;

use crate::app::{App, json};
use crate::problem::Problem;
use crate::{o2, openapi, page};

/// Kinds with the uniform paths. The node itself has paths of its own.
pub const KINDS: [Kind; 15] = [
    Kind::Network,
    Kind::Port,
    Kind::Registry,
    Kind::Image,
    Kind::Pool,
    Kind::Volume,
    Kind::Snapshot,
    Kind::Config,
    Kind::Secret,
    Kind::Vm,
    Kind::Pod,
    Kind::Job,
    Kind::Alarm,
    Kind::User,
    Kind::Session,
];

/// Kinds that can be started and stopped.
pub const WORKLOADS: [Kind; 2] = [Kind::Vm, Kind::Pod];

/// All paths: `/api/v1`, O2 and the page.
pub fn router(app: App) -> Router {
    let mut router = Router::new()
        .route("/api/v1/health", get(session::health))
        .route("/api/v1/claim", post(session::claim))
        .route("/api/v1/login", post(session::login))
        .route("/api/v1/logout", post(session::logout))
        .route("/api/v1/session", get(session::whoami))
        .route("/api/v1/summary", get(node::summary))
        .route("/api/v1/inventory", get(node::inventory))
        .route("/api/v1/media", get(node::media))
        .route("/api/v1/prune", post(node::prune))
        .route("/api/v1/node", get(node::show).patch(node::patch))
        .route("/api/v1/node/actions/{action}", post(node::act))
        .route("/api/v1/node/log", get(streams::node_log))
        .route("/api/v1/apply", post(resources::apply))
        .route("/api/v1/watch", get(streams::watch))
        .route("/api/v1/uploads", get(uploads::list).post(uploads::create))
        .route(
            "/api/v1/uploads/{key}",
            get(uploads::show).patch(uploads::append).put(uploads::append).delete(uploads::delete),
        )
        .route("/api/v1/openapi.json", get(description))
        .route("/api/v1/vms/{key}/serial", get(streams::vm_serial))
        .route("/api/v1/pods/{key}/stats", guests::told(|key| Asked::PodStats { key }))
        .route("/api/v1/pods/{key}/logs", get(streams::pod_logs))
        .route("/api/v1/pods/{key}/exec", get(access::exec))
        .route("/api/v1/pods/{key}/attach", get(access::attach))
        .route("/api/v1/vms/{key}/console", get(access::console))
        .route("/api/v1/vms/{key}/vnc", get(access::screen))
        .route("/api/v1/vms/{key}/guest", guests::told(|key| Asked::GuestReport { key }))
        .route("/api/v1/vms/{key}/metadata", guests::told(|key| Asked::VmMetadata { key }))
        .route("/api/v1/vms/{key}/guest/password", post(guests::set_password))
        .route("/api/v1/images/{key}/export", get(archives::export))
        .route("/api/v1/tickets", post(access::ticket));
    for kind in KINDS {
        router = router.merge(uniform(kind));
    }
    router.method_not_allowed_fallback(wrong_method).fallback(elsewhere).with_state(app)
}

/// The paths that every kind has.
fn uniform(kind: Kind) -> Router<App> {
    let all = format!("/api/v1/{}", kind.plural());
    let one = format!("{all}/{{key}}");
    let mut router = Router::new()
        .route(&all, get(resources::list).post(resources::create))
        .route(
            &one,
            get(resources::show)
                .put(resources::replace)
                .patch(resources::patch)
                .delete(resources::delete),
        )
        .route(&format!("{one}/explain"), get(resources::explain));
    if WORKLOADS.contains(&kind) || matches!(kind, Kind::Job | Kind::Snapshot) {
        router = router.route(&format!("{one}/actions/{{action}}"), post(resources::act));
    }
    router.layer(Extension(kind))
}

async fn description() -> Response {
    json(StatusCode::OK, openapi::COMMITTED.to_owned())
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not know this method")
}

/// Whatever is not a path of the API: O2, an unknown path below `/api`, or a part of the page.
async fn elsewhere(State(app): State<App>, request: Request) -> Response {
    let path = request.uri().path();
    if skerry_o2::is_o2_path(path) {
        return o2::answer(&app, &request.into_parts().0).await;
    }
    if path == "/api" || path.starts_with("/api/") {
        return Problem::not_found("there is no such path: see /api/v1/openapi.json")
            .into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return wrong_method().await.into_response();
    }
    page::answer(path, request.headers())
}

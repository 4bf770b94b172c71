//! What is done for every request: a panic becomes a 500, answers get their security headers, and changes that
//! were accepted are logged. Neither headers nor bodies nor queries are ever logged, since secrets may stand in them.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Extension;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use crate::app::Peer;
use crate::problem::Problem;

/// No foreign scripts, frames or forms. Strict transport security is left out on purpose: the certificate is
/// the node's own, and a browser that was told so could no longer be let through to it.
const SECURITY: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; img-src 'self' data:; font-src 'self' data:; object-src 'none'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The outermost layer.
pub(crate) async fn layer(peer: Option<Extension<Peer>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    // Nothing outlives the future that panicked: handlers share only the client, which is made for it.
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_panic) => {
            tracing::error!(%method, path, "a request made the service panic");
            Problem::internal().into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Answers of the APIs are of this moment and for this caller; the page's files say for themselves.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let took_ms = started.elapsed().as_millis();
    let status = response.status().as_u16();
    let peer = Peer::origin(peer);
    let reads = matches!(method, Method::GET | Method::HEAD);
    if status >= 500 {
        tracing::warn!(%method, path, status, took_ms, peer, "a request failed");
    } else if reads || status >= 400 {
        tracing::debug!(%method, path, status, took_ms, peer, "request");
    } else {
        tracing::info!(%method, path, status, took_ms, peer, "change accepted");
    }
    response
}

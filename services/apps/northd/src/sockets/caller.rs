//! Who opens a WebSocket.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Problem;

/// The holder of a session, shown by bearer token or by ticket; never by cookie.
pub(crate) struct SocketCaller(pub Caller);

impl FromRequestParts<App> for SocketCaller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        same_origin(&parts.headers)?;
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Caller::by_bearer(&parts.headers).map(Self);
        }
        let params = Params::from_request_parts(parts, app).await?;
        let missing = || {
            Problem::unauthenticated(
                "send a token, or a ticket from POST /api/v1/tickets in the query: ticket=…",
            )
        };
        let ticket = params.one("ticket")?.ok_or_else(missing)?;
        let caller = app.tickets.take(ticket, parts.uri.path());
        caller.map(Self).ok_or_else(|| {
            Problem::unauthenticated(
                "the ticket is not good: each is for one path, once, within 30 s; get another",
            )
        })
    }
}

/// Only pages of this node may open one; programs, which are no page, send no origin.
fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://"));
    match (origin, host) {
        (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "terminals and screens are for this node's own page only",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: Option<&str>, host: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::ORIGIN, origin), (header::HOST, host)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        same_origin(&headers).is_ok()
    }

    #[test]
    fn only_the_nodes_own_page_and_programs_may() {
        assert!(allowed(None, Some("node")));
        assert!(allowed(Some("https://node:8443"), Some("node:8443")));
        assert!(allowed(Some("https://Node"), Some("node")));
        for origin in
            ["https://evil", "http://node", "null", "https://node:8443", "https://node.evil", ""]
        {
            assert!(!allowed(Some(origin), Some("node")), "{origin}");
        }
        assert!(!allowed(Some("https://node"), None));
    }
}

//! O2 requests: the token first, then the facts, then the O2 crate's answer.
//!
//! Nothing is said about a path or a query to a caller without a good token, not even that it is wrong.

use axum::Json;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use skerry_ipc::Request;
use skerry_o2::{Facts, Question};

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

/// Answers any path that belongs to O2.
pub(crate) async fn answer(app: &App, parts: &Parts) -> Response {
    match try_answer(app, parts).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn try_answer(app: &App, parts: &Parts) -> Result<Response, Problem> {
    let caller = Caller::by_bearer(&parts.headers)?;
    let (summary, inventory) = tokio::try_join!(
        app.report(caller.auth(), Request::Summary),
        app.report(caller.auth(), Request::Inventory),
    )?;
    let facts = Facts { summary, inventory };
    let api_root = api_root(parts, &facts);
    let text = |name: &str| parts.headers.get(name).map(|v| v.to_str().unwrap_or("unreadable"));
    let question = Question {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or(""),
        version: text("version"),
        accept: text("accept"),
        api_root: &api_root,
    };
    let answer = app.o2.answer(&question, &facts);
    let status = StatusCode::from_u16(answer.status).map_err(|_| Problem::internal())?;
    let mut response = (status, Json(answer.body)).into_response();
    if status.as_u16() >= 400 {
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Where the caller reached the node, as the caller names it: the node may have other names than it knows of.
fn api_root(parts: &Parts, facts: &Facts) -> String {
    let named = parts.uri.authority().cloned().or_else(|| host(&parts.headers));
    match named.filter(|authority| !authority.as_str().contains('@')) {
        Some(authority) => format!("https://{authority}"),
        None => {
            let first = facts.summary.urls.first().map(|url| url.trim_end_matches('/').to_owned());
            first.unwrap_or_else(|| "https://localhost".to_owned())
        }
    }
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    headers.get(header::HOST)?.to_str().ok()?.parse().ok()
}

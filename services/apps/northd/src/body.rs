//! Request bodies: JSON only, of a bounded size, within a bounded time.
//!
//! | what is wrong | status |
//! |---|---|
//! | another type than JSON | 415 |
//! | longer than 1 MiB | 413 |
//! | not finished in time | 408 |
//! | no JSON, or no object | 400 |
//! | an object of the wrong shape | 422 |

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use skerry_ipc::Json;
use tokio::time::timeout;

use crate::problem::Problem;

/// Longer bodies are refused.
pub const MAX_BODY: usize = 1024 * 1024;
/// A body must be complete within this time.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A JSON object, as text, for the node daemon to read.
pub struct JsonObject(pub Json);

/// A JSON object of a known shape.
pub struct JsonOf<T>(pub T);

impl<S: Sync> FromRequest<S> for JsonObject {
    type Rejection = Problem;
    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| describe(&error))?;
        if !value.is_object() {
            return Err(Problem::bad_request("the body must be a JSON object"));
        }
        let text = String::from_utf8(bytes.into());
        let text = text.map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
        Ok(Self(Json(text)))
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonOf<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| describe(&error))
    }
}

fn describe(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        // The text names keys and types, and at most a value that the caller sent.
        Category::Data => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the body does not have the right shape: {error}"),
        ),
        _ => Problem::bad_request(format!(
            "the body is not JSON: it goes wrong at line {line} column {column}"
        )),
    }
}

async fn read(request: Request) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 1 MiB");
    if !is_json(request.method(), request.headers()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send JSON: Content-Type: application/json (for PATCH also application/merge-patch+json)",
        ));
    }
    let body = request.into_body();
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    match timeout(BODY_DEADLINE, axum::body::to_bytes(body, MAX_BODY)).await {
        Err(_elapsed) => {
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))
        }
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::bad_request("the body could not be read to its end")),
    }
}

/// Whether the error, or one below it, is that of the length limit. The type itself is private to the library.
fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_json(method: &Method, headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
        || (*method == Method::PATCH
            && essence.eq_ignore_ascii_case("application/merge-patch+json"))
}

//! Error answers: `application/problem+json` (RFC 9457) for every refusal, whoever makes it.
//!
//! A detail says what happened and what to do. It comes from this node's own texts; nothing of a secret ever
//! stands in it.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::Violation;
use utoipa::ToSchema;

/// Why a request was not done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the status says what sort of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened, to what, and what to do.
    detail: String,
    /// Every fault of a document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
    /// Seconds to wait.
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    /// A problem with this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 401.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 503: too much goes on at once.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 503: the node daemon does not answer, which passes by itself.
    pub fn away() -> Self {
        let detail = "the node's own service is not up at the moment: try again in some seconds";
        Self { retry_after: Some(2), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 503: it went away before it answered.
    pub fn lost() -> Self {
        let detail = "the node's own service restarted before it answered: look whether the change was made, \
             then try again";
        Self { retry_after: Some(2), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 500.
    pub fn internal() -> Self {
        let detail = "a fault of the node: its log tells more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What happened.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut retry_after = None;
        let status = match refusal.class {
            RefusalClass::Unauthenticated => StatusCode::UNAUTHORIZED,
            RefusalClass::Forbidden => StatusCode::FORBIDDEN,
            RefusalClass::NotFound => StatusCode::NOT_FOUND,
            RefusalClass::Invalid if refusal.violations.is_empty() => StatusCode::BAD_REQUEST,
            RefusalClass::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalClass::Conflict | RefusalClass::Capacity => StatusCode::CONFLICT,
            RefusalClass::Stale => StatusCode::PRECONDITION_FAILED,
            RefusalClass::TooMany { retry_after_s } => {
                retry_after = Some(retry_after_s);
                StatusCode::TOO_MANY_REQUESTS
            }
            RefusalClass::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RefusalClass::Gone => StatusCode::GONE,
            RefusalClass::Unavailable => {
                retry_after = Some(2);
                StatusCode::SERVICE_UNAVAILABLE
            }
            RefusalClass::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self::new(status, refusal.detail);
        Self { violations: refusal.violations, retry_after, ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status(), self.retry_after);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        set(header::CONTENT_TYPE, "application/problem+json");
        if status == StatusCode::UNAUTHORIZED {
            set(header::WWW_AUTHENTICATE, "Bearer realm=\"skerry\"");
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

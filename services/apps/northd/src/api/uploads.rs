//! Uploads: files that come in pieces and survive reloads, restarts and power cuts.
//!
//! The protocol is that of resumable uploads (draft-ietf-httpbis-resumable-upload), with a JSON document around it:
//!
//! | request | answer |
//! |---|---|
//! | `POST /uploads` `{name, size, sha256}` | 201, the upload, its `Location` |
//! | `GET` or `HEAD /uploads/{id}` | 200, the upload; headers as below |
//! | `PATCH` or `PUT /uploads/{id}` with `Upload-Offset` and bytes | 200, the upload; 409 if the offset is not where the file ends |
//! | `DELETE /uploads/{id}` | 204 |
//!
//! Every answer about one upload has `Upload-Offset` (bytes that are on the disk), `Upload-Length` and
//! `Upload-Complete` (`?1` or `?0`). What came before a broken connection counts: ask for the offset and go on.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skerry_ipc::Request;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{App, Segments};
use crate::auth::Caller;
use crate::body::JsonOf;
use crate::intake::{Sent, Spool, SpoolError, Upload, UploadInput};
use crate::params::Params;
use crate::problem::Problem;

const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// All uploads.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadList {
    items: Vec<Upload>,
}

/// The spool, for callers who may bring files in.
async fn spool(app: &App, caller: &Caller) -> Result<Spool, Problem> {
    app.ask(caller.auth(), Request::MayBringIn).await?;
    Ok(app.spool.clone())
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<UploadList>, Problem> {
    params.only(&[])?;
    let items = spool(&app, &caller).await?.blocking(Spool::list).await?;
    Ok(Json(UploadList { items }))
}

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    JsonOf(input): JsonOf<UploadInput>,
) -> Result<Response, Problem> {
    let id = Uuid::new_v4();
    let made = spool(&app, &caller).await?.blocking(move |spool| spool.create(id, input)).await?;
    let mut response = answer(StatusCode::CREATED, made);
    if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/uploads/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, Problem> {
    let id = id(&segments)?;
    let found = spool(&app, &caller).await?.blocking(move |spool| spool.get(id)).await?;
    Ok(answer(StatusCode::OK, found))
}

pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, Problem> {
    let id = id(&segments)?;
    let spool = spool(&app, &caller).await?;
    spool.stop_sender(id).await?;
    spool.blocking(move |spool| spool.remove(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds bytes. The body is read piece by piece and never held whole.
pub(super) async fn append(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let spool = spool(&app, &caller).await?;
    let (id, offset) = (id(&segments)?, offset(&headers)?);
    if !is_bytes(&headers) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send bytes: Content-Type: application/partial-upload or application/octet-stream",
        ));
    }
    let Ok(_place) = spool.places().try_acquire_owned() else {
        let detail = "four uploads are bringing bytes already: try again in some seconds";
        return Err(Problem::busy(detail));
    };
    match spool.append(id, offset, body).await {
        Ok((upload, Sent::Taken)) => Ok(answer(StatusCode::OK, upload)),
        Ok((_, Sent::BrokenOff)) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the bytes ended before the file did: ask for the offset and go on from there",
        )),
        Ok((_, Sent::Replaced)) => {
            Err(Problem::new(StatusCode::CONFLICT, "another connection went on with this upload"))
        }
        Err(SpoolError::Offset { offset }) => {
            let mut response = Problem::from(SpoolError::Offset { offset }).into_response();
            response.headers_mut().insert(OFFSET, HeaderValue::from(offset));
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

fn id(segments: &Segments) -> Result<Uuid, Problem> {
    Uuid::try_parse(segments.get("key")).map_err(|_| SpoolError::NotFound.into())
}

fn offset(headers: &HeaderMap) -> Result<u64, Problem> {
    let value = headers.get(OFFSET).and_then(|value| value.to_str().ok()?.parse().ok());
    value.ok_or_else(|| {
        Problem::bad_request("say where the bytes belong: Upload-Offset: <bytes that are there>")
    })
}

fn is_bytes(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["application/partial-upload", "application/octet-stream"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

fn answer(status: StatusCode, upload: Upload) -> Response {
    let (offset, size, complete) = (upload.offset, upload.size, upload.complete);
    let mut response = (status, Json(upload)).into_response();
    let headers = response.headers_mut();
    headers.insert(OFFSET, HeaderValue::from(offset));
    headers.insert(LENGTH, HeaderValue::from(size));
    let word = if complete { "?1" } else { "?0" };
    headers.insert(COMPLETE, HeaderValue::from_static(word));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        let text = error.to_string();
        match error {
            SpoolError::NotFound => Self::not_found(text),
            SpoolError::Invalid(_) | SpoolError::Digest { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, text)
            }
            SpoolError::NoRoom { .. } | SpoolError::TooMany | SpoolError::Offset { .. } => {
                Self::new(StatusCode::CONFLICT, text)
            }
            SpoolError::TooLong { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, text),
            SpoolError::Busy => Self::busy(text),
            SpoolError::Io(error) => {
                tracing::error!(%error, "the spool cannot be used");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the spool on the data partition cannot be used: the node's log tells more",
                )
            }
        }
    }
}

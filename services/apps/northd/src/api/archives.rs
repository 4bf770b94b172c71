//! Container images on their way out: `GET /images/{key}/export`.
//!
//! The bytes pass through as they come. An answer that is shorter than its `Content-Length` is broken off, so that
//! nobody takes the part for the whole.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use skerry_ipc::{Request, StreamItem};
use skerry_model::ImageArchiveForm;

use super::streams::guarded;
use crate::app::{App, Segments};
use crate::auth::Caller;
use crate::node::NodeError;
use crate::params::Params;
use crate::problem::Problem;

pub(super) async fn export(
    State(app): State<App>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&["format"])?;
    let form = match params.one("format")? {
        None => ImageArchiveForm::Oci,
        Some(text) => {
            text.parse().map_err(|error| Problem::bad_request(format!("format {error}")))?
        }
    };
    let request = Request::ExportImage { key: segments.get("key").to_owned(), form };
    let mut items = app.node.open(caller.auth(), request).await?;
    let Some(first) = items.next().await else { return Err(Problem::lost()) };
    let StreamItem::File { name, size } = first? else {
        tracing::error!("the node daemon began an export with something else than a file");
        return Err(Problem::internal());
    };
    let mut response =
        Body::from_stream(whole(guarded(app, caller.auth(), items), size)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    // Names of images hold nothing that would have to be quoted.
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// The bytes; an error if they end before all of them have come.
fn whole(
    items: impl Stream<Item = Result<StreamItem, NodeError>> + Send + 'static,
    size: u64,
) -> impl Stream<Item = Result<Bytes, NodeError>> + Send + 'static {
    stream::unfold(Some((Box::pin(items), size)), |state| async move {
        let (mut items, left) = state?;
        match items.next().await {
            Some(Ok(StreamItem::Piece(bytes))) => {
                let left = left.saturating_sub(bytes.len() as u64);
                Some((Ok(Bytes::from(bytes)), Some((items, left))))
            }
            None if left == 0 => None,
            Some(Err(error)) => Some((Err(error), None)),
            Some(Ok(_)) | None => Some((Err(NodeError::Lost), None)),
        }
    })
}

//! The page: files taken into the binary when it was built.
//!
//! Files below `assets/` carry a hash in their names and never change. Everything else is asked for again with
//! its tag. Paths that name no file are the page's own and get `index.html`, so that they survive a reload.
//! A binary built without the page says so instead of showing something else.

use std::borrow::Cow;
use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::etag;

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/page"]
struct Files;

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <title>Skerry</title></head><body><h1>Page not built</h1>\
    <p>This northd was built without the web page: run <code>make web</code> and build it again. \
    The API at /api/v1 works.</p></body></html>\n";

/// A stored file: as it is, or compressed.
struct Stored {
    file: EmbeddedFile,
    compressed: bool,
}

fn find(name: &str) -> Option<Stored> {
    if let Some(file) = Files::get(&format!("{name}.gz")) {
        return Some(Stored { file, compressed: true });
    }
    Files::get(name).map(|file| Stored { file, compressed: false })
}

/// Whether the page is part of this binary.
pub fn is_built() -> bool {
    find("index.html").is_some()
}

/// Answers a GET for any path that is not an API's.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Response {
    let name = path.trim_start_matches('/');
    if let Some(stored) = find(name).filter(|_| !name.is_empty()) {
        return send(name, stored, headers);
    }
    if name.starts_with("assets/") {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    }
    match find("index.html") {
        Some(stored) => send("index.html", stored, headers),
        None => {
            let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (StatusCode::SERVICE_UNAVAILABLE, kind, NOT_BUILT).into_response()
        }
    }
}

fn send(name: &str, stored: Stored, headers: &HeaderMap) -> Response {
    let cache = if name.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut answer = HeaderMap::new();
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(tag) = tag(&stored.file) {
        let known = etag::is_known(headers, &tag);
        answer.insert(header::ETAG, tag);
        if known {
            return (StatusCode::NOT_MODIFIED, answer).into_response();
        }
    }
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    let bytes = stored.file.data;
    if !stored.compressed {
        return (answer, body(bytes)).into_response();
    }
    if takes_gzip(headers) {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return (answer, body(bytes)).into_response();
    }
    let mut plain = Vec::new();
    match GzDecoder::new(bytes.as_ref()).read_to_end(&mut plain) {
        Ok(_) => (answer, plain).into_response(),
        Err(error) => {
            tracing::error!(%error, name, "a file of the page cannot be unpacked");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn body(bytes: Cow<'static, [u8]>) -> Body {
    match bytes {
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    }
}

/// The hash of the stored bytes.
fn tag(file: &EmbeddedFile) -> Option<HeaderValue> {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).ok()
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        gzip && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> bool {
        let value = HeaderValue::from_str(value).unwrap();
        takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]))
    }

    #[test]
    fn compressed_bytes_go_only_to_those_who_take_them() {
        assert!(accepts("gzip") && accepts("br, GZIP;q=0.5") && accepts("deflate,gzip"));
        assert!(!accepts("br") && !accepts("gzip;q=0") && !accepts("x-gzip2"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn the_page_is_shown_or_said_to_be_missing() {
        let response = answer("/vms/web", &HeaderMap::new());
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        assert_eq!(kind, "text/html; charset=utf-8");
        let status = if is_built() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        assert_eq!(response.status(), status);
        assert_eq!(answer("/assets/none.js", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}

//! A request, as far as the answer depends on it.

use hyper::HeaderMap;
use hyper::Method;
use hyper::header::{HOST, HeaderName};

/// Of EC2's second version.
pub(crate) const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// What proxies add.
const FORWARDED: [&str; 2] = ["x-forwarded-for", "forwarded"];

/// What was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path, as it came, without what follows a `?`.
    pub path: String,
    /// Whom it is meant for; `None` if it does not say.
    pub host: Option<String>,
    /// Whether somebody passes on a question that is not his own.
    pub forwarded: bool,
    /// For how many seconds a token is wanted, as it came; `None` if not said.
    pub ttl: Option<String>,
    /// A token, as it came.
    pub token: Option<String>,
    /// Whether something follows the head.
    pub has_body: bool,
}

impl Asked {
    /// Reads the head of a request.
    pub fn of(method: &Method, path: &str, headers: &HeaderMap, has_body: bool) -> Self {
        let text = |name: &HeaderName| -> Option<String> {
            let value = headers.get(name)?;
            // What is no text is as wrong as any other wrong text.
            Some(value.to_str().unwrap_or("\u{fffd}").trim().to_owned())
        };
        Self {
            method: method.clone(),
            path: path.to_owned(),
            host: text(&HOST),
            forwarded: FORWARDED.iter().any(|name| headers.contains_key(*name)),
            ttl: text(&HeaderName::from_static(TTL)),
            token: text(&HeaderName::from_static(TOKEN)),
            has_body,
        }
    }
}

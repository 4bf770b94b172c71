//! Who is asking: a bearer token, or the cookie that a login set.
//!
//! Nothing is checked here but the form; what a secret allows is decided by the node daemon. The cookie goes
//! along with every request a browser makes, so changes made with it must also carry a header that a foreign
//! page cannot send (cross-site request forgery). Secrets are never logged.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use skerry_ipc::Auth;

use crate::problem::Problem;

/// Name of the cookie.
pub const COOKIE: &str = "skerry_session";
/// Changes with the cookie need this header with the value `1`.
pub const FORGERY_HEADER: &str = "x-skerry-request";
/// Longer secrets are none of ours.
const MAX_SECRET: usize = 512;

/// The holder of a session secret, not yet checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Caller(String);

impl Caller {
    /// For requests to the node daemon.
    pub fn auth(&self) -> Auth {
        Auth::Token(self.0.clone())
    }

    /// By `Authorization: Bearer` only, which is what O2 clients use.
    pub fn by_bearer(headers: &HeaderMap) -> Result<Self, Problem> {
        let missing = || Problem::unauthenticated("send a token: Authorization: Bearer <token>");
        let value = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        let text = value.to_str().map_err(|_| missing())?;
        let (scheme, secret) = text.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        Self::from_secret(secret.trim()).ok_or_else(missing)
    }

    /// By bearer token or cookie.
    fn by_any(parts: &Parts) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Self::by_bearer(&parts.headers);
        }
        let secret = cookie(&parts.headers).and_then(Self::from_secret);
        let caller = secret.ok_or_else(|| {
            Problem::unauthenticated("log in, or send a token: Authorization: Bearer <token>")
        })?;
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        if !reads && parts.headers.get(FORGERY_HEADER).is_none_or(|value| value != "1") {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "changes with the session cookie need the header X-Skerry-Request: 1",
            ));
        }
        Ok(caller)
    }

    fn from_secret(secret: &str) -> Option<Self> {
        let good = !secret.is_empty()
            && secret.len() <= MAX_SECRET
            && secret.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b';' | b'"'));
        good.then(|| Self(secret.to_owned()))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::by_any(parts)
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        values.flat_map(|value| value.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, secret)| secret)
}

/// The cookie that carries a session; `None` takes it away.
pub fn set_cookie(session: Option<(&str, Option<u64>)>) -> Option<HeaderValue> {
    let rules = "HttpOnly; Secure; SameSite=Strict; Path=/";
    let text = match session {
        Some((secret, Some(seconds))) => format!("{COOKIE}={secret}; Max-Age={seconds}; {rules}"),
        Some((secret, None)) => format!("{COOKIE}={secret}; {rules}"),
        None => format!("{COOKIE}=; Max-Age=0; {rules}"),
    };
    HeaderValue::from_str(&text).ok().map(|mut value| {
        value.set_sensitive(true);
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use proptest::prelude::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(method: &str, headers: &[(&str, &str)]) -> Option<u16> {
        Caller::by_any(&parts(method, headers)).err().map(|problem| problem.status().as_u16())
    }

    #[test]
    fn tokens_and_cookies_are_found() {
        for headers in [
            [("authorization", "Bearer abc")],
            [("authorization", "bearer  abc ")],
            [("cookie", "a=b; skerry_session=abc; c=d")],
        ] {
            let caller = Caller::by_any(&parts("GET", &headers)).unwrap();
            assert_eq!(caller.auth(), Auth::Token("abc".into()), "{headers:?}");
        }
        for headers in [
            ("authorization", "Basic abc"),
            ("authorization", "Bearer"),
            ("authorization", "Bearer a b"),
            ("cookie", "skerry_session="),
            ("cookie", "other=abc"),
            ("x-skerry-request", "1"),
        ] {
            assert_eq!(status("GET", &[headers]), Some(401), "{headers:?}");
        }
        let wrong_token_beside_cookie =
            [("authorization", "Basic x"), ("cookie", "skerry_session=abc")];
        assert_eq!(status("GET", &wrong_token_beside_cookie), Some(401));
    }

    #[test]
    fn only_changes_with_a_cookie_need_the_header() {
        let cookie = ("cookie", "skerry_session=abc");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert_eq!(status(method, &[cookie]), Some(403));
            assert_eq!(status(method, &[cookie, (FORGERY_HEADER, "0")]), Some(403));
            assert_eq!(status(method, &[cookie, (FORGERY_HEADER, "1")]), None);
            assert_eq!(status(method, &[("authorization", "Bearer abc")]), None);
        }
        assert_eq!(status("GET", &[cookie]), None);
    }

    #[test]
    fn cookies_cannot_be_read_by_scripts_or_sent_by_other_sites() {
        let set = set_cookie(Some(("abc", Some(60)))).unwrap();
        assert_eq!(
            set.to_str().unwrap(),
            "skerry_session=abc; Max-Age=60; HttpOnly; Secure; SameSite=Strict; Path=/"
        );
        assert!(set_cookie(None).unwrap().to_str().unwrap().contains("Max-Age=0"));
        assert!(set_cookie(Some(("a\r\nb", None))).is_none());
    }

    proptest! {
        #[test]
        fn no_header_panics(value in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(header::AUTHORIZATION, value.clone());
                let _ = Caller::by_bearer(&headers);
                headers.insert(header::COOKIE, value);
                let _ = cookie(&headers);
            }
        }
    }
}

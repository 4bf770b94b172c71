//! From a request to an answer.
//!
//! Pure: what a guest is told, the tokens and the time are given. Any program in a guest may ask, also one that was
//! tricked into it from outside; so questions that a proxy passes on, or that name another host (a name that somebody
//! made point here), are refused, and nothing can be changed.

use hyper::{Method, StatusCode};
use skerry_model::{GuestMetadata, METADATA_ADDRESS};

use crate::asked::{Asked, TTL};
use crate::token::{LONGEST_TOKEN_S, Tokens};
use crate::tree::{Found, find};

const TOKEN_PATH: &str = "/latest/api/token";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// What is at hand for an answer.
#[derive(Clone, Copy)]
pub struct Telling<'a> {
    /// What the guest is told; `None` if nothing.
    pub guest: Option<&'a GuestMetadata>,
    /// Tokens.
    pub tokens: &'a Tokens,
    /// Seconds on the clock of the tokens.
    pub now: u64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// How it went.
    pub status: StatusCode,
    /// Of what kind the text is.
    pub kind: &'static str,
    /// The text. It may hold secrets, and must not reach a log.
    pub text: String,
    /// Headers beside those of every answer.
    pub headers: Vec<(&'static str, String)>,
}

impl Answered {
    /// A refusal: a line for whoever reads it.
    pub fn refusal(status: StatusCode, why: &str) -> Self {
        Self { status, kind: TEXT, text: format!("{why}\n"), headers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The answer to a request.
pub fn answer(asked: &Asked, telling: Telling<'_>) -> Answered {
    if let Some(refused) = refused(asked) {
        return refused;
    }
    let nothing = || Answered::refusal(StatusCode::NOT_FOUND, "there is nothing here for you");
    // Who is told nothing cannot even see that others are.
    let Some(guest) = telling.guest else { return nothing() };
    if asked.path == TOKEN_PATH {
        return token(asked, guest, telling);
    }
    if !matches!(asked.method, Method::GET | Method::HEAD) {
        let why = "this can only be read";
        return Answered::refusal(StatusCode::METHOD_NOT_ALLOWED, why).with("allow", "GET, HEAD");
    }
    let holds = |token: &String| telling.tokens.holds(token, guest.vm, telling.now);
    if !asked.token.as_ref().is_none_or(holds) {
        let why = "the token is not yours or has ended: ask for another one";
        return Answered::refusal(StatusCode::UNAUTHORIZED, why);
    }
    let (kind, text) = match find(&guest.entries, &asked.path) {
        None => return nothing(),
        Some(Found::Folder(lines)) => (TEXT, lines),
        Some(Found::Text(entry)) => (kind(&entry.path), entry.text.reveal().to_owned()),
    };
    Answered { status: StatusCode::OK, kind, text, headers: Vec::new() }
}

/// What is refused to everybody.
fn refused(asked: &Asked) -> Option<Answered> {
    let refusal = |status, why| Some(Answered::refusal(status, why));
    if asked.has_body {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "nothing can be sent here");
    }
    if asked.forwarded {
        return refusal(StatusCode::FORBIDDEN, "questions that others pass on are not answered");
    }
    let own = METADATA_ADDRESS.to_string();
    let meant = |host: &String| *host == own || *host == format!("{own}:80");
    if !asked.host.as_ref().is_none_or(meant) {
        return refusal(StatusCode::MISDIRECTED_REQUEST, "ask by the address, not by a name");
    }
    None
}

fn token(asked: &Asked, guest: &GuestMetadata, telling: Telling<'_>) -> Answered {
    if asked.method != Method::PUT {
        let why = "a token is asked for with PUT";
        return Answered::refusal(StatusCode::METHOD_NOT_ALLOWED, why).with("allow", "PUT");
    }
    let wanted = asked.ttl.as_ref().and_then(|ttl| seconds(ttl));
    let Some(ttl) = wanted else {
        let why = format!("{TTL} must say for how many seconds: 1 to {LONGEST_TOKEN_S}");
        return Answered::refusal(StatusCode::BAD_REQUEST, &why);
    };
    let text = telling.tokens.issue(guest.vm, telling.now.saturating_add(ttl));
    let answered = Answered { status: StatusCode::OK, kind: TEXT, text, headers: Vec::new() };
    answered.with(TTL, ttl.to_string())
}

fn seconds(ttl: &str) -> Option<u64> {
    let plain = ttl.len() <= 5 && ttl.bytes().all(|byte| byte.is_ascii_digit());
    ttl.parse().ok().filter(|ttl| plain && (1..=LONGEST_TOKEN_S).contains(ttl))
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("user-data" | "user_data") => BYTES,
        Some(name) if name.ends_with(".json") => JSON,
        _ => TEXT,
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;

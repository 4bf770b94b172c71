//! What an HTTP answer of a node means: documents, lists and sessions, or problem details (RFC 9457).

use serde::Deserialize;
use serde_json::Value;
use skerry_ipc::{Answer, Json, Refusal, RefusalClass};
use skerry_model::{Role, Violation};

/// The shape that a good answer should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing; a body is ignored.
    Nothing,
    /// A document or report.
    Document,
    /// `{items, revision, next?}`.
    List,
    /// One document, to be given as a list of one.
    ListOfOne,
    /// `{token, username, role}`.
    Session,
    /// `{username, role}`.
    Principal,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Value>,
    #[serde(default)]
    revision: u64,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    token: String,
    username: String,
    role: Role,
    #[serde(default)]
    expires_in_s: Option<u64>,
}

/// A good answer's meaning.
pub(crate) fn answer(shape: Shape, body: Vec<u8>) -> Result<Answer, serde_json::Error> {
    let text = || String::from_utf8_lossy(&body).into_owned();
    Ok(match shape {
        Shape::Nothing => Answer::Done,
        Shape::Document => Answer::Document(Json(text())),
        Shape::ListOfOne => Answer::List { items: vec![Json(text())], revision: 0, next: None },
        Shape::List => {
            let List { items, revision, next } = serde_json::from_slice(&body)?;
            let items = items.iter().map(|item| Json(item.to_string())).collect();
            Answer::List { items, revision, next }
        }
        Shape::Session => {
            let Account { token, username, role, expires_in_s } = serde_json::from_slice(&body)?;
            Answer::Session { token, username, role, expires_in_s }
        }
        Shape::Principal => {
            let Account { username, role, .. } = serde_json::from_slice(&body)?;
            Answer::Principal { username, role }
        }
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    violations: Vec<Violation>,
}

/// A refusal's meaning. A body that is no problem document leaves the status to speak.
pub(crate) fn refusal(status: u16, retry_after: Option<u32>, body: &[u8]) -> Refusal {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let class = match status {
        401 => RefusalClass::Unauthenticated,
        403 => RefusalClass::Forbidden,
        404 => RefusalClass::NotFound,
        409 => RefusalClass::Conflict,
        410 => RefusalClass::Gone,
        412 => RefusalClass::Stale,
        413 => RefusalClass::TooLarge,
        429 => RefusalClass::TooMany { retry_after_s: retry_after.unwrap_or(1) },
        502..=504 => RefusalClass::Unavailable,
        500.. => RefusalClass::Internal,
        _ => RefusalClass::Invalid,
    };
    let detail = match (problem.detail.is_empty(), problem.title.is_empty()) {
        (false, _) => problem.detail,
        (true, false) => problem.title,
        (true, true) => format!("the node answered with HTTP status {status}"),
    };
    Refusal { class, detail, violations: problem.violations }
}

/// Splits a stream of bytes into lines, however the bytes are cut into chunks.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

/// Longest line that is kept; a longer one is cut here.
const MAX_LINE: usize = 1024 * 1024;

impl Lines {
    /// Takes bytes in and gives the lines that are complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE.saturating_sub(self.rest.len());
            self.rest.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            if part.ends_with(b"\n") {
                lines.extend(self.finish());
            }
        }
        lines
    }

    /// The line that has no end yet, if there is one.
    pub(crate) fn finish(&mut self) -> Option<String> {
        if self.rest.is_empty() {
            return None;
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned();
        Some(line.trim_end_matches(['\n', '\r']).to_owned())
    }
}

/// Gathers server-sent events (HTML living standard, 9.2) from lines: gives the data of each complete event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    name: String,
    data: Vec<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; empty for the ordinary one.
    pub(crate) name: String,
    /// Its data.
    pub(crate) data: String,
}

impl Events {
    pub(crate) fn push(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then(|| Event { name, data: data.join("\n") });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => self.data.push(value.to_owned()),
            "event" => value.clone_into(&mut self.name),
            // Comments keep the connection open; ids are not used.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn problems_keep_every_violation() {
        let body =
            br#"{"type":"about:blank","title":"Unprocessable","status":422,"detail":"2 faults",
            "violations":[{"field":"spec.vcpus","message":"must be 1 to 64"}]}"#;
        let refusal = refusal(422, None, body);
        assert_eq!(refusal.class, RefusalClass::Invalid);
        assert_eq!(refusal.detail, "2 faults");
        assert_eq!(refusal.violations[0].field, "spec.vcpus");
    }

    #[test]
    fn a_status_without_a_problem_is_told() {
        assert_eq!(refusal(503, None, b"<html>").class, RefusalClass::Unavailable);
        assert!(refusal(502, None, b"").detail.contains("502"));
        assert_eq!(refusal(429, Some(7), b"{}").class, RefusalClass::TooMany { retry_after_s: 7 });
    }

    #[test]
    fn lists_and_sessions_are_read() {
        let list = br#"{"items":[{"a":1},{}],"revision":9,"next":"web"}"#.to_vec();
        let Ok(Answer::List { items, revision: 9, next: Some(_) }) = answer(Shape::List, list)
        else {
            panic!("no list");
        };
        assert_eq!(items.len(), 2);
        let session = br#"{"token":"t","username":"admin","role":"admin"}"#.to_vec();
        assert!(matches!(answer(Shape::Session, session), Ok(Answer::Session { .. })));
        assert!(answer(Shape::List, b"[]".to_vec()).is_err());
    }

    #[test]
    fn events_are_gathered() {
        let mut events = Events::default();
        let found: Vec<_> =
            ["", ": ping", "data: a", "id: 3", "data:b", "", "event: error", "data: {}", ""]
                .iter()
                .filter_map(|line| events.push(line))
                .collect();
        assert_eq!(found[0], Event { name: String::new(), data: "a\nb".to_owned() });
        assert_eq!(found[1].name, "error");
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_chunks(text in "[a-z\\n]{0,60}", size in 1_usize..9) {
            let whole: Vec<_> = text.lines().map(str::to_owned).collect();
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                found.extend(lines.push(chunk));
            }
            found.extend(lines.finish());
            prop_assert_eq!(found, whole);
        }
    }
}

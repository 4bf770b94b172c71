//! Entity tags: the revision of a resource in quotes (RFC 9110, 8.8.3 and 13.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::problem::Problem;

/// The tag of a revision.
pub fn of_revision(revision: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{revision}\"")).ok()
}

/// The revision that a change is bound to by `If-Match`; `None` if it is bound to none.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(text) = text(headers, &header::IF_MATCH)? else { return Ok(None) };
    if text == "*" {
        return Ok(None);
    }
    let wrong = || {
        Problem::bad_request(
            "If-Match must hold one entity tag as an ETag header gave it, such as \"42\", or *",
        )
    };
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or_else(wrong)?;
    inner.parse().map(Some).map_err(|_| wrong())
}

/// Whether `If-None-Match` names this tag, so that nothing needs to be sent.
pub fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let Ok(Some(text)) = text(headers, &header::IF_NONE_MATCH) else { return false };
    let tag = tag.to_str().unwrap_or("");
    // A weak tag says the same here: what is compared is only whether to send it again.
    text.split(',').map(str::trim).any(|t| t == "*" || t.trim_start_matches("W/") == tag)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    headers
        .get(name)
        .map(|value| value.to_str().map(str::trim))
        .transpose()
        .map_err(|_| Problem::bad_request(format!("the header {name} cannot be read")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn tags_are_read() {
        let revision =
            |text| if_match(&headers(header::IF_MATCH, text)).map_err(|p| p.status().as_u16());
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!(revision("*"), Ok(None));
        assert_eq!(revision("\"42\""), Ok(Some(42)));
        for wrong in ["42", "W/\"42\"", "\"x\"", "\"1\", \"2\"", "\"", "\"-1\"", ""] {
            assert_eq!(revision(wrong), Err(400), "{wrong}");
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let tag = of_revision(7).unwrap();
        for (text, known) in [
            ("\"7\"", true),
            ("W/\"7\"", true),
            ("\"6\", \"7\"", true),
            ("*", true),
            ("\"8\"", false),
        ] {
            assert_eq!(is_known(&headers(header::IF_NONE_MATCH, text), &tag), known, "{text}");
        }
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}

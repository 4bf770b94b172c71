//! Reads what a registry wants to see before it answers (`WWW-Authenticate`, RFC 9110 11.6.1).

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token that a service hands out.
    Bearer {
        /// The service's address.
        realm: String,
        /// What the service calls the registry.
        service: Option<String>,
    },
}

/// The challenge in a header that can be met; tokens before passwords.
pub fn read(headers: &[&str]) -> Option<Challenge> {
    let found: Vec<Challenge> = headers.iter().filter_map(|header| one(header)).collect();
    let bearer = found.iter().find(|c| matches!(c, Challenge::Bearer { .. }));
    bearer.or_else(|| found.first()).cloned()
}

fn one(header: &str) -> Option<Challenge> {
    let header = header.trim();
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut realm = None;
    let mut service = None;
    for (key, value) in parameters(rest) {
        match key.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            // The scope that is asked for is ours to choose.
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// `key=value` and `key="value"`, separated by commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches(|c: char| c == ',' || c.is_whitespace()).to_owned();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.trim().to_owned(), after)
            }
        };
        found.push((key, value));
        rest = after;
    }
    found
}

/// The text up to the closing quote, and what follows.
fn quoted_text(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        let service = service.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service })
    }

    #[test]
    fn challenges_of_known_registries_are_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            read(&[hub]),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(
            read(&[r#"bearer Realm="https://x/y?z=1,2" , error="invalid""#]),
            bearer("https://x/y?z=1,2", None)
        );
        assert_eq!(read(&["Bearer realm=https://x/y,service=a"]), bearer("https://x/y", Some("a")));
        assert_eq!(read(&[r#"Basic realm="Registry Realm""#]), Some(Challenge::Basic));
        assert_eq!(read(&["Basic realm=x", r#"Bearer realm="r""#]), bearer("r", None));
        assert_eq!(read(&[r#"Bearer realm="a\"b""#]), bearer("a\"b", None));
        for nothing in [&["Negotiate"][..], &["Bearer"], &[""], &[]] {
            assert_eq!(read(nothing), None, "{nothing:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "(Bearer )?\\PC{0,80}") {
            let _ = read(&[text.as_str()]);
        }
    }
}

//! References to images in registries: `[host[:port]/]path[:tag][@sha256:digest]`.
//!
//! The rules are those of the distribution project's reference grammar, with two things left out on purpose:
//! digests other than SHA-256, and IPv6 addresses with zones. A reference becomes part of a URL, so nothing
//! passes that would need escaping there. It opens no connection.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The host that a reference without one means.
const DEFAULT_HOST: &str = "docker.io";
/// Longest path of a repository.
const MAX_PATH: usize = 255;
/// Longest reference altogether.
const MAX_TEXT: usize = 512;

/// Where an image lies in a registry. Its text form is complete: host, path, and tag or digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    host: RegistryHost,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// A registry's host name with its port, if that is not the usual one: `docker.io`, `localhost:5000`, `[fd00::1]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryHost(String);

/// A text that names no image or no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {why}")]
pub struct ReferenceError {
    text: String,
    what: &'static str,
    why: &'static str,
}

impl ReferenceError {
    fn image(text: &str, why: &'static str) -> Self {
        Self { text: printable(text), what: "image reference", why }
    }
}

fn printable(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_default).collect()
}

impl RegistryHost {
    /// Checks a host. Upper case becomes lower case, and `index.docker.io` becomes `docker.io`.
    pub fn new(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |why| ReferenceError { text: printable(text), what: "registry host", why };
        let (name, port) = split_port(text);
        if let Some(port) = port
            && !(matches!(port.parse::<u16>(), Ok(1..)) && port.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(wrong("its port is not a number from 1 to 65535"));
        }
        let name = name.to_ascii_lowercase();
        if let Some(inner) = name.strip_prefix('[') {
            let address =
                inner.strip_suffix(']').and_then(|a| a.parse::<std::net::Ipv6Addr>().ok());
            if address.is_none() {
                return Err(wrong("what stands in brackets is not an IPv6 address"));
            }
        } else if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(wrong("use letters, digits, - and . as in a host name"));
        }
        if name == "index.docker.io" && port.is_none() {
            return Ok(Self(DEFAULT_HOST.to_owned()));
        }
        Ok(Self(port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"))))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The port follows the last colon, unless that is inside brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl ImageReference {
    /// The registry.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// The repository's path within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag. `latest` if the text had neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, 64 lower-case hex digits. Where it is given it decides, whatever the tag says.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The same image by this digest.
    #[must_use]
    pub fn at(&self, sha256: &str) -> Self {
        Self { digest: Some(sha256.to_owned()), ..self.clone() }
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why| ReferenceError::image(text, why);
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(wrong("it must have 1 to 512 characters"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(sha256(digest).ok_or_else(|| {
                    wrong("after @ must stand sha256: and 64 lower-case hex digits")
                })?),
            ),
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((first, rest)) if names_host(first) => (Some(first), rest),
            _ => (None, rest),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some(_) => return Err(wrong("its tag must be 1 to 128 of A-Z a-z 0-9 _ . -")),
            None => (rest, None),
        };
        if path.len() > MAX_PATH || !path.split('/').all(is_part) {
            return Err(wrong("its path must be of a-z and 0-9, joined by single . _ - or /"));
        }
        let host = RegistryHost::new(host.unwrap_or(DEFAULT_HOST))?;
        let official = host.as_str() == DEFAULT_HOST && !path.contains('/');
        let path = if official { format!("library/{path}") } else { path.to_owned() };
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { host, path, tag, digest })
    }
}

/// Whether the first part of a reference is a host: only then has it a dot or a colon. Capitals alone do not make one,
/// since hosts lose theirs and would not be known again.
fn names_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

fn sha256(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:")?;
    let good = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    good.then(|| hex.to_owned())
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !tag.starts_with(['.', '-'])
}

/// Letters and digits, joined by one dot, one or two underscores, or hyphens.
fn is_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let joints =
        part.split(|c: char| c.is_ascii() && word(c as u8)).filter(|joint| !joint.is_empty());
    part.bytes().next().is_some_and(word)
        && part.bytes().last().is_some_and(word)
        && joints.into_iter().all(|joint| {
            matches!(joint, "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-')
        })
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@sha256:{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegistryHost {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for RegistryHost {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<RegistryHost> for String {
    fn from(host: RegistryHost) -> Self {
        host.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_forms_are_completed() {
        let digest = "a".repeat(64);
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("busybox:1.36", "docker.io/library/busybox:1.36".to_owned()),
            ("grafana/loki", "docker.io/grafana/loki:latest".to_owned()),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c".to_owned()),
            ("Quay.IO/a__b/c-d.e:V1", "quay.io/a__b/c-d.e:V1".to_owned()),
            ("[FD00::1]:5000/a", "[fd00::1]:5000/a:latest".to_owned()),
            ("10.0.0.1/a", "10.0.0.1/a:latest".to_owned()),
            (&format!("a@sha256:{digest}"), format!("docker.io/library/a@sha256:{digest}")),
            (&format!("x.y/a:t@sha256:{digest}"), format!("x.y/a:t@sha256:{digest}")),
        ] {
            assert_eq!(text.parse::<ImageReference>().map(|r| r.to_string()), Ok(full), "{text}");
        }
    }

    #[test]
    fn odd_references_are_refused() {
        for bad in [
            "",
            " ",
            "a b",
            "A",
            "a:",
            "a:-x",
            "a::b",
            "a/",
            "/a",
            "a//b",
            "a/../b",
            "../a",
            "a?b",
            "a#b",
            "a%2fb",
            "a\u{e9}",
            "a@sha256:abc",
            "a@md5:0",
            "a@",
            "a@sha256:",
            "x.y:0/a",
            "x.y:99999/a",
            "x.y:+1/a",
            "-x.y/a",
            "x..y/a",
            "[::1/a",
            "[zz]/a",
            "user:pass@x.y/a",
            "https://x.y/a",
            "a___b",
            "a._b",
            "_a",
            "a_",
            "a\n",
            "x.y/A",
            &"a".repeat(600),
            &format!("a@sha256:{}", "A".repeat(64)),
        ] {
            let error = bad.parse::<ImageReference>().expect_err(bad);
            assert!(error.to_string().chars().all(|c| !c.is_control()), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_complete_and_stays_the_same(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}|\\PC{0,20}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let shown = reference.to_string();
                prop_assert_eq!(shown.parse::<ImageReference>().unwrap(), reference.clone());
                prop_assert!(reference.tag().is_some() || reference.digest().is_some());
                // Safe in a URL as it is, and never a way up.
                prop_assert!(reference.path().split('/').all(|part| !part.is_empty() && part != ".." && part != "."));
                prop_assert!(reference.path().bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)));
            }
        }

        #[test]
        fn well_formed_references_are_accepted(
            host in "[a-z][a-z0-9]{0,9}(\\.[a-z]{2,5}){1,2}(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,9}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,8}){0,3}",
            tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
        ) {
            let reference: ImageReference = format!("{host}/{path}:{tag}").parse().unwrap();
            prop_assert_eq!(reference.host().as_str(), host.as_str());
            prop_assert_eq!(reference.tag(), Some(tag.as_str()));
        }
    }
}

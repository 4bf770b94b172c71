//! Reading a TOML file strictly: every refusal names file, line and key.
//!
//! The one place where configuration, board descriptions and image lists are turned from text into what was
//! written. Checking what the values mean is the caller's work. No file is opened here.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A text that is not TOML, has an unknown key, or a value of the wrong type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {key}{reason}", .file.display())]
pub struct TomlTextError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key followed by a colon and a blank; empty if the text is not TOML at all.
    pub key: String,
    /// What is wrong and, where it can be told, what is allowed.
    pub reason: String,
}

/// Reads `text`; `file` is only named in errors.
pub fn read_toml<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, TomlTextError> {
    let wrong = |span: Option<Range<usize>>, key: String, reason: &str| TomlTextError {
        file: file.to_owned(),
        line: line_of(text, span),
        key,
        reason: reason.trim().to_owned(),
    };
    let document = toml::Deserializer::parse(text)
        .map_err(|error| wrong(error.span(), String::new(), error.message()))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = match error.path().to_string() {
            path if path == "." => String::new(),
            path => format!("{path}: "),
        };
        wrong(error.inner().span(), key, error.inner().message())
    })
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start);
    let breaks = text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count();
    breaks.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code)]
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code)]
        port: u16,
    }

    fn refusal(text: &str) -> String {
        read_toml::<Outer>(text, Path::new("/etc/x.toml")).unwrap_err().to_string()
    }

    #[test]
    fn refusals_name_file_line_and_key() {
        assert!(
            refusal("[inner]\nport = 1\nprot = 2\n").starts_with("/etc/x.toml:3: inner.prot: ")
        );
        assert!(refusal("\n[inner]\nport = 70000\n").starts_with("/etc/x.toml:3: inner.port: "));
        assert!(refusal("[inner\n").starts_with("/etc/x.toml:1: "));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = read_toml::<Outer>(&text, Path::new("x"));
        }
    }
}

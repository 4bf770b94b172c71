//! Attribute paths: names separated by `/`, with escapes for the characters that mean something.
//!
//! | written | means |
//! |---|---|
//! | `~0` | `~` |
//! | `~1` | `/` |
//! | `~a` | `,` |
//! | `~b` | `@` |
//! | `@key` as the last name | the keys of a map |

use std::fmt;

/// One name of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// An attribute or a key of a map.
    Name(String),
    /// The keys of a map.
    Keys,
}

/// Where an attribute stands in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributePath(Vec<Step>);

/// A text that is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing between two separators.
    #[error("an attribute name is empty")]
    Empty,
    /// A `~` that starts no known escape.
    #[error("`~` may only stand in ~0, ~1, ~a and ~b")]
    Escape,
    /// An `@` that is not the last name `@key`.
    #[error("`@` may only stand in the last name `@key`; write ~b for the character itself")]
    At,
    /// More names than allowed.
    #[error("a path may have at most {limit} names", limit = AttributePath::MAX_STEPS)]
    Deep,
}

impl AttributePath {
    /// More names than this are refused.
    pub const MAX_STEPS: usize = 16;

    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut steps = Vec::new();
        for name in text.split('/') {
            if steps.len() == Self::MAX_STEPS {
                return Err(PathError::Deep);
            }
            if steps.last() == Some(&Step::Keys) {
                return Err(PathError::At);
            }
            steps.push(if name == "@key" { Step::Keys } else { Step::Name(unescape(name)?) });
        }
        Ok(Self(steps))
    }

    /// The names, outermost first.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

fn unescape(name: &str) -> Result<String, PathError> {
    if name.is_empty() {
        return Err(PathError::Empty);
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '@' => return Err(PathError::At),
            '~' => match rest.next() {
                Some('0') => '~',
                Some('1') => '/',
                Some('a') => ',',
                Some('b') => '@',
                _ => return Err(PathError::Escape),
            },
            other => other,
        });
    }
    Ok(out)
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            match step {
                Step::Keys => f.write_str("@key")?,
                Step::Name(name) => {
                    for c in name.chars() {
                        match c {
                            '~' => f.write_str("~0")?,
                            '/' => f.write_str("~1")?,
                            ',' => f.write_str("~a")?,
                            '@' => f.write_str("~b")?,
                            other => write!(f, "{other}")?,
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<Step> {
        AttributePath::parse(text).unwrap().steps().to_vec()
    }

    #[test]
    fn escapes_and_keys_are_read() {
        assert_eq!(
            names("extensions/a~1b~0~a~b"),
            [Step::Name("extensions".into()), Step::Name("a/b~,@".into())]
        );
        assert_eq!(names("extensions/@key"), [Step::Name("extensions".into()), Step::Keys]);
    }

    #[test]
    fn wrong_paths_are_refused() {
        for (text, error) in [
            ("", PathError::Empty),
            ("a//b", PathError::Empty),
            ("a/", PathError::Empty),
            ("a~", PathError::Escape),
            ("a~2", PathError::Escape),
            ("@id", PathError::At),
            ("@key/a", PathError::At),
            (&"a/".repeat(20), PathError::Deep),
        ] {
            assert_eq!(AttributePath::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_path_survives_being_written(names in prop::collection::vec(".{1,8}", 1..16), keys: bool) {
            let mut steps: Vec<_> = names.into_iter().map(Step::Name).collect();
            if keys {
                steps.pop();
                steps.push(Step::Keys);
            }
            let path = AttributePath(steps);
            prop_assert_eq!(AttributePath::parse(&path.to_string()), Ok(path));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = AttributePath::parse(&text);
        }
    }
}

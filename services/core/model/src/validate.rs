//! Checks of single documents: what can be refused without looking at anything else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Violation {
    /// Where, as a dotted path such as `spec.publish[0].host_port`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// All things wrong with a document: a refusal names every one, not the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invalid {
    violations: Vec<Violation>,
}

impl Invalid {
    /// Adds a violation.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.violations.push(Violation { field: field.into(), message: message.into() });
    }

    /// Adds a violation unless `ok`.
    pub fn require(&mut self, ok: bool, field: &str, message: &str) {
        if !ok {
            self.add(field, message);
        }
    }

    /// What was found.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// `Ok` if nothing was found.
    pub fn into_result(self) -> Result<(), Self> {
        if self.violations.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", violation.field, violation.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// How many bytes something takes as JSON, which is how the store keeps it.
pub fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What has no form in JSON fits nowhere.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}

/// A document that can check itself.
pub trait Validate {
    /// Collects everything wrong with `self`, naming fields below `spec`.
    fn validate(&self, found: &mut Invalid);
}

/// A resource name: 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter or digit and not ending in `-`.
///
/// The rule is that of a DNS label (RFC 1123 2.1), since workload names are also host names on their network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that is no resource name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a name: use 1 to 63 of a-z, 0-9 and -, not starting or ending with -")]
pub struct NameError {
    text: String,
}

impl Name {
    /// Checks a name.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = (1..=63).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good {
            Ok(Self(text))
        } else {
            Err(NameError { text: text.chars().take(80).flat_map(char::escape_default).collect() })
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}
impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}
impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_follow_the_label_rule() {
        for good in ["a", "0", "web-1", &"x".repeat(63)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "../x", "a b", "<x>", &"x".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_errors_stay_printable(text in "\\PC*|[\\x00-\\x1f]{0,9}") {
            if let Err(error) = Name::new(text) {
                prop_assert!(error.to_string().chars().all(|c| !c.is_control()));
            }
        }
    }
}

//! Signatures of container images: which are wanted, and what was found.
//!
//! Whether a text is a key, and whether a signature is good, is for others to say.

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Most rules of one registry.
const MAX_RULES: usize = 32;
/// Most keys of one rule.
const MAX_KEYS: usize = 16;
/// Longest key, in bytes.
const MAX_KEY: usize = 4096;

/// What is wanted of signatures below a path of a registry. Of several rules the one with the longest prefix counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignatureRule {
    /// The repositories it is for, by whole parts of their paths: `lab` is for `lab` and `lab/app`, not for `labor`. All
    /// of the registry if it is empty.
    #[serde(default)]
    pub prefix: String,
    /// Whether an image without a good signature is refused. If not, signatures are looked for where keys are given, and
    /// the image tells what was found.
    #[serde(default)]
    pub require: bool,
    /// Public keys (PEM, SubjectPublicKeyInfo) of ECDSA on P-256 or of Ed25519. A signature by one of them is enough.
    #[serde(default)]
    pub keys: Vec<String>,
}

impl SignatureRule {
    fn is_for(&self, path: &str) -> bool {
        let rest = path.strip_prefix(&self.prefix);
        self.prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The rule for the repository at this path.
    pub fn choose<'a>(rules: &'a [Self], path: &str) -> Option<&'a Self> {
        rules.iter().filter(|rule| rule.is_for(path)).max_by_key(|rule| rule.prefix.len())
    }

    /// Finds what is wrong with the rules of one registry.
    pub(crate) fn validate_all(rules: &[Self], found: &mut Invalid) {
        found.require(rules.len() <= MAX_RULES, "spec.signatures", "at most 32 rules");
        for (index, rule) in rules.iter().enumerate() {
            let field = |name: &str| format!("spec.signatures[{index}].{name}");
            let parts_good = rule.prefix.split('/').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|b| {
                        b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b)
                    })
            });
            let good = rule.prefix.is_empty() || (parts_good && rule.prefix.len() <= 255);
            let message = "must be the beginning of a path such as `lab`, in whole parts and without the registry's host";
            found.require(good, &field("prefix"), message);
            let twice = rules.iter().take(index).any(|other| other.prefix == rule.prefix);
            found.require(!twice, &field("prefix"), "has a rule already");
            let message = "needs at least one key: without one nothing could ever be accepted";
            found.require(!rule.require || !rule.keys.is_empty(), &field("keys"), message);
            found.require(rule.keys.len() <= MAX_KEYS, &field("keys"), "at most 16 keys");
            for (number, key) in rule.keys.iter().enumerate() {
                let good = key.len() <= MAX_KEY && key.contains("-----BEGIN PUBLIC KEY-----");
                let message =
                    "must be a public key in PEM (-----BEGIN PUBLIC KEY-----) of at most 4 KiB";
                found.require(good, &field(&format!("keys[{number}]")), message);
            }
        }
    }
}

/// Whether an image's signature was good when it was pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SignatureState {
    /// It has one by a configured key.
    Verified,
    /// It has none.
    Unsigned,
    /// It has some, none of which is good.
    Failed,
}

/// What was found of an image's signatures when it was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageSignature {
    /// Whether it is good.
    pub state: SignatureState,
    /// The key that it is by: SHA-256 of its SubjectPublicKeyInfo, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why it is not good.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n";

    fn rule(prefix: &str, require: bool, keys: &[&str]) -> SignatureRule {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        SignatureRule { prefix: prefix.to_owned(), require, keys }
    }

    #[test]
    fn the_longest_prefix_of_whole_parts_counts() {
        let rules =
            [rule("", true, &[KEY]), rule("lab", true, &[KEY]), rule("lab/free", false, &[])];
        let chosen = |path: &str| SignatureRule::choose(&rules, path).unwrap().prefix.as_str();
        for (path, prefix) in [
            ("library/a", ""),
            ("lab", "lab"),
            ("lab/app", "lab"),
            ("labor/app", ""),
            ("lab/free/x", "lab/free"),
            ("lab/freely", "lab"),
        ] {
            assert_eq!(chosen(path), prefix, "{path}");
        }
        assert!(SignatureRule::choose(&rules[1..], "labor").is_none());
    }

    #[test]
    fn rules_that_cannot_be_are_refused_by_field() {
        let long = "a".repeat(MAX_KEY + 1);
        for (rules, field) in [
            (vec![rule("", true, &[])], "spec.signatures[0].keys"),
            (vec![rule("/lab", true, &[KEY])], "spec.signatures[0].prefix"),
            (vec![rule("lab/", true, &[KEY])], "spec.signatures[0].prefix"),
            (vec![rule("x.y:5000/lab", true, &[KEY])], "spec.signatures[0].prefix"),
            (vec![rule("", true, &[KEY]), rule("", false, &[])], "spec.signatures[1].prefix"),
            (vec![rule("", true, &[KEY, "x"])], "spec.signatures[0].keys[1]"),
            (vec![rule("", true, &[&long])], "spec.signatures[0].keys[0]"),
            (vec![rule("", true, &[KEY; MAX_KEYS + 1])], "spec.signatures[0].keys"),
        ] {
            let mut found = Invalid::default();
            SignatureRule::validate_all(&rules, &mut found);
            let fields: Vec<_> = found.violations().iter().map(|v| v.field.as_str()).collect();
            assert_eq!(fields, [field]);
        }
        let mut found = Invalid::default();
        let good = [rule("", true, &[KEY]), rule("lab/free", false, &[])];
        SignatureRule::validate_all(&good, &mut found);
        assert!(found.into_result().is_ok());
    }
}

//! Configs and secrets: small texts for containers, as files or variables.
//!
//! The values of a secret go in and are used; no face gives them back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Hidden, Invalid, Kind, ResourceKind, Validate, json_bytes};

/// Most bytes of all keys and values together as JSON: a record of the store has little more room.
const MOST_BYTES: usize = 192 * 1024;
/// Most keys.
const MOST_KEYS: usize = 256;

/// Marks [`crate::Resource`]s that are configs.
#[derive(Debug, Clone, Copy)]
pub enum Config {}

impl ResourceKind for Config {
    const KIND: Kind = Kind::Config;
    type Spec = ConfigSpec;
    type Status = ConfigStatus;
}

/// Texts by their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigSpec {
    /// Values by keys, at most 256 and 192 KiB together as JSON. A key is the file's name where it becomes a file:
    /// letters, digits, `-`, `_` and `.`, not starting with `..`.
    pub data: BTreeMap<String, String>,
}

/// Nothing is known of a config beyond what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ConfigStatus {}

/// Marks [`crate::Resource`]s that are secrets.
#[derive(Debug, Clone, Copy)]
pub enum Secret {}

impl ResourceKind for Secret {
    const KIND: Kind = Kind::Secret;
    type Spec = SecretSpec;
    type Status = SecretStatus;
}

/// Secret texts by their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    /// Values by keys, at most 256 and 192 KiB together as JSON. A key is the file's name where it becomes a file:
    /// letters, digits, `-`, `_` and `.`, not starting with `..`.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub data: BTreeMap<String, Hidden>,
}

/// Nothing is known of a secret beyond what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SecretStatus {}

/// Whether a text can be a key, and so the name of a file.
pub(crate) fn is_key(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text != "."
        && !text.starts_with("..")
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn check<'a>(data: impl Iterator<Item = (&'a String, &'a str)>, found: &mut Invalid) {
    let (mut keys, mut bytes) = (0_usize, 0_usize);
    for (key, value) in data {
        keys += 1;
        // As JSON some characters take several bytes.
        bytes = bytes.saturating_add(json_bytes(key)).saturating_add(json_bytes(&value));
        if !is_key(key) {
            let shown: String = key.chars().take(64).flat_map(char::escape_default).collect();
            let message =
                "a key must be 1 to 253 letters, digits, -, _ and ., not starting with ..";
            found.add("spec.data", format!("`{shown}`: {message}"));
        }
    }
    found.require(keys <= MOST_KEYS, "spec.data", "must be at most 256 keys");
    if bytes > MOST_BYTES {
        let message = format!("takes {bytes} bytes as JSON, more than {MOST_BYTES}");
        found.add("spec.data", message);
    }
}

impl Validate for ConfigSpec {
    fn validate(&self, found: &mut Invalid) {
        check(self.data.iter().map(|(key, value)| (key, value.as_str())), found);
    }
}

impl Validate for SecretSpec {
    fn validate(&self, found: &mut Invalid) {
        check(self.data.iter().map(|(key, value)| (key, value.reveal())), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_of_files_in_one_folder() {
        for good in ["a", "tls.crt", ".hidden", "A_b-1"] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", ".", "..", "..data", "a/b", "a b", "\0", "é"] {
            assert!(!is_key(bad), "{bad}");
        }
        assert!(!is_key(&"a".repeat(254)));
    }

    #[test]
    fn too_much_is_refused() {
        let faults = |value: &str, length: usize| {
            let data = BTreeMap::from([("a".to_owned(), value.repeat(length))]);
            let mut found = Invalid::default();
            ConfigSpec { data }.validate(&mut found);
            found.to_string()
        };
        assert_eq!(faults("x", MOST_BYTES - 5), "");
        assert!(faults("x", MOST_BYTES).contains("takes 196613 bytes as JSON, more than 196608"));
        // What grows when it is written as JSON is counted as it is written.
        assert!(faults("\u{1}", MOST_BYTES / 4).contains("more than 196608"));
    }
}

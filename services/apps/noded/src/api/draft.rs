//! Documents as callers write them: read strictly, so that a misspelt key is refused and not ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skerry_ipc::{Json, Refusal};
use skerry_model::{Kind, Name};

use super::refuse::{invalid, wrong_field};

/// Most labels of one resource, and the longest key or value in bytes.
const MOST_LABELS: usize = 64;
const LONGEST_LABEL: usize = 256;

/// What a caller gives to make or replace a resource.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    kind: Option<String>,
    /// Name and labels.
    pub metadata: DraftMeta,
    /// The spec, not yet read.
    pub spec: Value,
    /// Status is the node's to say; a document that was read before may carry one.
    #[serde(default, rename = "status")]
    _status: Value,
}

/// The metadata that a caller decides. The rest may be present, as in a document that was read before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftMeta {
    /// Name.
    pub name: Name,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default, rename = "id")]
    _id: Value,
    #[serde(default, rename = "generation")]
    _generation: Value,
    #[serde(default, rename = "revision")]
    _revision: Value,
    #[serde(default, rename = "owner")]
    _owner: Value,
    #[serde(default, rename = "phase")]
    _phase: Value,
    #[serde(default, rename = "finalizers")]
    _finalizers: Value,
    #[serde(default, rename = "created")]
    _created: Value,
    #[serde(default, rename = "updated")]
    _updated: Value,
}

impl Draft {
    /// Reads a document that is JSON already.
    pub fn from_value(value: Value) -> Result<Self, Refusal> {
        // A list of values in the order of the fields would be taken for an object.
        if !value.is_object() {
            return Err(wrong_field("document", "must be a JSON object"));
        }
        typed(value, "")
    }

    /// Reads a document of this kind.
    pub fn read(kind: Kind, document: &Json) -> Result<Self, Refusal> {
        let draft = Self::from_value(read_json(document)?)?;
        if let Some(said) = &draft.kind
            && said.parse() != Ok(kind)
        {
            return Err(wrong_field("kind", format!("is not {kind}")));
        }
        let labels = &draft.metadata.labels;
        let long = |text: &String| text.len() > LONGEST_LABEL;
        if labels.len() > MOST_LABELS || labels.iter().any(|(k, v)| long(k) || long(v)) {
            let message =
                format!("at most {MOST_LABELS} labels of at most {LONGEST_LABEL} bytes each");
            return Err(wrong_field("metadata.labels", message));
        }
        Ok(draft)
    }
}

/// JSON text; what is no JSON has no violations, which faces show as a malformed request.
pub fn read_json(text: &Json) -> Result<Value, Refusal> {
    serde_json::from_str(&text.0)
        .map_err(|error| invalid(format!("the request is not JSON: {error}"), Vec::new()))
}

/// A typed value; a refusal names the key below `prefix`.
pub fn typed<T: DeserializeOwned>(value: Value, prefix: &str) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let field = match (prefix, path.as_str()) {
            ("", ".") => "document".to_owned(),
            ("", path) => path.to_owned(),
            (prefix, ".") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        wrong_field(&field, error.inner().to_string())
    })
}

/// Applies a JSON merge patch (RFC 7396).
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Draft, Refusal> {
        Draft::read(Kind::Vm, &Json(text.to_owned()))
    }

    #[test]
    fn a_document_that_was_read_can_be_sent_back() {
        let text = r#"{"kind":"Vm","metadata":{"name":"a","id":"x","generation":1,"revision":2,
            "owner":"local","phase":"present","finalizers":[],"created":"","updated":"","labels":{}},
            "spec":{},"status":{}}"#;
        assert!(read(text).is_ok());
    }

    #[test]
    fn misspelt_and_wrong_keys_are_named() {
        for (text, field) in [
            (r#"{"metadata":{"name":"a"},"spce":{}}"#, "spce"),
            (r#"{"metadata":{"name":"a","lables":{}},"spec":{}}"#, "metadata.lables"),
            (r#"{"metadata":{"name":"A"},"spec":{}}"#, "metadata.name"),
            (r#"{"metadata":{},"spec":{}}"#, "metadata"),
            (r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{}}"#, "kind"),
            (r#"[1]"#, "document"),
        ] {
            let refusal = read(text).unwrap_err();
            assert_eq!(refusal.violations[0].field, field, "{text}: {refusal}");
        }
        assert!(read("{").unwrap_err().violations.is_empty());
    }

    #[test]
    fn merge_follows_the_examples_of_the_rfc() {
        for (target, patch, expected) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!(["a"]), json!({"b":1}), json!({"b":1})),
            (json!({}), json!({"a":{"b":{"c":null}}}), json!({"a":{"b":{}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, patch);
            assert_eq!(merged, expected);
        }
    }
}

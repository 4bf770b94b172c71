//! Attribute selectors: which attributes an answer holds.
//!
//! | parameters | attributes |
//! |---|---|
//! | none, or `exclude_default` | all but those that come only on request |
//! | `all_fields` | all |
//! | `fields=a,b/c` | the mandatory ones and those named |
//! | `fields=…` and `exclude_default` | the default set and those named |
//! | `exclude_fields=a,b` | all but those named |
//!
//! Any other combination is refused. A mandatory attribute is never left out.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::{AttributePath, PathError, Step};
use super::schema::{Attribute, ObjectType, Shape};

/// What to leave in an answer.
#[derive(Debug)]
pub struct Selector {
    mode: Mode,
    named: Named,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Everything.
    All,
    /// The mandatory attributes and those named.
    Mandatory,
    /// The default set and those named.
    Default,
    /// Everything but those named.
    Except,
}

/// The attributes named by a request, as a tree.
#[derive(Debug, Default)]
struct Named {
    whole: bool,
    below: BTreeMap<String, Named>,
}

/// Selectors that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Parameters that exclude each other.
    #[error(
        "these attribute selectors cannot be combined: use one of all_fields, fields, exclude_fields, exclude_default, or fields with exclude_default"
    )]
    Combination,
    /// A name that the type does not have. `name` counts from 1.
    #[error("name {name} of {parameter} is not an attribute of {of}")]
    Unknown {
        /// Which name.
        name: usize,
        /// `fields` or `exclude_fields`.
        parameter: &'static str,
        /// The type.
        of: &'static str,
    },
    /// A name that is no path.
    #[error("name {name} of {parameter} is wrong: {reason}")]
    Path {
        /// Which name.
        name: usize,
        /// `fields` or `exclude_fields`.
        parameter: &'static str,
        /// What is wrong.
        reason: PathError,
    },
}

impl Selector {
    /// Reads the four parameters for a type.
    pub fn new(
        all_fields: bool,
        fields: Option<&str>,
        exclude_fields: Option<&str>,
        exclude_default: bool,
        of: &'static ObjectType,
    ) -> Result<Self, SelectError> {
        let (mode, parameter, text) = match (all_fields, fields, exclude_fields, exclude_default) {
            (true, None, None, false) => (Mode::All, "", None),
            (false, None, None, _) => (Mode::Default, "", None),
            (false, Some(text), None, false) => (Mode::Mandatory, "fields", Some(text)),
            (false, Some(text), None, true) => (Mode::Default, "fields", Some(text)),
            (false, None, Some(text), false) => (Mode::Except, "exclude_fields", Some(text)),
            _ => return Err(SelectError::Combination),
        };
        let mut named = Named::default();
        for (index, name) in text.into_iter().flat_map(|text| text.split(',')).enumerate() {
            let number = index + 1;
            let path = AttributePath::parse(name).map_err(|reason| SelectError::Path {
                name: number,
                parameter,
                reason,
            })?;
            if !known(path.steps(), of) {
                return Err(SelectError::Unknown { name: number, parameter, of: of.name });
            }
            named.add(path.steps());
        }
        Ok(Self { mode, named })
    }

    /// Takes out of a value of that type what was not asked for.
    pub fn apply(&self, value: &mut Value, of: &'static ObjectType) {
        if self.mode != Mode::All {
            prune_object(value, of, self.mode, Some(&self.named));
        }
    }
}

fn known(steps: &[Step], of: &'static ObjectType) -> bool {
    let mut shape = &Shape::Object(of);
    for step in steps {
        while let Shape::List(inner) = shape {
            shape = inner;
        }
        shape = match (shape, step) {
            (Shape::Map, Step::Name(_)) => shape,
            (Shape::Object(object), Step::Name(name)) => match object.attribute(name) {
                Some(attribute) => &attribute.shape,
                None => return false,
            },
            _ => return false,
        };
    }
    true
}

impl Named {
    fn add(&mut self, steps: &[Step]) {
        match steps.split_first() {
            Some((Step::Name(name), rest)) => {
                self.below.entry(name.clone()).or_default().add(rest);
            }
            _ => self.whole = true,
        }
    }
}

fn prune_object(value: &mut Value, of: &'static ObjectType, mode: Mode, named: Option<&Named>) {
    let Value::Object(map) = value else { return };
    map.retain(|name, value| {
        let Some(attribute) = of.attribute(name) else { return true };
        let named = named.and_then(|named| named.below.get(name));
        keep(value, attribute, mode, named)
    });
}

/// Prunes one attribute's value; `false` if the attribute itself has to go.
fn keep(
    value: &mut Value,
    attribute: &'static Attribute,
    mode: Mode,
    named: Option<&Named>,
) -> bool {
    let whole = named.is_some_and(|named| named.whole);
    if mode == Mode::Except {
        if whole {
            return attribute.mandatory;
        }
        if named.is_some() {
            prune(value, &attribute.shape, mode, named);
        }
        return true;
    }
    let of_itself = attribute.mandatory || (mode == Mode::Default && !attribute.default_excluded);
    if whole {
        return true;
    }
    if of_itself && matches!(attribute.shape, Shape::Map) {
        return true;
    }
    if of_itself || named.is_some() {
        prune(value, &attribute.shape, mode, named);
        return true;
    }
    false
}

fn prune(value: &mut Value, shape: &'static Shape, mode: Mode, named: Option<&Named>) {
    match (shape, value) {
        (Shape::List(inner), Value::Array(elements)) => {
            for element in elements {
                prune(element, inner, mode, named);
            }
        }
        (Shape::Object(object), value) => prune_object(value, object, mode, named),
        (Shape::Map, Value::Object(map)) => prune_map(map, mode, named),
        _ => {}
    }
}

/// Below a map nothing is mandatory: exactly the named keys stay, or go.
fn prune_map(map: &mut Map<String, Value>, mode: Mode, named: Option<&Named>) {
    let Some(named) = named else { return };
    map.retain(|key, value| {
        let found = named.below.get(key);
        match (mode, found) {
            (Mode::Except, Some(found)) if found.whole => false,
            (_, Some(found)) if found.whole => true,
            (_, Some(found)) => {
                if let Value::Object(inner) = value {
                    prune_map(inner, mode, Some(found));
                }
                true
            }
            (mode, None) => mode == Mode::Except,
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    static PART: ObjectType = ObjectType {
        name: "Part",
        attributes: &[
            Attribute::required("name", Shape::Text),
            Attribute::optional("size", Shape::Number),
            Attribute::on_request("extensions", Shape::Map),
        ],
    };
    static PART_SHAPE: Shape = Shape::Object(&PART);
    static THING: ObjectType = ObjectType {
        name: "Thing",
        attributes: &[
            Attribute::required("id", Shape::Identifier),
            Attribute::required("capacity", Shape::Map),
            Attribute::optional("note", Shape::Text),
            Attribute::optional("parts", Shape::List(&PART_SHAPE)),
            Attribute::on_request("extensions", Shape::Map),
        ],
    };

    fn thing() -> Value {
        json!({"id": "1", "capacity": {"cpus": 2}, "note": "n",
            "parts": [{"name": "x", "size": 1, "extensions": {"k": 1}}],
            "extensions": {"region": "west", "deep": {"a": 1, "b": 2}}})
    }

    fn select(query: (bool, Option<&str>, Option<&str>, bool)) -> Result<Value, SelectError> {
        let selector = Selector::new(query.0, query.1, query.2, query.3, &THING)?;
        let mut value = thing();
        selector.apply(&mut value, &THING);
        Ok(value)
    }

    #[test]
    fn each_selector_leaves_its_attributes() {
        let default = json!({"id": "1", "capacity": {"cpus": 2}, "note": "n",
            "parts": [{"name": "x", "size": 1}]});
        assert_eq!(select((false, None, None, false)).unwrap(), default);
        assert_eq!(select((false, None, None, true)).unwrap(), default);
        assert_eq!(select((true, None, None, false)).unwrap(), thing());
        assert_eq!(
            select((false, Some("note"), None, false)).unwrap(),
            json!({"id": "1", "capacity": {"cpus": 2}, "note": "n"})
        );
        assert_eq!(
            select((false, Some("parts/size,extensions/deep/b"), None, false)).unwrap(),
            json!({"id": "1", "capacity": {"cpus": 2}, "parts": [{"name": "x", "size": 1}],
                "extensions": {"deep": {"b": 2}}})
        );
        assert_eq!(
            select((false, Some("extensions"), None, true)).unwrap(),
            json!({"id": "1", "capacity": {"cpus": 2}, "note": "n",
                "parts": [{"name": "x", "size": 1}],
                "extensions": {"region": "west", "deep": {"a": 1, "b": 2}}})
        );
        assert_eq!(
            select((
                false,
                None,
                Some("id,note,parts/name,parts/extensions,extensions/deep/a"),
                false
            ))
            .unwrap(),
            json!({"id": "1", "capacity": {"cpus": 2}, "parts": [{"name": "x", "size": 1}],
                "extensions": {"region": "west", "deep": {"b": 2}}})
        );
    }

    #[test]
    fn combinations_and_unknown_names_are_refused() {
        for query in [
            (true, Some("id"), None, false),
            (true, None, Some("id"), false),
            (true, None, None, true),
            (false, Some("id"), Some("id"), false),
            (false, None, Some("id"), true),
        ] {
            assert_eq!(select(query).unwrap_err(), SelectError::Combination, "{query:?}");
        }
        for text in
            ["nope", "(id,WrongAttrName)", "id,", "", "id/x", "parts/nope", "extensions/@key"]
        {
            assert!(select((false, Some(text), None, false)).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn mandatory_attributes_always_stay(text in "(id|note|capacity|parts|parts/name|parts/size|extensions|extensions/a)(,(id|note|parts/size))?",
            choice in 0..3_u8) {
            let value = match choice {
                0 => select((false, Some(&text), None, false)),
                1 => select((false, None, Some(&text), false)),
                _ => select((false, Some(&text), None, true)),
            }.unwrap();
            prop_assert_eq!(&value["id"], "1");
            prop_assert_eq!(&value["capacity"], &json!({"cpus": 2}));
            if let Some(part) = value["parts"].get(0) {
                prop_assert_eq!(&part["name"], "x");
            }
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = select((false, Some(&text), None, false));
            let _ = select((false, None, Some(&text), false));
        }
    }
}

//! Filters against values.
//!
//! Binding a filter to a type finds unknown attributes and operands of the wrong type once, before any value
//! is looked at. What the standard leaves open is settled here:
//!
//! * An absent attribute (also `null` and an empty list) fulfils `neq`, `nin` and `ncont`, and nothing else.
//! * A list fulfils a term if any of its elements does. Terms with the same list in their paths must be
//!   fulfilled by the same element.
//! * Below a map every key is allowed; its values compare as numbers or booleans if they are such, else as text.

use jiff::Timestamp;
use serde_json::Value;

use super::filter::{Filter, Operator, Term};
use super::path::Step;
use super::schema::{ObjectType, Shape};
use std::cmp::Ordering;

/// A filter whose attributes and operands fit a type.
#[derive(Debug)]
pub struct BoundFilter {
    terms: Vec<BoundTerm>,
}

#[derive(Debug)]
struct BoundTerm {
    steps: Vec<Step>,
    test: Test,
}

#[derive(Debug)]
struct Test {
    operator: Operator,
    operands: Vec<Operand>,
}

#[derive(Debug)]
enum Operand {
    Text(String),
    Identifier(String),
    Number(f64),
    Boolean(bool),
    Time(Timestamp),
    /// For values below a map, whose type shows only when they are met.
    Free(String),
}

/// A filter that does not fit the type. `term` counts from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The type has no such attribute.
    #[error("term {term} of the filter names an attribute that {of} does not have")]
    UnknownAttribute {
        /// Which term.
        term: usize,
        /// The type.
        of: &'static str,
    },
    /// A structured attribute cannot be compared.
    #[error("term {term} of the filter names an attribute with parts: name one of its parts")]
    Structured {
        /// Which term.
        term: usize,
    },
    /// The operand cannot be read as the attribute's type.
    #[error("term {term} of the filter needs {wanted} to compare with")]
    Operand {
        /// Which term.
        term: usize,
        /// What it should be.
        wanted: &'static str,
    },
    /// The operator means nothing for this type of attribute.
    #[error("term {term} of the filter uses `{operator}` on {on}", operator = .operator.text())]
    Operator {
        /// Which term.
        term: usize,
        /// The operator.
        operator: Operator,
        /// What it was used on.
        on: &'static str,
    },
}

impl BoundFilter {
    /// Checks a filter against a type.
    pub fn bind(filter: &Filter, of: &'static ObjectType) -> Result<Self, BindError> {
        let terms = filter.terms.iter().enumerate();
        let terms = terms.map(|(index, term)| bind_term(index + 1, term, of));
        Ok(Self { terms: terms.collect::<Result<_, _>>()? })
    }

    /// Whether a value of that type fulfils every term.
    pub fn matches(&self, value: &Value) -> bool {
        let terms: Vec<Pending<'_>> =
            self.terms.iter().map(|term| (term.steps.as_slice(), &term.test)).collect();
        holds(Some(value), &terms)
    }
}

fn bind_term(number: usize, term: &Term, of: &'static ObjectType) -> Result<BoundTerm, BindError> {
    let unknown = BindError::UnknownAttribute { term: number, of: of.name };
    let mut shape = None;
    let mut object = Some(of);
    let mut free = false;
    for step in term.path.steps() {
        if free {
            continue;
        }
        let Step::Name(name) = step else { return Err(unknown) };
        let attribute = object.and_then(|object| object.attribute(name)).ok_or(unknown.clone())?;
        let inner = element(&attribute.shape);
        free = matches!(inner, Shape::Map);
        object = if let Shape::Object(object) = inner { Some(object) } else { None };
        shape = Some(inner);
    }
    let below_map = free && term.path.steps().len() > 1;
    let operands = match shape {
        Some(Shape::Map) if below_map => term.values.iter().cloned().map(Operand::Free).collect(),
        Some(Shape::Map | Shape::Object(_)) => return Err(BindError::Structured { term: number }),
        Some(shape) => {
            check_operator(number, term.operator, shape)?;
            let read = |text: &String| operand(number, text, shape);
            term.values.iter().map(read).collect::<Result<_, _>>()?
        }
        None => return Err(unknown),
    };
    let test = Test { operator: term.operator, operands };
    Ok(BoundTerm { steps: term.path.steps().to_vec(), test })
}

fn element(mut shape: &'static Shape) -> &'static Shape {
    while let Shape::List(inner) = shape {
        shape = inner;
    }
    shape
}

fn check_operator(term: usize, operator: Operator, shape: &Shape) -> Result<(), BindError> {
    use Operator as O;
    let refuse = |on| Err(BindError::Operator { term, operator, on });
    match (shape, operator) {
        (Shape::Boolean, O::Eq | O::Neq) => Ok(()),
        (Shape::Boolean, _) => refuse("a boolean"),
        (Shape::Number, O::Cont | O::Ncont) => refuse("a number"),
        (Shape::Time, O::Cont | O::Ncont | O::In | O::Nin) => refuse("a date and time"),
        _ => Ok(()),
    }
}

fn operand(term: usize, text: &str, shape: &Shape) -> Result<Operand, BindError> {
    let wrong = |wanted| BindError::Operand { term, wanted };
    match shape {
        Shape::Identifier => Ok(Operand::Identifier(text.to_lowercase())),
        Shape::Number => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Operand::Number(number)),
            _ => Err(wrong("a number")),
        },
        Shape::Boolean => {
            text.parse().map(Operand::Boolean).map_err(|_| wrong("`true` or `false`"))
        }
        Shape::Time => text
            .parse()
            .map(Operand::Time)
            .map_err(|_| wrong("a date and time (RFC 3339, such as 2026-01-31T00:00:00Z)")),
        _ => Ok(Operand::Text(text.to_owned())),
    }
}

/// A term with the part of its path that is still ahead.
type Pending<'a> = (&'a [Step], &'a Test);

/// Whether one value fulfils all terms. Terms that go on into the same attribute go together, so that they meet
/// the same element of a list.
fn holds(value: Option<&Value>, terms: &[Pending<'_>]) -> bool {
    let absent = || terms.iter().all(|(_, test)| test.operator.negative());
    match value {
        None | Some(Value::Null) => absent(),
        Some(Value::Array(elements)) if elements.is_empty() => absent(),
        Some(Value::Array(elements)) => elements.iter().any(|element| holds(Some(element), terms)),
        Some(value) => {
            let mut seen: Vec<&Step> = Vec::new();
            for (steps, test) in terms {
                let Some(first) = steps.first() else {
                    if !test.check(value) {
                        return false;
                    }
                    continue;
                };
                if seen.contains(&first) {
                    continue;
                }
                seen.push(first);
                let below: Vec<Pending<'_>> = terms
                    .iter()
                    .filter_map(|(steps, test)| match steps.split_first() {
                        Some((step, rest)) if step == first => Some((rest, *test)),
                        _ => None,
                    })
                    .collect();
                if !descend(value, first, &below) {
                    return false;
                }
            }
            true
        }
    }
}

fn descend(value: &Value, step: &Step, terms: &[Pending<'_>]) -> bool {
    match step {
        Step::Name(name) => holds(value.get(name), terms),
        Step::Keys => {
            let keys = value.as_object().map(|map| map.keys().cloned().map(Value::String));
            holds(keys.map(|keys| Value::Array(keys.collect())).as_ref(), terms)
        }
    }
}

impl Test {
    fn check(&self, value: &Value) -> bool {
        let any = |check: fn(&Operand, &Value) -> bool| {
            self.operands.iter().any(|operand| check(operand, value))
        };
        let order = || self.operands.first().and_then(|operand| operand.compare(value));
        match self.operator {
            Operator::Eq | Operator::In => any(Operand::equals),
            Operator::Neq | Operator::Nin => !any(Operand::equals),
            Operator::Cont => any(Operand::is_within),
            Operator::Ncont => !any(Operand::is_within),
            Operator::Gt => order() == Some(Ordering::Greater),
            Operator::Gte => matches!(order(), Some(Ordering::Greater | Ordering::Equal)),
            Operator::Lt => order() == Some(Ordering::Less),
            Operator::Lte => matches!(order(), Some(Ordering::Less | Ordering::Equal)),
        }
    }
}

impl Operand {
    fn equals(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Boolean(operand), Value::Bool(value)) => operand == value,
            (Self::Free(operand), Value::Bool(value)) => operand.parse() == Ok(*value),
            (Self::Identifier(operand), Value::String(value)) => *operand == value.to_lowercase(),
            _ => self.compare(value) == Some(Ordering::Equal),
        }
    }

    /// How the value stands to the operand; `None` if they cannot be compared.
    fn compare(&self, value: &Value) -> Option<Ordering> {
        match (self, value) {
            (Self::Text(operand) | Self::Free(operand), Value::String(value)) => {
                Some(value.as_str().cmp(operand))
            }
            (Self::Identifier(operand), Value::String(value)) => {
                Some(value.to_lowercase().as_str().cmp(operand))
            }
            (Self::Number(operand), Value::Number(value)) => value.as_f64()?.partial_cmp(operand),
            (Self::Free(operand), Value::Number(value)) => {
                value.as_f64()?.partial_cmp(&operand.parse().ok()?)
            }
            (Self::Time(operand), Value::String(value)) => {
                Some(value.parse::<Timestamp>().ok()?.cmp(operand))
            }
            _ => None,
        }
    }

    fn is_within(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(operand) | Self::Free(operand), Value::String(value)) => {
                value.contains(operand.as_str())
            }
            (Self::Identifier(operand), Value::String(value)) => {
                value.to_lowercase().contains(operand.as_str())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Attribute;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    static PART: ObjectType = ObjectType {
        name: "Part",
        attributes: &[
            Attribute::required("name", Shape::Text),
            Attribute::optional("size", Shape::Number),
        ],
    };
    static PART_SHAPE: Shape = Shape::Object(&PART);
    static TEXT: Shape = Shape::Text;
    static THING: ObjectType = ObjectType {
        name: "Thing",
        attributes: &[
            Attribute::required("id", Shape::Identifier),
            Attribute::required("name", Shape::Text),
            Attribute::optional("count", Shape::Number),
            Attribute::optional("on", Shape::Boolean),
            Attribute::optional("since", Shape::Time),
            Attribute::optional("tags", Shape::List(&TEXT)),
            Attribute::optional("parts", Shape::List(&PART_SHAPE)),
            Attribute::optional("extensions", Shape::Map),
        ],
    };

    fn bind(text: &str) -> Result<BoundFilter, BindError> {
        BoundFilter::bind(&Filter::parse(text).unwrap(), &THING)
    }

    fn thing() -> Value {
        json!({"id": "ABCD-1", "name": "north it's", "count": 10, "on": false,
            "since": "2026-01-01T00:00:00Z", "tags": ["a", "b"],
            "parts": [{"name": "x", "size": 1}, {"name": "y", "size": 9}],
            "extensions": {"region": "west", "a/b": 1, "deep": {"list": [1, 2]}, "yes": true}})
    }

    #[test]
    fn terms_hold_as_they_should() {
        for (text, wanted) in [
            ("(eq,id,abcd-1)", true),
            ("(eq,name,'north it''s')", true),
            ("(eq,name,North)", false),
            ("(cont,name,xx,orth)", true),
            ("(ncont,name,xx,orth)", false),
            ("(gt,count,9)", true),
            ("(gt,count,10)", false),
            ("(gte,count,10.0)", true),
            ("(lt,count,9)", false),
            ("(in,count,1,10)", true),
            ("(nin,count,1,10)", false),
            ("(eq,on,false)", true),
            ("(neq,on,false)", false),
            ("(lt,since,2026-01-01T02:00:00+01:00)", true),
            ("(eq,since,2026-01-01T01:00:00+01:00)", true),
            ("(eq,tags,b)", true),
            ("(eq,tags,c)", false),
            ("(neq,tags,a)", true),
            ("(eq,parts/name,x);(eq,parts/size,1)", true),
            ("(eq,parts/name,x);(eq,parts/size,9)", false),
            ("(eq,parts/size,9)", true),
            ("(eq,extensions/region,west);(gt,count,1)", true),
            ("(eq,extensions/a~1b,1)", true),
            ("(eq,extensions/deep/list,2)", true),
            ("(eq,extensions/yes,true)", true),
            ("(neq,extensions/missing,1)", true),
            ("(eq,extensions/missing,1)", false),
            ("(eq,extensions/deep,1)", false),
            ("(cont,extensions/@key,reg)", true),
            ("(eq,extensions/deep/@key,list)", true),
            ("(gt,extensions/a~1b,zero)", false),
        ] {
            assert_eq!(bind(text).unwrap().matches(&thing()), wanted, "{text}");
        }
    }

    #[test]
    fn absent_attributes_fulfil_only_negative_terms() {
        let bare = json!({"id": "1", "name": "n", "tags": [], "count": null});
        for attribute in ["count", "tags", "parts/name", "extensions/x/y"] {
            for operator in Operator::ALL {
                if attribute == "count" && matches!(operator, Operator::Cont | Operator::Ncont) {
                    continue;
                }
                let text = format!("({},{attribute},1)", operator.text());
                assert_eq!(bind(&text).unwrap().matches(&bare), operator.negative(), "{text}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_the_type_is_refused() {
        let unknown = |term| BindError::UnknownAttribute { term, of: "Thing" };
        for (text, error) in [
            ("(eq,WrongAttrName,anyvalue)", unknown(1)),
            ("(eq,name,x);(eq,nope,x)", unknown(2)),
            ("(eq,name/x,x)", unknown(1)),
            ("(eq,parts/@key,x)", unknown(1)),
            ("(eq,@key,x)", unknown(1)),
            ("(eq,extensions,x)", BindError::Structured { term: 1 }),
            ("(eq,parts,x)", BindError::Structured { term: 1 }),
            ("(eq,count,high)", BindError::Operand { term: 1, wanted: "a number" }),
            ("(eq,count,NaN)", BindError::Operand { term: 1, wanted: "a number" }),
            ("(eq,on,1)", BindError::Operand { term: 1, wanted: "`true` or `false`" }),
            (
                "(gt,on,true)",
                BindError::Operator { term: 1, operator: Operator::Gt, on: "a boolean" },
            ),
        ] {
            assert_eq!(bind(text).unwrap_err(), error, "{text}");
        }
        assert!(bind("(gt,since,yesterday)").is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof![
                Just("name".to_owned()),
                Just("parts".to_owned()),
                Just("extensions".to_owned()),
                "[a-c]"
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A term and its opposite never hold together for a value that is no list, and one of them always does.
        #[test]
        fn a_negative_term_is_the_opposite(value in any_value(), name in "[a-c]", operand in "[a-c]{1,2}") {
            let has_list = |value: &Value| value.to_string().contains('[');
            prop_assume!(!has_list(&value));
            let value = json!({"extensions": {"x": value}});
            for (yes, no) in [("eq", "neq"), ("in", "nin"), ("cont", "ncont")] {
                let yes = bind(&format!("({yes},extensions/x/{name},{operand})")).unwrap();
                let no = bind(&format!("({no},extensions/x/{name},{operand})")).unwrap();
                prop_assert_ne!(yes.matches(&value), no.matches(&value));
            }
        }

        /// Values of any shape are looked at without a panic, whatever the filter.
        #[test]
        fn no_value_panics(value in any_value(), text in "\\((eq|in|ncont|gt),(name|parts/name|parts/size|tags|extensions/a/@key),[a-c1]\\)") {
            if let Ok(filter) = bind(&text) {
                let _ = filter.matches(&value);
            }
        }
    }
}

//! The filter language: `(eq,name,x);(in,vendor,a,b)`. A `;` means "and"; there is no "or".
//!
//! ```text
//! filter = term *( ";" term )
//! term   = "(" op1 "," path "," value ")" | "(" opn "," path "," value *( "," value ) ")"
//! op1    = eq | neq | gt | gte | lt | lte
//! opn    = in | nin | cont | ncont
//! value  = 1*( any character but , ) ' ) | "'" *( any character but ' | "''" ) "'"
//! ```
//!
//! The text must be percent-decoded already. This module only reads; whether the attributes exist is decided
//! when a filter is bound to a type.

use std::fmt;

use super::path::{AttributePath, PathError};

/// How a term compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Equal to one of the values.
    In,
    /// Equal to none of the values.
    Nin,
    /// Contains one of the values.
    Cont,
    /// Contains none of the values.
    Ncont,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 10] = [
        Self::Eq,
        Self::Neq,
        Self::Gt,
        Self::Gte,
        Self::Lt,
        Self::Lte,
        Self::In,
        Self::Nin,
        Self::Cont,
        Self::Ncont,
    ];

    /// As written.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::In => "in",
            Self::Nin => "nin",
            Self::Cont => "cont",
            Self::Ncont => "ncont",
        }
    }

    /// Whether it may have several values.
    pub const fn takes_many(self) -> bool {
        matches!(self, Self::In | Self::Nin | Self::Cont | Self::Ncont)
    }

    /// Whether it holds for an attribute that is absent.
    pub const fn negative(self) -> bool {
        matches!(self, Self::Neq | Self::Nin | Self::Ncont)
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// How.
    pub operator: Operator,
    /// Which attribute.
    pub path: AttributePath,
    /// Against what; one value, or several for operators that take many.
    pub values: Vec<String>,
}

/// Comparisons that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The comparisons; at least one.
    pub terms: Vec<Term>,
}

/// A text that is no filter. Positions count bytes from 0 in the decoded text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Longer than allowed.
    #[error("the filter is longer than {} bytes", Filter::MAX_BYTES)]
    TooLong,
    /// Too many terms.
    #[error("the filter has more than {} terms", Filter::MAX_TERMS)]
    TooManyTerms,
    /// Another character was due.
    #[error("expected {expected} at position {position} of the filter")]
    Expected {
        /// What was due.
        expected: &'static str,
        /// Where.
        position: usize,
    },
    /// The first part of a term is no operator.
    #[error(
        "no operator at position {position} of the filter: use eq, neq, gt, gte, lt, lte, in, nin, cont or ncont"
    )]
    Operator {
        /// Where.
        position: usize,
    },
    /// Several values for an operator that takes one.
    #[error("`{operator}` takes one value, several are given at position {position} of the filter", operator = .operator.text())]
    ManyValues {
        /// The operator.
        operator: Operator,
        /// Where.
        position: usize,
    },
    /// The attribute path is wrong.
    #[error("the attribute at position {position} of the filter is wrong: {reason}")]
    Path {
        /// What is wrong with it.
        reason: PathError,
        /// Where.
        position: usize,
    },
}

impl Filter {
    /// Longer texts are refused.
    pub const MAX_BYTES: usize = 8 * 1024;
    /// More terms are refused.
    pub const MAX_TERMS: usize = 64;

    /// Reads a filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > Self::MAX_BYTES {
            return Err(FilterError::TooLong);
        }
        let mut reader = Reader { text, position: 0 };
        let mut terms = vec![reader.term()?];
        while !reader.rest().is_empty() {
            reader.expect(';', "`;` or the end")?;
            if terms.len() == Self::MAX_TERMS {
                return Err(FilterError::TooManyTerms);
            }
            terms.push(reader.term()?);
        }
        Ok(Self { terms })
    }
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or("")
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        FilterError::Expected { expected, position: self.position }
    }

    fn expect(&mut self, c: char, name: &'static str) -> Result<(), FilterError> {
        if !self.rest().starts_with(c) {
            return Err(self.expected(name));
        }
        self.position += c.len_utf8();
        Ok(())
    }

    /// Everything up to one of `ends`, which is left in place; the end of the text also ends it.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| ends.contains(&c)).unwrap_or(rest.len());
        self.position += length;
        rest.get(..length).unwrap_or("")
    }

    fn term(&mut self) -> Result<Term, FilterError> {
        self.expect('(', "`(`")?;
        let position = self.position;
        let word = self.until(&[',', ')']);
        let operator = Operator::ALL
            .into_iter()
            .find(|operator| operator.text() == word)
            .ok_or(FilterError::Operator { position })?;
        self.expect(',', "`,` and an attribute")?;
        let position = self.position;
        let path = AttributePath::parse(self.until(&[',']))
            .map_err(|reason| FilterError::Path { reason, position })?;
        let mut values = Vec::new();
        self.expect(',', "`,` and a value")?;
        loop {
            values.push(self.value()?);
            if self.rest().starts_with(')') {
                break;
            }
            let position = self.position;
            self.expect(',', "`,` or `)`")?;
            if !operator.takes_many() {
                return Err(FilterError::ManyValues { operator, position });
            }
        }
        self.expect(')', "`)`")?;
        Ok(Term { operator, path, values })
    }

    fn value(&mut self) -> Result<String, FilterError> {
        if self.rest().starts_with('\'') {
            return self.quoted();
        }
        let value = self.until(&[',', ')', '\'']);
        if value.is_empty() {
            return Err(self.expected("a value"));
        }
        if self.rest().starts_with('\'') {
            return Err(self.expected("`,` or `)` (a value with ' must stand in quotes)"));
        }
        Ok(value.to_owned())
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let mut value = String::new();
        self.expect('\'', "`'`")?;
        loop {
            value.push_str(self.until(&['\'']));
            self.expect('\'', "the closing `'`")?;
            if !self.rest().starts_with('\'') {
                return Ok(value);
            }
            self.position += 1;
            value.push('\'');
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                f.write_str(";")?;
            }
            write!(f, "({},{}", term.operator.text(), term.path)?;
            for value in &term.values {
                if value.is_empty() || value.contains([',', ')', '\'']) {
                    write!(f, ",'{}'", value.replace('\'', "''"))?;
                } else {
                    write!(f, ",{value}")?;
                }
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_filters_are_read() {
        for (text, values) in [
            ("(eq,name,x)", vec!["x"]),
            ("(in,vendor,a,b)", vec!["a", "b"]),
            ("(eq,extensions/country,ES)", vec!["ES"]),
            ("(eq,name,'a,b')", vec!["a,b"]),
            ("(eq,name,'it''s')", vec!["it's"]),
            ("(eq,name,'')", vec![""]),
            ("(eq,name,'(a);(b)')", vec!["(a);(b)"]),
            ("(eq,extensions/a~1b,x)", vec!["x"]),
            ("(cont,extensions/@key,smt)", vec!["smt"]),
            ("(gt,alarmRaisedTime,2026-01-01T00:00:00+02:00)", vec!["2026-01-01T00:00:00+02:00"]),
            ("(neq,name,(x;y)", vec!["(x;y"]),
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.terms[0].values, values, "{text}");
        }
        let two = Filter::parse("(eq,resourceTypeId,1);(cont,description,abc)").unwrap();
        assert_eq!(two.terms.len(), 2);
        assert_eq!(two.terms[1].operator, Operator::Cont);
    }

    #[test]
    fn wrong_filters_are_refused() {
        for text in [
            "",
            "()",
            ";",
            "[]",
            "(eq,name)",
            "eq,name,x",
            "(foo,name,x)",
            "(EQ,name,x)",
            "(eq,name,a,b)",
            "(eq,name,x",
            "(eq,,x)",
            "(eq,name,)",
            "(eq,name,x);",
            "(eq,name,x)(eq,name,x)",
            "(eq,name,a'b)",
            "(eq,name,'a'b)",
            "(eq,name,'a)",
            "(eq,name,x) ;(eq,name,x)",
            "(in,name,a,)",
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        assert_eq!(Filter::parse(&"x".repeat(9000)), Err(FilterError::TooLong));
        let many = vec!["(eq,a,b)"; 65].join(";");
        assert_eq!(Filter::parse(&many), Err(FilterError::TooManyTerms));
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let path = prop::collection::vec("[a-zA-Z~/,@.*()' ]{1,6}", 1..4).prop_map(|names| {
            let escaped: Vec<_> = names
                .iter()
                .map(|n| {
                    n.replace('~', "~0").replace('/', "~1").replace(',', "~a").replace('@', "~b")
                })
                .collect();
            AttributePath::parse(&escaped.join("/")).unwrap()
        });
        let term = (0..10_usize, path, prop::collection::vec(".{0,12}", 1..4)).prop_map(
            |(operator, path, mut values)| {
                let operator = Operator::ALL[operator];
                if !operator.takes_many() {
                    values.truncate(1);
                }
                Term { operator, path, values }
            },
        );
        prop::collection::vec(term, 1..5).prop_map(|terms| Filter { terms })
    }

    proptest! {
        #[test]
        fn a_filter_survives_being_written(filter in any_filter()) {
            prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Filter::parse(&text);
        }

        #[test]
        fn no_text_of_the_language_panics(text in "[(),;'~@a-e/nqi0-9 ]{0,60}") {
            if let Ok(filter) = Filter::parse(&text) {
                prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
            }
        }
    }
}

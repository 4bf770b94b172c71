//! The query part of a request.
//!
//! Only `&` separates parameters, since `;` belongs to filters. Each part is percent-decoded once. A `+` stays
//! a plus, because date-times with a zone such as `+02:00` are sent unescaped. A parameter that is not known is
//! refused: ignoring a misspelt `filter` would answer another question than was asked.

use super::filter::{Filter, FilterError};

/// The parameters of a GET.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// All filters together.
    pub filter: Option<Filter>,
    /// `all_fields`.
    pub all_fields: bool,
    /// `fields`.
    pub fields: Option<String>,
    /// `exclude_fields`.
    pub exclude_fields: Option<String>,
    /// `exclude_default`.
    pub exclude_default: bool,
    /// `nextpage_opaque_marker`.
    pub marker: Option<String>,
}

/// A query that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A `%` without two hex digits, or bytes that are no text.
    #[error("parameter {parameter} of the query is not percent-encoded UTF-8")]
    Encoding {
        /// Which, from 1.
        parameter: usize,
    },
    /// A name that is not known.
    #[error(
        "parameter {parameter} of the query is not known: use filter, all_fields, fields, exclude_fields, exclude_default or nextpage_opaque_marker"
    )]
    Unknown {
        /// Which, from 1.
        parameter: usize,
    },
    /// A parameter that may stand only once.
    #[error("{name} is given more than once")]
    Repeated {
        /// Its name.
        name: &'static str,
    },
    /// A flag with an odd value.
    #[error("{name} takes no value (or `true` or `false`)")]
    Flag {
        /// Its name.
        name: &'static str,
    },
    /// The filter is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl Params {
    /// Reads the part of a URI after `?`.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut params = Self::default();
        for (index, part) in query.split('&').enumerate().filter(|(_, part)| !part.is_empty()) {
            let parameter = index + 1;
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            };
            let decode = |text| percent_decode(text).ok_or(QueryError::Encoding { parameter });
            let name = decode(name)?;
            let value = value.map(decode).transpose()?;
            params.take(parameter, &name, value)?;
        }
        Ok(params)
    }

    fn take(
        &mut self,
        parameter: usize,
        name: &str,
        value: Option<String>,
    ) -> Result<(), QueryError> {
        match name {
            "filter" => self.add_filter(&value.unwrap_or_default())?,
            "all_fields" => self.all_fields = flag("all_fields", value.as_deref())?,
            "exclude_default" => self.exclude_default = flag("exclude_default", value.as_deref())?,
            "fields" => once("fields", &mut self.fields, value)?,
            "exclude_fields" => once("exclude_fields", &mut self.exclude_fields, value)?,
            "nextpage_opaque_marker" => once("nextpage_opaque_marker", &mut self.marker, value)?,
            _ => return Err(QueryError::Unknown { parameter }),
        }
        Ok(())
    }

    /// An empty filter asks for nothing in particular; several filters must all hold.
    fn add_filter(&mut self, text: &str) -> Result<(), QueryError> {
        if text.is_empty() {
            return Ok(());
        }
        let filter = Filter::parse(text)?;
        match &mut self.filter {
            Some(all) => all.terms.extend(filter.terms),
            none => *none = Some(filter),
        }
        match &self.filter {
            Some(all) if all.terms.len() > Filter::MAX_TERMS => {
                Err(FilterError::TooManyTerms.into())
            }
            _ => Ok(()),
        }
    }

    /// What decides which items an answer holds and how they look, in one spelling; a page marker is bound to it.
    pub fn question(&self) -> String {
        let filter = self.filter.as_ref().map(ToString::to_string).unwrap_or_default();
        format!(
            "{filter}&{}&{}&{:?}&{:?}",
            self.all_fields, self.exclude_default, self.fields, self.exclude_fields
        )
    }
}

fn flag(name: &'static str, value: Option<&str>) -> Result<bool, QueryError> {
    match value {
        None | Some("" | "true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(QueryError::Flag { name }),
    }
}

fn once(
    name: &'static str,
    place: &mut Option<String>,
    value: Option<String>,
) -> Result<(), QueryError> {
    if place.is_some() {
        return Err(QueryError::Repeated { name });
    }
    *place = Some(value.unwrap_or_default());
    Ok(())
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_are_read() {
        let params = Params::parse(
            "filter=(eq,name,'rack%2C%20left')%3B(gt,t,2026-01-01T00:00:00+02:00);(eq,a,b)&fields=a,b/c&exclude_default",
        )
        .unwrap();
        let filter = params.filter.as_ref().unwrap();
        assert_eq!(filter.terms.len(), 3);
        assert_eq!(filter.terms[0].values, ["rack, left"]);
        assert_eq!(filter.terms[1].values, ["2026-01-01T00:00:00+02:00"]);
        assert_eq!(params.fields.as_deref(), Some("a,b/c"));
        assert!(params.exclude_default && !params.all_fields);
        for query in ["all_fields", "all_fields=", "all_fields=true", "&all_fields&"] {
            assert!(Params::parse(query).unwrap().all_fields, "{query}");
        }
        assert_eq!(Params::parse("all_fields=false&filter=").unwrap(), Params::default());
        let both = Params::parse("filter=(eq,a,b)&filter=(eq,c,d)").unwrap();
        assert_eq!(both.filter.unwrap().terms.len(), 2);
    }

    #[test]
    fn wrong_queries_are_refused() {
        for query in [
            "filter=%zz",
            "filter=%f",
            "filter=%ff",
            "filter=(eq,a",
            "filer=(eq,a,b)",
            "fields=a&fields=b",
            "all_fields=yes",
            "nextpage_opaque_marker=1&nextpage_opaque_marker=2",
        ] {
            assert!(Params::parse(query).is_err(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "\\PC{0,80}|[a-z%&=;(),'0-9]{0,80}") {
            let _ = Params::parse(&query);
        }
    }
}

//! Query parameters of `/api/v1`. A parameter that a path does not know is refused, so that a misspelt one is
//! never taken for absent.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::problem::Problem;

/// The parameters of a request, in the order given.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|_| Problem::bad_request("the query cannot be read: check its encoding"))
    }
}

impl Params {
    /// Refuses parameters other than these.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        if self.0.iter().all(|(name, _)| known.contains(&name.as_str())) {
            return Ok(());
        }
        Err(Problem::bad_request(if known.is_empty() {
            "this path takes no query parameters".to_owned()
        } else {
            format!("a query parameter is not known here: use {}", known.join(", "))
        }))
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may stand once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(n, _)| n == name);
        let first = values.next().map(|(_, value)| value.as_str());
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Problem::bad_request(format!("{name} is given more than once"))),
        }
    }

    /// The same, read as a number or the like.
    pub fn parsed<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Problem> {
        let value = self.one(name)?.map(str::parse::<T>).transpose();
        value.map_err(|_| Problem::bad_request(format!("{name} must be {what}")))
    }

    /// A flag: `true`, `false` or no value.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Problem::bad_request(format!("{name} must be true or false"))),
        }
    }
}

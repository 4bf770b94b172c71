//! The infrastructure inventory API, version 2.0.0: which paths there are and what they answer.
//!
//! Both spellings of the API's name lead here, with or without a slash at the end; answers use the one with a
//! hyphen. Locations, sites, dictionaries and subscriptions are not served, so their paths are as unknown as
//! any other.

use serde::Serialize;
use serde_json::{Value, json};

use crate::mapping::{Facts, Objects};
use crate::problem::Problem;
use crate::sol013::{BoundFilter, Markers, ObjectType, Params, Selector, page_of};
use crate::wire::{
    ApiVersion, ApiVersionInformation, CLOUD_INFO, DEPLOYMENT_MANAGER_INFO, RESOURCE_INFO,
    RESOURCE_POOL_INFO, RESOURCE_TYPE_INFO,
};

const NAMES: [&str; 2] = ["o2ims-infrastructureInventory", "O2ims_infrastructureInventory"];
const PREFIX: &str = "/o2ims-infrastructureInventory";
/// The version served below `v2`.
const VERSION: &str = "2.0.0";
/// Items on a page, if not said otherwise.
const PAGE_SIZE: usize = 100;

/// What was asked, after the caller's right to ask has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// The part after `?`, still percent-encoded; empty if there is none.
    pub query: &'a str,
    /// The `Version` header.
    pub version: Option<&'a str>,
    /// The `Accept` header.
    pub accept: Option<&'a str>,
    /// Scheme and authority at which the caller reached the node.
    pub api_root: &'a str,
}

/// What to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Further header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body: a [`Problem`] if the status is 400 or more.
    pub body: Value,
}

/// Whether a path belongs to O2, known or not: such paths want a token before anything is said about them.
pub fn is_o2_path(path: &str) -> bool {
    path.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("/o2ims"))
}

/// Answers questions about the inventory.
#[derive(Debug, Clone, Copy)]
pub struct Inventory {
    page_size: usize,
}

impl Default for Inventory {
    fn default() -> Self {
        Self { page_size: PAGE_SIZE }
    }
}

/// Something that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target<'a> {
    Versions { major: bool },
    Cloud,
    Types,
    Type(&'a str),
    Pools,
    Pool(&'a str),
    Resources(&'a str),
    Resource(&'a str, &'a str),
    Managers,
    Manager(&'a str),
}

impl<'a> Target<'a> {
    fn find(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let steps: Vec<&str> = path.split('/').collect();
        let (name, steps) = steps.split_first()?;
        if !NAMES.contains(name) {
            return None;
        }
        match steps {
            ["api_versions"] => Some(Self::Versions { major: false }),
            ["v2", "api_versions"] => Some(Self::Versions { major: true }),
            ["v2"] => Some(Self::Cloud),
            ["v2", "resourceTypes"] => Some(Self::Types),
            ["v2", "resourceTypes", id] => Some(Self::Type(id)),
            ["v2", "resourcePools"] => Some(Self::Pools),
            ["v2", "resourcePools", id] => Some(Self::Pool(id)),
            ["v2", "resourcePools", pool, "resources"] => Some(Self::Resources(pool)),
            ["v2", "resourcePools", pool, "resources", id] => Some(Self::Resource(pool, id)),
            ["v2", "deploymentManagers"] => Some(Self::Managers),
            ["v2", "deploymentManagers", id] => Some(Self::Manager(id)),
            _ => None,
        }
    }
}

impl Inventory {
    /// With pages of another size than 100.
    pub fn with_page_size(page_size: usize) -> Self {
        Self { page_size: page_size.max(1) }
    }

    /// Answers one question from the facts of this moment.
    pub fn answer(&self, question: &Question<'_>, facts: &Facts) -> Answer {
        match self.try_answer(question, facts) {
            Ok(answer) => answer,
            Err(problem) => refuse(problem),
        }
    }

    fn try_answer(&self, question: &Question<'_>, facts: &Facts) -> Result<Answer, Problem> {
        let Some(target) = Target::find(question.path) else {
            return Err(Problem::not_found(
                "no such resource: see api_versions for what is served",
            ));
        };
        if !matches!(question.method, "GET" | "HEAD") {
            let detail = "this resource can only be read: use GET";
            return Err(Problem::new(405, "Method Not Allowed", detail));
        }
        check_accept(question.accept)?;
        if let Target::Versions { major } = target {
            Params::parse(question.query).map_err(Problem::bad_request)?;
            return Ok(good(versions(question.api_root, major), Vec::new()));
        }
        check_version(question.version)?;
        let params = Params::parse(question.query).map_err(Problem::bad_request)?;
        let objects = Objects::new(facts, question.api_root);
        let markers = Markers::new(&objects.cloud.o_cloud_id);
        let list = Listing { params: &params, question, markers, page_size: self.page_size };
        let pool = |id: &str| {
            let mut pools = objects.pools.iter();
            pools.find(|pool| same_id(&pool.resource_pool_id, id)).ok_or_else(|| missing("pool"))
        };
        match target {
            Target::Cloud => single(Some(&objects.cloud), "O-Cloud", &params, &CLOUD_INFO),
            Target::Types => {
                list.answer(&objects.types, |t| &t.resource_type_id, &RESOURCE_TYPE_INFO)
            }
            Target::Type(id) => {
                let found = objects.types.iter().find(|t| same_id(&t.resource_type_id, id));
                single(found, "resource type", &params, &RESOURCE_TYPE_INFO)
            }
            Target::Pools => {
                list.answer(&objects.pools, |p| &p.resource_pool_id, &RESOURCE_POOL_INFO)
            }
            Target::Pool(id) => {
                pool(id).and_then(|pool| single(Some(pool), "pool", &params, &RESOURCE_POOL_INFO))
            }
            Target::Resources(id) => {
                pool(id)?;
                list.answer(&objects.resources, |r| &r.resource_id, &RESOURCE_INFO)
            }
            Target::Resource(in_pool, id) => {
                pool(in_pool)?;
                let found = objects.resources.iter().find(|r| same_id(&r.resource_id, id));
                single(found, "resource", &params, &RESOURCE_INFO)
            }
            Target::Managers => list.answer(
                &objects.managers,
                |m| &m.deployment_manager_id,
                &DEPLOYMENT_MANAGER_INFO,
            ),
            Target::Manager(id) => {
                let mut managers = objects.managers.iter();
                let found = managers.find(|m| same_id(&m.deployment_manager_id, id));
                single(found, "deployment manager", &params, &DEPLOYMENT_MANAGER_INFO)
            }
            Target::Versions { .. } => Err(missing("version")),
        }
    }
}

fn same_id(id: &str, given: &str) -> bool {
    id.eq_ignore_ascii_case(given)
}

fn missing(what: &str) -> Problem {
    Problem::not_found(format!("there is no {what} with this id"))
}

fn good(body: Value, mut headers: Vec<(&'static str, String)>) -> Answer {
    headers.push(("version", VERSION.to_owned()));
    Answer { status: 200, headers, body }
}

fn refuse(problem: Problem) -> Answer {
    let mut headers = vec![("version", VERSION.to_owned())];
    if problem.status == 405 {
        headers.push(("allow", "GET, HEAD".to_owned()));
    }
    Answer { status: problem.status, headers, body: to_value(&problem) }
}

/// These types have only string keys and finite numbers, which always have a JSON form.
fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn versions(api_root: &str, major: bool) -> Value {
    let uri_prefix =
        if major { format!("{api_root}{PREFIX}/v2") } else { format!("{api_root}{PREFIX}") };
    let version = ApiVersion { version: VERSION.to_owned(), is_deprecated: false };
    to_value(&ApiVersionInformation { uri_prefix, api_versions: vec![version] })
}

/// A caller may name the version it was made for: `2.0.0`, or with a suffix `-impl:…` after it.
fn check_version(version: Option<&str>) -> Result<(), Problem> {
    let Some(version) = version.map(str::trim).filter(|version| !version.is_empty()) else {
        return Ok(());
    };
    let number = version.split_once("-impl:").map_or(version, |(number, _)| number);
    let parts: Option<Vec<u32>> = number.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([2, 0, _]) => Ok(()),
        Some([_, _, _]) => Err(Problem::new(
            406,
            "Not Acceptable",
            format!("this version is not served here: use {VERSION}"),
        )),
        _ => Err(Problem::bad_request(format!("the Version header must look like {VERSION}"))),
    }
}

fn check_accept(accept: Option<&str>) -> Result<(), Problem> {
    let Some(accept) = accept else { return Ok(()) };
    let good = ["application/json", "application/*", "*/*"];
    let mut types = accept.split(',').filter_map(|part| part.split(';').next()).map(str::trim);
    if types.any(|kind| good.iter().any(|g| g.eq_ignore_ascii_case(kind))) {
        Ok(())
    } else {
        Err(Problem::new(406, "Not Acceptable", "answers are application/json only"))
    }
}

fn selector(params: &Params, of: &'static ObjectType) -> Result<Selector, Problem> {
    Selector::new(
        params.all_fields,
        params.fields.as_deref(),
        params.exclude_fields.as_deref(),
        params.exclude_default,
        of,
    )
    .map_err(Problem::bad_request)
}

/// One object. It takes selectors, but there is nothing to filter.
fn single<T: Serialize>(
    found: Option<&T>,
    what: &str,
    params: &Params,
    of: &'static ObjectType,
) -> Result<Answer, Problem> {
    let found = found.ok_or_else(|| missing(what))?;
    if params.filter.is_some() || params.marker.is_some() {
        return Err(Problem::bad_request("filters and page markers belong to lists only"));
    }
    let selector = selector(params, of)?;
    let mut value = to_value(found);
    selector.apply(&mut value, of);
    Ok(good(value, Vec::new()))
}

struct Listing<'a> {
    params: &'a Params,
    question: &'a Question<'a>,
    markers: Markers,
    page_size: usize,
}

impl Listing<'_> {
    /// One page of a list that is ordered by `key`.
    fn answer<T: Serialize>(
        &self,
        items: &[T],
        key: impl Fn(&T) -> &str,
        of: &'static ObjectType,
    ) -> Result<Answer, Problem> {
        let selector = selector(self.params, of)?;
        let filter = self.params.filter.as_ref().map(|filter| BoundFilter::bind(filter, of));
        let filter = filter.transpose().map_err(Problem::bad_request)?;
        let scope = format!("{}&{}", of.name, self.params.question());
        let marker = self.params.marker.as_deref();
        let after = marker.map(|marker| self.markers.read(&scope, marker)).transpose();
        let after = after.map_err(Problem::bad_request)?;
        let matching = items.iter().filter_map(|item| {
            let value = to_value(item);
            let wanted = filter.as_ref().is_none_or(|filter| filter.matches(&value));
            wanted.then(|| (key(item), value))
        });
        let (page, more) =
            page_of(matching.collect(), |(key, _)| key, after.as_deref(), self.page_size);
        let mut headers = Vec::new();
        if let Some((last, _)) = page.last().filter(|_| more) {
            headers.push(("link", self.next(&self.markers.write(&scope, last))));
        }
        let values = page.into_iter().map(|(_, mut value)| {
            selector.apply(&mut value, of);
            value
        });
        Ok(good(json!(values.collect::<Vec<_>>()), headers))
    }

    /// The link to the next page: the same question with another marker.
    fn next(&self, marker: &str) -> String {
        let Question { api_root, path, query, .. } = self.question;
        let kept = query.split('&').filter(|part| {
            !part.is_empty() && part.split('=').next() != Some("nextpage_opaque_marker")
        });
        let mut query: Vec<&str> = kept.collect();
        let marker = format!("nextpage_opaque_marker={marker}");
        query.push(&marker);
        // A raw `>` cannot stand in a URI that a server accepts, so the brackets stay whole.
        format!("<{api_root}{path}?{}>; rel=\"next\"", query.join("&"))
    }
}

#[cfg(test)]
mod tests;

//! The published description of `/api/v1` (OpenAPI 3.1).
//!
//! Shapes come from the Rust types, paths from the tables below. The result is committed, so that a change of
//! the interface shows in review; a test fails when the two differ, and another asks the router for every path
//! described here. After a change:
//!
//! ```text
//! cargo run -p skerry-northd -- --print-openapi > config/openapi/skerry-v1.json
//! ```

use serde_json::{Map, Value, json};
use skerry_model::{
    AlarmSpec, AlarmStatus, ImageSpec, ImageStatus, JobSpec, JobStatus, Kind, Meta, NetworkSpec,
    NetworkStatus, NodeSpec, NodeStatus, PodSpec, PodStatus, PortSpec, PortStatus, SessionSpec,
    SessionStatus, UserSpec, UserStatus, VmSpec, VmStatus,
};
use skerry_upkeep::{Inventory, Summary};
use utoipa::OpenApi;

use crate::api::{ClaimBody, Health, KINDS, LoginBody, Principal, SessionOpened, WORKLOADS};
use crate::problem::Problem;

/// The committed description, which is what callers get.
pub const COMMITTED: &str = include_str!("../../../../config/openapi/skerry-v1.json");

#[derive(OpenApi)]
#[openapi(components(schemas(
    Problem,
    Health,
    ClaimBody,
    LoginBody,
    SessionOpened,
    Principal,
    Summary,
    Inventory,
    Meta,
    Kind,
    NodeSpec,
    NodeStatus,
    NetworkSpec,
    NetworkStatus,
    PortSpec,
    PortStatus,
    ImageSpec,
    ImageStatus,
    VmSpec,
    VmStatus,
    PodSpec,
    PodStatus,
    JobSpec,
    JobStatus,
    AlarmSpec,
    AlarmStatus,
    UserSpec,
    UserStatus,
    SessionSpec,
    SessionStatus
)))]
struct Types;

/// The description as the types and tables have it now.
pub fn description() -> Result<Value, serde_json::Error> {
    let types = serde_json::to_value(Types::openapi())?;
    let found = types.pointer("/components/schemas").and_then(Value::as_object);
    let mut schemas = found.cloned().unwrap_or_default();
    for kind in KINDS.into_iter().chain([Kind::Node]) {
        add_resource(&mut schemas, kind);
    }
    schemas.insert("Change".to_owned(), change());
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(operation.method.to_owned(), operation.describe());
        }
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Skerry node",
            "version": "1",
            "description": "All resources of one node. Refusals are application/problem+json. \
                Changes with the session cookie need the header `X-Skerry-Request: 1`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": crate::COOKIE },
            },
        },
        "security": [{ "token": [] }, { "cookie": [] }],
    }))
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn add_resource(schemas: &mut Map<String, Value>, kind: Kind) {
    let name = kind.name();
    schemas.insert(
        name.to_owned(),
        json!({
            "type": "object",
            "required": ["kind", "metadata", "spec", "status"],
            "properties": {
                "kind": { "type": "string", "enum": [name] },
                "metadata": reference("Meta"),
                "spec": reference(&format!("{name}Spec")),
                "status": reference(&format!("{name}Status")),
            },
        }),
    );
    schemas.insert(
        format!("{name}List"),
        json!({
            "type": "object",
            "required": ["items", "revision"],
            "properties": {
                "items": { "type": "array", "items": reference(name) },
                "revision": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "A watch can go on from here.",
                },
                "next": {
                    "type": "string",
                    "description": "For `continue`, if there are more.",
                },
            },
        }),
    );
    schemas.insert(
        format!("{name}Input"),
        json!({
            "type": "object",
            "required": ["metadata", "spec"],
            "properties": {
                "metadata": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": { "type": "string" },
                        "labels": {
                            "type": "object",
                            "additionalProperties": { "type": "string" },
                        },
                    },
                },
                "spec": input_spec(kind),
            },
        }),
    );
}

/// What callers give is what they get, except that a password goes in and no hash comes out.
fn input_spec(kind: Kind) -> Value {
    if kind != Kind::User {
        return reference(&format!("{}Spec", kind.name()));
    }
    json!({
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": reference("Role"),
            "password": {
                "type": "string",
                "description": "Needed for a new account; the old one stays if absent.",
            },
        },
    })
}

/// The data of a server-sent event.
fn change() -> Value {
    json!({
        "type": "object",
        "description": "Data of a `change` event of a watch. A `gone` event means that changes were missed.",
        "required": ["revision", "kind", "removed", "document"],
        "properties": {
            "revision": { "type": "integer", "format": "int64", "minimum": 0 },
            "kind": reference("Kind"),
            "removed": { "type": "boolean" },
            "document": { "oneOf": KINDS.into_iter().chain([Kind::Node])
                .map(|kind| reference(kind.name())).collect::<Vec<_>>() },
        },
    })
}

/// What a request or an answer holds.
#[derive(Debug, Clone)]
enum Content {
    Nothing,
    /// JSON of this schema.
    Json(String),
    /// A merge patch of this schema.
    Patch(String),
    /// JSON of no fixed shape.
    AnyJson,
    Text,
    Events,
}

impl Content {
    fn json(name: &str) -> Self {
        Self::Json(name.to_owned())
    }

    fn describe(&self) -> Option<Value> {
        Some(match self {
            Self::Nothing => return None,
            Self::Json(name) => json!({ "application/json": { "schema": reference(name) } }),
            Self::Patch(name) => json!({ "application/merge-patch+json": { "schema": {
                "type": "object",
                "description": format!("Parts of {name}; null takes a member away (RFC 7396)."),
            } } }),
            Self::AnyJson => json!({ "application/json": { "schema": { "type": "object" } } }),
            Self::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
            Self::Events => json!({ "text/event-stream": { "schema": reference("Change") } }),
        })
    }
}

struct Operation {
    method: &'static str,
    path: String,
    id: String,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    request: Content,
    status: u16,
    answer: Content,
    /// Whether it needs no session.
    open: bool,
}

impl Operation {
    fn new(method: &'static str, path: &str, id: impl Into<String>, summary: &'static str) -> Self {
        Self {
            method,
            path: format!("/api/v1/{path}"),
            id: id.into(),
            summary,
            query: &[],
            request: Content::Nothing,
            status: 200,
            answer: Content::Nothing,
            open: false,
        }
    }

    fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    fn takes(mut self, request: Content) -> Self {
        self.request = request;
        self
    }

    fn gives(mut self, status: u16, answer: Content) -> Self {
        self.status = status;
        self.answer = answer;
        self
    }

    fn open(mut self) -> Self {
        self.open = true;
        self
    }

    fn describe(&self) -> Value {
        let mut parameters: Vec<Value> = Vec::new();
        for part in self.path.split('/') {
            if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                parameters.push(json!({
                    "name": name, "in": "path", "required": true, "schema": { "type": "string" },
                }));
            }
        }
        for (name, description) in self.query {
            parameters.push(json!({
                "name": name, "in": "query", "description": description,
                "schema": { "type": "string" },
            }));
        }
        let mut good = json!({ "description": "Done." });
        if let (Some(content), Value::Object(good)) = (self.answer.describe(), &mut good) {
            good.insert("content".to_owned(), content);
        }
        let problem = json!({
            "description": "Refused.",
            "content": { "application/problem+json": { "schema": reference("Problem") } },
        });
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": { self.status.to_string(): good, "default": problem },
        });
        if let Value::Object(operation) = &mut operation {
            if !parameters.is_empty() {
                operation.insert("parameters".to_owned(), json!(parameters));
            }
            if let Some(content) = self.request.describe() {
                let body = json!({ "required": true, "content": content });
                operation.insert("requestBody".to_owned(), body);
            }
            if self.open {
                operation.insert("security".to_owned(), json!([]));
            }
        }
        operation
    }
}

const LOG: &[(&str, &str)] = &[
    ("tail", "The last so many lines, 1 to 10000; 100 if absent."),
    ("follow", "`true` to go on as lines come."),
];

fn operations() -> Vec<Operation> {
    let mut all = fixed();
    for kind in KINDS {
        all.extend(uniform(kind));
    }
    all
}

fn fixed() -> Vec<Operation> {
    let node_log = &[
        ("unit", "A unit; the whole journal if absent."),
        ("tail", "The last so many lines, 1 to 10000; 100 if absent."),
        ("follow", "`true` to go on as lines come."),
    ];
    let pod_logs = &[
        ("container", "The container, for a pod with several."),
        ("tail", "The last so many lines, 1 to 10000; 100 if absent."),
        ("follow", "`true` to go on as lines come."),
    ];
    let watch = &[
        (
            "after",
            "The revision to go on after; from now on if absent. `Last-Event-ID` goes before.",
        ),
        ("kinds", "Kinds of interest, such as `vms,pods`; all if absent."),
    ];
    vec![
        Operation::new("get", "health", "health", "What anybody may know of the node.")
            .gives(200, Content::json("Health"))
            .open(),
        Operation::new("post", "claim", "claim", "Sets the first admin. Works once.")
            .takes(Content::json("ClaimBody"))
            .gives(201, Content::json("SessionOpened"))
            .open(),
        Operation::new("post", "login", "login", "Opens a session.")
            .takes(Content::json("LoginBody"))
            .gives(200, Content::json("SessionOpened"))
            .open(),
        Operation::new("post", "logout", "logout", "Ends the session.")
            .gives(204, Content::Nothing),
        Operation::new("get", "session", "session", "Who is logged in.")
            .gives(200, Content::json("Principal")),
        Operation::new("get", "summary", "summary", "Live facts of the node.")
            .gives(200, Content::json("Summary")),
        Operation::new("get", "inventory", "inventory", "The machine's parts.")
            .gives(200, Content::json("Inventory")),
        Operation::new("get", "node", "getNode", "The node itself.")
            .gives(200, Content::json("Node")),
        Operation::new("patch", "node", "patchNode", "Changes the node's settings.")
            .takes(Content::Patch("Node".to_owned()))
            .gives(200, Content::json("Node")),
        Operation::new(
            "post",
            "node/actions/{action}",
            "actOnNode",
            "`restart` or `power_off`: the machine.",
        )
        .gives(202, Content::AnyJson),
        Operation::new("get", "node/log", "nodeLog", "The system journal.")
            .query(node_log)
            .gives(200, Content::Text),
        Operation::new("get", "watch", "watch", "Changes as they happen.")
            .query(watch)
            .gives(200, Content::Events),
        Operation::new("get", "openapi.json", "openapi", "This description.")
            .gives(200, Content::AnyJson)
            .open(),
        Operation::new(
            "get",
            "vms/{key}/serial",
            "vmSerial",
            "Serial output of a virtual machine.",
        )
        .query(LOG)
        .gives(200, Content::Text),
        Operation::new("get", "pods/{key}/logs", "podLogs", "Output of a pod's containers.")
            .query(pod_logs)
            .gives(200, Content::Text),
    ]
}

/// What every kind has. `key` is an id or a name.
fn uniform(kind: Kind) -> Vec<Operation> {
    let (name, plural) = (kind.name(), kind.plural());
    let one = format!("{plural}/{{key}}");
    let list = &[
        ("name", "Only names that contain this."),
        ("label", "Only with this label, `key=value`; may be repeated."),
        ("limit", "At most so many, 1 to 1000; 100 if absent."),
        ("continue", "Go on after this name."),
    ];
    let document = || Content::json(name);
    let input = || Content::Json(format!("{name}Input"));
    let mut all = vec![
        Operation::new("get", plural, format!("list{name}"), "Resources, ordered by name.")
            .query(list)
            .gives(200, Content::Json(format!("{name}List"))),
        Operation::new("post", plural, format!("create{name}"), "Makes a resource.")
            .query(&[("dry_run", "`true` to check and plan only.")])
            .takes(input())
            .gives(201, document()),
        Operation::new("get", &one, format!("get{name}"), "One resource.").gives(200, document()),
        Operation::new("put", &one, format!("replace{name}"), "Replaces spec and labels.")
            .takes(input())
            .gives(200, document()),
        Operation::new("patch", &one, format!("patch{name}"), "Changes parts of it.")
            .takes(Content::Patch(name.to_owned()))
            .gives(200, document()),
        Operation::new(
            "delete",
            &one,
            format!("delete{name}"),
            "Takes it down: 200 if it is gone, 202 while its parts are being removed.",
        )
        .gives(202, document()),
        Operation::new(
            "get",
            &format!("{one}/explain"),
            format!("explain{name}"),
            "Why it is as it is.",
        )
        .gives(200, Content::AnyJson),
    ];
    if WORKLOADS.contains(&kind) {
        let path = format!("{one}/actions/{{action}}");
        all.push(
            Operation::new(
                "post",
                &path,
                format!("actOn{name}"),
                "`start`, `stop`, `force_stop` or `restart`.",
            )
            .gives(202, document()),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_description_is_the_one_of_the_types() {
        let committed: Value = serde_json::from_str(COMMITTED).unwrap();
        assert!(
            committed == description().unwrap(),
            "the interface changed: run `cargo run -p skerry-northd -- --print-openapi > config/openapi/skerry-v1.json` and commit the result"
        );
    }

    /// Every reference leads somewhere, and operation ids are unique.
    #[test]
    fn the_description_is_whole() {
        let description = description().unwrap();
        let text = description.to_string();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            let known = description["components"]["schemas"].get(name).is_some();
            assert!(known, "no schema {name}");
        }
        let mut ids: Vec<_> = operations().into_iter().map(|operation| operation.id).collect();
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}

//! The published description of `/api/v1` (OpenAPI 3.1).
//!
//! Shapes come from the Rust types, paths from the tables below. The result is committed, so that a change of
//! the interface shows in review; a test fails when the two differ, and another asks the router for every path
//! described here. After a change:
//!
//! ```text
//! cargo run -p skerry-northd -- --print-openapi > config/openapi/skerry-v1.json
//! ```

mod operation;
mod operations;

use serde_json::{Map, Value, json};
use skerry_model::{
    AlarmSpec, AlarmStatus, ConfigSpec, ConfigStatus, GuestReport, ImageSpec, ImageStatus, JobSpec,
    JobStatus, Kind, Meta, MetadataReport, NetworkSpec, NetworkStatus, NodeSpec, NodeStatus,
    PodSpec, PodStats, PodStatus, PoolSpec, PoolStatus, PortSpec, PortStatus, RegistrySpec,
    RegistryStatus, SecretSpec, SecretStatus, SessionSpec, SessionStatus, SnapshotSpec,
    SnapshotStatus, UserSpec, UserStatus, VmSpec, VmStatus, VolumeSpec, VolumeStatus,
};
use skerry_upkeep::{Inventory, MediaList, PruneReport, Summary};
use utoipa::OpenApi;

use crate::api::{
    ApplyBody, ClaimBody, GuestPasswordBody, Health, KINDS, LoginBody, Principal, SessionOpened,
    Ticket, TicketBody, UploadList,
};
use crate::intake::{Upload, UploadInput};
use crate::problem::Problem;
use operations::operations;

/// The committed description, which is what callers get.
pub const COMMITTED: &str = include_str!("../../../../../config/openapi/skerry-v1.json");

#[derive(OpenApi)]
#[openapi(components(schemas(
    Problem,
    Health,
    ApplyBody,
    ClaimBody,
    GuestPasswordBody,
    LoginBody,
    SessionOpened,
    Principal,
    Ticket,
    TicketBody,
    Upload,
    UploadInput,
    UploadList,
    Summary,
    Inventory,
    MediaList,
    PruneReport,
    Meta,
    Kind,
    NodeSpec,
    NodeStatus,
    NetworkSpec,
    NetworkStatus,
    PortSpec,
    PortStatus,
    RegistrySpec,
    RegistryStatus,
    ImageSpec,
    ImageStatus,
    PoolSpec,
    PoolStatus,
    VolumeSpec,
    VolumeStatus,
    SnapshotSpec,
    SnapshotStatus,
    ConfigSpec,
    ConfigStatus,
    SecretSpec,
    SecretStatus,
    VmSpec,
    VmStatus,
    GuestReport,
    MetadataReport,
    PodSpec,
    PodStatus,
    PodStats,
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
    hide(&mut schemas, "UserSpec", "password_hash");
    hide(&mut schemas, "SessionSpec", "secret_hash");
    // What goes in is what comes out, except for the password.
    let registry = schemas.get("RegistrySpec").cloned().unwrap_or_default();
    schemas.insert("RegistryInputSpec".to_owned(), registry);
    hide(&mut schemas, "RegistrySpec", "password");
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

/// Takes a member out of the description that is kept on the node but never shown.
fn hide(schemas: &mut Map<String, Value>, schema: &str, member: &str) {
    let properties = schemas.get_mut(schema).and_then(|schema| schema.get_mut("properties"));
    if let Some(Value::Object(properties)) = properties {
        properties.remove(member);
    }
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
                "spec": shown_spec(kind),
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

/// What callers get: of a secret its keys alone.
fn shown_spec(kind: Kind) -> Value {
    if kind != Kind::Secret {
        return reference(&format!("{}Spec", kind.name()));
    }
    json!({
        "type": "object",
        "required": ["keys"],
        "properties": {
            "keys": {
                "type": "array",
                "items": { "type": "string" },
                "description": "Its keys; the values are not given back.",
            },
        },
    })
}

/// What callers give is what they get, except that a password goes in and no hash comes out.
fn input_spec(kind: Kind) -> Value {
    if kind == Kind::Registry {
        return reference("RegistryInputSpec");
    }
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
        assert!(!text.contains("_hash\""), "a secret's hash is described");
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

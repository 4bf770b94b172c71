//! What a list of each kind shows. Documents are read by pointer, not by type, so that a node of another
//! version can still be listed.

use serde_json::Value;
use skerry_model::{Kind, Timestamp};

use crate::text::{age, cell, size, table};

/// A column: its heading and where its value comes from.
struct Column {
    heading: &'static str,
    value: fn(&Value, Timestamp) -> String,
}

const fn column(heading: &'static str, value: fn(&Value, Timestamp) -> String) -> Column {
    Column { heading, value }
}

/// A table of documents of one kind.
pub fn list(kind: Kind, documents: &[Value], now: Timestamp) -> String {
    if documents.is_empty() {
        return format!("No {}.\n", kind.plural());
    }
    let columns = columns(kind);
    let heading: Vec<&str> = columns.iter().map(|c| c.heading).collect();
    let row = |document: &Value| columns.iter().map(|c| (c.value)(document, now)).collect();
    let rows: Vec<Vec<String>> = documents.iter().map(row).collect();
    table(&heading, &rows)
}

/// The keys of a config or secret.
fn keys(document: &Value, pointer: &str) -> String {
    let names: Vec<&str> = match document.pointer(pointer) {
        Some(Value::Object(map)) => map.keys().map(String::as_str).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    crate::text::clean(&names.join(", "))
}

fn columns(kind: Kind) -> Vec<Column> {
    let mut columns = vec![column("NAME", |d, _| cell(d, "/metadata/name"))];
    columns.extend(match kind {
        Kind::Pod => vec![
            column("STATE", |d, _| workload_state(d)),
            column("IMAGE", |d, _| cell(d, "/spec/containers/0/image")),
            column("ADDRESS", |d, _| pod_address(d)),
            column("PUBLISHED", |d, _| published(d)),
            column("RESTARTS", |d, _| cell(d, "/status/containers/0/restarts")),
            column("HOLD", |d, _| hold(d)),
        ],
        Kind::Config => vec![column("KEYS", |d, _| keys(d, "/spec/data"))],
        Kind::Secret => vec![column("KEYS", |d, _| keys(d, "/spec/keys"))],
        Kind::Vm => vec![
            column("STATE", |d, _| workload_state(d)),
            column("IMAGE", |d, _| cell(d, "/spec/image")),
            column("CPUS", |d, _| cell(d, "/spec/vcpus")),
            column("MEMORY", |d, _| format!("{} MiB", cell(d, "/spec/memory_mib"))),
            column("ADDRESS", |d, _| cell(d, "/status/addresses/0")),
            column("PUBLISHED", |d, _| published(d)),
        ],
        Kind::Network => vec![
            column("MODE", |d, _| cell(d, "/spec/mode")),
            column("SUBNET", |d, _| {
                format!("{}/{}", cell(d, "/spec/subnet/network"), cell(d, "/spec/subnet/prefix"))
            }),
            column("BRIDGE", |d, _| cell(d, "/status/bridge")),
            column("READY", |d, _| condition(d, "Ready")),
        ],
        Kind::Port => vec![
            column("ADDRESS", |d, _| cell(d, "/spec/address")),
            column("MAC", |d, _| cell(d, "/spec/mac")),
            column("PUBLISHED", |d, _| published(d)),
            column("READY", |d, _| condition(d, "Ready")),
        ],
        Kind::Registry => vec![
            column("HOST", |d, _| cell(d, "/spec/host")),
            column("USER", |d, _| cell(d, "/spec/username")),
            column("MIRRORS", |d, _| joined(d, "/spec/mirrors")),
            column("TLS", |d, _| registry_trust(d).to_owned()),
            column("SIGNATURES", |d, _| wanted_signatures(d).to_owned()),
        ],
        Kind::Image => vec![
            column("FORMAT", |d, _| cell(d, "/spec/format")),
            column("STATE", |d, _| cell(d, "/status/state")),
            column("SIZE", |d, _| image_size(d)),
            column("FAMILY", |d, _| cell(d, "/spec/family")),
            column("VERSION", |d, _| cell(d, "/spec/version")),
            column("SIGNED", |d, _| signed(d)),
            column("DESCRIPTION", |d, _| cell(d, "/spec/description")),
        ],
        Kind::Pool => vec![
            column("STATE", |d, _| cell(d, "/status/state")),
            column("SIZE", |d, _| bytes(d, "/status/size_bytes")),
            column("USED", |d, _| bytes(d, "/status/used_bytes")),
            column("PROMISED", |d, _| bytes(d, "/status/committed_bytes")),
            column("VOLUMES", |d, _| cell(d, "/status/volumes")),
        ],
        Kind::Volume => vec![
            column("STATE", |d, _| workload_state(d)),
            column("SIZE", |d, _| bytes(d, "/status/size_bytes")),
            column("USED", |d, _| bytes(d, "/status/used_bytes")),
            column("FORM", |d, _| cell(d, "/spec/form")),
            column("ATTACHED", |d, _| cell(d, "/status/attached_to")),
            column("POOL", |d, _| cell(d, "/spec/pool")),
        ],
        Kind::Snapshot => vec![
            column("STATE", |d, _| workload_state(d)),
            column("VOLUMES", |d, _| words(d, "/spec/volumes")),
            column("TAKEN", |d, now| age(&cell(d, "/status/taken"), now)),
            column("DESCRIPTION", |d, _| cell(d, "/spec/description")),
        ],
        Kind::Alarm => vec![
            column("SEVERITY", |d, _| cell(d, "/spec/severity")),
            column("STATE", |d, _| alarm_state(d).to_owned()),
            column("SINCE", |d, now| age(&cell(d, "/status/raised"), now)),
            column("MESSAGE", |d, _| cell(d, "/status/message")),
        ],
        Kind::Job => vec![
            column("OPERATION", |d, _| cell(d, "/spec/operation")),
            column("STATE", |d, _| cell(d, "/status/state")),
            column("STAGE", |d, _| cell(d, "/status/stage")),
            column("PERCENT", |d, _| cell(d, "/status/percent")),
            column("MESSAGE", |d, _| cell(d, "/status/message")),
        ],
        Kind::User => vec![
            column("ROLE", |d, _| cell(d, "/spec/role")),
            column("LAST LOGIN", |d, now| age(&cell(d, "/status/last_login"), now)),
        ],
        Kind::Session => vec![
            column("PURPOSE", |d, _| cell(d, "/spec/purpose")),
            column("ROLE", |d, _| cell(d, "/spec/role")),
            column("EXPIRES", |d, _| cell(d, "/spec/expires")),
        ],
        Kind::Node => vec![
            column("HOSTNAME", |d, _| cell(d, "/spec/hostname")),
            column("VERSION", |d, _| cell(d, "/status/version")),
        ],
    });
    if matches!(kind, Kind::Pod | Kind::Vm) {
        columns.push(column("AGE", |d, now| age(&cell(d, "/metadata/created"), now)));
    }
    columns
}

/// The state, or that the resource is going away.
pub fn workload_state(document: &Value) -> String {
    if cell(document, "/metadata/phase") == "removing" {
        return "deleting".to_owned();
    }
    cell(document, "/status/state")
}

/// A pod's address. One with the node's network has those of the node.
fn pod_address(document: &Value) -> String {
    match has_host_network(document) {
        true => "node".to_owned(),
        false => cell(document, "/status/addresses/0"),
    }
}

fn has_host_network(document: &Value) -> bool {
    document.pointer("/spec/host_network").and_then(Value::as_bool) == Some(true)
}

/// How a pod's containers are held, if not as usual. What exactly loosens the hold is in its status.
fn hold(document: &Value) -> String {
    let list = |pointer| document.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let mut containers = list("/spec/containers").chain(list("/spec/init"));
    if containers.any(|it| it.get("privileged").and_then(Value::as_bool) == Some(true)) {
        return "privileged".to_owned();
    }
    let looser = list("/status/risks").next().is_some() || has_host_network(document);
    if looser { "looser".to_owned() } else { "-".to_owned() }
}

fn published(document: &Value) -> String {
    let Some(list) = document.pointer("/spec/publish").and_then(Value::as_array) else {
        return "-".to_owned();
    };
    let one = |publish: &Value| {
        let udp = if cell(publish, "/protocol") == "udp" { "/udp" } else { "" };
        format!("{}:{}{udp}", cell(publish, "/host_port"), cell(publish, "/workload_port"))
    };
    let words: Vec<String> = list.iter().map(one).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

fn condition(document: &Value, kind: &str) -> String {
    let conditions = document.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.and_then(|list| list.iter().find(|c| cell(c, "/type") == kind));
    match found.map(|c| cell(c, "/state")).as_deref() {
        Some("true") => "yes".to_owned(),
        Some("false") => "no".to_owned(),
        _ => "-".to_owned(),
    }
}

fn bytes(document: &Value, pointer: &str) -> String {
    document.pointer(pointer).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), size)
}

fn words(document: &Value, pointer: &str) -> String {
    let list = document.pointer(pointer).and_then(Value::as_array);
    let words: Vec<String> = list.into_iter().flatten().map(crate::text::scalar).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

fn joined(document: &Value, pointer: &str) -> String {
    let list = document.pointer(pointer).and_then(Value::as_array);
    let words: Vec<&str> = list.into_iter().flatten().filter_map(Value::as_str).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

/// Whose certificates count for a registry.
fn registry_trust(document: &Value) -> &'static str {
    let own = document.pointer("/spec/ca_pem").is_some_and(|value| !value.is_null());
    match document.pointer("/spec/plain_http").and_then(Value::as_bool) {
        Some(true) => "none",
        _ if own => "own CA",
        _ => "public",
    }
}

/// Whether a registry has rules for signatures, and the strictest of them.
fn wanted_signatures(document: &Value) -> &'static str {
    let rules = document.pointer("/spec/signatures").and_then(Value::as_array);
    let rules = rules.map(Vec::as_slice).unwrap_or_default();
    let required = |rule: &Value| rule.get("require").and_then(Value::as_bool) == Some(true);
    match rules {
        [] => "-",
        rules if rules.iter().any(required) => "required",
        _ => "looked for",
    }
}

/// What was found of an image's signature: the beginning of its key's id if it is good.
fn signed(document: &Value) -> String {
    match cell(document, "/spec/signature/state").as_str() {
        "verified" => cell(document, "/spec/signature/key").chars().take(12).collect(),
        state => state.to_owned(),
    }
}

fn image_size(document: &Value) -> String {
    let files = document.pointer("/spec/files").and_then(Value::as_array);
    let sizes = files.into_iter().flatten().filter_map(|file| file.get("size")?.as_u64());
    size(sizes.fold(0, u64::saturating_add))
}

fn alarm_state(document: &Value) -> &'static str {
    let set = |pointer| document.pointer(pointer).is_some_and(|value| !value.is_null());
    match () {
        () if set("/status/cleared") => "cleared",
        () if set("/status/acknowledged") => "acknowledged",
        () => "active",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_fit_a_narrow_screen() {
        let pod = json!({
            "metadata": {"name": "web", "phase": "present", "created": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"image": "tiny"}],
                     "publish": [{"protocol": "tcp", "host_port": 8080, "workload_port": 80},
                                 {"protocol": "udp", "host_port": 53, "workload_port": 53}]},
            "status": {"state": "running", "addresses": ["10.88.0.2"], "containers": [{"restarts": 0}]},
        });
        let text = list(Kind::Pod, &[pod], "2026-01-01T00:00:09Z".parse().unwrap());
        assert_eq!(
            text,
            "NAME  STATE    IMAGE  ADDRESS    PUBLISHED          RESTARTS  HOLD  AGE\n\
             web   running  tiny   10.88.0.2  8080:80,53:53/udp  0         -     9s\n"
        );
        assert!(text.lines().all(|line| line.len() < 80));
    }

    #[test]
    fn what_loosens_the_hold_on_a_pod_is_in_the_list() {
        let pod = |host: bool, privileged: bool, risks: &[&str]| {
            json!({"spec": {"host_network": host, "containers": [{"privileged": privileged}]},
                   "status": {"risks": risks}})
        };
        assert_eq!(hold(&pod(false, false, &[])), "-");
        assert_eq!(hold(&pod(false, false, &["SYS_TIME"])), "looser");
        assert_eq!(hold(&pod(true, true, &[])), "privileged");
        assert_eq!(
            (hold(&pod(true, false, &[])).as_str(), pod_address(&pod(true, false, &[])).as_str()),
            ("looser", "node")
        );
    }

    #[test]
    fn every_kind_is_listed_from_an_empty_document() {
        for kind in Kind::ALL {
            let text = list(kind, &[json!({})], Timestamp::UNIX_EPOCH);
            assert!(text.starts_with("NAME"), "{text}");
            assert_eq!(list(kind, &[], Timestamp::UNIX_EPOCH), format!("No {}.\n", kind.plural()));
        }
    }
}

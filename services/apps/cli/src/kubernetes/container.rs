//! Containers and volumes of a manifest as this node has them.

use serde_json::{Map, Value, json};

use super::{Part, RunAs};

/// Adds a member to an object.
fn set(made: &mut Value, key: &str, value: Value) {
    if let Value::Object(made) = made {
        made.insert(key.to_owned(), value);
    }
}

pub(super) fn container(mut part: Part<'_>, pods_user: RunAs, publish: &mut Vec<Value>) -> Value {
    let mut made = Map::new();
    for (theirs, ours) in [("name", "name"), ("image", "image"), ("workingDir", "working_dir")] {
        if let Some(value) = part.text(theirs) {
            made.insert(ours.to_owned(), json!(value));
        }
    }
    for key in ["command", "args"] {
        if let Some(words) = part.texts(key) {
            made.insert(key.to_owned(), json!(words));
        }
    }
    for key in ["stdin", "tty"] {
        if let Some(value) = part.flag(key) {
            made.insert(key.to_owned(), json!(value));
        }
    }
    let local = [json!("IfNotPresent"), json!("Never")];
    part.only("imagePullPolicy", &local, "the node starts from images that it has");
    let env = part.each("env", variable);
    let ports = ports(&mut part, publish);
    let mounts = part.each("volumeMounts", |mut mount| {
        let made = json!({ "volume": mount.text("name"), "path": mount.text("mountPath"),
            "read_only": mount.flag("readOnly").unwrap_or(false) });
        mount.finish();
        made
    });
    for (key, list) in [("env", env), ("mounts", mounts)] {
        if !list.is_empty() {
            made.insert(key.to_owned(), Value::Array(list));
        }
    }
    resources(part.part("resources"), &mut made);
    security(part.part("securityContext"), pods_user, &mut made);
    for (theirs, ours) in [
        ("startupProbe", "startup"),
        ("livenessProbe", "liveness"),
        ("readinessProbe", "readiness"),
    ] {
        if part.has(theirs) {
            let made_probe = probe(part.part(theirs), &ports);
            made.insert(ours.to_owned(), made_probe);
        }
    }
    part.finish();
    Value::Object(made)
}

fn variable(mut part: Part<'_>) -> Value {
    let name = part.text("name");
    let value = part.text("value").unwrap_or_default();
    let mut from = part.part("valueFrom");
    let mut made = json!({ "name": name, "value": value });
    for (theirs, ours) in [("configMapKeyRef", "config"), ("secretKeyRef", "secret")] {
        if from.has(theirs) {
            let mut key = from.part(theirs);
            let value = json!({ "name": key.text("name"), "key": key.text("key") });
            set(&mut made, ours, value);
            key.only("optional", &[json!(false)], "not supported");
            key.finish();
        }
    }
    from.finish();
    part.finish();
    made
}

/// Ports by name. One that is not published says nothing that changes anything, here as there.
fn ports(part: &mut Part<'_>, publish: &mut Vec<Value>) -> Vec<(String, u32)> {
    let mut named = Vec::new();
    part.each("ports", |mut port| {
        let number = port.number("containerPort");
        if let (Some(name), Some(number)) = (port.text("name"), number) {
            named.push((name, number));
        }
        let protocol = match port.text("protocol").as_deref() {
            None | Some("TCP") => "tcp",
            Some("UDP") => "udp",
            Some(_) => {
                port.refuse("protocol", "must be TCP or UDP");
                "tcp"
            }
        };
        if let Some(host) = port.number("hostPort") {
            publish
                .push(json!({ "protocol": protocol, "host_port": host, "workload_port": number }));
        }
        port.finish();
        Value::Null
    });
    named
}

fn resources(mut part: Part<'_>, made: &mut Map<String, Value>) {
    let mut limits = part.part("limits");
    match limits.take("memory") {
        None => limits.refuse("memory", "must be given: every container has a limit here"),
        Some(value) => put(&mut limits, "memory", mebibytes(&value), "memory_mib", made),
    }
    if let Some(value) = limits.take("cpu") {
        put(&mut limits, "cpu", milli(&value), "cpu_limit_m", made);
    }
    let pages = huge_pages(&mut limits);
    limits.finish();
    let mut requests = part.part("requests");
    if huge_pages(&mut requests).iter().any(|asked| !pages.contains(asked)) {
        requests.refuse("hugepages", "must be what the limits say, or be left out");
    }
    if !pages.is_empty() {
        made.insert("huge_pages".to_owned(), Value::Array(pages));
    }
    if let Some(value) = requests.take("memory") {
        put(&mut requests, "memory", mebibytes(&value), "memory_request_mib", made);
    }
    if let Some(value) = requests.take("cpu") {
        put(&mut requests, "cpu", milli(&value), "cpu_request_m", made);
    }
    requests.finish();
    part.finish();
}

/// Memory in huge pages. A size that this node does not know is left for what is not supported.
fn huge_pages(part: &mut Part<'_>) -> Vec<Value> {
    let mut list = Vec::new();
    for size in ["2Mi", "1Gi"] {
        let key = format!("hugepages-{size}");
        match part.take(&key).map(|value| mebibytes(&value)) {
            // None of them is nothing said.
            None | Some(Some(0)) => {}
            Some(Some(mib)) => list.push(json!({ "size": size, "mib": mib })),
            Some(None) => part.refuse(&key, "is no quantity that this node knows"),
        }
    }
    list
}

fn put(
    part: &mut Part<'_>,
    key: &str,
    value: Option<u64>,
    ours: &str,
    made: &mut Map<String, Value>,
) {
    match value {
        Some(value) => drop(made.insert(ours.to_owned(), json!(value))),
        None => part.refuse(key, "is no quantity that this node knows"),
    }
}

/// Bytes with a suffix, as whole MiB, rounded up.
pub(super) fn mebibytes(value: &Value) -> Option<u64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let suffixes = [
        ("Ki", 1_u64 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let found =
        suffixes.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)));
    let (digits, unit) = found.unwrap_or((text.as_str(), 1));
    Some(digits.parse::<u64>().ok()?.checked_mul(unit)?.div_ceil(1 << 20))
}

/// CPUs, or thousandths of one with `m`, as thousandths.
pub(super) fn milli(value: &Value) -> Option<u64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(digits) = text.strip_suffix('m') {
        return digits.parse().ok();
    }
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    if part.len() > 3 || !part.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part)
}

fn security(mut part: Part<'_>, pods_user: RunAs, made: &mut Map<String, Value>) {
    let privileged = part.flag("privileged").unwrap_or(false);
    if privileged {
        made.insert("privileged".to_owned(), json!(true));
    }
    // A privileged container may gain privileges, there as here.
    let allowed: &[Value] = if privileged { &[json!(true)] } else { &[json!(false)] };
    part.only("allowPrivilegeEscalation", allowed, "not supported");
    if let Some(value) = part.flag("readOnlyRootFilesystem") {
        made.insert("read_only_root".to_owned(), json!(value));
    }
    if let Some(user) = RunAs::of_container(&mut part, pods_user) {
        made.insert("user".to_owned(), json!(user));
    }
    let mut capabilities = part.part("capabilities");
    let changes: Map<String, Value> = ["add", "drop"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), json!(capabilities.texts(key)?))))
        .collect();
    if !changes.is_empty() {
        made.insert("capabilities".to_owned(), Value::Object(changes));
    }
    capabilities.finish();
    part.finish();
}

fn probe(mut part: Part<'_>, ports: &[(String, u32)]) -> Value {
    let mut made = Map::new();
    for (theirs, ours) in [
        ("initialDelaySeconds", "initial_delay_s"),
        ("periodSeconds", "period_s"),
        ("timeoutSeconds", "timeout_s"),
        ("failureThreshold", "failure_threshold"),
        ("successThreshold", "success_threshold"),
    ] {
        if let Some(value) = part.number(theirs) {
            made.insert(ours.to_owned(), json!(value));
        }
    }
    let check = if part.has("exec") {
        let mut exec = part.part("exec");
        let command = exec.texts("command");
        exec.finish();
        json!({ "exec": { "command": command } })
    } else if part.has("tcpSocket") {
        let mut tcp = part.part("tcpSocket");
        let port = port_of(&mut tcp, ports);
        tcp.finish();
        json!({ "tcp": { "port": port } })
    } else if part.has("httpGet") {
        let mut http = part.part("httpGet");
        let port = port_of(&mut http, ports);
        let path = http.text("path").unwrap_or_else(|| "/".to_owned());
        http.only("scheme", &[json!("HTTP")], "only HTTP is supported");
        http.finish();
        json!({ "http": { "port": port, "path": path } })
    } else {
        part.refuse("exec", "one of exec, tcpSocket and httpGet must be given");
        Value::Null
    };
    made.insert("check".to_owned(), check);
    part.finish();
    Value::Object(made)
}

/// The port of a probe, by number or by the name that the container gives it.
fn port_of(part: &mut Part<'_>, ports: &[(String, u32)]) -> Option<u32> {
    part.typed("port", "must be a number, or the name of a port of this container", |value| {
        match value.as_str() {
            Some(name) => ports.iter().find(|(other, _)| other == name).map(|(_, number)| *number),
            None => u32::try_from(value.as_u64()?).ok(),
        }
    })
}

pub(super) fn volume(mut part: Part<'_>) -> Value {
    let name = part.text("name");
    let source = if part.has("emptyDir") {
        let mut empty = part.part("emptyDir");
        let medium = medium(&mut empty);
        let mut made = json!({ "medium": medium });
        if let Some(limit) = empty.take("sizeLimit") {
            match mebibytes(&limit).filter(|_| medium != "disk") {
                Some(size) => set(&mut made, "size_mib", json!(size)),
                None => empty.refuse("sizeLimit", "is only for `medium: Memory` and `HugePages-…`"),
            }
        }
        empty.finish();
        json!({ "empty": made })
    } else if part.has("persistentVolumeClaim") {
        let mut claim = part.part("persistentVolumeClaim");
        let name = claim.text("claimName");
        let read_only = claim.flag("readOnly").unwrap_or(false);
        claim.finish();
        json!({ "volume": { "name": name, "read_only": read_only } })
    } else if part.has("configMap") {
        json!({ "config": files(part.part("configMap"), "name") })
    } else if part.has("secret") {
        json!({ "secret": files(part.part("secret"), "secretName") })
    } else {
        Value::Null
    };
    if source.is_null() && !part.fields.values().any(|value| !value.is_null()) {
        part.refuse(
            "emptyDir",
            "one of emptyDir, configMap, secret and persistentVolumeClaim must be given",
        );
    }
    part.finish();
    json!({ "name": name, "source": source })
}

fn medium(empty: &mut Part<'_>) -> &'static str {
    match empty.text("medium").as_deref() {
        None | Some("") => "disk",
        Some("Memory") => "memory",
        Some("HugePages-2Mi") => "huge_pages_2Mi",
        Some("HugePages-1Gi") => "huge_pages_1Gi",
        Some(_) => {
            empty
                .refuse("medium", "must be Memory, HugePages-2Mi or HugePages-1Gi, or be left out");
            "disk"
        }
    }
}

fn files(mut part: Part<'_>, key: &str) -> Value {
    let mut made = json!({ "name": part.text(key) });
    if let Some(mode) = part.number("defaultMode") {
        set(&mut made, "mode", json!(format!("{mode:04o}")));
    }
    part.only("optional", &[json!(false)], "not supported");
    part.finish();
    made
}

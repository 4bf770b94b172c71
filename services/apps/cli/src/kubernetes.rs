//! Kubernetes' Pod, Deployment of one replica, ConfigMap and Secret as documents of this node.
//!
//! Only a part of each is understood. Whatever is not is named, all of it at once, and the whole document is
//! refused: nothing of a manifest is ever left out quietly.

mod container;

use serde_json::{Map, Value, json};

use container::{container, volume};

/// Everything of a manifest that this node does not do, by path.
pub type Unsupported = Vec<String>;

/// An object that is taken apart key by key. What nobody took is unsupported.
struct Part<'a> {
    path: String,
    fields: Map<String, Value>,
    bad: &'a mut Unsupported,
}

impl<'a> Part<'a> {
    fn new(path: impl Into<String>, value: Value, bad: &'a mut Unsupported) -> Self {
        let path = path.into();
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Null => Map::new(),
            _ => {
                bad.push(format!("{path}: must be an object"));
                Map::new()
            }
        };
        Self { path, fields, bad }
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn refuse(&mut self, key: &str, why: &str) {
        let at = self.at(key);
        self.bad.push(format!("{at}: {why}"));
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.fields.remove(key).filter(|value| !value.is_null())
    }

    /// A value that changes nothing here: anything else is refused.
    fn only(&mut self, key: &str, allowed: &[Value], why: &str) {
        if let Some(value) = self.take(key)
            && !allowed.contains(&value)
        {
            self.refuse(key, why);
        }
    }

    fn part(&mut self, key: &str) -> Part<'_> {
        let value = self.take(key).unwrap_or_default();
        Part::new(self.at(key), value, self.bad)
    }

    fn items(&mut self, key: &str) -> Vec<Value> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.refuse(key, "must be a list");
                Vec::new()
            }
        }
    }

    /// Each item of a list, turned into something of ours.
    fn each(&mut self, key: &str, mut turn: impl FnMut(Part<'_>) -> Value) -> Vec<Value> {
        let at = self.at(key);
        let items = self.items(key);
        let mut list = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            list.push(turn(Part::new(format!("{at}[{index}]"), item, self.bad)));
        }
        list
    }

    fn finish(self) {
        for key in self.fields.keys() {
            let at =
                if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            self.bad.push(format!("{at}: not supported"));
        }
    }
}

/// The document of this node that a manifest stands for.
///
/// # Errors
/// Everything in it that is not supported.
pub fn convert(manifest: Value) -> Result<Value, Unsupported> {
    let mut bad = Vec::new();
    let mut top = Part::new("", manifest, &mut bad);
    let version = top.take("apiVersion").unwrap_or_default();
    let kind = top.take("kind").unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default().to_owned();
    let known = matches!(
        (version.as_str().unwrap_or_default(), kind.as_str()),
        ("v1", "Pod" | "ConfigMap" | "Secret") | ("apps/v1", "Deployment")
    );
    if !known {
        return Err(vec![format!("{version} {kind}: this kind is not supported")]);
    }
    top.take("status");
    let metadata = metadata(top.part("metadata"), true);
    let (ours, spec) = match kind.as_str() {
        "Pod" => ("Pod", pod(top.part("spec"), None)),
        "Deployment" => ("Pod", deployment(top.part("spec"))),
        "ConfigMap" => ("Config", json!({ "data": top.take("data").unwrap_or(json!({})) })),
        _ => ("Secret", secret(&mut top)),
    };
    top.finish();
    if bad.is_empty() {
        Ok(json!({ "kind": ours, "metadata": metadata, "spec": spec }))
    } else {
        Err(bad)
    }
}

fn metadata(mut part: Part<'_>, named: bool) -> Value {
    let name = part.take("name");
    if named && name.is_none() {
        part.refuse("name", "must be given");
    }
    part.only("namespace", &[json!("default")], "there is one namespace, `default`");
    part.only("creationTimestamp", &[], "not supported");
    let labels = part.take("labels").unwrap_or(json!({}));
    part.finish();
    json!({ "name": name, "labels": labels })
}

fn secret(top: &mut Part<'_>) -> Value {
    top.only("type", &[json!("Opaque")], "only `Opaque` is supported");
    if top.take("data").is_some() {
        top.refuse("data", "not supported: write the values under `stringData`");
    }
    json!({ "data": top.take("stringData").unwrap_or(json!({})) })
}

fn deployment(mut spec: Part<'_>) -> Value {
    spec.only("replicas", &[json!(1)], "only 1 is supported: this is one node");
    let mut strategy = spec.part("strategy");
    strategy.only("type", &[json!("Recreate")], "only `Recreate` is supported");
    strategy.finish();
    // It says which pods belong to the deployment; here there is just the one that it describes.
    spec.take("selector");
    let mut update = Map::new();
    for (theirs, ours) in [
        ("minReadySeconds", "min_ready_s"),
        ("progressDeadlineSeconds", "deadline_s"),
        ("revisionHistoryLimit", "history"),
        ("paused", "paused"),
    ] {
        if let Some(value) = spec.take(theirs) {
            update.insert(ours.to_owned(), value);
        }
    }
    let mut template = spec.part("template");
    metadata(template.part("metadata"), false);
    let made = pod(template.part("spec"), Some(update));
    template.finish();
    spec.finish();
    made
}

fn pod(mut spec: Part<'_>, update: Option<Map<String, Value>>) -> Value {
    let restart = match spec.take("restartPolicy").as_ref().and_then(Value::as_str) {
        None | Some("Always") => "always",
        Some("OnFailure") => "on_failure",
        Some("Never") => "never",
        Some(_) => {
            spec.refuse("restartPolicy", "must be Always, OnFailure or Never");
            "always"
        }
    };
    let host_network = spec.take("hostNetwork") == Some(json!(true));
    // There the node's are meant if nothing is said; here that is left to the node, which gives a pod its own.
    let users = match spec.take("hostUsers") {
        None => None,
        Some(Value::Bool(hosts)) => Some(if hosts { "host" } else { "pod" }),
        Some(_) => {
            spec.refuse("hostUsers", "must be true or false");
            None
        }
    };
    for key in ["hostPID", "hostIPC"] {
        spec.only(key, &[json!(false)], "not supported");
    }
    spec.only(
        "dnsPolicy",
        &[json!("ClusterFirst"), json!("ClusterFirstWithHostNet"), json!("Default")],
        "not supported",
    );
    spec.only("schedulerName", &[json!("default-scheduler")], "not supported");
    let mut security = spec.part("securityContext");
    let user = user(&mut security);
    security.finish();
    let mut publish = Vec::new();
    let init = spec.each("initContainers", |part| container(part, &user, &mut Vec::new()));
    let containers = spec.each("containers", |part| container(part, &user, &mut publish));
    let volumes = spec.each("volumes", volume);
    let mut made = Map::new();
    if let Some(users) = users {
        made.insert("user_namespace".to_owned(), json!(users));
    }
    if host_network {
        made.insert("host_network".to_owned(), json!(true));
        // There, as here, such a port is the node's already.
        publish.retain(|it| it.get("host_port") != it.get("workload_port"));
    }
    if let Some(seconds) = spec.take("terminationGracePeriodSeconds") {
        made.insert("stop_timeout_s".to_owned(), seconds);
    }
    if let Some(update) = update.filter(|update| !update.is_empty()) {
        made.insert("update".to_owned(), Value::Object(update));
    }
    for (key, list) in
        [("containers", containers), ("init", init), ("volumes", volumes), ("publish", publish)]
    {
        if key == "containers" || !list.is_empty() {
            made.insert(key.to_owned(), Value::Array(list));
        }
    }
    made.insert("restart".to_owned(), json!(restart));
    spec.finish();
    Value::Object(made)
}

/// `user` or `user:group` of a security context.
fn user(security: &mut Part<'_>) -> String {
    let number = |value: Option<Value>| value.as_ref().and_then(Value::as_u64);
    let user = security.take("runAsUser");
    let group = security.take("runAsGroup");
    match (number(user), number(group.clone())) {
        (Some(user), Some(group)) => format!("{user}:{group}"),
        (Some(user), None) => user.to_string(),
        (None, _) => {
            if group.is_some() {
                security.refuse("runAsGroup", "needs `runAsUser` beside it");
            }
            String::new()
        }
    }
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;

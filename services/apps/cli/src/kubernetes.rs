//! Kubernetes' Pod, Deployment of one replica, ConfigMap and Secret as documents of this node.
//!
//! Only a part of each is understood. Whatever is not is named, all of it at once, and the whole document is
//! refused: nothing of a manifest is ever left out quietly. A value of a wrong type is never taken for one that was
//! not given.

mod container;

use std::collections::BTreeMap;

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

    /// Whether something is given.
    fn has(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|value| !value.is_null())
    }

    /// A value of one type; anything else is refused.
    fn typed<T>(
        &mut self,
        key: &str,
        must: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let found = read(&value);
        if found.is_none() {
            self.refuse(key, must);
        }
        found
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.typed(key, "must be a text: put it in quotes", |value| {
            Some(value.as_str()?.to_owned())
        })
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        self.typed(key, "must be true or false, without quotes", Value::as_bool)
    }

    fn number(&mut self, key: &str) -> Option<u32> {
        let must = "must be a whole number from 0 to 4294967295, without quotes";
        self.typed(key, must, |value| u32::try_from(value.as_u64()?).ok())
    }

    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let all = |value: &Value| {
            let texts = value.as_array()?.iter().map(|item| Some(item.as_str()?.to_owned()));
            texts.collect()
        };
        self.typed(key, "must be a list of texts: put each in quotes", all)
    }

    /// Texts by their names.
    fn named_texts(&mut self, key: &str) -> BTreeMap<String, String> {
        let all = |value: &Value| {
            let texts = value.as_object()?.iter();
            texts.map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect()
        };
        let must = "must be an object of texts: put each in quotes";
        self.typed(key, must, all).unwrap_or_default()
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
    // What was, in a manifest that was read from somewhere: nothing of it is wanted.
    drop(top.part("status"));
    let mut metadata = metadata(top.part("metadata"), true);
    let (ours, spec) = match kind.as_str() {
        "Pod" => ("Pod", pod(top.part("spec"), None)),
        "Deployment" => ("Pod", deployment(top.part("spec"), &mut metadata.labels)),
        "ConfigMap" => ("Config", json!({ "data": top.named_texts("data") })),
        _ => ("Secret", secret(&mut top)),
    };
    top.finish();
    if bad.is_empty() {
        let metadata = json!({ "name": metadata.name, "labels": metadata.labels });
        Ok(json!({ "kind": ours, "metadata": metadata, "spec": spec }))
    } else {
        Err(bad)
    }
}

struct Metadata {
    name: Option<String>,
    labels: BTreeMap<String, String>,
}

fn metadata(mut part: Part<'_>, named: bool) -> Metadata {
    let name = if named {
        if !part.has("name") {
            part.refuse("name", "must be given");
        }
        part.text("name")
    } else {
        // There it names nothing: pods of a deployment get names of their own.
        part.only("name", &[], "not supported: the pod has the name of the deployment");
        None
    };
    part.only("namespace", &[json!("default")], "there is one namespace, `default`");
    part.only("creationTimestamp", &[], "not supported");
    let labels = part.named_texts("labels");
    part.finish();
    Metadata { name, labels }
}

fn secret(top: &mut Part<'_>) -> Value {
    top.only("type", &[json!("Opaque")], "only `Opaque` is supported");
    if top.take("data").is_some() {
        top.refuse("data", "not supported: write the values under `stringData`");
    }
    json!({ "data": top.named_texts("stringData") })
}

/// The one pod of a deployment. Its labels are added to those of the deployment.
fn deployment(mut spec: Part<'_>, labels: &mut BTreeMap<String, String>) -> Value {
    spec.only("replicas", &[json!(1)], "only 1 is supported: this is one node");
    let mut strategy = spec.part("strategy");
    if strategy.has("type") {
        strategy.only("type", &[json!("Recreate")], "only `Recreate` is supported");
    } else {
        let why =
            "must be given as `Recreate`: left out it is `RollingUpdate`, which is not supported";
        strategy.refuse("type", why);
    }
    strategy.finish();
    let mut update = Map::new();
    for (theirs, ours) in [
        ("minReadySeconds", "min_ready_s"),
        ("progressDeadlineSeconds", "deadline_s"),
        ("revisionHistoryLimit", "history"),
    ] {
        if let Some(value) = spec.number(theirs) {
            update.insert(ours.to_owned(), json!(value));
        }
    }
    if let Some(paused) = spec.flag("paused") {
        update.insert("paused".to_owned(), json!(paused));
    }
    let mut template = spec.part("template");
    let of_pods = metadata(template.part("metadata"), false).labels;
    let mut inner = template.part("spec");
    // There a deployment's pods are always started again.
    inner.only(
        "restartPolicy",
        &[json!("Always")],
        "must be Always, or be left out, in a deployment",
    );
    let made = pod(inner, Some(update));
    template.finish();
    let mut selector = spec.part("selector");
    let wanted = selector.named_texts("matchLabels");
    if wanted.iter().any(|(key, value)| of_pods.get(key) != Some(value)) {
        selector.refuse("matchLabels", "must be labels of the template, as they stand there");
    }
    selector.finish();
    for (key, value) in of_pods {
        let before = labels.insert(key.clone(), value.clone());
        if before.is_some_and(|before| before != value) {
            let why = format!("`{key}` has another value in the deployment's own labels");
            spec.refuse("template.metadata.labels", &why);
        }
    }
    spec.finish();
    made
}

fn pod(mut spec: Part<'_>, update: Option<Map<String, Value>>) -> Value {
    let restart = match spec.text("restartPolicy").as_deref() {
        None | Some("Always") => "always",
        Some("OnFailure") => "on_failure",
        Some("Never") => "never",
        Some(_) => {
            spec.refuse("restartPolicy", "must be Always, OnFailure or Never");
            "always"
        }
    };
    let host_network = spec.flag("hostNetwork").unwrap_or(false);
    // There the node's are meant if nothing is said; here that is left to the node, which gives a pod its own.
    let users = spec.flag("hostUsers").map(|hosts| if hosts { "host" } else { "pod" });
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
    let user = RunAs::take(&mut security);
    security.finish();
    let mut publish = Vec::new();
    let init = spec.each("initContainers", |part| container(part, user, &mut Vec::new()));
    let containers = spec.each("containers", |part| container(part, user, &mut publish));
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
    if let Some(seconds) = spec.number("terminationGracePeriodSeconds") {
        made.insert("stop_timeout_s".to_owned(), json!(seconds));
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

/// Who a security context says that programs run as.
#[derive(Debug, Clone, Copy)]
struct RunAs {
    user: Option<u32>,
    group: Option<u32>,
}

impl RunAs {
    fn take(security: &mut Part<'_>) -> Self {
        Self { user: security.number("runAsUser"), group: security.number("runAsGroup") }
    }

    /// `user` or `user:group` of a container, whose own context goes before its pod's; none if nobody is named.
    fn of_container(security: &mut Part<'_>, pods: Self) -> Option<String> {
        let own = Self::take(security);
        match (own.user.or(pods.user), own.group.or(pods.group)) {
            (Some(user), Some(group)) => Some(format!("{user}:{group}")),
            (Some(user), None) => Some(user.to_string()),
            (None, Some(_)) => {
                security.refuse("runAsGroup", "needs `runAsUser`, here or for the whole pod");
                None
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;

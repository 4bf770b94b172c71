//! Many documents as one: all of them are checked first, each as if those before it were there already, and then all
//! are written in one durable transaction, or none.
//!
//! The checks run against a copy of the state, so that a pod may name a volume or a network of the same set, and two
//! pods do not get one address.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skerry_ipc::{Answer, Json, Refusal, RefusalClass};
use skerry_model::{Kind, Violation};
use skerry_store::Transaction;

use super::caller::Caller;
use super::draft::{Draft, read_json};
use super::read::find;
use super::refuse::{internal, invalid, store, wrong_field};
use super::write::{permission, plan_change, plan_create};
use crate::node::Node;

/// Most documents at once.
const MOST: usize = 500;

/// A document of the set.
struct Part {
    /// Its place in the request.
    index: usize,
    kind: Kind,
    name: String,
    text: Json,
    /// Names of pods that it depends on.
    after: Vec<String>,
}

/// Makes and replaces what the documents describe.
pub async fn apply(
    node: &Node,
    caller: &Caller,
    documents: &[Json],
    dry_run: bool,
) -> Result<Answer, Refusal> {
    if documents.is_empty() || documents.len() > MOST {
        return Err(wrong_field("documents", format!("must be 1 to {MOST} documents")));
    }
    let parts = in_order(read(documents)?);
    let _turn = node.admission.lock().await;
    let trial = node.rehearsal();
    let (mut all, mut done, mut refused) = (Transaction::new(), BTreeMap::new(), Vec::new());
    for part in &parts {
        match try_one(&trial, caller, part).await {
            Ok((tx, word)) => {
                all.append(tx);
                done.insert(part.index, (part, word));
            }
            Err(refusal) => refused.push((part, refusal)),
        }
    }
    if !refused.is_empty() {
        return Err(summed_up(refused));
    }
    if !dry_run {
        node.store.commit(all).await.map_err(store)?;
        for (part, word) in done.values().filter(|(_, word)| *word != "unchanged") {
            tracing::info!(by = caller.name(), kind = %part.kind, name = part.name, word, "applied");
        }
    }
    let items = done.values().map(|(part, word)| {
        let id = find(&trial, part.kind, &part.name).map(|document| document.metadata.id).ok();
        let id = id.filter(|_| !dry_run || *word != "created");
        json!({ "kind": part.kind, "name": part.name, "id": id, "result": word })
    });
    let items: Vec<Value> = items.collect();
    super::json(&json!({ "dry_run": dry_run, "items": items })).map(Answer::Document)
}

/// What one document takes, tried on the copy.
async fn try_one(
    trial: &Node,
    caller: &Caller,
    part: &Part,
) -> Result<(Transaction, &'static str), Refusal> {
    let tx = match find(trial, part.kind, &part.name) {
        Err(_) => {
            let (tx, _) = plan_create(trial, caller, part.kind, &part.text).await?;
            commit(trial, &tx).await?;
            return Ok((tx, "created"));
        }
        Ok(present) => {
            caller.permit(permission(part.kind)?)?;
            let draft = Draft::read(part.kind, &part.text)?;
            let labels = Some(draft.metadata.labels);
            let same = keeps_its_form(part.kind) && holds(&present.spec, &draft.spec);
            let spec = if same { present.spec.clone() } else { draft.spec };
            if same && labels.as_ref() == Some(&present.metadata.labels) {
                return Ok((Transaction::new(), "unchanged"));
            }
            plan_change(trial, caller, &present, spec, labels, None).await?
        }
    };
    let changed = commit(trial, &tx).await?;
    Ok((tx, if changed { "changed" } else { "unchanged" }))
}

/// Kinds whose records get parts from the node, or cannot be changed: a document that says nothing else is no change.
const fn keeps_its_form(kind: Kind) -> bool {
    matches!(kind, Kind::Network | Kind::Image | Kind::Snapshot)
}

/// Whether everything that is given is there already.
fn holds(present: &Value, given: &Value) -> bool {
    match (present, given) {
        (Value::Object(present), Value::Object(given)) => given
            .iter()
            .all(|(key, value)| present.get(key).is_some_and(|found| holds(found, value))),
        (Value::Array(present), Value::Array(given)) => {
            present.len() == given.len() && present.iter().zip(given).all(|(p, g)| holds(p, g))
        }
        _ => present == given,
    }
}

/// Commits to the copy; whether anything was changed by that.
async fn commit(trial: &Node, tx: &Transaction) -> Result<bool, Refusal> {
    let copy = tx.duplicate().ok_or_else(|| internal("a document that cannot be written"))?;
    let committed = trial.store.commit(copy).await.map_err(store)?;
    Ok(!committed.changes.is_empty())
}

fn read(documents: &[Json]) -> Result<Vec<Part>, Refusal> {
    let mut parts: Vec<Part> = Vec::new();
    let mut faults = Vec::new();
    for (index, text) in documents.iter().enumerate() {
        let value = read_json(text)?;
        let word = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (word("/kind"), word("/metadata/name"));
        let mut fault = |field: &str, message: String| {
            faults.push(Violation { field: format!("documents[{index}].{field}"), message });
        };
        let Ok(kind) = kind.parse::<Kind>() else {
            fault("kind", format!("must be the name of a kind, not `{kind}`"));
            continue;
        };
        if parts.iter().any(|other| other.kind == kind && other.name == name) {
            fault("metadata.name", format!("the {kind} `{name}` is given twice"));
        }
        let on = value.pointer("/spec/depends_on").and_then(Value::as_array);
        let on = on.into_iter().flatten().filter_map(|one| one.get("pod")?.as_str());
        let after = on.map(str::to_owned).collect();
        parts.push(Part { index, kind, name: name.to_owned(), text: text.clone(), after });
    }
    if faults.is_empty() {
        return Ok(parts);
    }
    Err(invalid("nothing was applied: a document is wrong".to_owned(), faults))
}

/// What may be named comes before those that name it: kinds in the order of an import, pods after those they depend on.
fn in_order(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by_key(|part| Kind::ALL.iter().position(|kind| *kind == part.kind));
    let mut ordered: Vec<Part> = Vec::new();
    while !parts.is_empty() {
        let waits = |part: &Part| {
            let others = parts.iter().filter(|other| other.kind == part.kind);
            others
                .clone()
                .any(|other| other.index != part.index && part.after.contains(&other.name))
        };
        // In a circle any is as good as another: it will be refused.
        let next = parts.iter().position(|part| !waits(part)).unwrap_or(0);
        ordered.push(parts.remove(next));
    }
    ordered
}

/// One refusal that names everything that is wrong.
fn summed_up(mut refused: Vec<(&Part, Refusal)>) -> Refusal {
    refused.sort_by_key(|(part, _)| part.index);
    let mut violations = Vec::new();
    let mut lines = Vec::new();
    let mut class = RefusalClass::Invalid;
    for (part, refusal) in refused {
        let Part { index, kind, name, .. } = part;
        lines.push(format!("{} {name}: {refusal}", kind.name().to_lowercase()));
        for violation in &refusal.violations {
            let field = format!("documents[{index}].{}", violation.field);
            violations.push(Violation { field, message: violation.message.clone() });
        }
        // One that may not be asked for at all counts most.
        if lines.len() == 1 || refusal.class == RefusalClass::Forbidden {
            class = refusal.class;
        }
    }
    let detail = format!("nothing was applied: {}", lines.join("; "));
    Refusal { class, detail, violations }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_comes_first() {
        let document = |kind: &str, name: &str, on: &[&str]| {
            let on: Vec<Value> = on.iter().map(|pod| json!({ "pod": pod })).collect();
            let spec = json!({ "depends_on": on });
            Json(json!({"kind": kind, "metadata": {"name": name}, "spec": spec}).to_string())
        };
        let order = |documents: &[Json]| {
            let parts = in_order(read(documents).unwrap());
            parts.into_iter().map(|part| part.name).collect::<Vec<_>>().join(" ")
        };
        let set = [
            document("Pod", "web", &["api"]),
            document("Pod", "api", &["db"]),
            document("Pod", "db", &[]),
            document("Volume", "data", &[]),
        ];
        assert_eq!(order(&set), "data db api web");
        let circle = [document("Pod", "a", &["b"]), document("Pod", "b", &["a"])];
        assert_eq!(order(&circle), "a b");
        let twice = [document("Pod", "a", &[]), document("Pod", "a", &[]), document("X", "a", &[])];
        let fields: Vec<String> =
            read(&twice).err().unwrap().violations.into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["documents[1].metadata.name", "documents[2].kind"]);
    }

    #[test]
    fn a_document_that_says_less_is_no_change() {
        let present = json!({"a": 1, "b": {"c": [1, {"d": 2}], "e": null}});
        for (given, same) in [
            (json!({}), true),
            (json!({"b": {"c": [1, {}]}}), true),
            (json!({"b": {"c": [1]}}), false),
            (json!({"a": 2}), false),
            (json!({"f": null}), false),
        ] {
            assert_eq!(holds(&present, &given), same, "{given}");
        }
    }
}

//! Reading resources: one, many, and why one is as it is.

use std::sync::Arc;

use serde_json::{Value, json};
use skerry_ipc::{Answer, Json, ListQuery, Refusal};
use skerry_model::{Document, Id, Kind, LocalRef, Name, Pod, PodStats};
use skerry_trust::Permission;

use super::caller::Caller;
use super::json as text;
use super::refuse::{internal, not_found, wrong_field};
use crate::clock::now;
use crate::node::Node;

const MOST_ITEMS: u32 = 1000;
const USUAL_ITEMS: u32 = 100;

/// What reading a kind takes.
pub const fn permission(kind: Kind) -> Permission {
    match kind {
        Kind::User | Kind::Session => Permission::ReadAccounts,
        Kind::Node
        | Kind::Network
        | Kind::Port
        | Kind::Registry
        | Kind::Image
        | Kind::Pool
        | Kind::Volume
        | Kind::Snapshot
        | Kind::Config
        | Kind::Secret
        | Kind::Vm
        | Kind::Pod
        | Kind::Job
        | Kind::Alarm => Permission::Read,
    }
}

/// A document without what no face may show: hashes of passwords and tokens, values of secrets.
pub fn shown(document: &Document) -> Result<Json, Refusal> {
    let secret = match document.kind {
        Kind::User => "password_hash",
        Kind::Session => "secret_hash",
        Kind::Secret => return text(&without_values(document)),
        Kind::Registry => "password",
        Kind::Vm => return text(&without_init_secrets(document)),
        _ => return text(document),
    };
    let mut copy = document.clone();
    if let Value::Object(spec) = &mut copy.spec {
        spec.remove(secret);
    }
    text(&copy)
}

/// A virtual machine without what goes in for cloud-init and never comes out.
fn without_init_secrets(document: &Document) -> Document {
    let mut copy = document.clone();
    hide_init(&mut copy.spec);
    copy
}

/// Takes out of the spec of a virtual machine what is not shown.
pub fn hide_init(spec: &mut Value) {
    if let Some(Value::Object(init)) = spec.get_mut("init") {
        init.remove("user_data");
        init.remove("password");
    }
}

/// A secret with its keys in place of what it holds.
fn without_values(document: &Document) -> Document {
    let data = document.spec.get("data").and_then(Value::as_object);
    let keys: Vec<&String> = data.map(|data| data.keys().collect()).unwrap_or_default();
    Document { spec: json!({ "keys": keys }), ..document.clone() }
}

/// A resource by id or name.
pub fn find(node: &Node, kind: Kind, key: &str) -> Result<Arc<Document>, Refusal> {
    if let Ok(id) = key.parse::<Id<()>>()
        && let Some(document) = node.store.document(LocalRef { kind, id: id.uuid() })
    {
        return Ok(document);
    }
    let name = Name::new(key).map_err(|_| not_found(kind, key))?;
    let found = node.store.documents(kind).into_iter().find(|d| d.metadata.name == name);
    found.ok_or_else(|| not_found(kind, key))
}

/// One resource.
pub fn get(node: &Node, caller: &Caller, kind: Kind, key: &str) -> Result<Answer, Refusal> {
    caller.permit(permission(kind))?;
    // The node is one; it answers to any key that is not another resource's.
    let document = match kind {
        Kind::Node => node.store.documents(kind).into_iter().next(),
        _ => Some(find(node, kind, key)?),
    };
    let document = document.ok_or_else(|| not_found(kind, key))?;
    shown(&document).map(Answer::Document)
}

/// Resources of a kind, in pages ordered by name.
pub fn list(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    query: &ListQuery,
) -> Result<Answer, Refusal> {
    caller.permit(permission(kind))?;
    let limit = query.limit.unwrap_or(USUAL_ITEMS);
    if !(1..=MOST_ITEMS).contains(&limit) {
        return Err(wrong_field("limit", format!("must be 1 to {MOST_ITEMS}")));
    }
    let revision = node.store.revision();
    let wanted = |document: &Arc<Document>| {
        let meta = &document.metadata;
        let name = meta.name.as_str();
        query.name_contains.as_ref().is_none_or(|part| name.contains(part.as_str()))
            && query.labels.iter().all(|(key, value)| meta.labels.get(key) == Some(value))
            && query.after.as_ref().is_none_or(|after| name > after.as_str())
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found: Vec<_> = node.store.documents(kind).into_iter().filter(wanted).collect();
    let page = found.get(..limit.min(found.len())).unwrap_or_default();
    let more = found.len() > page.len();
    let next = page.last().filter(|_| more).map(|last| last.metadata.name.to_string());
    let items = page.iter().map(|d| shown(d)).collect::<Result<_, _>>()?;
    Ok(Answer::List { items, revision, next })
}

/// A resource with the last passes of the controllers over it.
pub fn explain(node: &Node, caller: &Caller, kind: Kind, key: &str) -> Result<Answer, Refusal> {
    caller.permit(permission(kind))?;
    let document = find(node, kind, key)?;
    let subject = LocalRef { kind, id: document.metadata.id };
    let passes = node.engine.explain(subject);
    let shown: Value = serde_json::from_str(&shown(&document)?.0).unwrap_or_default();
    text(&json!({ "resource": shown, "passes": passes })).map(Answer::Document)
}

/// What a pod's running containers take of the machine.
pub async fn pod_stats(node: &Node, caller: &Caller, key: &str) -> Result<Answer, Refusal> {
    caller.permit(permission(Kind::Pod))?;
    let pod: Id<Pod> = Id::new(find(node, Kind::Pod, key)?.metadata.id);
    let at = now();
    let containers = node.machine.containers.stats(pod).await.map_err(internal)?;
    text(&PodStats { at, containers }).map(Answer::Document)
}

/// Import media. Whoever may bring images in may have the sticks of the machine mounted and read.
pub async fn media(node: &Node, caller: &Caller) -> Result<Answer, Refusal> {
    caller.permit(Permission::ChangeWorkloads)?;
    text(&node.machine.images.media().await.map_err(internal)?).map(Answer::Document)
}

/// Images that nothing uses: removed, or only told of.
pub async fn prune(node: &Node, caller: &Caller, dry_run: bool) -> Result<Answer, Refusal> {
    caller.permit(Permission::ChangeWorkloads)?;
    let report = crate::images::prune_all(node, dry_run, &caller.name()).await.map_err(internal)?;
    text(&report).map(Answer::Document)
}

/// The machine's parts.
pub async fn inventory(node: &Node, caller: &Caller) -> Result<Answer, Refusal> {
    caller.permit(Permission::Read)?;
    let mut inventory = node.machine.host.inventory().await;
    inventory.pci = super::pci::parts(node)?;
    text(&inventory).map(Answer::Document)
}

//! Making, changing and deleting resources: checks first, then one durable transaction.

use serde_json::Value;
use skerry_ipc::{Answer, Json, Refusal, RefusalClass};
use skerry_model::{
    Config as ConfigKind, Document, Id, Invalid, Kind, Network, NetworkSpec, NewResource,
    Node as NodeKind, Owner, Pod, Port, Registry, Resource, ResourceKind, Secret, User, Validate,
};
use skerry_store::Transaction;
use skerry_trust::Permission;
use uuid::Uuid;

use super::accounts::{self, AccountDraft};
use super::caller::Caller;
use super::draft::{Draft, DraftMeta, merge, read_json, typed};
use super::images;
use super::read::{find, hide_init, shown};
use super::refuse::{found, store};
use super::{pools, registries, rename, snapshots, storage, unmanaged, workloads};
use crate::node::Node;

/// What changing a kind takes, or why nobody may.
pub fn permission(kind: Kind) -> Result<Permission, Refusal> {
    match kind {
        Kind::Vm
        | Kind::Pod
        | Kind::Network
        | Kind::Image
        | Kind::Volume
        | Kind::Snapshot
        | Kind::Config
        | Kind::Secret => Ok(Permission::ChangeWorkloads),
        Kind::Node | Kind::Pool | Kind::Registry => Ok(Permission::ChangeNode),
        Kind::User | Kind::Session => Ok(Permission::ChangeAccounts),
        Kind::Port | Kind::Job | Kind::Alarm => Err(Refusal::new(
            RefusalClass::Forbidden,
            format!("a {kind} is made and changed by the node itself"),
        )),
    }
}

/// What making a resource takes; nothing is changed yet. To be called while changes are held back.
pub async fn plan_create(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    document: &Json,
) -> Result<(Transaction, Uuid), Refusal> {
    caller.permit(permission(kind)?)?;
    let draft = Draft::read(kind, document)?;
    Ok(match kind {
        Kind::Vm => workloads::create_vm(node, caller, draft).await?,
        Kind::Pod => workloads::create_pod(node, caller, draft).await?,
        Kind::Network => create_network(node, draft)?,
        Kind::Image => images::create(node, caller, draft).await?,
        Kind::Registry => registries::create(node, draft)?,
        Kind::User => create_user(node, draft).await?,
        Kind::Volume => storage::create_volume(node, draft)?,
        Kind::Snapshot => snapshots::create(node, draft)?,
        Kind::Pool => pools::create_pool(node, draft).await?,
        Kind::Config => create_plain::<ConfigKind>(draft)?,
        Kind::Secret => create_plain::<Secret>(draft)?,
        _ => {
            return Err(Refusal::new(
                RefusalClass::Forbidden,
                format!("a {kind} cannot be made by request"),
            ));
        }
    })
}

/// Makes a resource.
pub async fn create(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    document: &Json,
    dry_run: bool,
) -> Result<Answer, Refusal> {
    let _turn = node.admission.lock().await;
    let (tx, id) = plan_create(node, caller, kind, document).await?;
    if dry_run {
        // The checks above are all there is to a plan; the store would only refuse a name in use.
        return dry_answer(node, kind, document);
    }
    node.store.commit(tx).await.map_err(store)?;
    let made = find(node, kind, &id.to_string())?;
    tracing::info!(by = caller.name(), %kind, name = %made.metadata.name, %id, "created");
    answer(&made)
}

/// Replaces spec and labels.
pub async fn replace(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    key: &str,
    document: &Json,
    if_revision: Option<u64>,
) -> Result<Answer, Refusal> {
    caller.permit(permission(kind)?)?;
    let draft = Draft::read(kind, document)?;
    let present = find(node, kind, key)?;
    change(node, caller, &present, draft, if_revision).await
}

/// Changes parts of the spec by a merge patch on `{"spec": …, "metadata": {"name": …, "labels": …}}`.
pub async fn patch(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    key: &str,
    patch: &Json,
    if_revision: Option<u64>,
) -> Result<Answer, Refusal> {
    caller.permit(permission(kind)?)?;
    let present = find(node, kind, key)?;
    let raw: Draft = {
        let mut merged = serde_json::json!({
            "metadata": { "name": present.metadata.name, "labels": present.metadata.labels },
            "spec": shown_spec(&present),
        });
        merge(&mut merged, read_json(patch)?);
        Draft::from_value(merged)?
    };
    change(node, caller, &present, raw, if_revision).await
}

/// The spec as a caller sees it, so that a patch starts from there.
fn shown_spec(document: &Document) -> Value {
    let mut spec = document.spec.clone();
    if document.kind == Kind::Vm {
        hide_init(&mut spec);
    }
    if let Value::Object(fields) = &mut spec {
        match document.kind {
            Kind::User => drop(fields.remove("password_hash")),
            Kind::Registry => drop(fields.remove("password")),
            _ => {}
        }
    }
    spec
}

async fn change(
    node: &Node,
    caller: &Caller,
    present: &Document,
    wanted: Draft,
    if_revision: Option<u64>,
) -> Result<Answer, Refusal> {
    let kind = present.kind;
    check_revision(present, if_revision)?;
    let Draft { metadata: DraftMeta { name, labels, .. }, mut spec, .. } = wanted;
    rename::allow(present, &name, &mut spec)?;
    let _turn = node.admission.lock().await;
    let mut tx = plan_change(node, caller, present, spec, Some(labels), if_revision).await?;
    rename::rename(node, &mut tx, present, &name)?;
    node.store.commit(tx).await.map_err(store)?;
    let key = present.metadata.id.to_string();
    tracing::info!(by = caller.name(), %kind, name = %name, before = %present.metadata.name, "changed");
    answer(&*find(node, kind, &key)?)
}

/// What changing a resource takes; nothing is changed yet. To be called while changes are held back.
pub async fn plan_change(
    node: &Node,
    caller: &Caller,
    present: &Document,
    spec: Value,
    labels: Option<std::collections::BTreeMap<String, String>>,
    if_revision: Option<u64>,
) -> Result<Transaction, Refusal> {
    let kind = present.kind;
    let mut tx = Transaction::new();
    match kind {
        Kind::Vm => {
            workloads::change_vm(node, caller, &mut tx, present, spec, if_revision).await?;
        }
        Kind::Pod => {
            workloads::change_pod(node, caller, &mut tx, present, spec, if_revision).await?;
        }
        Kind::Volume => storage::change_volume(node, &mut tx, present, spec, if_revision)?,
        Kind::Snapshot => snapshots::change(&mut tx, present, spec, if_revision)?,
        Kind::Pool => pools::change_pool(&mut tx, present, spec, if_revision)?,
        Kind::Image => images::change(node, &mut tx, present, spec, if_revision)?,
        Kind::Node => put::<NodeKind>(&mut tx, present, typed(spec, "spec")?, if_revision)?,
        Kind::Config => put::<ConfigKind>(&mut tx, present, typed(spec, "spec")?, if_revision)?,
        Kind::Secret => put::<Secret>(&mut tx, present, typed(spec, "spec")?, if_revision)?,
        Kind::Registry => registries::change(node, &mut tx, present, spec, if_revision)?,
        Kind::User => {
            let draft: AccountDraft = typed(spec, "spec")?;
            let resource: Resource<User> = resource(present)?;
            let changed_password = draft.has_password();
            let name = &present.metadata.name;
            let spec = accounts::account_spec(node, name, draft, Some(&resource.spec)).await?;
            if changed_password {
                accounts::end_sessions(node, resource.id(), &mut tx)?;
            }
            accounts::keep_an_admin(node, resource.id(), Some(spec.role))?;
            tx.put_spec(resource.id(), if_revision, spec);
        }
        Kind::Network => {
            return Err(Refusal::new(
                RefusalClass::Conflict,
                "a network's mode and subnet cannot be changed; make another network",
            ));
        }
        _ => return Err(Refusal::new(RefusalClass::Forbidden, "this cannot be changed")),
    }
    if let Some(labels) = labels.filter(|labels| *labels != present.metadata.labels) {
        put_labels(&mut tx, present, labels);
    }
    Ok(tx)
}

/// Takes a resource down.
pub async fn delete(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    key: &str,
    if_revision: Option<u64>,
    with_volumes: bool,
) -> Result<Answer, Refusal> {
    caller.permit(match kind {
        Kind::Job => Permission::ChangeWorkloads,
        kind => permission(kind)?,
    })?;
    let present = match find(node, kind, key) {
        Err(unknown) if kind == Kind::Vm => {
            return unmanaged::delete(node, caller, key).await?.ok_or(unknown);
        }
        found => found?,
    };
    check_revision(&present, if_revision)?;
    let _turn = node.admission.lock().await;
    let mut tx = Transaction::new();
    match kind {
        Kind::Vm => {
            unmanaged::check_protection(&present)?;
            storage::remove_volumes_of(node, &mut tx, &present, with_volumes)?;
            tx.begin_removal(Id::<skerry_model::Vm>::new(present.metadata.id), if_revision);
        }
        Kind::Pod => {
            super::pod_order::check_dependents(node, &present.metadata.name)?;
            if with_volumes {
                super::pod_volumes::remove_folders_of(node, &mut tx, &present)?;
            }
            tx.begin_removal(Id::<skerry_model::Pod>::new(present.metadata.id), if_revision);
        }
        Kind::Volume => storage::delete_volume(node, &mut tx, &present, if_revision)?,
        Kind::Snapshot => snapshots::delete(node, &mut tx, &present, if_revision)?,
        Kind::Pool => pools::delete_pool(node, &mut tx, &present, if_revision)?,
        Kind::Config | Kind::Secret => delete_values(node, &mut tx, &present)?,
        Kind::Network => delete_network(node, &mut tx, &present, if_revision)?,
        Kind::Image => images::delete(node, &mut tx, &present, if_revision)?,
        Kind::User => {
            let id = Id::<User>::new(present.metadata.id);
            accounts::keep_an_admin(node, id, None)?;
            accounts::end_sessions(node, id, &mut tx)?;
            tx.remove(id);
        }
        Kind::Job => super::jobs::delete(&mut tx, &present)?,
        Kind::Registry => {
            tx.remove(Id::<Registry>::new(present.metadata.id));
        }
        Kind::Session => {
            tx.remove(Id::<skerry_model::Session>::new(present.metadata.id));
        }
        _ => {
            return Err(Refusal::new(
                RefusalClass::Forbidden,
                format!("a {kind} cannot be deleted"),
            ));
        }
    }
    node.store.commit(tx).await.map_err(store)?;
    tracing::info!(by = caller.name(), %kind, name = %present.metadata.name, "deletion accepted");
    // Gone already if nothing had to be taken down: then the last known form is the answer.
    let key = present.metadata.id.to_string();
    match find(node, kind, &key) {
        Ok(removing) => answer(&removing),
        Err(_) => answer(&present),
    }
}

fn create_network(node: &Node, draft: Draft) -> Result<(Transaction, Uuid), Refusal> {
    let spec: NetworkSpec = typed(draft.spec, "spec")?;
    let mut faults = Invalid::default();
    spec.validate(&mut faults);
    for other in node.store.list::<Network>().map_err(store)? {
        if other.spec.subnet.overlaps(spec.subnet) {
            let message = format!("overlaps the subnet of network `{}`", other.meta.name);
            faults.add("spec.subnet", message);
        }
    }
    faults.into_result().map_err(found)?;
    let id = workloads::draw_id::<Network>(node);
    let mut new = NewResource::new(id, draft.metadata.name, spec);
    new.labels = draft.metadata.labels;
    new.finalizers = vec![skerry_network::FINALIZER.to_owned()];
    let mut tx = Transaction::new();
    tx.create(new);
    Ok((tx, id.uuid()))
}

/// A resource that nothing is done for but to keep it.
fn create_plain<K: ResourceKind>(draft: Draft) -> Result<(Transaction, Uuid), Refusal>
where
    K::Spec: Validate,
{
    let spec: K::Spec = typed(draft.spec, "spec")?;
    let mut faults = Invalid::default();
    spec.validate(&mut faults);
    faults.into_result().map_err(found)?;
    let id = Id::<K>::new(Uuid::new_v4());
    let mut new = NewResource::new(id, draft.metadata.name, spec);
    new.labels = draft.metadata.labels;
    let mut tx = Transaction::new();
    tx.create(new);
    Ok((tx, id.uuid()))
}

/// A config or secret goes once no pod names it.
fn delete_values(node: &Node, tx: &mut Transaction, present: &Document) -> Result<(), Refusal> {
    let (kind, name) = (present.kind, &present.metadata.name);
    let pods = node.store.list::<Pod>().map_err(store)?;
    let uses = |pod: &&Resource<Pod>| skerry_containers::uses(pod, kind, name);
    let users: Vec<String> =
        pods.iter().filter(uses).map(|pod| pod.meta.name.to_string()).collect();
    if !users.is_empty() {
        let detail = format!("`{name}` is used by {}; change these first", users.join(", "));
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    match kind {
        Kind::Config => tx.remove(Id::<ConfigKind>::new(present.metadata.id)),
        _ => tx.remove(Id::<Secret>::new(present.metadata.id)),
    };
    Ok(())
}

fn delete_network(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let id = Id::<Network>::new(present.metadata.id);
    if present.metadata.owner == Owner::System {
        return Err(Refusal::new(
            RefusalClass::Forbidden,
            "this network belongs to the node and stays",
        ));
    }
    let ports = node.store.list::<Port>().map_err(store)?;
    let users: Vec<_> = ports
        .iter()
        .filter(|port| port.spec.network == id)
        .map(|port| port.spec.hostname.clone())
        .collect();
    if !users.is_empty() {
        let detail = format!("the network is used by {}; delete these first", users.join(", "));
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    tx.begin_removal(id, if_revision);
    Ok(())
}

async fn create_user(node: &Node, draft: Draft) -> Result<(Transaction, Uuid), Refusal> {
    let account: AccountDraft = typed(draft.spec, "spec")?;
    let spec = accounts::account_spec(node, &draft.metadata.name, account, None).await?;
    let id = Id::<User>::new(Uuid::new_v4());
    let mut new = NewResource::new(id, draft.metadata.name, spec);
    new.labels = draft.metadata.labels;
    let mut tx = Transaction::new();
    tx.create(new);
    Ok((tx, id.uuid()))
}

fn put<K: ResourceKind>(
    tx: &mut Transaction,
    present: &Document,
    spec: K::Spec,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let mut faults = Invalid::default();
    spec.validate(&mut faults);
    faults.into_result().map_err(found)?;
    tx.put_spec(Id::<K>::new(present.metadata.id), if_revision, spec);
    Ok(())
}

fn put_labels(
    tx: &mut Transaction,
    present: &Document,
    labels: std::collections::BTreeMap<String, String>,
) {
    let id = present.metadata.id;
    match present.kind {
        Kind::Vm => tx.put_labels(Id::<skerry_model::Vm>::new(id), labels),
        Kind::Pod => tx.put_labels(Id::<skerry_model::Pod>::new(id), labels),
        Kind::Volume => tx.put_labels(Id::<skerry_model::Volume>::new(id), labels),
        Kind::Snapshot => tx.put_labels(Id::<skerry_model::Snapshot>::new(id), labels),
        Kind::Pool => tx.put_labels(Id::<skerry_model::Pool>::new(id), labels),
        Kind::User => tx.put_labels(Id::<User>::new(id), labels),
        Kind::Image => tx.put_labels(Id::<skerry_model::Image>::new(id), labels),
        Kind::Config => tx.put_labels(Id::<ConfigKind>::new(id), labels),
        Kind::Secret => tx.put_labels(Id::<Secret>::new(id), labels),
        Kind::Registry => tx.put_labels(Id::<Registry>::new(id), labels),
        _ => tx.put_labels(Id::<NodeKind>::new(id), labels),
    };
}

/// What would be made: the document as it came, which passed every check.
fn dry_answer(node: &Node, kind: Kind, document: &Json) -> Result<Answer, Refusal> {
    let draft = Draft::read(kind, document)?;
    let name = draft.metadata.name;
    if node.store.documents(kind).iter().any(|d| d.metadata.name == name) {
        let detail = format!("a {kind} named `{name}` exists already");
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    let mut value = read_json(document)?;
    if let Some(spec) = value.get_mut("spec").filter(|_| kind == Kind::Vm) {
        hide_init(spec);
    }
    if let Some(Value::Object(spec)) = value.get_mut("spec") {
        match kind {
            Kind::User | Kind::Registry => drop(spec.remove("password")),
            Kind::Secret => drop(spec.remove("data")),
            _ => {}
        }
    }
    super::json(&value).map(Answer::Document)
}

/// The typed form of a stored document.
pub fn resource<K: ResourceKind>(document: &Document) -> Result<Resource<K>, Refusal> {
    document.to_resource().map_err(super::refuse::internal)
}

fn check_revision(present: &Document, if_revision: Option<u64>) -> Result<(), Refusal> {
    match if_revision {
        Some(seen) if seen != present.metadata.revision => Err(Refusal::new(
            RefusalClass::Stale,
            format!(
                "`{}` changed since it was read (revision {seen}, now {}); read it again",
                present.metadata.name, present.metadata.revision
            ),
        )),
        _ => Ok(()),
    }
}

fn answer(document: &Document) -> Result<Answer, Refusal> {
    shown(document).map(Answer::Document)
}

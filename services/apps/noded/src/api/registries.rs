//! Registries: how to reach them. A password goes in and never comes out.

use serde_json::Value;
use skerry_ipc::Refusal;
use skerry_model::{
    Document, Id, Invalid, NewResource, Registry, RegistryHost, RegistrySpec, Resource, Validate,
};
use skerry_store::Transaction;
use skerry_trust::ImageKey;
use uuid::Uuid;

use super::draft::{Draft, typed};
use super::refuse::{found, store};
use super::workloads;
use super::write::resource;
use crate::node::Node;

/// Makes a registry.
pub fn create(node: &Node, draft: Draft) -> Result<(Transaction, Uuid), Refusal> {
    let spec: RegistrySpec = typed(draft.spec, "spec")?;
    check(node, &spec, None)?;
    let id = workloads::draw_id::<Registry>(node);
    let mut new = NewResource::new(id, draft.metadata.name, spec);
    new.labels = draft.metadata.labels;
    let mut tx = Transaction::new();
    tx.create(new);
    Ok((tx, id.uuid()))
}

/// Changes a registry. A password that is not named stays, as long as there is a user name for it.
pub fn change(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    spec: Value,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let before: Resource<Registry> = resource(present)?;
    let mut spec: RegistrySpec = typed(spec, "spec")?;
    if spec.password.is_none() && spec.username.is_some() && spec.host == before.spec.host {
        spec.password = before.spec.password.clone();
    }
    check(node, &spec, Some(before.id()))?;
    tx.put_spec(before.id(), if_revision, spec);
    Ok(())
}

fn check(node: &Node, spec: &RegistrySpec, own: Option<Id<Registry>>) -> Result<(), Refusal> {
    let mut faults = Invalid::default();
    spec.validate(&mut faults);
    for other in node.store.list::<Registry>().map_err(store)? {
        if Some(other.id()) != own && other.spec.host == spec.host {
            faults.add("spec.host", format!("registry `{}` is for this host", other.meta.name));
        }
    }
    check_keys(spec, &mut faults);
    faults.into_result().map_err(found)
}

/// Whether what should be keys are some.
fn check_keys(spec: &RegistrySpec, faults: &mut Invalid) {
    for (index, rule) in spec.signatures.iter().enumerate() {
        for (number, key) in rule.keys.iter().enumerate() {
            if let Err(error) = ImageKey::from_pem(key) {
                let field = format!("spec.signatures[{index}].keys[{number}]");
                faults.add(field, error.to_string());
            }
        }
    }
}

/// The host of a registry that requires signatures, if there is one.
pub fn that_requires_signatures(node: &Node) -> Result<Option<RegistryHost>, Refusal> {
    let all = node.store.list::<Registry>().map_err(store)?;
    let requires = |spec: &RegistrySpec| spec.signatures.iter().any(|rule| rule.require);
    Ok(all.into_iter().map(|registry| registry.spec).find(requires).map(|spec| spec.host))
}

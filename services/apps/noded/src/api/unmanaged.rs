//! What may be deleted of machines: not the protected ones, and also those of which no record speaks.

use serde_json::json;
use skerry_engine::ErrorClass;
use skerry_ipc::{Answer, Json, Refusal, RefusalClass};
use skerry_model::{Document, Id, Vm};
use skerry_trust::Permission;

use super::caller::Caller;
use super::refuse::internal;
use crate::clock::now;
use crate::node::Node;
use crate::node_controller::NodeController;

/// Refuses the deletion of a machine that is protected from it.
pub fn check_protection(vm: &Document) -> Result<(), Refusal> {
    if vm.spec.get("protected").and_then(serde_json::Value::as_bool) != Some(true) {
        return Ok(());
    }
    let name = &vm.metadata.name;
    let detail = format!("`{name}` is protected; set `spec.protected` to false before deleting it");
    Err(Refusal::new(RefusalClass::Conflict, detail))
}

/// Removes what is left of a machine without a record, named by its id. Nothing is answered if there is no such machine.
pub async fn delete(node: &Node, caller: &Caller, key: &str) -> Result<Option<Answer>, Refusal> {
    let Ok(vm) = key.parse::<Id<Vm>>() else { return Ok(None) };
    // Nobody can tell whose it was.
    if caller.permit(Permission::ChangeNode).is_err() {
        return Ok(None);
    }
    let _turn = node.admission.lock().await;
    match node.vms.remove_unmanaged(vm).await {
        Ok(false) => Ok(None),
        Ok(true) => {
            tracing::warn!(by = caller.name(), id = %vm, "a machine without a record was removed");
            node.engine.wake_all(NodeController::NAME);
            last_form(vm).map(|form| Some(Answer::Document(form)))
        }
        Err(failure) => Err(match failure.class {
            ErrorClass::Retry => Refusal::new(RefusalClass::Unavailable, failure.message),
            ErrorClass::NeedsOperator | ErrorClass::Bug => internal(failure.message),
        }),
    }
}

/// What is answered as the last known form of a machine of which nothing was written down.
fn last_form(vm: Id<Vm>) -> Result<Json, Refusal> {
    let form = json!({"kind": "Vm", "spec": {}, "status": {}, "metadata": {
        "id": vm, "name": format!("unmanaged-{}", vm.short()), "labels": {}, "generation": 0,
        "revision": 0, "owner": "local", "phase": "removing", "finalizers": [], "created": now(),
        "updated": now()}});
    serde_json::to_string(&form).map(Json).map_err(|error| internal(error.to_string()))
}

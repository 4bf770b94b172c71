//! Another name for a virtual machine.
//!
//! Its id stays, and with it everything that is found by id: port, addresses, files, the guest's own identity. The
//! host name on its network stays what it was, since the guest goes by it; so does the host name that cloud-init was
//! told, or the guest would take itself for a new machine at its next start.

use serde_json::{Value, json};
use skerry_ipc::Refusal;
use skerry_model::{Document, Id, Kind, Name, Snapshot, SnapshotSpec, Vm};
use skerry_store::Transaction;

use super::refuse::{store, wrong_field};
use crate::node::Node;

/// Readies the wanted spec of a resource for another name, if its kind may have one.
pub fn allow(present: &Document, name: &Name, spec: &mut Value) -> Result<(), Refusal> {
    if *name == present.metadata.name {
        return Ok(());
    }
    if present.kind != Kind::Vm {
        return Err(wrong_field("metadata.name", "cannot be changed"));
    }
    if let Some(Value::Object(init)) = spec.get_mut("init")
        && init.get("hostname").is_none_or(Value::is_null)
    {
        init.insert("hostname".to_owned(), json!(present.metadata.name));
    }
    Ok(())
}

/// Adds the new name to a change. One that is taken is refused when the change is committed.
pub fn rename(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    name: &Name,
) -> Result<(), Refusal> {
    let before = &present.metadata.name;
    if name == before {
        return Ok(());
    }
    tx.put_name(Id::<Vm>::new(present.metadata.id), name.clone());
    // They name the machine that they are of.
    for snapshot in node.store.list::<Snapshot>().map_err(store)? {
        if snapshot.spec.vm.as_ref() == Some(before) {
            let vm = Some(name.clone());
            tx.put_spec(snapshot.id(), None, SnapshotSpec { vm, ..snapshot.spec });
        }
    }
    Ok(())
}

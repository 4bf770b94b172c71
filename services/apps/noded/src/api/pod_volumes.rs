//! Volumes of the node in pods: who may have them, and their removal together with the pod.

use skerry_ipc::Refusal;
use skerry_model::{
    Document, Id, Name, Pod, PodSpec, PodVolumeSource, Resource, Volume, VolumeForm,
};
use skerry_storage::pod_users;
use skerry_store::Transaction;

use super::refuse::{store, wrong_field};
use super::storage::{conflict, named_volume};
use super::write::resource;
use crate::node::Node;

/// The volumes of the node that a pod names: folders that nobody else has, or that nobody writes to.
pub fn check_pod_volumes(node: &Node, pod: Option<Id<Pod>>, spec: &PodSpec) -> Result<(), Refusal> {
    let mut seen: Vec<&Name> = Vec::new();
    for (index, own) in spec.volumes.iter().enumerate() {
        let PodVolumeSource::Volume(of) = &own.source else { continue };
        let (name, field) = (&of.name, format!("spec.volumes[{index}].source.volume.name"));
        if seen.contains(&name) {
            return Err(wrong_field(&field, format!("`{name}` is given twice")));
        }
        seen.push(name);
        let volume = named_volume(node, &field, name)?;
        if volume.spec.form != VolumeForm::Folder {
            let message = format!("`{name}` is a disk; a pod needs a volume of form folder");
            return Err(wrong_field(&field, message));
        }
        let others = pod_users(&node.store, name).map_err(store)?;
        let mut others = others.into_iter().filter(|other| Some(other.id) != pod);
        if let Some(other) = others.find(|other| !(other.read_only && of.read_only)) {
            let message = format!("the pod `{}` has `{name}`, and one may write", other.name);
            return Err(wrong_field(&field, message));
        }
    }
    Ok(())
}

/// Adds to the removal of a pod that of its volumes of the node. None is removed that is locked or that another pod
/// has, too.
pub fn remove_folders_of(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
) -> Result<(), Refusal> {
    let pod: Resource<Pod> = resource(present)?;
    for own in &pod.spec.volumes {
        let PodVolumeSource::Volume(of) = &own.source else { continue };
        let name = &of.name;
        let Some(volume) = node.store.find::<Volume>(name).map_err(store)? else { continue };
        if volume.spec.locked {
            return Err(conflict(format!("`{name}` cannot be deleted: it is locked")));
        }
        if pod_users(&node.store, name).map_err(store)?.len() > 1 {
            return Err(conflict(format!("`{name}` cannot be deleted: another pod has it")));
        }
        tx.begin_removal(volume.id(), None);
    }
    Ok(())
}

//! Volumes and snapshots.

use serde_json::{Map, Value, json};
use skerry_ipc::{Action, Json, Request};
use skerry_model::{Kind, Name};

use crate::args::Wait;
use crate::shell::{Done, Failure, Shell};
use crate::storage_words::{NewVolume, PoolVerb, SnapshotVerb, VolumeVerb};
use crate::text;
use crate::verbs::create::report;
use crate::verbs::wait::{Goal, wait_for};
use crate::verbs::{act, image, read, workload};

pub(super) async fn volume(shell: &mut Shell<'_, '_>, verb: VolumeVerb) -> Done {
    match verb {
        VolumeVerb::List { selection } => read::list(shell, Kind::Volume, selection).await,
        VolumeVerb::Show { name } => read::show(shell, Kind::Volume, name).await,
        VolumeVerb::Create(new) => create(shell, &new).await,
        VolumeVerb::Clone { from, name, wait } => {
            let spec = json!({ "source": { "volume": from } });
            make(shell, Kind::Volume, &name, spec, &[], wait).await
        }
        VolumeVerb::Grow { name, size, wait } => {
            let patch = json!({ "spec": { "size_mib": size } });
            let document = change(shell, Kind::Volume, name, &patch, None).await?;
            finish(shell, Kind::Volume, document, wait, "is to grow", "has grown").await
        }
        VolumeVerb::Attach { volume, vm, how } => {
            let disk = how.disk(&volume);
            let change = |disks: &mut Vec<Value>| disks.push(disk.clone());
            workload::change_list(shell, vm.as_str(), "disks", change).await?;
            shell.say(&format!("{volume} is to be attached to {vm}."))
        }
        VolumeVerb::Detach { volume } => detach(shell, &volume).await,
        VolumeVerb::Export { volume, image, snapshot, description, wait } => {
            let spec = json!({
                "format": "qcow2", "architecture": "x86_64", "description": description,
                "source": { "volume": { "volume": volume, "snapshot": snapshot } },
            });
            let document = json!({ "metadata": { "name": image }, "spec": spec });
            image::bring_in(shell, &image, &document, wait).await
        }
        VolumeVerb::Delete { target } => workload::delete(shell, Kind::Volume, target).await,
    }
}

pub(super) async fn snapshot(shell: &mut Shell<'_, '_>, verb: SnapshotVerb) -> Done {
    match verb {
        SnapshotVerb::List { selection } => read::list(shell, Kind::Snapshot, selection).await,
        SnapshotVerb::Show { name } => read::show(shell, Kind::Snapshot, name).await,
        SnapshotVerb::Create { name, volume, description, wait } => {
            let spec = json!({ "volumes": volume, "description": description });
            make(shell, Kind::Snapshot, &name, spec, &[], wait).await
        }
        SnapshotVerb::Revert { target } => {
            let request = act(Kind::Snapshot, target.name, Action::Revert);
            let document = shell.document(request).await?;
            finish(shell, Kind::Snapshot, document, target.wait, "is gone back to", "is restored")
                .await
        }
        SnapshotVerb::Delete { target } => workload::delete(shell, Kind::Snapshot, target).await,
    }
}

pub(super) async fn pool(shell: &mut Shell<'_, '_>, verb: PoolVerb) -> Done {
    match verb {
        PoolVerb::Read(verb) => super::read(shell, Kind::Pool, verb).await,
        PoolVerb::Create { name, disk, erase, file_system, folder, overcommit, wait } => {
            let source = match (file_system, folder) {
                (None, _) => json!({ "disk": { "id": disk, "erase": erase } }),
                (Some(uuid), None) => json!({ "file_system": { "uuid": uuid } }),
                (Some(uuid), Some(folder)) => {
                    json!({ "file_system": { "uuid": uuid, "folder": folder } })
                }
            };
            let mut spec = Map::new();
            spec.insert("source".to_owned(), source);
            if let Some(percent) = overcommit {
                spec.insert("overcommit_percent".to_owned(), json!(percent));
            }
            make(shell, Kind::Pool, &name, Value::Object(spec), &[], wait).await
        }
        PoolVerb::Delete { target } => workload::delete(shell, Kind::Pool, target).await,
    }
}

async fn detach(shell: &mut Shell<'_, '_>, volume: &Name) -> Done {
    let key = volume.to_string();
    let document = shell.document(Request::Get { kind: Kind::Volume, key }).await?;
    let Some(vm) = document.pointer("/status/attached_to").and_then(Value::as_str) else {
        return Err(Failure::Outcome(format!("{volume} is not attached")));
    };
    let change = |disks: &mut Vec<Value>| {
        disks.retain(|disk| disk.get("volume").and_then(Value::as_str) != Some(volume.as_str()));
    };
    workload::change_list(shell, vm, "disks", change).await?;
    shell.say(&format!("{volume} is to be detached from {vm}."))
}

async fn create(shell: &mut Shell<'_, '_>, new: &NewVolume) -> Done {
    let mut spec = Map::new();
    let mut source = Map::new();
    for (key, value) in [("image", &new.image), ("volume", &new.from), ("snapshot", &new.snapshot)]
    {
        if let Some(name) = value {
            source.insert(key.to_owned(), json!(name));
        }
    }
    spec.insert("source".to_owned(), Value::Object(source));
    spec.insert("pool".to_owned(), json!(new.pool));
    if new.folder {
        spec.insert("form".to_owned(), json!("folder"));
    }
    if let Some(size) = new.size {
        spec.insert("size_mib".to_owned(), json!(size));
    }
    if new.preallocate {
        spec.insert("allocation".to_owned(), json!("preallocated"));
    }
    spec.insert("erase_on_delete".to_owned(), json!(new.erase_on_delete));
    spec.insert("locked".to_owned(), json!(new.locked));
    make(shell, Kind::Volume, &new.name, Value::Object(spec), &new.labels, new.wait).await
}

async fn make(
    shell: &mut Shell<'_, '_>,
    kind: Kind,
    name: &Name,
    spec: Value,
    labels: &[(String, String)],
    wait: Wait,
) -> Done {
    let labels: Map<String, Value> =
        labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let document = json!({ "metadata": { "name": name, "labels": labels }, "spec": spec });
    let document = Json(document.to_string());
    let made = shell.document(Request::Create { kind, document, dry_run: false }).await?;
    finish(shell, kind, made, wait, "is being made", "is ready").await
}

/// Changes a resource by a merge patch.
pub(super) async fn change(
    shell: &Shell<'_, '_>,
    kind: Kind,
    key: String,
    patch: &Value,
    if_revision: Option<u64>,
) -> Result<Value, crate::shell::Failure> {
    let patch = Json(patch.to_string());
    shell.document(Request::Patch { kind, key, patch, if_revision }).await
}

pub(super) async fn finish(
    shell: &mut Shell<'_, '_>,
    kind: Kind,
    document: Value,
    wait: Wait,
    doing: &str,
    done: &str,
) -> Done {
    let name = text::cell(&document, "/metadata/name");
    if !wait.wait {
        return report(shell, &document, &format!("{name} {doing}."));
    }
    let reached = wait_for(shell, kind, &document, Goal::Usable).await?;
    report(shell, &reached, &format!("{name} {done}."))
}

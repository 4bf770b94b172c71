//! Making pods, virtual machines and networks.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};
use skerry_ipc::{Json, Request};
use skerry_model::{Kind, Name, Publish};

use crate::args::{Mount, NewWorkload, Restart, Wait};
use crate::container_words::Holding;
use crate::placing_words::Placing;
use crate::power_words::Keeping;
use crate::shell::{Done, Failure, Shell};
use crate::text;
use crate::verbs::values::content;
use crate::verbs::wait::{Goal, wait_for};
use crate::vm_words::{Boot, Firmware, Graphics, NicModel};

/// Adds what pods and virtual machines have in common. Values that were not given stay out, so that the
/// node's own defaults hold.
fn common(new: &NewWorkload, spec: &mut Map<String, Value>) {
    spec.insert("network".to_owned(), json!(new.network));
    spec.insert("publish".to_owned(), json!(new.publish));
    if new.stopped {
        spec.insert("power".to_owned(), json!("stopped"));
    }
    insert_some(spec, "stop_timeout_s", new.stop_timeout);
}

fn insert_some(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

pub(super) fn pod(
    new: &NewWorkload,
    image: &Name,
    holding: &Holding,
    env: Vec<(String, String)>,
    mounts: &[Mount],
    restart: Restart,
    command: Vec<String>,
) -> Value {
    let mut container = Map::new();
    container.insert("name".to_owned(), json!("main"));
    container.insert("image".to_owned(), json!(image));
    insert_some(&mut container, "memory_mib", new.memory);
    holding.add_to(&mut container);
    if !command.is_empty() {
        container.insert("command".to_owned(), json!(command));
    }
    let env: Vec<Value> =
        env.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    if !env.is_empty() {
        container.insert("env".to_owned(), json!(env));
    }
    let mut spec = Map::new();
    if !mounts.is_empty() {
        let (seen, volumes) = volumes(mounts);
        container.insert("mounts".to_owned(), seen);
        spec.insert("volumes".to_owned(), volumes);
    }
    spec.insert("containers".to_owned(), json!([container]));
    holding.add_to_pod(&mut spec);
    let restart = match restart {
        Restart::Always => "always",
        Restart::OnFailure => "on_failure",
        Restart::Never => "never",
    };
    spec.insert("restart".to_owned(), json!(restart));
    common(new, &mut spec);
    Value::Object(spec)
}

/// What the container sees, and the pod's volumes. A pod calls a volume as the node does.
fn volumes(mounts: &[Mount]) -> (Value, Value) {
    let seen = mounts
        .iter()
        .map(|it| json!({ "volume": it.volume, "path": it.path, "read_only": it.read_only }));
    let mut names: Vec<&Name> = mounts.iter().map(|it| &it.volume).collect();
    names.sort();
    names.dedup();
    let own = names.into_iter().map(|name| {
        let read_only = mounts.iter().filter(|it| it.volume == *name).all(|it| it.read_only);
        json!({ "name": name, "source": { "volume": { "name": name, "read_only": read_only } } })
    });
    (seen.collect(), own.collect())
}

pub(super) fn vm(
    new: &NewWorkload,
    image: Option<&Name>,
    placing: &Placing,
    boot: &Boot,
    disks: &[Name],
    graphics: Option<Graphics>,
    keeping: &Keeping,
) -> Result<Value, Failure> {
    let mut spec = Map::new();
    insert_some(&mut spec, "image", image.map(Name::as_str));
    insert_some(&mut spec, "memory_mib", new.memory);
    placing.add_to(&mut spec);
    insert_some(&mut spec, "disk_size_mib", boot.disk_size);
    let firmware = boot.firmware.map(|firmware| match firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
        Firmware::UefiSecure => "uefi_secure",
    });
    insert_some(&mut spec, "firmware", firmware);
    insert_some(&mut spec, "tpm", boot.tpm.then_some(true));
    insert_some(&mut spec, "guest_agent", boot.guest_agent.then_some(true));
    if !boot.host_device.is_empty() {
        spec.insert("host_devices".to_owned(), json!(boot.host_device));
    }
    insert_some(&mut spec, "init", init(boot)?);
    if !boot.nic.is_empty() {
        let nics = boot.nic.iter().map(|network| json!({ "network": network }));
        spec.insert("nics".to_owned(), nics.collect());
    }
    insert_some(&mut spec, "nic_model", boot.nic_model.map(NicModel::word));
    if !disks.is_empty() {
        let disks: Vec<Value> = disks.iter().map(|name| json!({ "volume": name })).collect();
        spec.insert("disks".to_owned(), Value::Array(disks));
    }
    if !boot.cd.is_empty() {
        let media: Vec<Value> = boot.cd.iter().map(|name| json!({ "image": name })).collect();
        spec.insert("media".to_owned(), Value::Array(media));
    }
    insert_some(&mut spec, "graphics", graphics.map(Graphics::word));
    keeping.add_to(&mut spec);
    common(new, &mut spec);
    Ok(Value::Object(spec))
}

/// What cloud-init is given, if anything.
fn init(boot: &Boot) -> Result<Option<Value>, Failure> {
    let mut init = Map::new();
    let files = [("user_data", &boot.user_data), ("network_data", &boot.network_data)];
    for (key, path) in files {
        insert_some(&mut init, key, path.as_ref().map(content).transpose()?);
    }
    let password = boot.password_file.as_ref().map(content).transpose()?;
    insert_some(&mut init, "password", password.map(|text| text.trim_end().to_owned()));
    insert_some(&mut init, "hostname", boot.hostname.clone());
    insert_some(&mut init, "metadata", boot.metadata.then_some(true));
    if !boot.ssh_key.is_empty() {
        let keys = boot.ssh_key.iter().map(|path| Ok(content(path)?.trim_end().to_owned()));
        let keys = keys.collect::<Result<Vec<String>, Failure>>()?;
        init.insert("ssh_keys".to_owned(), json!(keys));
    }
    Ok((!init.is_empty()).then_some(Value::Object(init)))
}

/// A copy of another machine.
pub(super) fn clone(source: &Name, publish: &[Publish], stopped: bool) -> Value {
    let power = if stopped { "stopped" } else { "running" };
    json!({ "clone_of": source, "publish": publish, "power": power })
}

pub(super) async fn machine(
    shell: &mut Shell<'_, '_>,
    name: &Name,
    spec: Value,
    stopped: bool,
    wait: Wait,
) -> Done {
    let document = json!({ "metadata": { "name": name }, "spec": spec });
    let made = create(shell, Kind::Vm, &document, false).await?;
    if !wait.wait {
        return report(shell, &made, &format!("Created vm {name}."));
    }
    let goal = if stopped { Goal::Stopped } else { Goal::Running };
    let reached = wait_for(shell, Kind::Vm, &made, goal).await?;
    report(shell, &reached, &format!("{name} is there."))
}

pub(super) async fn rebuild(shell: &mut Shell<'_, '_>, name: String, image: &Name) -> Done {
    let patch = Json(json!({ "spec": { "image": image } }).to_string());
    let request = Request::Patch { kind: Kind::Vm, key: name, patch, if_revision: None };
    let changed = shell.document(request).await?;
    let name = text::cell(&changed, "/metadata/name");
    report(shell, &changed, &format!("{name} begins anew with {image} at its next start."))
}

pub(super) async fn protect(shell: &mut Shell<'_, '_>, name: String, on: bool) -> Done {
    let patch = Json(json!({ "spec": { "protected": on } }).to_string());
    let request = Request::Patch { kind: Kind::Vm, key: name, patch, if_revision: None };
    let changed = shell.document(request).await?;
    let name = text::cell(&changed, "/metadata/name");
    let what = if on { "is kept from being deleted" } else { "can be deleted" };
    report(shell, &changed, &format!("{name} {what}."))
}

pub(super) async fn workload(
    shell: &mut Shell<'_, '_>,
    kind: Kind,
    new: &NewWorkload,
    spec: Value,
) -> Done {
    let labels: Map<String, Value> =
        new.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let document = json!({ "metadata": { "name": new.name, "labels": labels }, "spec": spec });
    let made = create(shell, kind, &document, new.dry_run).await?;
    let what = kind.name().to_lowercase();
    if new.dry_run {
        return report(shell, &made, &format!("The node would take {what} {}.", new.name));
    }
    if !new.wait.wait {
        return report(shell, &made, &format!("Created {what} {}.", new.name));
    }
    let goal = if new.stopped { Goal::Stopped } else { Goal::Running };
    let reached = wait_for(shell, kind, &made, goal).await?;
    let address = text::cell(&reached, "/status/addresses/0");
    let state = if new.stopped { "is stopped".to_owned() } else { format!("runs at {address}") };
    report(shell, &reached, &format!("{} {state}.", new.name))
}

pub(super) async fn network(
    shell: &mut Shell<'_, '_>,
    name: &Name,
    (network, prefix): (Ipv4Addr, u8),
    isolated: bool,
) -> Done {
    let mode = if isolated { "isolated" } else { "nat" };
    let document = json!({
        "metadata": { "name": name },
        "spec": { "mode": mode, "subnet": { "network": network, "prefix": prefix } },
    });
    let made = create(shell, Kind::Network, &document, false).await?;
    report(shell, &made, &format!("Created network {name}."))
}

async fn create(
    shell: &Shell<'_, '_>,
    kind: Kind,
    document: &Value,
    dry_run: bool,
) -> Result<Value, crate::shell::Failure> {
    let document = Json(document.to_string());
    shell.document(Request::Create { kind, document, dry_run }).await
}

/// Prints the document as JSON, or the sentence.
pub(super) fn report(shell: &mut Shell<'_, '_>, document: &Value, sentence: &str) -> Done {
    shell.show(document, |_| format!("{}\n", text::clean(sentence)))
}

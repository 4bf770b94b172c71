//! Virtual machines and pods: made together with their ports, admitted by what the machine can hold.

use serde_json::Value;
use skerry_compute::{AdmissionError, possible, spec_after};
use skerry_engine::Controller;
use skerry_ipc::{Action, Json, Refusal, RefusalClass};
use skerry_model::{
    Document, Id, Image, ImageFormat, Invalid, Kind, Name, NewResource, Phase, Pod, PodRequest,
    PodRequestKind, PodSpec, Power, Resource, ResourceKind, Validate, Vm, VmAction, VmFirmware,
    VmPower, VmSpec,
};
use skerry_network::collides;
use skerry_store::Transaction;
use skerry_trust::Permission;
use uuid::Uuid;

use super::caller::Caller;
use super::copies;
use super::discs::check_media;
use super::draft::{Draft, typed};
use super::families::{settle_pod, settle_vm};
use super::guest_data;
use super::pci::{check_pci, check_suspend};
use super::pod_order::check_dependencies;
use super::pod_volumes::check_pod_volumes;
use super::ports;
use super::read::{find, shown};
use super::refuse::{found, internal, not_found, store, wrong_field};
use super::roots::boot_from_image;
use super::storage::check_disks;
use super::write::resource;
use crate::node::Node;

/// An id whose short form, which names devices and units, is not taken by another resource of the kind.
pub fn draw_id<K: ResourceKind>(node: &Node) -> Id<K> {
    let taken: Vec<Id<K>> =
        node.store.documents(K::KIND).iter().map(|d| Id::new(d.metadata.id)).collect();
    loop {
        let id = Id::new(Uuid::new_v4());
        if !collides(id, taken.iter().copied()) {
            return id;
        }
    }
}

/// A virtual machine from a draft, with its ports.
pub async fn create_vm(
    node: &Node,
    caller: &Caller,
    draft: Draft,
) -> Result<(Transaction, Uuid), Refusal> {
    let mut tx = Transaction::new();
    let spec = copies::expand_clone(node, &mut tx, &draft.metadata.name, draft.spec)?;
    let mut spec: VmSpec = typed(spec, "spec")?;
    settle_vm(node, &mut spec, None)?;
    check(&spec)?;
    guest_data::ready(&mut spec, None).await?;
    spec.request = None;
    if !matches!(spec.power, VmPower::Running | VmPower::Stopped) {
        return Err(wrong_field("spec.power", "must be running or stopped when it is made"));
    }
    if spec.clone_of.is_none() {
        check_disks(node, None, &[], &spec.disks)?;
        check_media(node, &[], &spec)?;
    }
    let id = draw_id::<Vm>(node);
    boot_from_image(node, &mut tx, &draft.metadata.name, &mut spec)?;
    check(&spec)?;
    check_tpm(&spec)?;
    check_pci(caller, &spec, None)?;
    check_devices(node, caller, &spec, &[])?;
    ports::create_for_vm(node, &mut tx, id, &draft.metadata.name, &spec)?;
    // Last: whoever frees memory for it must not learn afterwards that it could never be made.
    if spec.power.is_on() {
        node.vms.admit_vm(&spec, None).map_err(admission)?;
    }
    let mut new = NewResource::new(id, draft.metadata.name, spec);
    new.labels = draft.metadata.labels;
    new.finalizers = vec![skerry_compute::FINALIZER.to_owned()];
    tx.create(new);
    Ok((tx, id.uuid()))
}

/// A pod from a draft, with its port.
pub async fn create_pod(
    node: &Node,
    caller: &Caller,
    draft: Draft,
) -> Result<(Transaction, Uuid), Refusal> {
    let mut spec: PodSpec = typed(draft.spec, "spec")?;
    settle_pod(node, &mut spec, None)?;
    check(&spec)?;
    spec.request = None;
    check_dependencies(node, &draft.metadata.name, &spec)?;
    check_risks(caller, &spec, None)?;
    check_pod_images(node, &spec)?;
    check_pod_volumes(node, None, &spec)?;
    if spec.power == Power::Running {
        node.vms.admit_pod(&spec, None).map_err(admission)?;
    }
    let id = draw_id::<Pod>(node);
    let mut tx = Transaction::new();
    if !spec.host_network {
        ports::create_for_pod(node, &mut tx, id, &draft.metadata.name, &spec)?;
    }
    let mut new = NewResource::new(id, draft.metadata.name, spec);
    new.labels = draft.metadata.labels;
    new.finalizers = vec![skerry_containers::FINALIZER.to_owned()];
    tx.create(new);
    Ok((tx, id.uuid()))
}

/// Changes a virtual machine. Its first network stays; sizes count from the next start.
pub async fn change_vm(
    node: &Node,
    caller: &Caller,
    tx: &mut Transaction,
    present: &Document,
    spec: Value,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let before: Resource<Vm> = resource(present)?;
    let mut spec: VmSpec = typed(spec, "spec")?;
    settle_vm(node, &mut spec, Some(&before.spec))?;
    check(&spec)?;
    guest_data::ready(&mut spec, before.spec.init.as_ref()).await?;
    fixed("spec.network", &before.spec.network, &spec.network)?;
    if spec.clone_of != before.spec.clone_of {
        return Err(wrong_field("spec.clone_of", "counts only when the machine is made"));
    }
    if spec.firmware != before.spec.firmware {
        return Err(wrong_field("spec.firmware", "cannot be changed; make a new machine"));
    }
    if spec.disk_size_mib != before.spec.disk_size_mib {
        let message = "counts only when the machine is made; grow its volume instead";
        return Err(wrong_field("spec.disk_size_mib", message));
    }
    check_tpm(&spec)?;
    check_pci(caller, &spec, Some(&before.spec))?;
    check_suspend(&spec, spec.power)?;
    check_devices(node, caller, &spec, &before.spec.host_devices)?;
    // Requests come from actions alone.
    spec.request = before.spec.request;
    check_power(&before, spec.power)?;
    check_disks(node, Some(before.id()), &before.spec.disks, &spec.disks)?;
    check_media(node, &before.spec.media, &spec)?;
    match spec.image.clone() {
        Some(image) if before.spec.image.as_ref() != Some(&image) => {
            copies::rebuild(node, tx, &before, &image, &mut spec)?;
        }
        None if before.spec.firmware.is_none() => {
            return Err(wrong_field("spec.image", "is needed: the machine starts from its kernel"));
        }
        // It has its disks, and the image may go.
        _ => {}
    }
    if spec.power.is_on() {
        node.vms.admit_vm(&spec, Some(before.id())).map_err(admission)?;
    }
    ports::change_of_vm(node, tx, &before, &spec)?;
    tx.put_spec(before.id(), if_revision, spec);
    Ok(())
}

/// Changes a pod. Its network stays.
pub async fn change_pod(
    node: &Node,
    caller: &Caller,
    tx: &mut Transaction,
    present: &Document,
    spec: Value,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let before: Resource<Pod> = resource(present)?;
    let mut spec: PodSpec = typed(spec, "spec")?;
    settle_pod(node, &mut spec, Some(&before.spec))?;
    check(&spec)?;
    fixed("spec.network", &before.spec.network, &spec.network)?;
    if spec.host_network != before.spec.host_network {
        return Err(wrong_field("spec.host_network", "cannot be changed; make a new pod"));
    }
    // Requests come from actions alone.
    spec.request = before.spec.request;
    check_dependencies(node, &before.meta.name, &spec)?;
    check_risks(caller, &spec, Some(&before.spec))?;
    check_pod_images(node, &spec)?;
    check_pod_volumes(node, Some(before.id()), &spec)?;
    if spec.power == Power::Running {
        node.vms.admit_pod(&spec, Some(before.id())).map_err(admission)?;
    }
    ports::republish(node, tx, before.local_ref(), &before.spec.publish, &spec.publish)?;
    tx.put_spec(before.id(), if_revision, spec);
    Ok(())
}

/// Starts, stops or restarts a workload: the wanted power is durable before anything moves.
pub async fn act(node: &Node, kind: Kind, key: &str, action: Action) -> Result<Json, Refusal> {
    let document = find(node, kind, key)?;
    if document.metadata.phase == Phase::Removing {
        let detail = format!("`{}` is being deleted", document.metadata.name);
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    match kind {
        Kind::Vm => act_vm(node, &resource(&document)?, action).await?,
        Kind::Pod => act_pod(node, &resource(&document)?, action).await?,
        _ => {
            let detail = format!("a {kind} cannot be started or stopped");
            return Err(Refusal::new(RefusalClass::NotFound, detail));
        }
    }
    shown(&*find(node, kind, &document.metadata.id.to_string())?)
}

async fn act_vm(node: &Node, vm: &Resource<Vm>, action: Action) -> Result<(), Refusal> {
    let _turn = node.admission.lock().await;
    // Another action may have come first.
    let vm = node.store.get::<Vm>(vm.id()).map_err(store)?;
    let vm = vm.ok_or_else(|| not_found(Kind::Vm, "with this id"))?;
    let Some(action) = vm_action(action) else { return Err(no_such_action(Kind::Vm)) };
    // To want once more what is wanted already does no harm, and repeats an answer that got lost.
    let repeatable = [VmAction::Start, VmAction::Stop, VmAction::ForceStop, VmAction::Restart];
    if !repeatable.contains(&action)
        && let Err(why) = possible(action, vm.meta.phase, vm.spec.power, vm.status.state)
    {
        let detail = format!("`{}` cannot do that now: {why}", vm.meta.name);
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    let spec = spec_after(&vm.spec, &vm.status, action);
    check_suspend(&spec, spec.power)?;
    if spec.power.is_on() {
        node.vms.admit_vm(&spec, Some(vm.id())).map_err(admission)?;
    }
    put_spec(node, vm.id(), spec).await?;
    node.engine.wake(node.vms.name(), vm.local_ref());
    Ok(())
}

/// A TPM is of use to a guest that was started by UEFI. A kernel that is started directly has no firmware at all.
fn check_tpm(spec: &VmSpec) -> Result<(), Refusal> {
    if !spec.tpm || spec.firmware.is_some_and(VmFirmware::is_uefi) {
        return Ok(());
    }
    Err(wrong_field(
        "spec.tpm",
        "needs a machine that boots a disk by UEFI: set `firmware` to uefi",
    ))
}

/// What is plugged into the node reaches beyond it, and the node may need it: only an admin gives it away, and nobody what
/// the node lives by.
fn check_devices(
    node: &Node,
    caller: &Caller,
    spec: &VmSpec,
    before: &[String],
) -> Result<(), Refusal> {
    let new: Vec<String> =
        spec.host_devices.iter().filter(|name| !before.contains(name)).cloned().collect();
    if new.is_empty() {
        return Ok(());
    }
    caller.permit(Permission::LoosenWorkloads).map_err(|refusal| {
        let what = new.join(", ");
        let detail = format!("only an admin may give a machine devices of the node: {what}");
        Refusal::new(refusal.class, detail)
    })?;
    match node.vms.unfit_device(&new) {
        Some(why) => Err(wrong_field("spec.host_devices", why)),
        None => Ok(()),
    }
}

/// A wish for something that only makes sense in some states.
fn check_power(vm: &Resource<Vm>, wanted: VmPower) -> Result<(), Refusal> {
    let action = match wanted {
        VmPower::Paused => VmAction::Pause,
        VmPower::Suspended => VmAction::Suspend,
        VmPower::Running | VmPower::Stopped => return Ok(()),
    };
    if wanted == vm.spec.power {
        return Ok(());
    }
    possible(action, vm.meta.phase, vm.spec.power, vm.status.state)
        .map_err(|why| wrong_field("spec.power", why))
}

const fn vm_action(action: Action) -> Option<VmAction> {
    Some(match action {
        Action::Start => VmAction::Start,
        Action::Stop => VmAction::Stop,
        Action::ForceStop => VmAction::ForceStop,
        Action::Restart => VmAction::Restart,
        Action::Pause => VmAction::Pause,
        Action::Resume => VmAction::Resume,
        Action::Reset => VmAction::Reset,
        Action::Reboot => VmAction::Reboot,
        Action::Suspend => VmAction::Suspend,
        Action::Abort | Action::Retry | Action::Revert => return None,
    })
}

fn no_such_action(kind: Kind) -> Refusal {
    let own = match kind {
        Kind::Vm => "start, stop, force_stop, restart, pause, resume, reset, reboot and suspend",
        _ => "start, stop, force_stop and restart",
    };
    Refusal::new(RefusalClass::NotFound, format!("a {kind} knows the actions {own}"))
}

async fn act_pod(node: &Node, pod: &Resource<Pod>, action: Action) -> Result<(), Refusal> {
    let power = match action {
        Action::Start | Action::Restart => Power::Running,
        Action::Stop | Action::ForceStop => Power::Stopped,
        _ => return Err(no_such_action(Kind::Pod)),
    };
    let what = match action {
        Action::Start => Some(PodRequestKind::Start),
        Action::Restart => Some(PodRequestKind::Restart),
        Action::ForceStop => Some(PodRequestKind::Kill),
        _ => None,
    };
    let _turn = node.admission.lock().await;
    // Another action may have come first.
    let pod = node.store.get::<Pod>(pod.id()).map_err(store)?;
    let pod = pod.ok_or_else(|| not_found(Kind::Pod, "with this id"))?;
    let last = pod.spec.request.map_or(0, |request| request.number).max(pod.status.request_done);
    let request = what.map(|what| PodRequest { number: last.saturating_add(1), what });
    let request = request.or(pod.spec.request);
    let spec = PodSpec { power, request, ..pod.spec.clone() };
    if spec.power == Power::Running {
        node.vms.admit_pod(&spec, Some(pod.id())).map_err(admission)?;
    }
    put_spec(node, pod.id(), spec).await?;
    node.engine.wake(node.pods.name(), pod.local_ref());
    Ok(())
}

async fn put_spec<K: ResourceKind>(node: &Node, id: Id<K>, spec: K::Spec) -> Result<(), Refusal> {
    let mut tx = Transaction::new();
    tx.put_spec(id, None, spec);
    node.store.commit(tx).await.map(|_| ()).map_err(store)
}

fn admission(error: AdmissionError) -> Refusal {
    let class = match &error {
        AdmissionError::DoesNotFit(_) | AdmissionError::NoPlace(_) | AdmissionError::Pci(_) => {
            RefusalClass::Capacity
        }
        AdmissionError::DeviceTaken(_) => RefusalClass::Conflict,
        AdmissionError::CpuUnfit(why) => return wrong_field("spec.cpu.model", why.clone()),
        AdmissionError::Store(_) => return internal(error),
    };
    Refusal::new(class, error.to_string())
}

fn check(spec: &impl Validate) -> Result<(), Refusal> {
    let mut faults = Invalid::default();
    spec.validate(&mut faults);
    faults.into_result().map_err(found)
}

fn fixed(field: &str, before: &Name, after: &Name) -> Result<(), Refusal> {
    if before == after {
        return Ok(());
    }
    Err(wrong_field(field, format!("is `{before}` and cannot be changed; make a new workload")))
}

/// What loosens the hold on a pod, and was not there before, is for an admin to ask for. A pod that reaches the node
/// itself is for an admin alone: whoever chose its image or command would rule the node. Others may start and stop it.
fn check_risks(caller: &Caller, spec: &PodSpec, before: Option<&PodSpec>) -> Result<(), Refusal> {
    let known = before.map(PodSpec::risks).unwrap_or_default();
    let same = |before: &PodSpec| PodSpec { power: spec.power, ..before.clone() } == *spec;
    let mut asked = spec.risks();
    if !spec.reaches_node() || before.is_some_and(same) {
        asked.retain(|risk| !known.contains(risk));
    }
    if asked.is_empty() {
        return Ok(());
    }
    caller.permit(Permission::LoosenWorkloads).map_err(|refusal| {
        let what = asked.join("; ");
        Refusal::new(refusal.class, format!("only an admin may ask for or change this: {what}"))
    })
}

fn check_pod_images(node: &Node, spec: &PodSpec) -> Result<(), Refusal> {
    for (list, containers) in [("init", &spec.init), ("containers", &spec.containers)] {
        for (index, container) in containers.iter().enumerate() {
            let field = format!("spec.{list}[{index}].image");
            check_image(node, &field, &container.image, ImageFormat::OciArchive)?;
        }
    }
    Ok(())
}

fn check_image(node: &Node, field: &str, name: &Name, format: ImageFormat) -> Result<(), Refusal> {
    let Some(image) = node.store.find::<Image>(name).map_err(store)? else {
        return Err(wrong_field(field, format!("there is no image `{name}`")));
    };
    if image.spec.format == format {
        return Ok(());
    }
    let use_for = match image.spec.format {
        ImageFormat::OciArchive => "a container image",
        ImageFormat::KernelInitrd => "a virtual machine image",
        ImageFormat::Iso => "a CD image",
        _ => "a disk image",
    };
    Err(wrong_field(field, format!("`{name}` is {use_for}")))
}

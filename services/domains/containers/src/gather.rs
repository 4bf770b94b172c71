//! Collects from the store what a pod needs: its port, its network, its images.

use skerry_model::{
    Binding, ConditionState, Id, Image, ImageFormat, ImageState, Kind, LocalRef, Name, Network,
    Pod, PodVolume, PodVolumeSource, Port, Resource, Volume, VolumeForm, VolumeState,
};
use skerry_store::{Change, Store, StoreError};

use crate::decide::Missing;
use crate::{ContainerDesired, ImageArchive, Outside, PodNetwork, VolumeDesired, turn, values};

/// Why a port is not ready whose device has not been made since a boot of the node, as the network's domain says it.
const NO_DEVICE: &str = "NoDevice";

/// What was found.
pub(crate) struct Gathered {
    /// The pod's port.
    pub port: Option<Resource<Port>>,
    /// The network that its containers share, once it is wired; the node's own always is.
    pub network: Option<PodNetwork>,
    /// Its volumes, unless something of them is missing.
    pub volumes: Option<Vec<VolumeDesired>>,
    /// The containers with all they need, or the first thing that is missing.
    pub ready: Result<Vec<ContainerDesired>, Missing>,
    /// The containers, if all that is missing is that their network is still being wired.
    pub ahead: Option<Vec<ContainerDesired>>,
    /// What is missing is only that its turn has come, or after a boot of the node that its network is there for the
    /// first time.
    pub waits_for_turn: bool,
}

/// Collects what a pod needs.
pub(crate) fn gather(
    store: &Store,
    pod: &Resource<Pod>,
    boot: Option<&str>,
) -> Result<Gathered, StoreError> {
    let workload = pod.local_ref();
    let port = store.list::<Port>()?.into_iter().find(|port| port.spec.workload == workload);
    let network = match &port {
        Some(port) => store.get::<Network>(port.spec.network)?,
        None => None,
    };
    let wiring = match pod.spec.host_network {
        true => Wiring::Done(PodNetwork::of_node()),
        false => wiring(port.as_ref(), network.as_ref(), pod.status.users),
    };
    let mut ready = containers(store, pod, wiring.network())?;
    let volumes = match values::volumes(store, pod)? {
        Ok(volumes) => Some(volumes),
        Err(missing) => {
            ready = ready.and(Err(missing));
            None
        }
    };
    let unseen = port.as_ref().is_some_and(is_unseen);
    let (network, ready, ahead) = match wiring {
        Wiring::Done(network) => (Some(network), ready, None),
        Wiring::Underway(_, missing) => (None, Err(missing), ready.ok()),
        Wiring::Unknown(missing) => (None, Err(missing), None),
    };
    // Afterwards it is passed over if its network still is not there.
    let waits_for_turn = ahead.is_some() && unseen && turn::is_of_another_boot(pod, boot);
    Ok(Gathered { port, network, volumes, ready, ahead, waits_for_turn })
}

/// Whether nobody has tried yet to wire a port of this boot.
fn is_unseen(port: &Resource<Port>) -> bool {
    let ready = port.status.conditions.get("Ready");
    ready.is_none_or(|ready| ready.state != ConditionState::True && ready.reason == NO_DEVICE)
}

/// How far a pod's network has come.
enum Wiring {
    /// Programs may start in it.
    Done(PodNetwork),
    /// Known, so that all else can be made for it, but not there yet.
    Underway(PodNetwork, Missing),
    /// Not even known.
    Unknown(Missing),
}

impl Wiring {
    fn network(&self) -> Result<&PodNetwork, &Missing> {
        match self {
            Self::Done(network) | Self::Underway(network, _) => Ok(network),
            Self::Unknown(missing) => Err(missing),
        }
    }
}

fn containers(
    store: &Store,
    pod: &Resource<Pod>,
    network: Result<&PodNetwork, &Missing>,
) -> Result<Result<Vec<ContainerDesired>, Missing>, StoreError> {
    let network = match network {
        Ok(network) => network,
        Err(missing) => return Ok(Err(missing.clone())),
    };
    let outside = match outside(store, pod)? {
        Ok(outside) => outside,
        Err(missing) => return Ok(Err(missing)),
    };
    let mut list = Vec::new();
    for container in pod.spec.all_containers() {
        let found = store.find::<Image>(&container.image)?;
        let image = archive(&container.image, found.as_ref());
        let env = values::environment(store, container)?;
        match image.and_then(|image| Ok((image, env?))) {
            Ok((image, env)) => {
                let stop_timeout_s = pod.spec.stop_timeout_s;
                let network = network.clone();
                let mut desired =
                    ContainerDesired::new(container, image, network, stop_timeout_s, env);
                lock_files(pod, &mut desired);
                // An earlier revision that runs instead may need the node's, as it did when it was asked for.
                let users = pod.status.users.filter(|_| pod.spec.has_own_users());
                let desired = desired.with_outside(&outside).with_users(users);
                list.push(desired.with_pages(pod.spec.huge_pages(), &pod.status.huge_pages));
            }
            Err(missing) => return Ok(Err(missing)),
        }
    }
    Ok(Ok(list))
}

/// What comes from a config or a secret cannot be written, whatever the container says.
fn lock_files(pod: &Resource<Pod>, desired: &mut ContainerDesired) {
    for mount in &mut desired.mounts {
        let volume = pod.spec.volumes.iter().find(|volume| volume.name == mount.volume);
        mount.read_only |= volume.is_some_and(|volume| match &volume.source {
            PodVolumeSource::Config(_) | PodVolumeSource::Secret(_) => true,
            PodVolumeSource::Volume(of) => of.read_only,
            PodVolumeSource::Empty { .. } => false,
        });
    }
}

/// The volumes of the node that a pod names.
fn outside(
    store: &Store,
    pod: &Resource<Pod>,
) -> Result<Result<Vec<Outside>, Missing>, StoreError> {
    let mut list = Vec::new();
    for own in &pod.spec.volumes {
        let PodVolumeSource::Volume(of) = &own.source else { continue };
        let name = &of.name;
        let Some(volume) = store.find::<Volume>(name)? else {
            return Ok(Err(missing(None, format!("there is no volume `{name}`; make it"))));
        };
        let wait = |what: String| Ok(Err(missing(Some(volume.local_ref()), what)));
        if volume.spec.form != VolumeForm::Folder {
            return wait(format!("volume `{name}` is a disk, which a pod cannot mount"));
        }
        match volume.status.state {
            VolumeState::Available | VolumeState::InUse if !volume.status.path.is_empty() => {}
            VolumeState::Lost => return wait(format!("the folder of volume `{name}` is gone")),
            _ => return wait(format!("waits for volume `{name}` to be ready")),
        }
        list.push(Outside {
            name: own.name.clone(),
            path: volume.status.path.clone(),
            read_only: of.read_only,
        });
    }
    Ok(Ok(list))
}

fn missing(on: Option<LocalRef>, reason: impl Into<String>) -> Missing {
    Missing::new(on, reason)
}

/// The network of a pod's port. Its names and addresses are settled before it is wired. `users` are those that are kept
/// for the pod: what it is wired with has to be theirs.
fn wiring(
    port: Option<&Resource<Port>>,
    network: Option<&Resource<Network>>,
    users: Option<u32>,
) -> Wiring {
    let Some(port) = port else {
        return Wiring::Unknown(missing(None, "waits for its port to be made"));
    };
    let wait = |what: String| missing(Some(port.local_ref()), what);
    let name = &port.meta.name;
    let Some(network) = network else {
        return Wiring::Unknown(wait(format!("the network of port `{name}` is gone")));
    };
    let (namespace, owner) = match &port.status.binding {
        Some(Binding::Veth { namespace, users, .. }) => (Some(namespace.clone()), *users),
        _ => (None, None),
    };
    let is_bound = namespace.is_some();
    let found = PodNetwork {
        namespace: namespace
            .unwrap_or_else(|| Binding::namespace_of(Id::new(port.spec.workload.id))),
        hostname: port.spec.hostname.clone(),
        address: port.spec.address,
        gateway: network.spec.subnet.gateway(),
    };
    if !port.status.conditions.holds("Ready") {
        return Wiring::Underway(found, wait(format!("waits for port `{name}` to be ready")));
    }
    if !is_bound {
        let what = format!("waits for port `{name}` to get a network namespace");
        return Wiring::Underway(found, wait(what));
    }
    if owner != users {
        let what = format!("waits for port `{name}` to be made for its pod's users");
        return Wiring::Underway(found, wait(what));
    }
    Wiring::Done(found)
}

fn archive(name: &Name, found: Option<&Resource<Image>>) -> Result<ImageArchive, Missing> {
    let image = found.ok_or_else(|| {
        missing(None, format!("there is no image `{name}`; add it or name another one"))
    })?;
    let wait = |what: String| missing(Some(image.local_ref()), what);
    if image.spec.format != ImageFormat::OciArchive {
        return Err(wait(format!("image `{name}` is not a container image")));
    }
    match image.status.state {
        ImageState::Available => {}
        ImageState::Pending if image.spec.files.is_empty() => {
            return Err(wait(format!("waits for image `{name}` to be pulled")));
        }
        ImageState::Pending => return Err(wait(format!("waits for image `{name}` to be checked"))),
        ImageState::Receiving => {
            return Err(wait(format!("waits for image `{name}` to be brought in")));
        }
        ImageState::Failed => return Err(wait(format!("image `{name}` could not be brought in"))),
        ImageState::Quarantined => return Err(wait(format!("image `{name}` is damaged"))),
    }
    if let Some(manifest) = image.spec.file("manifest") {
        let (name, sha256) = (name.clone(), manifest.sha256.to_ascii_lowercase());
        return Ok(ImageArchive { name, path: String::new(), sha256 });
    }
    let file = image.spec.file("archive");
    let file = file.ok_or_else(|| wait(format!("image `{name}` has no archive")))?;
    Ok(ImageArchive {
        name: name.clone(),
        path: file.path.clone(),
        sha256: file.sha256.to_ascii_lowercase(),
    })
}

/// The pods to look at after a change of something that pods need.
pub(crate) fn pods_that_need(store: &Store, change: &Change) -> Vec<LocalRef> {
    let document = change.after.as_ref().or(change.before.as_ref());
    match change.subject.kind {
        Kind::Port => {
            let port = document.and_then(|document| document.to_resource::<Port>().ok());
            let workload = port.map(|port| port.spec.workload);
            workload.into_iter().filter(|workload| workload.kind == Kind::Pod).collect()
        }
        Kind::Image => {
            let Some(name) = document.map(|document| document.metadata.name.clone()) else {
                return Vec::new();
            };
            let pods = store.list::<Pod>().unwrap_or_default();
            let uses = |pod: &&Resource<Pod>| {
                let template = pod.status.template();
                let running = template.iter().flat_map(|it| it.init.iter().chain(&it.containers));
                pod.spec.all_containers().chain(running).any(|container| container.image == name)
            };
            pods.iter().filter(uses).map(Resource::local_ref).collect()
        }
        Kind::Config | Kind::Secret => {
            let Some(name) = document.map(|document| document.metadata.name.clone()) else {
                return Vec::new();
            };
            let pods = store.list::<Pod>().unwrap_or_default();
            let uses = |pod: &&Resource<Pod>| values::names(pod, change.subject.kind, &name);
            pods.iter().filter(uses).map(Resource::local_ref).collect()
        }
        Kind::Volume => {
            let Some(name) = document.map(|document| document.metadata.name.clone()) else {
                return Vec::new();
            };
            let pods = store.list::<Pod>().unwrap_or_default();
            let names = |source: &PodVolumeSource| matches!(source, PodVolumeSource::Volume(of) if of.name == name);
            let in_list = |list: &[PodVolume]| list.iter().any(|volume| names(&volume.source));
            let uses = |pod: &&Resource<Pod>| {
                let runs = pod.status.template();
                in_list(&pod.spec.volumes) || runs.is_some_and(|runs| in_list(&runs.volumes))
            };
            pods.iter().filter(uses).map(Resource::local_ref).collect()
        }
        Kind::Network => {
            let ports = store.list::<Port>().unwrap_or_default();
            let on_it = ports.iter().filter(|port| port.spec.network.uuid() == change.subject.id);
            on_it.map(|port| port.spec.workload).filter(|w| w.kind == Kind::Pod).collect()
        }
        _ => Vec::new(),
    }
}

//! The container runtime of the domain's port: folders here, units and mounts through a [`Supervisor`].

#[path = "runtime/bundles.rs"]
mod bundles;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use skerry_containers::{
    Answer, ContainerAccess, ContainerDesired, ContainerObserved, ContainerRuntime, ExecRequest,
    ExecSession, ImageArchive, LogLines, LogRequest, Part, PodObserved, PodStep, Question, Run,
    RuntimeError, RuntimeEvent, RuntimeFault, TerminalLook, VolumeContent, VolumeDesired,
};
use skerry_linux_host::systemd::Systemd;
use skerry_model::{ContainerStats, Id, LogRate, Name, Pod};
use tokio::sync::{Mutex, broadcast, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::blobs::BlobStore;
use crate::bundle::{BundleError, etc_files, spec};
use crate::exec::Executor;
use crate::images::{ImageError, ImageLibrary, ImageRecord};
use crate::observe::run_of;
use crate::oci::{self, Oci};
use crate::pages::{self, Allotment};
use crate::places::{self, Places, container_of_unit, unit_name, unit_prefix};
use crate::programs::Programs;
use crate::root::Root;
use crate::service::ContainerUnit;
use crate::supervisor::{HostMount, Supervisor};
use crate::unpacker::Unpacking;
use crate::{console, folders, ids, input, logs, probe, stats, turned, user, volumes};

/// Containers of this machine.
pub struct LinuxContainers {
    inner: Arc<Inner>,
    executor: Arc<Executor>,
    events: broadcast::Sender<RuntimeEvent>,
    _listener: AbortOnDropHandle<()>,
}

struct Inner {
    places: Places,
    blobs: BlobStore,
    supervisor: Arc<dyn Supervisor>,
    /// How fast logs may grow of containers that do not say.
    log_rate: LogRate,
    library: OnceLock<ImageLibrary>,
    /// One import at a time: two of the same image would do the work twice, two of different ones share a disk.
    importing: Mutex<()>,
}

impl LinuxContainers {
    /// Containers under the system's service manager, whose logs may grow so fast if they do not say. Must be called
    /// within a tokio runtime.
    pub fn start(places: Places, blobs: BlobStore, systemd: Systemd, log_rate: LogRate) -> Self {
        Self::with_supervisor(places, blobs, Arc::new(systemd), log_rate)
    }

    /// Containers under another supervisor.
    pub fn with_supervisor<S: Supervisor + Programs>(
        places: Places,
        blobs: BlobStore,
        supervisor: Arc<S>,
        log_rate: LogRate,
    ) -> Self {
        let executor = Arc::new(Executor::new(places.clone(), supervisor.clone()));
        tokio::spawn(present(Oci::present(&places)));
        let sweeper = Arc::clone(&executor);
        tokio::spawn(async move {
            // Tried again before the first program of this run.
            if let Err(error) = sweeper.sweep().await {
                warn!(error = %error.chain(), "programs of an earlier run are not ended yet");
            }
        });
        let inner = Arc::new(Inner {
            places,
            blobs,
            supervisor,
            log_rate,
            library: OnceLock::new(),
            importing: Mutex::new(()),
        });
        let events = broadcast::channel(256).0;
        let listener = tokio::spawn(listen(inner.clone(), events.clone()));
        Self { inner, executor, events, _listener: AbortOnDropHandle::new(listener) }
    }
}

/// Says in the log which runtime starts containers, or why none can.
async fn present(oci: Oci) {
    if let Err(error) = oci.check() {
        return tracing::error!("no container can be started: {error}");
    }
    match oci.version().await {
        Ok(version) => tracing::info!(program = %oci.runtime(), version, "the container runtime"),
        Err(error) => {
            tracing::warn!(%error, "the container runtime {} does not tell its version", oci.runtime())
        }
    }
}

/// Passes on what happens to pods' units, for as long as it lives.
async fn listen(inner: Arc<Inner>, events: broadcast::Sender<RuntimeEvent>) {
    let mut wait = Duration::from_secs(1);
    loop {
        match inner.supervisor.watch("skerry-pod-").await {
            Ok(mut units) => {
                wait = Duration::from_secs(1);
                // Whatever happened before the watch was up. Nobody listening is no error.
                let _ = events.send(RuntimeEvent::All);
                while let Some(unit) = units.next().await {
                    let pods = folders::names(&inner.places.all_bundles());
                    for pod in pods.iter().filter_map(|name| name.parse::<Id<Pod>>().ok()) {
                        if unit.starts_with(&unit_prefix(pod)) {
                            let _ = events.send(RuntimeEvent::Pod(pod));
                        }
                    }
                }
            }
            Err(error) => {
                warn!(error = %error.chain(), "changes of containers are not heard of");
                wait = (wait * 2).min(Duration::from_secs(60));
            }
        }
        tokio::time::sleep(wait).await;
    }
}

#[async_trait]
impl ContainerRuntime for LinuxContainers {
    async fn observe(&self, pod: Id<Pod>) -> Result<PodObserved, RuntimeError> {
        self.inner.observe(pod).await
    }

    async fn present(&self) -> Result<Vec<Id<Pod>>, RuntimeError> {
        let places = &self.inner.places;
        let mut names = folders::names(&places.all_layers());
        names.extend(folders::names(&places.all_bundles()));
        names.extend(places.all_volumes().iter().flat_map(|all| folders::names(all)));
        let mut pods: Vec<Id<Pod>> = names.iter().filter_map(|name| name.parse().ok()).collect();
        pods.sort();
        pods.dedup();
        Ok(pods)
    }

    async fn apply(&self, step: &PodStep) -> Result<(), RuntimeError> {
        self.inner.apply(step).await
    }

    async fn logs(&self, request: LogRequest) -> Result<LogLines, RuntimeError> {
        logs::lines(&self.inner.places, &request)
    }

    async fn stats(&self, pod: Id<Pod>) -> Result<Vec<ContainerStats>, RuntimeError> {
        let observed = self.inner.observe(pod).await?;
        let mut found = Vec::new();
        for (name, container) in &observed.containers {
            let Run::Running { pid: Some(_), .. } = container.run else { continue };
            let (slice, _) = Allotment::hold(&self.inner.places.bundle(pod, name), Vec::new())?;
            let group = stats::group(&slice, &unit_name(pod, name));
            let read = stats::read(name, &group);
            found.extend(read.map_err(io_failed("cannot read what a container takes"))?);
        }
        Ok(found)
    }

    async fn ask(&self, question: &Question) -> Answer {
        probe::ask(&self.inner.places, &*self.inner.supervisor, question).await
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
}

#[async_trait]
impl ContainerAccess for LinuxContainers {
    async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        self.inner.is_running(request.pod, &request.container).await?;
        // In a task of its own, so that a caller who goes away meanwhile leaves no program behind: what comes of it
        // then has no taker, which ends it.
        let executor = Arc::clone(&self.executor);
        let started = tokio::spawn(async move { executor.exec(request).await }).await;
        started.unwrap_or_else(|error| {
            let message = "starting a program failed";
            Err(RuntimeError::new(RuntimeFault::Broken, message).because(error))
        })
    }

    async fn input(
        &self,
        pod: Id<Pod>,
        container: &Name,
    ) -> Result<mpsc::Sender<Vec<u8>>, RuntimeError> {
        self.inner.is_running(pod, container).await?;
        input::sender(&self.inner.places.input(pod, container))
    }

    async fn terminal(&self, pod: Id<Pod>, container: &Name) -> Result<TerminalLook, RuntimeError> {
        self.inner.is_running(pod, container).await?;
        console::look(&self.inner.places.bundle(pod, container)).await
    }
}

impl Inner {
    async fn is_running(&self, pod: Id<Pod>, name: &Name) -> Result<(), RuntimeError> {
        match self.observe(pod).await?.container(name).run {
            Run::Running { pid: Some(_), .. } => Ok(()),
            _ => {
                let message = format!("container `{name}` does not run: start the pod first");
                Err(RuntimeError::new(RuntimeFault::Refused, message))
            }
        }
    }

    /// The image library, opened and swept on first use: the data partition may come late.
    fn library(&self) -> Result<&ImageLibrary, RuntimeError> {
        if let Some(library) = self.library.get() {
            return Ok(library);
        }
        let unpacking = Unpacking::new(self.places.unpack.clone());
        let opened = ImageLibrary::open(self.places.layers(), self.blobs.clone(), unpacking)
            .map_err(|error| image_failed("the image library cannot be opened", error))?;
        Ok(self.library.get_or_init(|| opened))
    }

    async fn observe(&self, pod: Id<Pod>) -> Result<PodObserved, RuntimeError> {
        let mut observed = PodObserved {
            folders: self.pod_folders(pod).iter().any(|folder| folder.exists()),
            volumes: self.volumes(pod).await?,
            images: self.library()?.present(),
            ..PodObserved::default()
        };
        let mut known = folders::names(&self.places.pod_layers(pod));
        known.extend(folders::names(&self.places.pod_bundles(pod)));
        for name in known.into_iter().filter_map(|name| Name::new(name).ok()) {
            let found = ContainerObserved {
                layer: folders::part(&self.places.layer(pod, &name)),
                bundle: folders::part(&self.places.bundle(pod, &name)),
                mounted: self.supervisor.is_mounted(&self.places.root(pod, &name)).await?,
                ..ContainerObserved::default()
            };
            observed.containers.insert(name, found);
        }
        for unit in self.supervisor.services(&unit_prefix(pod)).await? {
            if let Some(name) = container_of_unit(pod, &unit.name) {
                let run = run_of(&unit, self.pid(pod, &name));
                observed.containers.entry(name).or_default().run = run;
            }
        }
        for (name, found) in &mut observed.containers {
            let made = matches!(found.bundle, Part::Made(_)) && !found.run.is_live();
            if made && !self.is_for_present(pod, name) {
                found.bundle = Part::Broken;
            }
        }
        Ok(observed)
    }

    /// Whether a bundle is for the runtime that starts containers now. One that is not, or does not tell, is made anew.
    fn is_for_present(&self, pod: Id<Pod>, name: &Name) -> bool {
        let oci = Oci::of_bundle(&self.places.bundle(pod, name), &self.places);
        oci.is_ok_and(|oci| oci == Oci::present(&self.places))
    }

    /// All folders that are the pod's own.
    fn pod_folders(&self, pod: Id<Pod>) -> [PathBuf; 4] {
        let places = &self.places;
        [
            places.pod_bundles(pod),
            places.pod_layers(pod),
            places.pod_run_volumes(pod),
            places.pod_disk_volumes(pod),
        ]
    }

    /// The pod's volumes. One in memory whose file system is not there is broken.
    async fn volumes(&self, pod: Id<Pod>) -> Result<BTreeMap<Name, Part>, RuntimeError> {
        let mut found = BTreeMap::new();
        for (name, folder, part) in volumes::observed(&self.places, pod) {
            let in_memory = matches!(&part, Part::Made(from) if from.starts_with("memory:") || VolumeDesired::is_of_pages(from));
            let whole = !in_memory || self.supervisor.is_mounted(&volumes::tree(&folder)).await?;
            // Of two of one name, from before and after a change of its sort, neither counts.
            let part = if whole && !found.contains_key(&name) { part } else { Part::Broken };
            found.insert(name, part);
        }
        Ok(found)
    }

    async fn make_volume(&self, pod: Id<Pod>, volume: &VolumeDesired) -> Result<(), RuntimeError> {
        let folder = volumes::folder(&self.places, pod, &volume.name, &volume.content);
        let exchanges = matches!(volume.content, VolumeContent::Files { .. });
        if !exchanges || !folder.exists() {
            // Whatever was there of another sort, or half made.
            self.remove_volume(pod, &volume.name).await?;
        }
        let failed = io_failed("cannot make a volume");
        volumes::make(&folder, volume).map_err(failed)?;
        if let VolumeContent::Memory { size_mib } = &volume.content {
            let options = format!("nosuid,nodev,mode=777,size={size_mib}m");
            let target = volumes::tree(&folder);
            let (kind, what) = ("tmpfs", PathBuf::from("tmpfs"));
            self.supervisor.mount(&HostMount { kind, what, target, options }).await?;
        }
        if let VolumeContent::HugePages { size, size_mib } = &volume.content {
            self.supervisor.mount(&pages::mount(&folder, *size, *size_mib)).await?;
        }
        folders::mark(&folder, &volume.made_from).map_err(io_failed("cannot mark a volume"))
    }

    async fn remove_volume(&self, pod: Id<Pod>, volume: &Name) -> Result<(), RuntimeError> {
        for all in [self.places.pod_run_volumes(pod), self.places.pod_disk_volumes(pod)] {
            let folder = all.join(volume.as_str());
            if !folder.exists() {
                continue;
            }
            self.supervisor.unmount(&volumes::tree(&folder)).await?;
            folders::remove(&folder).map_err(io_failed("cannot remove a volume"))?;
        }
        Ok(())
    }

    /// The container's first process, as the runtime wrote it.
    fn pid(&self, pod: Id<Pod>, container: &Name) -> Option<u32> {
        fs::read_to_string(self.pid_file(pod, container)).ok()?.trim().parse().ok()
    }

    fn pid_file(&self, pod: Id<Pod>, container: &Name) -> PathBuf {
        self.places.bundle(pod, container).join(oci::PID)
    }

    async fn apply(&self, step: &PodStep) -> Result<(), RuntimeError> {
        match step {
            PodStep::ImportImage { image } => self.import(image).await,
            PodStep::MakeLayer { pod, container, layer } => self.make_layer(*pod, container, layer),
            PodStep::WriteBundle { pod, container } => self.write_bundle(*pod, container),
            PodStep::MountRoot { pod, container } => self.mount_root(*pod, container).await,
            PodStep::Start { pod, container } => self.start(*pod, container).await,
            PodStep::Stop { pod, container } => {
                self.supervisor.stop(&unit_name(*pod, container)).await
            }
            PodStep::Kill { pod, container } => {
                self.supervisor.kill(&unit_name(*pod, container)).await
            }
            PodStep::Forget { pod, container } => {
                self.supervisor.forget(&unit_name(*pod, container)).await?;
                turned::take_away(&self.places, &*self.supervisor, *pod, container).await?;
                let removed = fs::remove_file(self.pid_file(*pod, container));
                folders::absent_is_fine(removed).map_err(io_failed("cannot remove a pid file"))
            }
            PodStep::UnmountRoot { pod, container } => {
                self.supervisor.unmount(&self.places.root(*pod, container)).await
            }
            PodStep::RemoveBundle { pod, container } => {
                turned::take_away(&self.places, &*self.supervisor, *pod, container).await?;
                folders::remove(&self.places.bundle(*pod, container))
                    .and_then(|()| self.remove_records(*pod, container))
                    .map_err(io_failed("cannot remove a bundle"))
            }
            PodStep::RemoveLayer { pod, container } => {
                folders::remove(&self.places.layer(*pod, container))
                    .map_err(io_failed("cannot remove a writable layer"))
            }
            PodStep::MakeVolume { pod, volume } => self.make_volume(*pod, volume).await,
            PodStep::RemoveVolume { pod, volume } => self.remove_volume(*pod, volume).await,
            PodStep::RemoveFolders { pod } => self.remove_folders(*pod).await,
        }
    }

    async fn import(&self, image: &ImageArchive) -> Result<(), RuntimeError> {
        let _turn = self.importing.lock().await;
        let library = self.library()?.clone();
        let wanted = image.clone();
        let what = format!("image `{}` cannot be unpacked", image.name);
        match tokio::task::spawn_blocking(move || library.import(&wanted)).await {
            Ok(done) => done.map_err(|error| image_failed(&what, error)),
            Err(error) => Err(RuntimeError::new(RuntimeFault::Broken, what).because(error)),
        }
    }

    fn make_layer(&self, pod: Id<Pod>, container: &Name, layer: &str) -> Result<(), RuntimeError> {
        let folder = self.places.layer(pod, container);
        let make = || {
            folders::make_all(&self.places.pod_layers(pod))?;
            folders::make(&folder, 0o700)?;
            // The upper folder's own mode and owner are those of the container's `/`.
            folders::make(&folder.join("upper"), 0o755)?;
            folders::make(&folder.join("work"), 0o700)?;
            folders::mark(&folder, layer)
        };
        make().map_err(io_failed("cannot make a writable layer"))
    }

    fn image(&self, desired: &ContainerDesired) -> Result<ImageRecord, RuntimeError> {
        self.library()?
            .record(&desired.image.sha256)
            .map_err(|error| image_failed("the container's image is not there", error))
    }

    /// The image's layers as folders, topmost first.
    fn layers(&self, image: &ImageRecord) -> Result<Vec<PathBuf>, RuntimeError> {
        let library = self.library()?;
        Ok(image.layers.iter().rev().map(|layer| library.layer(layer)).collect())
    }

    async fn mount_root(
        &self,
        pod: Id<Pod>,
        desired: &ContainerDesired,
    ) -> Result<(), RuntimeError> {
        // Held until the kernel itself knows that the layers are in use.
        let (image, _claim) = self
            .library()?
            .hold(&desired.image.sha256)
            .map_err(|error| image_failed("the container's image is not there", error))?;
        let layers = self.layers(&image)?;
        let layer = self.places.layer(pod, &desired.name);
        let target = self.places.root(pod, &desired.name);
        let root = Root { layers, layer };
        let Some(first) = desired.users else {
            let mount = root.mount(&target, |path| Some(path.to_owned()))?;
            return self.supervisor.mount(&mount).await;
        };
        let seen = self.see(pod, first).await?;
        let data = self.places.data();
        let mount = root.mount(&target, |path| Some(seen.join(path.strip_prefix(data).ok()?)))?;
        self.supervisor.mount(&mount).await
    }

    /// Lets a pod's users see the data, for as long as the pod is there: each mount is a job of the manager.
    async fn see(&self, pod: Id<Pod>, first: u32) -> Result<PathBuf, RuntimeError> {
        let seen = self.places.seen(first);
        let mark = self.places.seen_mark(pod, first);
        let make = || {
            folders::make_all(&self.places.all_seen())?;
            folders::write(&mark, b"", 0o600)?;
            folders::make(&seen, 0o700)
        };
        if !self.supervisor.is_mounted(&seen).await? {
            make().map_err(io_failed("cannot make a folder for a mount"))?;
            self.supervisor.mount(&ids::seen_by(first, self.places.data(), &seen)).await?;
        }
        Ok(seen)
    }

    /// Takes away what a pod's users see of the data.
    async fn see_no_more(&self, pod: Id<Pod>) -> Result<(), RuntimeError> {
        let failed = || io_failed("cannot remove a folder");
        for name in folders::names(&self.places.all_seen()) {
            let Some(first) = places::seen_by_pod(pod, &name) else { continue };
            let seen = self.places.seen(first);
            self.supervisor.unmount(&seen).await?;
            // Never with what is in it: should it still be mounted, that would be all data.
            folders::absent_is_fine(fs::remove_dir(&seen)).map_err(failed())?;
            let mark = self.places.seen_mark(pod, first);
            folders::absent_is_fine(fs::remove_file(mark)).map_err(failed())?;
        }
        Ok(())
    }

    async fn start(&self, pod: Id<Pod>, desired: &ContainerDesired) -> Result<(), RuntimeError> {
        let image = self.image(desired)?;
        let unit = ContainerUnit::new(pod, desired, &image, &self.places, self.log_rate);
        let there = self.supervisor.services(&unit_prefix(pod)).await?;
        if there.iter().any(|other| other.name == unit.name) {
            return Ok(());
        }
        let oci = Oci::present(&self.places);
        oci.check()?;
        // What a runtime left of an earlier run would make it refuse the name.
        folders::make_all(oci.state())
            .and_then(|()| self.remove_records(pod, &desired.name))
            .map_err(io_failed("cannot clear the runtime's folder"))?;
        if let Some(first) = desired.users.filter(|_| !oci.turns_owners()) {
            let container = (pod, &desired.name);
            turned::make(&self.places, &*self.supervisor, container, first).await?;
        }
        if desired.network.is_of_node() {
            // The node's name and resolvers may have changed since the bundle was written.
            bundles::write_etc(&self.places.bundle(pod, &desired.name), desired)
                .map_err(io_failed("cannot write what a container sees of the node"))?;
        }
        if let Some(path) = &unit.input {
            input::make(path).map_err(io_failed("cannot make a container's standard input"))?;
        }
        self.supervisor.start(&unit).await
    }

    fn remove_records(&self, pod: Id<Pod>, container: &Name) -> std::io::Result<()> {
        let records = oci::records(&self.places, pod, container);
        records.iter().try_for_each(|record| folders::remove(record))
    }

    async fn remove_folders(&self, pod: Id<Pod>) -> Result<(), RuntimeError> {
        self.see_no_more(pod).await?;
        self.supervisor.forget_pod(pod).await?;
        let removed = self.pod_folders(pod).iter().try_for_each(|one| folders::remove_empty(one));
        removed.map_err(io_failed("cannot remove a pod's folders"))
    }
}

pub(crate) fn io_failed(what: &'static str) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |source| {
        let fault = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                RuntimeFault::NoSpace
            }
            _ => RuntimeFault::Passing,
        };
        RuntimeError::new(fault, what).because(source)
    }
}

fn image_failed(what: &str, error: ImageError) -> RuntimeError {
    let fault = if error.is_no_space() {
        RuntimeFault::NoSpace
    } else if error.is_images_fault() {
        RuntimeFault::Refused
    } else {
        RuntimeFault::Passing
    };
    RuntimeError::new(fault, what).because(error)
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod live_tests;

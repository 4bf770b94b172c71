//! Where everything of a container lies.
//!
//! ```text
//! <data>/layers/                        the image library
//! <data>/blobs/                         images as they were brought in, by digest
//! <data>/pulls/<job>/                   what is being downloaded; the north side's own
//! <data>/pods/<pod>/<container>/        made, upper/, work/: the writable layer
//! <run>/pods/<pod>/<container>/         made, config.json, runtime, etc/, rootfs/, pid, stdin, terminal: the bundle
//! <data>/pod-volumes/<pod>/<volume>/    folders on disk, see `volumes`
//! <run>/pod-volumes/<pod>/<volume>/     files, and folders in memory
//! <run>/seen/<number>/                  the data as the pod sees it whose users these are: number × 65536 and on
//! <run>/seen/<pod>.<number>             says so
//! <run>/users/<namespace>               the user namespace that owns a pod's network, made by others
//! <run>/crun/, <run>/runc/              the runtimes' own records
//! <run>/turned/<pod>.<container>/       volumes as the pod sees them, for runtimes that do not turn owners
//! <run>/exec/                           what people run in containers: words and sockets, while they start
//! ```
//!
//! `made` is written last and removed first: a folder without it is half made.

use std::path::{Path, PathBuf};

use skerry_containers::{OciRuntime, RuntimeFamily, USERS};
use skerry_model::{Binding, Id, Name, Pod};

use crate::folders;

/// The folders and programs that containers need.
#[derive(Debug, Clone)]
pub struct Places {
    data: PathBuf,
    run: PathBuf,
    /// The container runtime that new containers are started with.
    pub runtime: OciRuntime,
    /// The program that stands in for a runtime that does not stay.
    pub shim: PathBuf,
    /// The program that reads layers.
    pub unpack: PathBuf,
    /// The program that holds containers' terminals.
    pub terminal: PathBuf,
    /// The program that limits containers' huge pages.
    pub pages: PathBuf,
    /// The journal's reader.
    pub journalctl: PathBuf,
    /// Where named network namespaces are.
    pub namespaces: PathBuf,
    /// Where the user namespaces that own these are, by the same names.
    pub users: PathBuf,
}

impl Places {
    /// The usual programs, with the data partition's folder and the runtime folder given, such as
    /// `/var/lib/skerry/data` and `/run/skerry`.
    pub fn below(data: &Path, run: &Path) -> Self {
        Self {
            data: data.to_owned(),
            run: run.to_owned(),
            runtime: OciRuntime::default(),
            shim: PathBuf::from("/usr/bin/skerry-shim"),
            unpack: PathBuf::from("/usr/bin/skerry-unpack"),
            terminal: PathBuf::from("/usr/bin/skerry-terminal"),
            pages: PathBuf::from("/usr/bin/skerry-pages"),
            journalctl: PathBuf::from("/usr/bin/journalctl"),
            namespaces: PathBuf::from("/run/netns"),
            users: PathBuf::from(Binding::USERS_FOLDER),
        }
    }

    /// The data partition's folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of all places where pods' users see the data.
    pub fn all_seen(&self) -> PathBuf {
        self.run.join("seen")
    }

    /// Where users from this one on see the data. Short, since many paths below it have to fit into one page. Whoever
    /// has these users sees the same there.
    pub fn seen(&self, first: u32) -> PathBuf {
        self.all_seen().join((first / USERS).to_string())
    }

    /// Says that a pod's users see the data somewhere.
    pub fn seen_mark(&self, pod: Id<Pod>, first: u32) -> PathBuf {
        self.all_seen().join(format!("{}.{}", pod.short(), first / USERS))
    }

    /// The image library.
    pub fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    /// The store of blobs.
    pub fn blobs(&self) -> PathBuf {
        self.data.join("blobs")
    }

    /// The folders into which images are downloaded, one a job.
    pub fn pulls(&self) -> PathBuf {
        self.data.join("pulls")
    }

    /// The folder of all pods' writable layers.
    pub fn all_layers(&self) -> PathBuf {
        self.data.join("pods")
    }

    /// The folder of all pods' bundles.
    pub fn all_bundles(&self) -> PathBuf {
        self.run.join("pods")
    }

    /// The folders on disk that programs in containers write to, made if they are not there: limits are set on folders. A
    /// disk that takes none now, full or failed, keeps nobody from starting; what is not there has no limit yet.
    pub fn written_by_containers(&self) -> Vec<PathBuf> {
        let [volumes, _] = self.all_volumes();
        let folders = vec![self.all_layers(), volumes];
        for folder in &folders {
            if let Err(error) = folders::make_all(folder) {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "what containers write there is not limited yet");
            }
        }
        folders
    }

    /// A pod's writable layers.
    pub fn pod_layers(&self, pod: Id<Pod>) -> PathBuf {
        self.all_layers().join(pod.to_string())
    }

    /// A pod's bundles.
    pub fn pod_bundles(&self, pod: Id<Pod>) -> PathBuf {
        self.all_bundles().join(pod.to_string())
    }

    /// The folders of all pods' volumes: on disk, in memory.
    pub fn all_volumes(&self) -> [PathBuf; 2] {
        [self.data.join("pod-volumes"), self.run.join("pod-volumes")]
    }

    /// A pod's volumes on disk.
    pub fn pod_disk_volumes(&self, pod: Id<Pod>) -> PathBuf {
        self.data.join("pod-volumes").join(pod.to_string())
    }

    /// A pod's volumes in memory.
    pub fn pod_run_volumes(&self, pod: Id<Pod>) -> PathBuf {
        self.run.join("pod-volumes").join(pod.to_string())
    }

    /// A container's writable layer.
    pub fn layer(&self, pod: Id<Pod>, container: &Name) -> PathBuf {
        self.pod_layers(pod).join(container.as_str())
    }

    /// A container's bundle.
    pub fn bundle(&self, pod: Id<Pod>, container: &Name) -> PathBuf {
        self.pod_bundles(pod).join(container.as_str())
    }

    /// A container's root file system, once mounted.
    pub fn root(&self, pod: Id<Pod>, container: &Name) -> PathBuf {
        self.bundle(pod, container).join("rootfs")
    }

    /// The pipe to a container's standard input.
    pub fn input(&self, pod: Id<Pod>, container: &Name) -> PathBuf {
        self.bundle(pod, container).join("stdin")
    }

    /// A runtime's own records.
    pub fn runtime_state(&self, family: RuntimeFamily) -> PathBuf {
        self.run.join(family.word())
    }

    /// Where a container's volumes are seen with their owners turned around, if its runtime does not do that.
    pub fn turned(&self, pod: Id<Pod>, container: &Name) -> PathBuf {
        self.run.join("turned").join(format!("{}.{container}", pod.short()))
    }

    /// What people run in containers: words and sockets. Short, since a socket's path may not be long.
    pub fn programs(&self) -> PathBuf {
        self.run.join("exec")
    }
}

/// The first of the users with whom a pod sees the data, as the name of such a mark says.
pub fn seen_by_pod(pod: Id<Pod>, mark: &str) -> Option<u32> {
    let number = mark.strip_prefix(&pod.short().to_string())?.strip_prefix('.')?;
    number.parse::<u32>().ok()?.checked_mul(USERS)
}

/// What all of a pod's units start with.
pub fn unit_prefix(pod: Id<Pod>) -> String {
    format!("skerry-pod-{}-", pod.short())
}

/// The unit of a container.
pub fn unit_name(pod: Id<Pod>, container: &Name) -> String {
    format!("{}{container}.service", unit_prefix(pod))
}

/// The container that a unit of this pod is for.
pub fn container_of_unit(pod: Id<Pod>, unit: &str) -> Option<Name> {
    let name = unit.strip_prefix(&unit_prefix(pod))?.strip_suffix(".service")?;
    Name::new(name).ok()
}

/// The name under which the runtime keeps a container.
pub fn runtime_name(pod: Id<Pod>, container: &Name) -> String {
    format!("{pod}-{container}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers_name_each_other() {
        let pod: Id<Pod> = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap();
        let name = Name::new("web-1").unwrap();
        let unit = unit_name(pod, &name);
        assert_eq!(unit, "skerry-pod-0b6d1a52-web-1.service");
        assert_eq!(container_of_unit(pod, &unit), Some(name));
        assert_eq!(container_of_unit(pod, "skerry-pod-0b6d1a53-web.service"), None);
        assert_eq!(container_of_unit(pod, "skerry-pod-0b6d1a52-.service"), None);
    }

    #[test]
    fn folders_that_cannot_be_made_are_told_of_all_the_same() {
        let place = tempfile::tempdir().unwrap();
        let there = Places::below(&place.path().join("data"), Path::new("/r"));
        assert!(there.written_by_containers().iter().all(|folder| folder.is_dir()));
        // As on a file system that takes no folders: even root finds a file in the way.
        std::fs::write(place.path().join("file"), "").unwrap();
        let failed = Places::below(&place.path().join("file"), Path::new("/r"));
        let folders = failed.written_by_containers();
        assert!(folders.len() == 2 && !folders.iter().any(|folder| folder.exists()));
    }

    #[test]
    fn what_a_pod_sees_of_the_data_is_found_by_its_mark() {
        let pod: Id<Pod> = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap();
        let places = Places::below(Path::new("/d"), Path::new("/r"));
        assert_eq!(places.seen(655_360), Path::new("/r/seen/10"));
        let mark = places.seen_mark(pod, 655_360);
        assert_eq!(mark, Path::new("/r/seen/0b6d1a52.10"));
        assert_eq!(seen_by_pod(pod, "0b6d1a52.10"), Some(655_360));
        for other in ["10", "0b6d1a53.10", "0b6d1a52.x", "0b6d1a52", "0b6d1a52.99999999"] {
            assert_eq!(seen_by_pod(pod, other), None, "{other}");
        }
    }
}

//! The steps a plan is made of. Each is idempotent: done already is done.

use std::fmt;

use skerry_model::{Id, Name, Pod};

use crate::{ContainerDesired, ImageArchive, VolumeDesired};

/// One thing to do to the machine for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodStep {
    /// Check and unpack an image, once for all pods.
    ImportImage {
        /// The archive.
        image: ImageArchive,
    },
    /// Make the container's empty writable layer.
    MakeLayer {
        /// The pod.
        pod: Id<Pod>,
        /// The container.
        container: Name,
        /// What it is made for.
        layer: String,
    },
    /// Write the bundle: configuration, host name files, the mark that it is whole.
    WriteBundle {
        /// The pod.
        pod: Id<Pod>,
        /// What is wanted.
        container: Box<ContainerDesired>,
    },
    /// Mount the root file system: image layers below, writable layer on top.
    MountRoot {
        /// The pod.
        pod: Id<Pod>,
        /// What is wanted.
        container: Box<ContainerDesired>,
    },
    /// Start the container; it is up, or its failure is observable, when this returns.
    Start {
        /// The pod.
        pod: Id<Pod>,
        /// What is wanted.
        container: Box<ContainerDesired>,
    },
    /// Send the stop signal; does not wait for the end.
    Stop {
        /// The pod.
        pod: Id<Pod>,
        /// The container.
        container: Name,
    },
    /// Kill every process.
    Kill {
        /// The pod.
        pod: Id<Pod>,
        /// The container.
        container: Name,
    },
    /// Forget a run that ended.
    Forget {
        /// The pod.
        pod: Id<Pod>,
        /// The container.
        container: Name,
    },
    /// Take the root file system away.
    UnmountRoot {
        /// The pod.
        pod: Id<Pod>,
        /// The container.
        container: Name,
    },
    /// Delete the bundle.
    RemoveBundle {
        /// The pod.
        pod: Id<Pod>,
        /// The container.
        container: Name,
    },
    /// Delete the writable layer and what was written to it.
    RemoveLayer {
        /// The pod.
        pod: Id<Pod>,
        /// The container.
        container: Name,
    },
    /// Make a volume, or exchange the files of one.
    MakeVolume {
        /// The pod.
        pod: Id<Pod>,
        /// What is wanted.
        volume: Box<VolumeDesired>,
    },
    /// Delete a volume and what is in it.
    RemoveVolume {
        /// The pod.
        pod: Id<Pod>,
        /// The volume.
        volume: Name,
    },
    /// Delete the pod's own directories.
    RemoveFolders {
        /// The pod.
        pod: Id<Pod>,
    },
}

impl PodStep {
    /// One word for logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::ImportImage { .. } => "import_image",
            Self::MakeLayer { .. } => "make_layer",
            Self::WriteBundle { .. } => "write_bundle",
            Self::MountRoot { .. } => "mount_root",
            Self::Start { .. } => "start",
            Self::Stop { .. } => "stop",
            Self::Kill { .. } => "kill",
            Self::Forget { .. } => "forget",
            Self::UnmountRoot { .. } => "unmount_root",
            Self::RemoveBundle { .. } => "remove_bundle",
            Self::RemoveLayer { .. } => "remove_layer",
            Self::MakeVolume { .. } => "make_volume",
            Self::RemoveVolume { .. } => "remove_volume",
            Self::RemoveFolders { .. } => "remove_folders",
        }
    }

    /// What it is done to.
    pub fn subject(&self) -> &str {
        match self {
            Self::ImportImage { image } => image.name.as_str(),
            Self::MakeLayer { container, .. }
            | Self::Stop { container, .. }
            | Self::Kill { container, .. }
            | Self::Forget { container, .. }
            | Self::UnmountRoot { container, .. }
            | Self::RemoveBundle { container, .. }
            | Self::RemoveLayer { container, .. } => container.as_str(),
            Self::WriteBundle { container, .. }
            | Self::MountRoot { container, .. }
            | Self::Start { container, .. } => container.name.as_str(),
            Self::MakeVolume { volume, .. } => volume.name.as_str(),
            Self::RemoveVolume { volume, .. } => volume.as_str(),
            Self::RemoveFolders { .. } => "pod",
        }
    }
}

impl fmt::Display for PodStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word(), self.subject())
    }
}

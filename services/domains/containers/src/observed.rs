//! What is there of a pod, as a runtime reports it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skerry_model::{Name, Timestamp};

/// A directory of ours that is made in several moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Part {
    /// Not there.
    #[default]
    Absent,
    /// There, but its making or removing was cut short.
    Broken,
    /// There and whole; made from what this names.
    Made(String),
}

impl Part {
    /// Whether anything of it is there.
    pub fn is_there(&self) -> bool {
        *self != Self::Absent
    }

    /// Whether it is whole and made from what `name` names.
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Self::Made(found) if found == name)
    }
}

/// How a container's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed because it went over its memory limit.
    OutOfMemory,
    /// Taken down because a probe said so; the probe and what it was answered.
    Unhealthy(String),
    /// It never started; the runtime says why.
    NotStarted(String),
}

impl Exit {
    /// Whether it ended well.
    pub fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }

    /// The exit code as shells count: a signal is 128 and its number. None if nothing ran.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(*code),
            Self::Signal(signal) => Some(128_i32.saturating_add(*signal)),
            Self::OutOfMemory => Some(137),
            Self::Unhealthy(_) | Self::NotStarted(_) => None,
        }
    }

    /// In a word or two.
    pub fn reason(&self) -> String {
        match self {
            Self::Code(_) => "exited".to_owned(),
            Self::Signal(signal) => format!("signal {signal}"),
            Self::OutOfMemory => "oom".to_owned(),
            Self::Unhealthy(why) => format!("unhealthy: {why}"),
            Self::NotStarted(why) => format!("not started: {why}"),
        }
    }
}

/// The process of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Run {
    /// None, and nothing known of an earlier one.
    #[default]
    Absent,
    /// On its way up.
    Starting,
    /// Up.
    Running {
        /// Names this run; a new start gets a new name.
        run: String,
        /// Its first process, once known.
        pid: Option<u32>,
        /// When it started.
        started_at: Option<Timestamp>,
    },
    /// The stop signal was sent.
    Stopping,
    /// Ended; kept until forgotten.
    Ended {
        /// Names the run that ended.
        run: String,
        /// How.
        exit: Exit,
        /// After how long.
        ran_for: Duration,
    },
}

impl Run {
    /// Whether a process may still be there.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Starting | Self::Running { .. } | Self::Stopping)
    }
}

/// What is there of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerObserved {
    /// Its writable layer, on disk.
    pub layer: Part,
    /// Its bundle, in memory.
    pub bundle: Part,
    /// Whether its root file system is mounted.
    pub mounted: bool,
    /// Its process.
    pub run: Run,
}

impl ContainerObserved {
    /// Whether anything at all is there.
    pub fn is_there(&self) -> bool {
        self.layer.is_there() || self.bundle.is_there() || self.mounted || self.run != Run::Absent
    }
}

/// What is there of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodObserved {
    /// Whether directories of the pod itself are there.
    pub folders: bool,
    /// Its containers by name: whatever has a unit, a mount, a bundle or a layer.
    pub containers: BTreeMap<Name, ContainerObserved>,
    /// Its volumes by name, made from what their parts name.
    pub volumes: BTreeMap<Name, Part>,
    /// Archives whose images are unpacked, by SHA-256. Common to all pods.
    pub images: BTreeSet<String>,
}

impl PodObserved {
    /// What is there of this container.
    pub fn container(&self, name: &Name) -> ContainerObserved {
        self.containers.get(name).cloned().unwrap_or_default()
    }

    /// Whether any container may still have a process.
    pub fn any_live(&self) -> bool {
        self.containers.values().any(|container| container.run.is_live())
    }

    /// Whether nothing of the pod is left.
    pub fn is_empty(&self) -> bool {
        !self.folders
            && self.volumes.is_empty()
            && self.containers.values().all(|container| !container.is_there())
    }
}

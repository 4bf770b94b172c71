//! Volumes of a pod: folders that its containers see. Most are made for the pod and gone with it; a volume of the
//! node outlives it.

use serde::{Deserialize, Serialize};

use crate::container::is_place;
use crate::{Invalid, Name};

/// Where an empty folder lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Medium {
    /// On disk: it outlives a restart of the machine.
    #[default]
    Disk,
    /// In memory, counted to the container that writes. It is empty again after a restart of the machine.
    Memory,
    /// In huge pages of 2 MiB, for programs that map its files, such as those of DPDK; `write` does not work there. They
    /// count as those of the container that asks for them, and are given back, with what is in them, when the pod is
    /// down.
    #[serde(rename = "huge_pages_2Mi")]
    HugePages2Mi,
    /// The same in huge pages of 1 GiB.
    #[serde(rename = "huge_pages_1Gi")]
    HugePages1Gi,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PodVolumeSource {
    /// The keys of a config as files that cannot be written. They follow its changes while the pod runs.
    Config(FilesOf),
    /// The keys of a secret as files in memory that cannot be written. They follow its changes while the pod runs.
    Secret(FilesOf),
    /// A volume of the node, one that is a folder. What is in it outlives the pod. Either one pod may write to it, or
    /// several may only read it.
    Volume(VolumeOf),
    /// An empty folder that lives as long as the pod.
    Empty {
        /// Where it lies.
        #[serde(default)]
        medium: Medium,
        /// Most that fits in MiB, 1 to 1048576; not for `disk`. In `memory` it is 64 if not given; in huge pages, of whose
        /// size it is a multiple, what the containers may have.
        #[serde(default)]
        size_mib: Option<u64>,
    },
}

/// A config or a secret as files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FilesOf {
    /// Name of the config or secret.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// Permissions of the files, three or four octal digits.
    #[serde(default = "FilesOf::default_mode")]
    pub mode: String,
    /// Owner of the files, by number.
    #[serde(default)]
    pub uid: u32,
    /// Group of the files, by number.
    #[serde(default)]
    pub gid: u32,
}

/// A volume of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VolumeOf {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// No container of the pod can write to it.
    #[serde(default)]
    pub read_only: bool,
}

impl FilesOf {
    fn default_mode() -> String {
        "0644".to_owned()
    }

    /// The permissions as a number; nothing for anybody if they are not understood.
    pub fn mode_bits(&self) -> u32 {
        u32::from_str_radix(&self.mode, 8).unwrap_or(0) & 0o777
    }
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PodVolume {
    /// Unique within the pod.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// What it holds.
    pub source: PodVolumeSource,
}

/// A volume as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// Name of the pod's volume.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub volume: Name,
    /// Where in the container, an absolute path.
    pub path: String,
    /// The container cannot write to it.
    #[serde(default)]
    pub read_only: bool,
}

impl PodVolume {
    pub(crate) fn validate_at(&self, field: &str, found: &mut Invalid) {
        match &self.source {
            PodVolumeSource::Config(files) | PodVolumeSource::Secret(files) => {
                let good = (3..=4).contains(&files.mode.len())
                    && u32::from_str_radix(&files.mode, 8).is_ok_and(|mode| mode <= 0o777);
                let name = format!("{field}.source.mode");
                found.require(good, &name, "must be three or four octal digits up to 0777");
            }
            PodVolumeSource::Volume(_) => {}
            PodVolumeSource::Empty { medium, size_mib } => {
                let name = format!("{field}.source.empty.size_mib");
                let good = size_mib.is_none_or(|size| (1..=1_048_576).contains(&size));
                found.require(good, &name, "must be 1 to 1048576");
                let limited = *medium == Medium::Disk && size_mib.is_some();
                found.require(!limited, &name, "is only for a volume in memory");
                if let (Some(page), Some(size)) = (medium.pages(), size_mib)
                    && !size.is_multiple_of(page.mib())
                {
                    found.add(name, format!("must be a multiple of {} MiB", page.mib()));
                }
            }
        }
    }
}

impl VolumeMount {
    pub(crate) fn validate_at(&self, field: &str, volumes: &[PodVolume], found: &mut Invalid) {
        found.require(
            is_place(&self.path),
            &format!("{field}.path"),
            "must be absolute, without `..`, and not `/`",
        );
        if !volumes.iter().any(|volume| volume.name == self.volume) {
            found
                .add(format!("{field}.volume"), format!("the pod has no volume `{}`", self.volume));
        }
    }
}

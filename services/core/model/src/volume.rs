//! Volumes: disks of virtual machines and folders of pods that outlive them.

use serde::{Deserialize, Serialize};

use crate::{Conditions, Id, Invalid, Kind, LocalRef, Name, ResourceKind, Validate};

/// Marks [`crate::Resource`]s that are volumes.
#[derive(Debug, Clone, Copy)]
pub enum Volume {}

impl ResourceKind for Volume {
    const KIND: Kind = Kind::Volume;
    type Spec = VolumeSpec;
    type Status = VolumeStatus;
}

/// Where the first content of a volume comes from. Nothing given: it reads as zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct VolumeSource {
    /// Name of a disk image.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub image: Option<Name>,
    /// Name of a snapshot.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub snapshot: Option<Name>,
    /// Name of another volume, as it is now; no virtual machine may be running with it. Together with
    /// `snapshot`: which of the snapshot's volumes, if it has several.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub volume: Option<Name>,
}

impl VolumeSource {
    /// Whether the volume begins empty.
    pub const fn is_empty(&self) -> bool {
        self.image.is_none() && self.snapshot.is_none() && self.volume.is_none()
    }
}

/// What a volume is to those who use it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VolumeForm {
    /// A disk of a virtual machine.
    #[default]
    Disk,
    /// A folder that pods mount. It begins empty.
    Folder,
}

/// When the space of a volume is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// As it is written.
    #[default]
    Thin,
    /// At once. Only for volumes that begin empty.
    Preallocated,
}

/// The pool that exists from the first boot on. It is called as the first network is.
fn default_pool() -> Name {
    crate::vm::default_network()
}

/// What is wanted of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Name of the pool it lies in.
    #[serde(default = "default_pool")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub pool: Name,
    /// What it is: a disk, or a folder.
    #[serde(default)]
    pub form: VolumeForm,
    /// Size that guests see, or most that fits into a folder, in MiB, 1 to 67108864. It can grow at any
    /// time and never shrinks. Left out: the size of what it is made from.
    #[serde(default)]
    pub size_mib: Option<u64>,
    /// Its first content.
    #[serde(default)]
    pub source: VolumeSource,
    /// When its space is taken.
    #[serde(default)]
    pub allocation: Allocation,
    /// Whether its data is overwritten before its space is given back. What a disk keeps of
    /// overwritten data beside that (spare blocks of flash) is out of the node's reach.
    #[serde(default)]
    pub erase_on_delete: bool,
    /// Whether deleting it is refused.
    #[serde(default)]
    pub locked: bool,
}

impl VolumeSpec {
    /// One in the usual pool, with nothing said of its size and content.
    pub fn empty() -> Self {
        Self {
            form: VolumeForm::Disk,
            pool: default_pool(),
            size_mib: None,
            source: VolumeSource::default(),
            allocation: Allocation::Thin,
            erase_on_delete: false,
            locked: false,
        }
    }
}

/// The life-cycle state of a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// Accepted; its file is being made.
    #[default]
    Creating,
    /// There, and no virtual machine or pod has it.
    Available,
    /// There, and a virtual machine or a pod has it.
    InUse,
    /// Its file is damaged, or could not be made; needs an operator.
    Error,
    /// Its file is gone, though nobody asked for that.
    Lost,
    /// Its file is being removed.
    Deleting,
}

/// What is being done with a volume's data. One thing at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VolumeOperation {
    /// Nothing.
    #[default]
    None,
    /// It is made.
    Creating,
    /// It is read to make another volume, or an image.
    Cloning,
    /// It is made larger.
    Growing,
    /// A snapshot of it is taken.
    Snapshotting,
    /// It is set back to a snapshot.
    Reverting,
    /// Its structure is checked, and space that nothing refers to is given back.
    Checking,
}

/// What a volume is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct VolumeStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// Life-cycle state.
    pub state: VolumeState,
    /// What is being done with its data.
    pub operation: VolumeOperation,
    /// A sentence on why it is in this state, if there is something to say.
    pub reason: String,
    /// Size that guests see, or most that fits into a folder, in bytes.
    pub size_bytes: u64,
    /// Space that it takes, in bytes. Of a folder it is known where the file system can limit it.
    pub used_bytes: u64,
    /// Its file, or its folder.
    pub path: String,
    /// Serial number by which a guest finds the disk.
    pub serial: String,
    /// SHA-256 of the image that it shares data with, if it was made from one.
    pub base: Option<String>,
    /// Name of the virtual machine or pod that has it; the first of them if several may read it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub attached_to: Option<Name>,
    /// The virtual machines and pods that have it. While there is one it cannot be deleted.
    pub used_by: Vec<LocalRef>,
    /// The snapshot that it was last set back to, or that was last taken of it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Uuid))]
    pub snapshot: Option<Id<crate::Snapshot>>,
    /// Whether its structure has been found sound since the node was last switched on. Until then no
    /// virtual machine starts with it.
    pub checked: bool,
    /// The boot of the node in which that was found.
    pub checked_in_boot: String,
    /// Details: `Ready`; for a folder `SizeLimit`, whether its size is held to.
    pub conditions: Conditions,
}

/// Largest volume, in MiB: 64 TiB.
pub const LARGEST_VOLUME_MIB: u64 = 64 * 1024 * 1024;

impl Validate for VolumeSpec {
    fn validate(&self, found: &mut Invalid) {
        if let Some(size) = self.size_mib {
            found.require(
                (1..=LARGEST_VOLUME_MIB).contains(&size),
                "spec.size_mib",
                "must be 1 to 67108864",
            );
        } else if self.source.is_empty() {
            found.add("spec.size_mib", "an empty volume needs a size");
        }
        if self.allocation == Allocation::Preallocated && !self.source.is_empty() {
            found.add("spec.allocation", "only an empty volume can take its space at once");
        }
        if self.form == VolumeForm::Folder {
            found.require(
                self.source.is_empty(),
                "spec.source",
                "must be empty: a folder begins so",
            );
            let thin = self.allocation == Allocation::Thin;
            found.require(
                thin,
                "spec.allocation",
                "must be thin: a folder takes space as it fills",
            );
        }
        if self.source.image.is_some()
            && (self.source.snapshot.is_some() || self.source.volume.is_some())
        {
            found.add("spec.source", "give an image, or a snapshot, or a volume");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let spec: VolumeSpec = serde_json::from_str(text).unwrap();
        let mut found = Invalid::default();
        spec.validate(&mut found);
        found.violations().iter().map(|v| v.field.clone()).collect()
    }

    #[test]
    fn a_short_document_gets_defaults() {
        let spec: VolumeSpec = serde_json::from_str(r#"{"size_mib":64}"#).unwrap();
        assert_eq!(spec.pool.as_str(), "default");
        assert!(spec.source.is_empty());
        assert!(!spec.erase_on_delete && !spec.locked);
        assert_eq!(faults(r#"{"size_mib":64}"#), Vec::<String>::new());
        assert_eq!(faults(r#"{"source":{"image":"debian"}}"#), Vec::<String>::new());
        assert_eq!(faults(r#"{"source":{"snapshot":"s1","volume":"v"}}"#), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        assert_eq!(faults("{}"), ["spec.size_mib"]);
        assert_eq!(faults(r#"{"size_mib":0}"#), ["spec.size_mib"]);
        assert_eq!(faults(r#"{"size_mib":67108865}"#), ["spec.size_mib"]);
        assert_eq!(
            faults(r#"{"source":{"image":"a"},"allocation":"preallocated"}"#),
            ["spec.allocation"]
        );
        assert_eq!(faults(r#"{"source":{"image":"a","volume":"b"}}"#), ["spec.source"]);
        assert!(serde_json::from_str::<VolumeSpec>(r#"{"size":1}"#).is_err());
        assert_eq!(faults(r#"{"form":"folder","size_mib":1}"#), Vec::<String>::new());
        assert_eq!(faults(r#"{"form":"folder"}"#), ["spec.size_mib"]);
        let full = r#"{"form":"folder","source":{"volume":"a"},"allocation":"preallocated"}"#;
        assert_eq!(faults(full), ["spec.allocation", "spec.source", "spec.allocation"]);
    }
}

//! Snapshots: volumes as they were at one instant.

use serde::{Deserialize, Serialize};

use crate::{
    Conditions, Id, Invalid, Kind, Name, Phase, Resource, ResourceKind, Timestamp, Validate, Vm,
    Volume,
};

/// Marks [`crate::Resource`]s that are snapshots.
#[derive(Debug, Clone, Copy)]
pub enum Snapshot {}

impl ResourceKind for Snapshot {
    const KIND: Kind = Kind::Snapshot;
    type Spec = SnapshotSpec;
    type Status = SnapshotStatus;
}

/// Most volumes of one snapshot.
const MOST_VOLUMES: usize = 24;

/// What is wanted of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotSpec {
    /// Name of the virtual machine all of whose volumes it holds.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub vm: Option<Name>,
    /// Names of its volumes; filled in from the virtual machine if that is given.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub volumes: Vec<Name>,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// How often the volumes were to be set back to it. The action `revert` counts it up.
    #[serde(default)]
    pub reverts: u32,
}

/// The life-cycle state of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// It is being taken.
    #[default]
    Creating,
    /// It can be gone back to.
    Ready,
    /// Its volumes are being set back to it.
    Reverting,
    /// It could not be taken.
    Failed,
    /// Its data is gone, though nobody asked for that.
    Lost,
    /// It is being removed.
    Deleting,
}

/// One volume of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotVolume {
    /// Its name when the snapshot was taken.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
    pub volume: Id<Volume>,
    /// The snapshot that this one follows in the volume's history.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Uuid))]
    pub parent: Option<Id<Snapshot>>,
    /// Size that guests saw, in bytes.
    pub size_bytes: u64,
    /// Blocks of this volume, in bytes; shared with the volume as far as it has not changed since.
    pub used_bytes: u64,
}

/// What a snapshot is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SnapshotStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// Life-cycle state.
    pub state: SnapshotState,
    /// A sentence on why it is in this state, if there is something to say.
    pub reason: String,
    /// Its volumes.
    pub volumes: Vec<SnapshotVolume>,
    /// Name of the pool that it lies in, from when it has been taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub pool: Option<Name>,
    /// When it was taken.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub taken: Option<Timestamp>,
    /// Whether a guest was running when it was taken: then it is as after a power cut of the guest, unless the
    /// condition `Consistent` holds.
    pub guest_running: bool,
    /// Guests whose file systems were brought to rest for it, or were to be, and have not been let go on yet.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub frozen: Vec<Id<Vm>>,
    /// The machine whose TPM it holds as well, if it was taken of a machine that has one and had been started. Of a guest
    /// that ran, this is what the TPM had written down at the same instant, as after a power cut; measurements and
    /// sessions are no part of it. The machine's deletion removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Uuid))]
    pub tpm: Option<Id<Vm>>,
    /// How often the volumes have been set back to it.
    pub reverts: u32,
    /// Details: `Ready`; `Consistent`, whether the file systems in it are whole without a repair; `Frozen`, while a
    /// guest has not let its file systems go on.
    pub conditions: Conditions,
}

impl Resource<Snapshot> {
    /// Whether a volume is still to be set back to it. From the moment that this is asked for, no virtual machine
    /// may start with the volume.
    pub fn sets_back(&self, volume: &Name) -> bool {
        self.is_wanted_back() && self.spec.volumes.contains(volume)
    }

    /// The same for the TPM of a machine, whichever volumes the machine has by now.
    pub fn sets_back_tpm(&self, vm: Id<Vm>) -> bool {
        self.is_wanted_back() && self.status.tpm == Some(vm)
    }

    fn is_wanted_back(&self) -> bool {
        let can = matches!(self.status.state, SnapshotState::Ready | SnapshotState::Reverting);
        let waits = can && self.meta.phase == Phase::Present;
        waits && self.status.reverts < self.spec.reverts
    }
}

impl Validate for SnapshotSpec {
    fn validate(&self, found: &mut Invalid) {
        if self.vm.is_none() && self.volumes.is_empty() {
            found.add("spec.volumes", "name a virtual machine, or the volumes");
        }
        found.require(self.volumes.len() <= MOST_VOLUMES, "spec.volumes", "at most 24");
        for (index, name) in self.volumes.iter().enumerate() {
            if self.volumes.iter().take(index).any(|other| other == name) {
                found.add(format!("spec.volumes[{index}]"), "is given twice");
            }
        }
        found.require(self.description.len() <= 1024, "spec.description", "at most 1024 bytes");
    }
}

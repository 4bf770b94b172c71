//! Pods of OCI containers: the life cycle, the plan and the port to the runtime.
//!
//! The rules live here: when a container is started again, what must be there before the first process,
//! in which order a pod is taken down, what probes say. The crate touches no machine: it speaks to one
//! through [`ContainerRuntime`], which adapters implement.
//!
//! One pass over a pod is `observe -> decide -> plan -> apply`, repeated until the plan is empty.

mod access;
mod after_boot;
mod backoff;
mod controller;
mod decide;
mod desired;
mod fitting;
mod gather;
mod health;
mod lifecycle;
mod memory;
mod observed;
pub mod oci;
mod oci_runtime;
mod outgoing;
mod pages;
mod plan;
mod prober;
mod rollout;
mod runtime;
mod status;
mod step;
#[cfg(test)]
mod testing;
mod turn;
mod users;
mod values;
mod volume;

pub use access::{
    ContainerAccess, ExecInput, ExecOutput, ExecRequest, ExecSession, Size, TerminalLook,
};
pub use backoff::{Backoff, CRASH_LOOP_EXITS, CRASH_LOOP_WINDOW};
pub use controller::PodController;
pub use desired::{ContainerDesired, ImageArchive, Outside, PodNetwork, PodPages, PodWanted, Want};
pub use health::{Count, Health, HealthEvent, health_after, health_table};
pub use lifecycle::{Effect, PodEvent, Refused, next, transition_table};
pub use observed::{ContainerObserved, Exit, Part, PodObserved, Run};
pub use oci_runtime::{NoRuntime, OciRuntime, RuntimeFamily};
pub use outgoing::{ArchiveContent, ArchiveFile, archive_files, composed_manifest};
pub use pages::PageAccount;
pub use plan::plan;
pub use rollout::{RevisionEvent, revision_after, revision_table};
pub use runtime::{
    Answer, ContainerRuntime, LogLines, LogRequest, Question, RuntimeError, RuntimeEvent,
    RuntimeFault,
};
pub use step::PodStep;
pub use users::USERS;
pub use volume::{VolumeContent, VolumeDesired, VolumeFile};

/// Whether a pod names this config or secret.
pub fn uses(
    pod: &skerry_model::Resource<skerry_model::Pod>,
    kind: skerry_model::Kind,
    name: &skerry_model::Name,
) -> bool {
    values::names(pod, kind, name)
}

/// The name of the finalizer that keeps a pod's record until its parts are gone.
pub const FINALIZER: &str = "containers";

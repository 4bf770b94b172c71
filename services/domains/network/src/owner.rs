//! Whose the network namespaces of pods are.
//!
//! A namespace that belongs to the pod's own users gives them a say in it, and lets them see its links in `/sys`. So it
//! is made after these are known, and anew when they are others.

use std::collections::BTreeMap;

use skerry_model::{Phase, Pod, Resource};
use uuid::Uuid;

/// Whose a pod's namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetnsOwner {
    /// The machine's.
    Node,
    /// Of the pod's users, of whom this is the first.
    Pod(u32),
    /// Of the pod's users, who are not known yet.
    Awaited,
}

/// Owners by pod.
pub type NetnsOwners = BTreeMap<Uuid, NetnsOwner>;

impl NetnsOwner {
    /// The one of a pod. Users that were kept for it stay the owner also while its containers have the node's: these
    /// may do everything in it all the same, and going back and forth needs no new wiring.
    pub fn of(pod: &Resource<Pod>) -> Self {
        match pod.status.users {
            Some(first) => Self::Pod(first),
            None if pod.spec.has_own_users() && pod.meta.phase == Phase::Present => Self::Awaited,
            None => Self::Node,
        }
    }
}

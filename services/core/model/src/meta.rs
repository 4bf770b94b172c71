//! Metadata that every resource carries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Name};

/// A moment in UTC, written as RFC 3339. For display and certificates only: deadlines use monotonic time.
pub type Timestamp = jiff::Timestamp;

/// Who decides what a resource should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Made by the node for itself; users may read it.
    System,
    /// Made by a user of this node.
    Local,
    /// Made by the SMO.
    Smo,
}

/// Whether a resource is meant to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Wanted.
    Present,
    /// Being taken down; the record goes when the last finalizer has been removed.
    Removing,
}

/// A reference to another resource of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LocalRef {
    /// The kind of the other resource.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
}

/// The metadata of a resource. The store sets everything but `name`, `labels` and `owner`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Meta {
    /// Identity; see [`crate::Id`] for the typed form.
    pub id: Uuid,
    /// Unique among the resources of one kind.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// Free key-value marks.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Counts changes of the spec, from 1.
    pub generation: u64,
    /// Store-wide sequence number of the last change of this resource; also its ETag.
    pub revision: u64,
    /// Who decides.
    pub owner: Owner,
    /// Wanted or being removed.
    pub phase: Phase,
    /// Names of those who must clean up before the record may go.
    #[serde(default)]
    pub finalizers: Vec<String>,
    /// When the record was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// When the record last changed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated: Timestamp,
}

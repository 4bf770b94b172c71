//! The resource itself, typed for the rules and as a plain document for everything generic.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Id, Invalid, Kind, LocalRef, Meta, Name, Owner, Validate};

/// Ties a kind to its spec and status types.
pub trait ResourceKind: Sized + Send + Sync + 'static {
    /// The kind's name on every face.
    const KIND: Kind;
    /// What is wanted.
    type Spec: Serialize + DeserializeOwned + Validate + Clone + PartialEq + Send + Sync;
    /// What is.
    type Status: Serialize + DeserializeOwned + Default + Clone + PartialEq + Send + Sync;
}

/// A typed resource.
pub struct Resource<K: ResourceKind> {
    /// Identity, name, generation, revision.
    pub meta: Meta,
    /// What is wanted.
    pub spec: K::Spec,
    /// What is.
    pub status: K::Status,
}

impl<K: ResourceKind> Resource<K> {
    /// The typed id.
    pub fn id(&self) -> Id<K> {
        Id::new(self.meta.id)
    }

    /// A reference for other resources to hold.
    pub fn local_ref(&self) -> LocalRef {
        LocalRef { kind: K::KIND, id: self.meta.id }
    }

    /// The generic form.
    pub fn to_document(&self) -> Result<Document, DocumentError> {
        let encode = |error| DocumentError::Encode { kind: K::KIND, source: error };
        Ok(Document {
            kind: K::KIND,
            metadata: self.meta.clone(),
            spec: serde_json::to_value(&self.spec).map_err(encode)?,
            status: serde_json::to_value(&self.status).map_err(encode)?,
        })
    }
}

impl<K: ResourceKind> Clone for Resource<K> {
    fn clone(&self) -> Self {
        Self { meta: self.meta.clone(), spec: self.spec.clone(), status: self.status.clone() }
    }
}

impl<K: ResourceKind> PartialEq for Resource<K> {
    fn eq(&self, other: &Self) -> bool {
        self.meta == other.meta && self.spec == other.spec && self.status == other.status
    }
}

impl<K: ResourceKind> std::fmt::Debug for Resource<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resource")
            .field("kind", &K::KIND)
            .field("name", &self.meta.name)
            .field("id", &self.meta.id)
            .field("revision", &self.meta.revision)
            .finish_non_exhaustive()
    }
}

/// A resource as JSON: the form on disk, on HTTP and in exports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Which kind.
    pub kind: Kind,
    /// Identity, name, generation, revision.
    pub metadata: Meta,
    /// What is wanted, in the kind's own shape.
    pub spec: Value,
    /// What is, in the kind's own shape.
    #[serde(default)]
    pub status: Value,
}

/// A document that does not fit its kind.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A typed value could not be written as JSON.
    #[error("a {kind} could not be written as JSON")]
    Encode {
        /// The kind.
        kind: Kind,
        /// The JSON error.
        source: serde_json::Error,
    },
    /// The spec or status has another shape than the kind's.
    #[error("the {part} of this {kind} does not have the right shape: {source}")]
    Decode {
        /// The kind.
        kind: Kind,
        /// `spec` or `status`.
        part: &'static str,
        /// The JSON error; it names the key.
        source: serde_json::Error,
    },
    /// A document of one kind was read as another.
    #[error("expected a {expected}, found a {found}")]
    WrongKind {
        /// What was asked for.
        expected: Kind,
        /// What the document says.
        found: Kind,
    },
}

impl Document {
    /// The typed form. A missing (`null`) status is the default one.
    pub fn to_resource<K: ResourceKind>(&self) -> Result<Resource<K>, DocumentError> {
        if self.kind != K::KIND {
            return Err(DocumentError::WrongKind { expected: K::KIND, found: self.kind });
        }
        let decode = |part| move |source| DocumentError::Decode { kind: K::KIND, part, source };
        let spec = K::Spec::deserialize(&self.spec).map_err(decode("spec"))?;
        let status = match &self.status {
            Value::Null => K::Status::default(),
            value => K::Status::deserialize(value).map_err(decode("status"))?,
        };
        Ok(Resource { meta: self.metadata.clone(), spec, status })
    }
}

/// What a caller gives to make a resource; the store fills in the rest of the metadata.
#[derive(Debug, Clone)]
pub struct NewResource<K: ResourceKind> {
    /// The id, drawn by the caller so that references can be made in one transaction.
    pub id: Id<K>,
    /// The name.
    pub name: Name,
    /// Marks.
    pub labels: BTreeMap<String, String>,
    /// Who decides.
    pub owner: Owner,
    /// Who must clean up before the record may go.
    pub finalizers: Vec<String>,
    /// What is wanted.
    pub spec: K::Spec,
}

impl<K: ResourceKind> NewResource<K> {
    /// A local resource without labels or finalizers.
    pub fn new(id: Id<K>, name: Name, spec: K::Spec) -> Self {
        Self {
            id,
            name,
            labels: BTreeMap::new(),
            owner: Owner::Local,
            finalizers: Vec::new(),
            spec,
        }
    }

    /// Checks the spec and collects everything wrong with it.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut found = Invalid::default();
        self.spec.validate(&mut found);
        found.into_result()
    }
}

//! What a commit is made of. Building one touches nothing; [`crate::Store::commit`] checks and applies it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use skerry_model::{Document, DocumentError, Id, LocalRef, Name, NewResource, Owner, ResourceKind};

use crate::Change;

/// Changes that are committed together or not at all.
#[derive(Debug, Default)]
pub struct Transaction {
    operations: Vec<Operation>,
    /// The first value that could not be written as JSON; told on commit.
    failed: Option<DocumentError>,
}

/// What a commit came to.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The store's revision after it.
    pub revision: u64,
    /// What changed, in the order of revisions; empty if nothing did.
    pub changes: Vec<Change>,
}

impl Committed {
    /// The resource as this commit left it, if the commit changed it and it still exists.
    pub fn document(&self, subject: LocalRef) -> Option<Arc<Document>> {
        self.changes.iter().find(|change| change.subject == subject)?.after.clone()
    }
}

/// One step of a transaction.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Create {
        subject: LocalRef,
        new: Box<NewDocument>,
    },
    PutSpec {
        subject: LocalRef,
        if_revision: Option<u64>,
        spec: Value,
    },
    PutStatus {
        subject: LocalRef,
        status: Value,
    },
    PutLabels {
        subject: LocalRef,
        labels: BTreeMap<String, String>,
    },
    PutName {
        subject: LocalRef,
        name: Name,
    },
    BeginRemoval {
        subject: LocalRef,
        if_revision: Option<u64>,
    },
    DropFinalizer {
        subject: LocalRef,
        finalizer: String,
    },
    Remove {
        subject: LocalRef,
    },
    /// Everything that is not in the list goes, everything in it comes.
    ReplaceAll {
        documents: Vec<Document>,
    },
}

/// A [`NewResource`] without its type.
#[derive(Debug, Clone)]
pub(crate) struct NewDocument {
    pub name: Name,
    pub labels: BTreeMap<String, String>,
    pub owner: Owner,
    pub finalizers: Vec<String>,
    pub spec: Value,
    pub status: Value,
}

fn subject<K: ResourceKind>(id: Id<K>) -> LocalRef {
    LocalRef { kind: K::KIND, id: id.uuid() }
}

impl Transaction {
    /// An empty one; committing it changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a resource at generation 1. Its name must be free among those of its kind.
    pub fn create<K: ResourceKind>(&mut self, new: NewResource<K>) -> &mut Self {
        let subject = subject(new.id);
        let (spec, status) = (self.json::<K>(&new.spec), self.json::<K>(&K::Status::default()));
        let NewResource { name, labels, owner, finalizers, .. } = new;
        let new = Box::new(NewDocument { name, labels, owner, finalizers, spec, status });
        self.push(Operation::Create { subject, new })
    }

    /// Sets what is wanted. The generation is bumped only if the spec differs. Refused for a resource
    /// that is missing, is being removed, or is not at `if_revision`.
    pub fn put_spec<K: ResourceKind>(
        &mut self,
        id: Id<K>,
        if_revision: Option<u64>,
        spec: K::Spec,
    ) -> &mut Self {
        let spec = self.json::<K>(&spec);
        self.push(Operation::PutSpec { subject: subject(id), if_revision, spec })
    }

    /// Sets what is. An equal status changes nothing, and so does that of a missing resource: it was
    /// deleted meanwhile.
    pub fn put_status<K: ResourceKind>(&mut self, id: Id<K>, status: K::Status) -> &mut Self {
        let status = self.json::<K>(&status);
        self.push(Operation::PutStatus { subject: subject(id), status })
    }

    /// Replaces the labels.
    pub fn put_labels<K: ResourceKind>(
        &mut self,
        id: Id<K>,
        labels: BTreeMap<String, String>,
    ) -> &mut Self {
        self.push(Operation::PutLabels { subject: subject(id), labels })
    }

    /// Gives it another name, which must be free among those of its kind. Bumps the generation: what is made of the
    /// resource may carry its name. Refused for a resource that is missing or being removed.
    pub fn put_name<K: ResourceKind>(&mut self, id: Id<K>, name: Name) -> &mut Self {
        self.push(Operation::PutName { subject: subject(id), name })
    }

    /// Marks a resource as being removed. Without finalizers its record goes at once.
    pub fn begin_removal<K: ResourceKind>(
        &mut self,
        id: Id<K>,
        if_revision: Option<u64>,
    ) -> &mut Self {
        self.push(Operation::BeginRemoval { subject: subject(id), if_revision })
    }

    /// Says that one party has cleaned up. With the last finalizer the record of a resource that is
    /// being removed goes.
    pub fn drop_finalizer<K: ResourceKind>(&mut self, id: Id<K>, finalizer: &str) -> &mut Self {
        let finalizer = finalizer.to_owned();
        self.push(Operation::DropFinalizer { subject: subject(id), finalizer })
    }

    /// Removes a record, whatever its finalizers. A missing one is as good as removed.
    pub fn remove<K: ResourceKind>(&mut self, id: Id<K>) -> &mut Self {
        self.push(Operation::Remove { subject: subject(id) })
    }

    /// The same changes once more, to try them on a rehearsal. `None` if a value of it cannot be written, which a
    /// commit tells.
    pub fn duplicate(&self) -> Option<Self> {
        let operations = self.operations.clone();
        self.failed.is_none().then_some(Self { operations, failed: None })
    }

    /// Adds the changes of another one after these, to be committed together or not at all.
    pub fn append(&mut self, other: Self) {
        self.operations.extend(other.operations);
        if let Some(error) = other.failed {
            self.failed.get_or_insert(error);
        }
    }

    /// Whether committing it would do nothing.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.failed.is_none()
    }

    /// Replaces the whole state, for an import.
    pub(crate) fn replace_all(documents: Vec<Document>) -> Self {
        Self { operations: vec![Operation::ReplaceAll { documents }], failed: None }
    }

    pub(crate) fn into_operations(self) -> Result<Vec<Operation>, DocumentError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.operations),
        }
    }

    fn push(&mut self, operation: Operation) -> &mut Self {
        self.operations.push(operation);
        self
    }

    fn json<K: ResourceKind>(&mut self, value: &impl Serialize) -> Value {
        serde_json::to_value(value).unwrap_or_else(|source| {
            self.failed.get_or_insert(DocumentError::Encode { kind: K::KIND, source });
            Value::Null
        })
    }
}

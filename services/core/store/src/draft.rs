//! What a transaction would change: the rules of names, revisions, generations and removal.
//!
//! Pure: a draft is laid over a view of the state and touches nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use skerry_model::{Document, Kind, LocalRef, Meta, Name, Phase, Timestamp};
use uuid::Uuid;

use crate::state::View;
use crate::transaction::{NewDocument, Operation};
use crate::{Change, StoreError, Transaction};

/// Changes laid over another view.
pub(crate) struct Draft<'a> {
    base: &'a dyn View,
    now: Timestamp,
    documents: HashMap<LocalRef, Option<Arc<Document>>>,
    names: HashMap<(Kind, Name), Option<Uuid>>,
    /// In the order in which they were first touched.
    touched: Vec<LocalRef>,
}

impl View for Draft<'_> {
    fn document(&self, subject: LocalRef) -> Option<Arc<Document>> {
        match self.documents.get(&subject) {
            Some(found) => found.clone(),
            None => self.base.document(subject),
        }
    }

    fn named(&self, kind: Kind, name: &Name) -> Option<Uuid> {
        match self.names.get(&(kind, name.clone())) {
            Some(found) => *found,
            None => self.base.named(kind, name),
        }
    }

    fn everything(&self) -> Vec<Arc<Document>> {
        let untouched = |document: &Arc<Document>| {
            let subject = LocalRef { kind: document.kind, id: document.metadata.id };
            !self.documents.contains_key(&subject)
        };
        let mut all = self.base.everything();
        all.retain(untouched);
        all.extend(self.documents.values().flatten().cloned());
        all
    }
}

impl<'a> Draft<'a> {
    pub fn over(base: &'a dyn View, now: Timestamp) -> Self {
        Self { base, now, documents: HashMap::new(), names: HashMap::new(), touched: Vec::new() }
    }

    /// Applies a transaction and gives its changes, numbered from `revision + 1`.
    pub fn apply(&mut self, tx: Transaction, revision: u64) -> Result<Vec<Change>, StoreError> {
        for operation in tx.into_operations()? {
            self.step(operation)?;
        }
        Ok(self.number(revision))
    }

    /// Lays changes of another draft over this one.
    pub fn adopt(&mut self, changes: &[Change]) {
        for change in changes {
            self.set(change.subject, change.after.clone());
        }
    }

    fn step(&mut self, operation: Operation) -> Result<(), StoreError> {
        match operation {
            Operation::Create { subject, new } => self.create(subject, *new),
            Operation::PutSpec { subject, if_revision, spec } => {
                self.put_spec(subject, if_revision, spec)
            }
            Operation::PutStatus { subject, status } => {
                self.edit(subject, |document| document.status = status);
                Ok(())
            }
            Operation::PutLabels { subject, labels } => {
                self.present(subject, None)?;
                self.edit(subject, |document| document.metadata.labels = labels);
                Ok(())
            }
            Operation::PutName { subject, name } => self.put_name(subject, name),
            Operation::BeginRemoval { subject, if_revision } => {
                self.present(subject, if_revision)?;
                self.edit(subject, |document| document.metadata.phase = Phase::Removing);
                self.remove_if_free(subject);
                Ok(())
            }
            Operation::DropFinalizer { subject, finalizer } => {
                self.edit(subject, |document| {
                    document.metadata.finalizers.retain(|name| *name != finalizer);
                });
                self.remove_if_free(subject);
                Ok(())
            }
            Operation::Remove { subject } => {
                if self.document(subject).is_some() {
                    self.set(subject, None);
                }
                Ok(())
            }
            Operation::ReplaceAll { documents } => self.replace_all(documents),
        }
    }

    fn create(&mut self, subject: LocalRef, new: NewDocument) -> Result<(), StoreError> {
        if self.document(subject).is_some() {
            return Err(StoreError::IdTaken { subject });
        }
        self.free(subject, &new.name)?;
        let NewDocument { name, labels, owner, finalizers, spec, status } = new;
        let metadata = Meta {
            id: subject.id,
            name,
            labels,
            generation: 1,
            revision: 0,
            owner,
            phase: Phase::Present,
            finalizers,
            created: self.now,
            updated: self.now,
        };
        let document = Document { kind: subject.kind, metadata, spec, status };
        self.set(subject, Some(Arc::new(document)));
        Ok(())
    }

    fn put_spec(
        &mut self,
        subject: LocalRef,
        if_revision: Option<u64>,
        spec: Value,
    ) -> Result<(), StoreError> {
        let found = self.present(subject, if_revision)?;
        if found.spec == spec {
            return Ok(());
        }
        if found.metadata.phase == Phase::Removing {
            return Err(StoreError::Removing { subject });
        }
        self.edit(subject, |document| {
            document.spec = spec;
            document.metadata.generation += 1;
        });
        Ok(())
    }

    fn put_name(&mut self, subject: LocalRef, name: Name) -> Result<(), StoreError> {
        let found = self.present(subject, None)?;
        if found.metadata.name == name {
            return Ok(());
        }
        if found.metadata.phase == Phase::Removing {
            return Err(StoreError::Removing { subject });
        }
        self.free(subject, &name)?;
        self.edit(subject, |document| {
            document.metadata.name = name;
            document.metadata.generation += 1;
        });
        Ok(())
    }

    fn replace_all(&mut self, documents: Vec<Document>) -> Result<(), StoreError> {
        for document in self.everything() {
            self.set(LocalRef { kind: document.kind, id: document.metadata.id }, None);
        }
        for document in documents {
            let subject = LocalRef { kind: document.kind, id: document.metadata.id };
            if self.document(subject).is_some() {
                return Err(StoreError::IdTaken { subject });
            }
            self.free(subject, &document.metadata.name)?;
            self.set(subject, Some(Arc::new(document)));
        }
        Ok(())
    }

    /// The document, if it exists and is at the revision that the caller saw.
    fn present(
        &self,
        subject: LocalRef,
        if_revision: Option<u64>,
    ) -> Result<Arc<Document>, StoreError> {
        let document = self.document(subject).ok_or(StoreError::NotFound { subject })?;
        // What this transaction itself has changed is judged by what the caller could have seen.
        let seen = self.base.document(subject);
        let found = seen.map_or(0, |document| document.metadata.revision);
        match if_revision {
            Some(expected) if expected != found => {
                Err(StoreError::Stale { subject, expected, found })
            }
            _ => Ok(document),
        }
    }

    fn free(&self, subject: LocalRef, name: &Name) -> Result<(), StoreError> {
        match self.named(subject.kind, name) {
            None => Ok(()),
            Some(_) => Err(StoreError::NameTaken { kind: subject.kind, name: name.clone() }),
        }
    }

    /// Changes a document; an edit that leaves it equal, or one of a missing document, is none.
    fn edit(&mut self, subject: LocalRef, change: impl FnOnce(&mut Document)) {
        let Some(before) = self.document(subject) else { return };
        let mut after = Document::clone(&before);
        change(&mut after);
        if after != *before {
            after.metadata.updated = self.now;
            self.set(subject, Some(Arc::new(after)));
        }
    }

    fn remove_if_free(&mut self, subject: LocalRef) {
        let free = |document: Arc<Document>| {
            document.metadata.phase == Phase::Removing && document.metadata.finalizers.is_empty()
        };
        if self.document(subject).is_some_and(free) {
            self.set(subject, None);
        }
    }

    fn set(&mut self, subject: LocalRef, document: Option<Arc<Document>>) {
        if let Some(before) = self.document(subject) {
            self.names.insert((subject.kind, before.metadata.name.clone()), None);
        }
        if let Some(after) = &document {
            self.names.insert((subject.kind, after.metadata.name.clone()), Some(subject.id));
        }
        if self.documents.insert(subject, document).is_none() {
            self.touched.push(subject);
        }
    }

    /// Gives each touched document its revision, in order, and tells what changed. A document that
    /// came to be what it was is no change.
    fn number(&mut self, mut revision: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for subject in std::mem::take(&mut self.touched) {
            let before = self.base.document(subject);
            let after = self.documents.get(&subject).cloned().flatten();
            if before.is_none() && after.is_none() || same(before.as_deref(), after.as_deref()) {
                continue;
            }
            revision += 1;
            let after = after.map(|document| {
                let mut document = Document::clone(&document);
                document.metadata.revision = revision;
                Arc::new(document)
            });
            self.documents.insert(subject, after.clone());
            changes.push(Change { revision, subject, before, after });
        }
        changes
    }
}

/// Equal but for the moment of the change.
fn same(before: Option<&Document>, after: Option<&Document>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    let mut after = after.clone();
    after.metadata.updated = before.metadata.updated;
    after.metadata.revision = before.metadata.revision;
    *before == after
}

//! The truth at run time: every document, found by id and by name, and the latest changes.
//!
//! Pure data. Nothing here waits, writes or reads a clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use skerry_model::{Document, Kind, LocalRef, Name};
use uuid::Uuid;

use crate::{Change, WatchGap};

/// How many changes are kept for those who watch from an earlier revision.
const HISTORY: usize = 512;

/// What a transaction may look at.
pub(crate) trait View {
    fn document(&self, subject: LocalRef) -> Option<Arc<Document>>;
    fn named(&self, kind: Kind, name: &Name) -> Option<Uuid>;
    /// Every document, in no particular order.
    fn everything(&self) -> Vec<Arc<Document>>;
}

/// Every document and the indexes over them.
#[derive(Debug, Default)]
pub(crate) struct State {
    documents: HashMap<LocalRef, Arc<Document>>,
    names: BTreeMap<Kind, BTreeMap<Name, Uuid>>,
    history: History,
}

impl State {
    /// A state with these documents at this revision, and no history.
    pub fn new(documents: impl IntoIterator<Item = Arc<Document>>, revision: u64) -> Self {
        let mut state = Self { history: History::starting_at(revision), ..Self::default() };
        for document in documents {
            state.insert(document);
        }
        state
    }

    pub fn revision(&self) -> u64 {
        self.history.newest
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// The documents of a kind, ordered by name.
    pub fn documents(&self, kind: Kind) -> Vec<Arc<Document>> {
        let find =
            |(_, id): (&Name, &Uuid)| self.documents.get(&LocalRef { kind, id: *id }).cloned();
        self.names.get(&kind).map_or_else(Vec::new, |names| names.iter().filter_map(find).collect())
    }

    /// Applies changes that are durable.
    pub fn apply(&mut self, changes: &[Change]) {
        // All old names go before any new name comes, so that two resources may swap theirs.
        for change in changes {
            if let Some(before) = self.documents.remove(&change.subject)
                && let Some(names) = self.names.get_mut(&change.subject.kind)
            {
                names.remove(&before.metadata.name);
            }
        }
        for change in changes {
            if let Some(after) = &change.after {
                self.insert(Arc::clone(after));
            }
            self.history.push(change.clone());
        }
    }

    fn insert(&mut self, document: Arc<Document>) {
        let subject = LocalRef { kind: document.kind, id: document.metadata.id };
        let names = self.names.entry(document.kind).or_default();
        names.insert(document.metadata.name.clone(), document.metadata.id);
        self.documents.insert(subject, document);
    }
}

impl View for State {
    fn document(&self, subject: LocalRef) -> Option<Arc<Document>> {
        self.documents.get(&subject).cloned()
    }

    fn named(&self, kind: Kind, name: &Name) -> Option<Uuid> {
        self.names.get(&kind)?.get(name).copied()
    }

    fn everything(&self) -> Vec<Arc<Document>> {
        self.documents.values().cloned().collect()
    }
}

/// The latest changes, oldest first, and the revisions that they span.
#[derive(Debug, Default)]
pub(crate) struct History {
    changes: VecDeque<Change>,
    /// Changes after this revision are all here.
    oldest: u64,
    newest: u64,
}

impl History {
    fn starting_at(revision: u64) -> Self {
        Self { changes: VecDeque::new(), oldest: revision, newest: revision }
    }

    fn push(&mut self, change: Change) {
        self.newest = change.revision;
        self.changes.push_back(change);
        if self.changes.len() > HISTORY
            && let Some(dropped) = self.changes.pop_front()
        {
            self.oldest = dropped.revision;
        }
    }

    /// Whether every change after this revision is here.
    pub fn covers(&self, after: u64) -> Result<(), WatchGap> {
        if (self.oldest..=self.newest).contains(&after) {
            Ok(())
        } else {
            Err(WatchGap { after, oldest: self.oldest, newest: self.newest })
        }
    }

    /// The first change after this revision.
    pub fn after(&self, revision: u64) -> Result<Option<&Change>, WatchGap> {
        self.covers(revision)?;
        let index = self.changes.partition_point(|change| change.revision <= revision);
        Ok(self.changes.get(index))
    }
}

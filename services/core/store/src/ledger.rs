//! What should be in the journal: each record's checksum and size, and their sums.
//!
//! The manifest is made from it. Pure data.

use std::collections::HashMap;

use skerry_model::LocalRef;
use uuid::Uuid;

use crate::record::{Checksum, Manifest};

/// What is known of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub checksum: Checksum,
    pub bytes: usize,
    /// The revision of the removal, if the record only says that the resource is gone.
    pub removed: Option<u64>,
}

/// Sums over all records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    records: u64,
    sum: Checksum,
    pub bytes: usize,
}

impl Tally {
    fn replace(&mut self, old: Option<Known>, new: Option<Known>) {
        if let Some(old) = old {
            self.records = self.records.saturating_sub(1);
            self.sum.toggle(old.checksum);
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
        if let Some(new) = new {
            self.records += 1;
            self.sum.toggle(new.checksum);
            self.bytes += new.bytes;
        }
    }

    /// The manifest of a journal with these sums.
    pub fn manifest(&self, lineage: Uuid, revision: u64) -> Manifest {
        Manifest { lineage, revision, records: self.records, sum: self.sum }
    }
}

/// Every record, and the sums.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    records: HashMap<LocalRef, Known>,
    tally: Tally,
}

/// Changes of a ledger that are not yet durable.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    changed: HashMap<LocalRef, Option<Known>>,
    pub tally: Tally,
}

impl Ledger {
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Starts a set of changes.
    pub fn entries(&self) -> Entries {
        Entries { changed: HashMap::new(), tally: self.tally }
    }

    /// Adds a change to a set.
    pub fn enter(&self, entries: &mut Entries, subject: LocalRef, known: Option<Known>) {
        let before = self.records.get(&subject).copied();
        let old = entries.changed.insert(subject, known).unwrap_or(before);
        entries.tally.replace(old, known);
    }

    /// Takes over a set that became durable.
    pub fn settle(&mut self, entries: Entries) {
        for (subject, known) in entries.changed {
            match known {
                Some(known) => self.records.insert(subject, known),
                None => self.records.remove(&subject),
            };
        }
        self.tally = entries.tally;
    }

    /// Resources whose removal is not newer than this revision.
    pub fn removed_until(&self, revision: u64) -> Vec<LocalRef> {
        let old = |known: &Known| known.removed.is_some_and(|removed| removed <= revision);
        self.records.iter().filter(|(_, known)| old(known)).map(|(subject, _)| *subject).collect()
    }
}

impl FromIterator<(LocalRef, Known)> for Ledger {
    fn from_iter<I: IntoIterator<Item = (LocalRef, Known)>>(records: I) -> Self {
        let mut ledger = Self::default();
        for (subject, known) in records {
            let old = ledger.records.insert(subject, known);
            ledger.tally.replace(old, Some(known));
        }
        ledger
    }
}

//! The one party that changes the state: evaluates transactions, makes them durable, then visible.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use skerry_model::{LocalRef, Timestamp};
use uuid::Uuid;

use crate::draft::Draft;
use crate::journal::{Entry, Journal, JournalError, Write};
use crate::ledger::{Entries, Known, Ledger, Tally};
use crate::mark::Mark;
use crate::record::{self, MAX_RECORD_BYTES};
use crate::store::Shared;
use crate::{Change, Committed, StoreError, Transaction};

/// The most that all records together may take. The state partition holds this several times over:
/// in the journal, in three checkpoints, and in what recovery set aside.
const MAX_STATE_BYTES: usize = 32 * 1024 * 1024;

/// A journal smaller than this is never rebuilt.
const JOURNAL_BASE_BYTES: u64 = 16 * 1024 * 1024;
/// How many times the size of its records a journal may take beyond that.
const JOURNAL_SPREAD: u64 = 4;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    journal: Box<dyn Journal>,
    mark: Option<Mark>,
    ledger: Ledger,
    lineage: Uuid,
    now: fn() -> Timestamp,
}

impl Writer {
    pub fn new(
        shared: Arc<Shared>,
        journal: Box<dyn Journal>,
        mark: Option<Mark>,
        ledger: Ledger,
        lineage: Uuid,
        now: fn() -> Timestamp,
    ) -> Self {
        let writer = Self { shared, journal, mark, ledger, lineage, now };
        writer.shared.set_journal_health(writer.journal.health(), writer.ledger.tally().bytes);
        writer
    }

    /// Commits each transaction by itself, but makes them durable together: waiting for the disk
    /// once is what makes many small status writes affordable.
    pub fn commit(&mut self, group: Vec<Transaction>) -> Vec<Result<Committed, StoreError>> {
        if let Some(reason) = self.shared.failure() {
            let refuse = |_| Err(StoreError::ReadOnly { reason: reason.clone() });
            return group.into_iter().map(refuse).collect();
        }
        let (mut results, entries, writes) = self.evaluate(group);
        if writes.is_empty() {
            return results;
        }
        let revision = results.iter().flatten().map(|done| done.revision).max().unwrap_or(0);
        if let Err(error) = self.append(writes, entries.tally, revision) {
            let error = self.fail(error);
            for result in &mut results {
                // Who changed nothing, or was refused, has its true answer already.
                if result.as_ref().is_ok_and(|done| !done.changes.is_empty()) {
                    *result = Err(StoreError::Journal(Arc::clone(&error)));
                }
            }
            return results;
        }
        self.ledger.settle(entries);
        let changes: Vec<Change> =
            results.iter().flatten().flat_map(|done| done.changes.iter().cloned()).collect();
        self.shared.publish(&changes);
        results
    }

    /// Housekeeping after a checkpoint: forgets removals that no checkpoint can undo any more, and
    /// rebuilds a journal that has grown far beyond what it holds.
    pub fn tidy(&mut self, before: u64) -> Result<(), StoreError> {
        if let Some(reason) = self.shared.failure() {
            return Err(StoreError::ReadOnly { reason });
        }
        self.forget_removals(before)?;
        let live = self.ledger.tally().bytes as u64;
        if self.journal.health().bytes_on_disk > JOURNAL_BASE_BYTES + live * JOURNAL_SPREAD {
            guarded("be rebuilt", || self.journal.compact())
                .map_err(|error| StoreError::Journal(self.fail(error)))?;
        }
        self.shared.set_journal_health(self.journal.health(), self.ledger.tally().bytes);
        Ok(())
    }

    fn forget_removals(&mut self, before: u64) -> Result<(), StoreError> {
        let mut entries = self.ledger.entries();
        let mut writes = Vec::new();
        for subject in self.ledger.removed_until(before) {
            self.ledger.enter(&mut entries, subject, None);
            writes.push(Write::Delete { key: record::key_of(subject) });
        }
        if writes.is_empty() {
            return Ok(());
        }
        let revision = self.shared.read().revision();
        self.append(writes, entries.tally, revision)
            .map_err(|error| StoreError::Journal(self.fail(error)))?;
        self.ledger.settle(entries);
        Ok(())
    }

    fn evaluate(
        &self,
        group: Vec<Transaction>,
    ) -> (Vec<Result<Committed, StoreError>>, Entries, Vec<Write>) {
        let now = (self.now)();
        let state = self.shared.read();
        let mut revision = state.revision();
        let mut entries = self.ledger.entries();
        let mut writes = Vec::new();
        let mut so_far = Draft::over(&*state, now);
        let mut results = Vec::with_capacity(group.len());
        for tx in group {
            let done = Draft::over(&so_far, now).apply(tx, revision).and_then(|changes| {
                let sealed = seal(&changes)?;
                entries = self.fit(&entries, &sealed)?;
                writes.extend(sealed.into_iter().map(|(_, entry, _)| Write::Put(entry)));
                Ok(changes)
            });
            results.push(done.map(|changes| {
                so_far.adopt(&changes);
                revision = changes.last().map_or(revision, |change| change.revision);
                Committed { revision, changes }
            }));
        }
        (results, entries, writes)
    }

    /// The ledger's changes with these records. A change that makes a too large state smaller is
    /// always taken.
    fn fit(
        &self,
        entries: &Entries,
        sealed: &[(LocalRef, Entry, Known)],
    ) -> Result<Entries, StoreError> {
        let mut after = entries.clone();
        for (subject, _, known) in sealed {
            self.ledger.enter(&mut after, *subject, Some(*known));
        }
        let bytes = after.tally.bytes;
        if bytes > MAX_STATE_BYTES && bytes > entries.tally.bytes {
            return Err(StoreError::Full { bytes, limit: MAX_STATE_BYTES });
        }
        Ok(after)
    }

    /// Appends a batch together with the manifest that describes the journal after it.
    fn append(
        &mut self,
        mut writes: Vec<Write>,
        tally: Tally,
        revision: u64,
    ) -> Result<(), JournalError> {
        let manifest = tally.manifest(self.lineage, revision);
        let result = manifest
            .seal()
            .map_err(|error| JournalError::File {
                action: "encode",
                path: "the manifest".to_owned(),
                source: error.into(),
            })
            .and_then(|entry| {
                writes.push(Write::Put(entry));
                guarded("write a batch", || self.journal.append(&writes))
            })
            .and_then(|()| match &mut self.mark {
                Some(mark) => mark.set(self.lineage, revision),
                None => Ok(()),
            });
        self.shared.set_journal_health(self.journal.health(), tally.bytes);
        result
    }

    /// Stops all writing: what the journal holds now is known again only after a restart.
    fn fail(&self, error: JournalError) -> Arc<JournalError> {
        let reason = describe(&error);
        tracing::error!(%reason, "the journal failed; the store is read-only from now on");
        self.shared.fail(reason);
        Arc::new(error)
    }
}

/// Seals what the changes leave in the journal.
fn seal(changes: &[Change]) -> Result<Vec<(LocalRef, Entry, Known)>, StoreError> {
    let mut sealed = Vec::with_capacity(changes.len());
    for change in changes {
        let subject = change.subject;
        let encode = |source| skerry_model::DocumentError::Encode { kind: subject.kind, source };
        let (entry, checksum) = match &change.after {
            Some(document) => record::seal_document(document),
            None => record::seal_removed(subject, change.revision),
        }
        .map_err(encode)?;
        let bytes = entry.value.len();
        if bytes > MAX_RECORD_BYTES {
            return Err(StoreError::TooLarge { subject, bytes, limit: MAX_RECORD_BYTES });
        }
        let removed = change.after.is_none().then_some(change.revision);
        sealed.push((subject, entry, Known { checksum, bytes, removed }));
    }
    Ok(sealed)
}

/// Runs a call of the journal and turns a panic inside it into an error.
pub(crate) fn guarded<T>(
    action: &'static str,
    call: impl FnOnce() -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(JournalError::Panic { action, message: message.chars().take(200).collect() })
    })
}

/// An error with everything behind it, for a state that outlives it.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

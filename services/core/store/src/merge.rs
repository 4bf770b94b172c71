//! Judging what a journal gave back, and filling its gaps from a checkpoint. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use skerry_model::{Document, Kind, LocalRef, Name};

use crate::checkpoint::Checkpoint;
use crate::journal::Entry;
use crate::ledger::{Known, Ledger};
use crate::mark::Marked;
use crate::record::{self, Manifest, Record};
use crate::report::OpenReport;

/// The records of a journal, those that can be believed.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub records: BTreeMap<LocalRef, Record>,
    pub ledger: Ledger,
    pub manifest: Option<Manifest>,
    /// What could not be believed, with the reason.
    pub bad: Vec<String>,
}

impl Contents {
    /// Reads a journal's entries, believing none without proof.
    pub fn read(entries: &[Entry]) -> Self {
        let mut contents = Self::default();
        let mut known = Vec::with_capacity(entries.len());
        for Entry { key, value } in entries {
            if Manifest::is_key(key) {
                match Manifest::open(value) {
                    Ok(manifest) => contents.manifest = Some(manifest),
                    Err(error) => contents.bad.push(format!("the manifest: {error}")),
                }
                continue;
            }
            let name = || String::from_utf8_lossy(key).chars().take(80).collect::<String>();
            let Some(subject) = record::subject_of(key) else {
                contents.bad.push(format!("{}: no such key is ever written", name()));
                continue;
            };
            match Record::open(subject, value) {
                Ok((record, checksum)) => {
                    let removed = match &record {
                        Record::Removed { revision } => Some(*revision),
                        Record::Present(_) => None,
                    };
                    known.push((subject, Known { checksum, bytes: value.len(), removed }));
                    contents.records.insert(subject, record);
                }
                Err(error) => contents.bad.push(format!("{}: {error}", name())),
            }
        }
        contents.ledger = known.into_iter().collect();
        contents
    }

    /// Whether these are exactly the records that the last acknowledged commit left. If not, why.
    pub fn prove(&self, mark: Option<Marked>) -> Result<Manifest, String> {
        if let Some(first) = self.bad.first() {
            return Err(format!("{} records are damaged, the first: {first}", self.bad.len()));
        }
        let manifest = self.manifest.ok_or("the journal has no manifest")?;
        if self.ledger.tally().manifest(manifest.lineage, manifest.revision) != manifest {
            return Err("the journal holds other records than its manifest says".to_owned());
        }
        match mark {
            Some(mark) if mark.lineage != manifest.lineage => {
                Err("the journal and the high-water mark are of different stores".to_owned())
            }
            Some(mark) if mark.revision > manifest.revision => Err(format!(
                "the journal is at revision {} though {} was reached",
                manifest.revision, mark.revision
            )),
            _ => Ok(manifest),
        }
    }

    /// The highest revision seen in it.
    pub fn highest(&self) -> u64 {
        let records = self.records.values().map(Record::revision);
        records.chain(self.manifest.map(|manifest| manifest.revision)).max().unwrap_or(0)
    }

    pub fn documents(&self) -> Vec<Arc<Document>> {
        let present = |record: &Record| match record {
            Record::Present(document) => Some(Arc::clone(document)),
            Record::Removed { .. } => None,
        };
        self.records.values().filter_map(present).collect()
    }
}

/// What to go on with: documents, and removals that must be remembered.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub documents: BTreeMap<LocalRef, Arc<Document>>,
    pub removed: BTreeMap<LocalRef, u64>,
}

/// Fills the gaps of an unproven journal. Up to the checkpoint's revision the checkpoint alone is
/// right: what it has not, did not exist then, so an old record that the journal brings back stays
/// away. After it, each record of the journal stands for itself.
pub(crate) fn merge(
    contents: &Contents,
    checkpoint: Option<&Checkpoint>,
    report: &mut OpenReport,
) -> Merged {
    let base = checkpoint.map_or(0, |checkpoint| checkpoint.revision);
    let mut merged = Merged::default();
    for (subject, record) in &contents.records {
        match record {
            Record::Removed { revision } => {
                merged.removed.insert(*subject, *revision);
            }
            Record::Present(document) if document.metadata.revision > base => {
                merged.documents.insert(*subject, Arc::clone(document));
            }
            Record::Present(_) => {}
        }
    }
    for document in checkpoint.iter().flat_map(|checkpoint| &checkpoint.documents) {
        let subject = LocalRef { kind: document.kind, id: document.metadata.id };
        let removed = merged.removed.get(&subject).is_some_and(|revision| *revision > base);
        if removed || merged.documents.contains_key(&subject) {
            continue;
        }
        merged.removed.remove(&subject);
        if !matches!(contents.records.get(&subject), Some(Record::Present(same)) if same == document)
        {
            report.restored += 1;
        }
        merged.documents.insert(subject, Arc::clone(document));
    }
    one_of_each_name(&mut merged, report);
    merged
}

/// A lost removal can leave two resources with one name: the newer one has it.
fn one_of_each_name(merged: &mut Merged, report: &mut OpenReport) {
    let mut names: HashMap<(Kind, Name), (u64, LocalRef)> = HashMap::new();
    let mut losers = Vec::new();
    for (subject, document) in &merged.documents {
        let mine = (document.metadata.revision, *subject);
        let name = (document.kind, document.metadata.name.clone());
        match names.get(&name) {
            Some(other) if *other > mine => losers.push(*subject),
            other => {
                losers.extend(other.map(|(_, subject)| *subject));
                names.insert(name, mine);
            }
        }
    }
    for subject in losers {
        merged.documents.remove(&subject);
        report.set_aside(format!(
            "{} {}: a newer one has its name, so it must have been removed",
            subject.kind, subject.id
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Rung;
    use crate::samples;

    fn present(n: u64, revision: u64) -> (LocalRef, Record) {
        (subject(n), Record::Present(Arc::new(samples::document(n, revision))))
    }

    fn subject(n: u64) -> LocalRef {
        LocalRef { kind: Kind::Job, id: samples::id(n).uuid() }
    }

    fn checkpoint(revision: u64, documents: &[(u64, u64)]) -> Checkpoint {
        Checkpoint {
            lineage: uuid::Uuid::nil(),
            revision,
            written: samples::now(),
            documents: documents
                .iter()
                .map(|(n, revision)| Arc::new(samples::document(*n, *revision)))
                .collect(),
        }
    }

    fn revisions(merged: &Merged) -> Vec<(u128, u64)> {
        let pair = |(subject, document): (&LocalRef, &Arc<Document>)| {
            (subject.id.as_u128(), document.metadata.revision)
        };
        merged.documents.iter().map(pair).collect()
    }

    #[test]
    fn the_checkpoint_rules_up_to_its_revision_and_the_journal_after_it() {
        let mut contents = Contents::default();
        contents.records.extend([
            present(1, 4),  // older than in the checkpoint: the journal went back
            present(2, 12), // changed after the checkpoint
            present(3, 5),  // removed before the checkpoint: brought back by the journal
            present(6, 11), // made after the checkpoint
        ]);
        contents.records.insert(subject(4), Record::Removed { revision: 13 });
        let checkpoint = checkpoint(10, &[(1, 8), (2, 9), (4, 3), (5, 10)]);
        let mut report = OpenReport::new(Rung::Journal);
        let merged = merge(&contents, Some(&checkpoint), &mut report);
        assert_eq!(revisions(&merged), [(1, 8), (2, 12), (5, 10), (6, 11)]);
        assert_eq!(merged.removed.get(&subject(4)), Some(&13));
        assert_eq!((report.restored, report.set_aside_count), (2, 0));
    }

    #[test]
    fn of_two_with_one_name_the_newer_stays() {
        let mut contents = Contents::default();
        let mut newer = samples::document(7, 12);
        newer.metadata.name = samples::name(1);
        contents.records.insert(subject(7), Record::Present(Arc::new(newer)));
        let mut report = OpenReport::new(Rung::Journal);
        let merged = merge(&contents, Some(&checkpoint(10, &[(1, 8)])), &mut report);
        assert_eq!(revisions(&merged), [(7, 12)]);
        assert_eq!(report.set_aside_count, 1);
    }
}

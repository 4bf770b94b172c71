//! The recovery ladder: from what is on disk to a store that can be trusted.
//!
//! 1. Open the journal.
//! 2. Open it without the files that sled can do without.
//! 3. Move it aside and load the newest checkpoint that is whole, from either partition.
//! 4. Pick what is wanted from damaged checkpoints.
//! 5. Start empty.
//!
//! What a journal gives back is believed only with proof (see [`crate::merge`]); without it, gaps are
//! filled from the newest checkpoint and the journal is built anew. Nothing here waits for a person.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use skerry_model::{Document, LocalRef, Timestamp};
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::journal::{Entry, Journal, JournalError, SledJournal, Trouble, trouble};
use crate::ledger::{Known, Ledger};
use crate::mark::{Found, Mark, Marked};
use crate::merge::{Contents, Merged, merge};
use crate::record::{self, Manifest};
use crate::report::{OpenReport, Rung, StoreDirs};
use crate::shelf::{Shelf, Slot, sync_directory};
use crate::writer::{describe, guarded};
use crate::{StoreError, aside};

/// The time in which a database must open; sled replays its log, which takes milliseconds here.
const OPEN_TIME: Duration = Duration::from_secs(60);
/// Starts that may die while the journal opens before it is no longer tried.
const DEADLY_STARTS: u32 = 3;
/// Space that is set aside so that a start on a full partition has room to open the journal.
const RESERVE_BYTES: usize = 4 * 1024 * 1024;
/// Added to the revision when something may be missing: no revision is ever given out twice, and
/// every watcher has to list anew.
const REVISION_GAP: u64 = 1 << 20;

/// What the store starts with.
pub(crate) struct Recovered {
    pub journal: SledJournal,
    pub mark: Mark,
    pub ledger: Ledger,
    pub documents: Vec<Arc<Document>>,
    pub revision: u64,
    pub lineage: Uuid,
    pub shelf: Shelf,
    pub report: OpenReport,
}

/// The files of a store.
struct Files {
    state: PathBuf,
    journal: PathBuf,
    mark: PathBuf,
    damaged: PathBuf,
    starts: PathBuf,
    reserve: PathBuf,
    shelf: Shelf,
}

impl Files {
    fn of(dirs: &StoreDirs) -> Self {
        let second = dirs.second.as_ref().map(|second| second.join("checkpoints"));
        Self {
            state: dirs.state.clone(),
            journal: dirs.state.join("journal"),
            mark: dirs.state.join("mark"),
            damaged: dirs.state.join("damaged"),
            starts: dirs.state.join("starts"),
            reserve: dirs.state.join("reserve"),
            shelf: Shelf::new(dirs.state.join("checkpoints"), second),
        }
    }

    fn has_journal(&self) -> bool {
        self.journal.exists() || self.journal.with_extension("next").exists()
    }
}

/// Climbs down the ladder as far as needed. Blocks.
pub(crate) fn recover(dirs: &StoreDirs, now: fn() -> Timestamp) -> Result<Recovered, StoreError> {
    let files = Files::of(dirs);
    let reserve = files.reserve.clone();
    let recovered = climb(files, now)?;
    keep_reserve(&reserve);
    Ok(recovered)
}

fn climb(files: Files, now: fn() -> Timestamp) -> Result<Recovered, StoreError> {
    let directory =
        |source| StoreError::Directory { path: files.state.display().to_string(), source };
    fs::create_dir_all(&files.state).map_err(directory)?;
    let mark = Mark::read(&files.mark);
    let slots = files.shelf.slots();
    let mut report = OpenReport::new(Rung::Journal);
    let bad_slots = check_slots(&slots, &mut report);
    if mark == Found::Damaged {
        report.notes.push("the high-water mark was damaged".to_owned());
    }
    let blank = is_blank(&files, mark, &slots);
    let known = match mark {
        Found::Mark(marked) => Some(marked),
        Found::Nothing | Found::Damaged => None,
    };
    let opened = if files.has_journal() { open_journal(&files, &mut report)? } else { None };
    let mut recovered = match opened {
        Some((journal, contents)) => match contents.prove(known) {
            Ok(manifest) => keep(files, journal, contents, manifest, known, report)?,
            Err(reason) => {
                report.notes.push(reason);
                close(journal);
                if blank {
                    return start_fresh(files, mark);
                }
                rebuild(files, contents, known, &slots, report, now)?
            }
        },
        None if blank => return start_fresh(files, mark),
        None => {
            report.notes.push("the journal was missing or unusable".to_owned());
            rebuild(files, Contents::default(), known, &slots, report, now)?
        }
    };
    if !recovered.report.is_clean() || !bad_slots.is_empty() {
        renew_checkpoint(&mut recovered, &bad_slots, now);
    }
    Ok(recovered)
}

/// Whether nothing was ever acknowledged here: a first start, or one that was cut short. The mark is
/// synced when it leaves 0, so that it can be believed in this.
fn is_blank(files: &Files, mark: Found, slots: &[Slot]) -> bool {
    let unused = match mark {
        Found::Nothing => !files.has_journal(),
        Found::Mark(marked) => marked.revision == 0,
        Found::Damaged => false,
    };
    unused && slots.is_empty()
}

/// Makes an empty store. The mark comes first: with it at 0, a start that is cut short from here on
/// is still a first start.
fn start_fresh(files: Files, mark: Found) -> Result<Recovered, StoreError> {
    let mut report = OpenReport::new(Rung::Fresh);
    let lineage = match mark {
        Found::Mark(marked) => marked.lineage,
        Found::Nothing | Found::Damaged => Uuid::new_v4(),
    };
    let mark = new_mark(&files, lineage, 0)?;
    let journal = build(&files, &Merged::default(), lineage, 0, &mut report)?;
    finish(files, journal, mark, lineage, 0, report)
}

/// Goes on with a proven journal.
fn keep(
    files: Files,
    journal: SledJournal,
    contents: Contents,
    manifest: Manifest,
    marked: Option<Marked>,
    mut report: OpenReport,
) -> Result<Recovered, StoreError> {
    let mark = match marked {
        Some(marked) => Mark::reopen(&files.mark, marked)
            .map_err(|error| StoreError::Journal(Arc::new(error)))?,
        None => {
            report.notes.push("the high-water mark was made anew".to_owned());
            new_mark(&files, manifest.lineage, manifest.revision)?
        }
    };
    let documents = contents.documents();
    report.revision = manifest.revision;
    report.documents = documents.len();
    Ok(Recovered {
        journal,
        mark,
        ledger: contents.ledger,
        documents,
        revision: manifest.revision,
        lineage: manifest.lineage,
        shelf: files.shelf,
        report,
    })
}

/// Builds a journal from what the old one still proves and what checkpoints hold.
fn rebuild(
    files: Files,
    contents: Contents,
    marked: Option<Marked>,
    slots: &[Slot],
    mut report: OpenReport,
    now: fn() -> Timestamp,
) -> Result<Recovered, StoreError> {
    for bad in &contents.bad {
        report.set_aside(bad.clone());
    }
    let lineage = contents.manifest.map(|found| found.lineage);
    let lineage = lineage.or(marked.map(|marked| marked.lineage));
    let checkpoint = files.shelf.newest_good(lineage);
    let reached = marked.map_or(0, |marked| marked.revision).max(contents.highest());
    let covered = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.revision);
    // With the mark gone too, how far the store had come is not known.
    if marked.is_none() || reached > covered {
        report.missing_after = Some(covered);
    }
    let mut merged = merge(&contents, checkpoint.as_ref(), &mut report);
    if contents.records.is_empty() && contents.manifest.is_none() {
        report.rung = Rung::Checkpoint;
        if checkpoint.is_none() {
            salvage(slots, &mut merged, now, &mut report);
        }
    }
    let lineage = lineage.or(checkpoint.map(|found| found.lineage)).unwrap_or_else(Uuid::new_v4);
    let revision = reached.max(covered) + REVISION_GAP;
    let journal = build(&files, &merged, lineage, revision, &mut report)?;
    let mark = new_mark(&files, lineage, revision)?;
    finish(files, journal, mark, lineage, revision, report)
}

/// The last rungs: pieces of damaged checkpoints, or nothing.
fn salvage(slots: &[Slot], merged: &mut Merged, now: fn() -> Timestamp, report: &mut OpenReport) {
    let pieces = |slot: &Slot| slot.read().map(|bytes| Checkpoint::salvage(&bytes)).ok();
    let found = slots.iter().filter_map(pieces).find(|documents| !documents.is_empty());
    report.rung = if found.is_some() { Rung::Salvaged } else { Rung::Empty };
    for mut document in found.unwrap_or_default() {
        document.metadata.updated = now();
        let subject = LocalRef { kind: document.kind, id: document.metadata.id };
        merged.documents.insert(subject, Arc::new(document));
    }
}

/// Writes a new journal and reads it back: what the store starts with is what is on disk.
fn build(
    files: &Files,
    merged: &Merged,
    lineage: Uuid,
    revision: u64,
    report: &mut OpenReport,
) -> Result<SledJournal, StoreError> {
    let entries = entries_of(merged, lineage, revision)?;
    let failed = |error| StoreError::Journal(Arc::new(error));
    let first = replace(files, &entries);
    let moved = match first {
        Ok(moved) => moved,
        Err(error) => {
            // The likeliest reason is a full partition, and the copies can be spared.
            report
                .notes
                .push(format!("building the journal failed at first: {}", describe(&error)));
            make_room(files);
            replace(files, &entries).map_err(failed)?
        }
    };
    report.moved_to = moved;
    SledJournal::open(&files.journal).map_err(failed)
}

fn entries_of(
    merged: &Merged,
    lineage: Uuid,
    revision: u64,
) -> Result<Vec<Entry>, skerry_model::DocumentError> {
    let mut entries = Vec::with_capacity(merged.documents.len() + 1);
    let mut known = Vec::with_capacity(merged.documents.len());
    let live = merged
        .documents
        .iter()
        .map(|(subject, document)| (*subject, None, record::seal_document(document)));
    let removed = merged.removed.iter().map(|(subject, revision)| {
        (*subject, Some(*revision), record::seal_removed(*subject, *revision))
    });
    for (subject, removed, sealed) in live.chain(removed) {
        let encode = |source| skerry_model::DocumentError::Encode { kind: subject.kind, source };
        let (entry, checksum) = sealed.map_err(encode)?;
        known.push((subject, Known { checksum, bytes: entry.value.len(), removed }));
        entries.push(entry);
    }
    let ledger: Ledger = known.into_iter().collect();
    let manifest = ledger.tally().manifest(lineage, revision).seal();
    let encode =
        |source| skerry_model::DocumentError::Encode { kind: skerry_model::Kind::Node, source };
    entries.push(manifest.map_err(encode)?);
    Ok(entries)
}

fn replace(files: &Files, entries: &[Entry]) -> Result<Option<PathBuf>, JournalError> {
    let mut moved = None;
    guarded("be built", || {
        SledJournal::replace(&files.journal, entries, |old| {
            moved = aside::put(&files.damaged, old)?;
            Ok(())
        })
    })?;
    Ok(moved)
}

/// Reads back what was built and hands everything over.
fn finish(
    files: Files,
    mut journal: SledJournal,
    mark: Mark,
    lineage: Uuid,
    revision: u64,
    mut report: OpenReport,
) -> Result<Recovered, StoreError> {
    let failed = |error| StoreError::Journal(Arc::new(error));
    let contents = Contents::read(&journal.load().map_err(failed)?);
    if let Err(reason) = contents.prove(Some(Marked { lineage, revision })) {
        let source = io::Error::other(reason);
        return Err(StoreError::Directory { path: files.state.display().to_string(), source });
    }
    let documents = contents.documents();
    report.revision = revision;
    report.documents = documents.len();
    let (ledger, shelf) = (contents.ledger, files.shelf);
    Ok(Recovered { journal, mark, ledger, documents, revision, lineage, shelf, report })
}

/// The first two rungs. `None` if neither bears.
fn open_journal(
    files: &Files,
    report: &mut OpenReport,
) -> Result<Option<(SledJournal, Contents)>, StoreError> {
    // A start that died in here may have been killed by the journal: sled can ask for more memory
    // than there is when it reads damaged lengths, and that cannot be caught.
    let starts = count_start(&files.starts);
    if starts > DEADLY_STARTS {
        report.notes.push(format!("{} starts died while the journal opened", starts - 1));
        remove_count(&files.starts);
        return Ok(None);
    }
    let opened = first_rungs(files, report);
    remove_count(&files.starts);
    Ok(opened?.map(|(journal, entries)| (journal, Contents::read(&entries))))
}

fn first_rungs(
    files: &Files,
    report: &mut OpenReport,
) -> Result<Option<(SledJournal, Vec<Entry>)>, StoreError> {
    let mut opened = open_guarded(&files.journal);
    if opened.as_ref().err().and_then(trouble) == Some(Trouble::Full) {
        report.notes.push("the state partition was full".to_owned());
        make_room(files);
        opened = open_guarded(&files.journal);
    }
    let error = match opened {
        Ok(opened) => return Ok(Some(opened)),
        Err(error) => error,
    };
    // What keeps a sound journal from opening must not lead to its being replaced.
    if trouble(&error).is_some() {
        return Err(StoreError::Journal(Arc::new(error)));
    }
    report.notes.push(describe(&error));
    report.rung = Rung::WithoutSnapshot;
    if let Err(error) = SledJournal::remove_derived_files(&files.journal) {
        report.notes.push(format!("its derived files could not be removed: {error}"));
    }
    match open_guarded(&files.journal) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if trouble(&error).is_some() => Err(StoreError::Journal(Arc::new(error))),
        Err(error) => {
            report.notes.push(describe(&error));
            Ok(None)
        }
    }
}

/// Frees what can be spared on a full partition.
fn make_room(files: &Files) {
    aside::keep_newest(&files.damaged, 0);
    if let Err(error) = fs::remove_file(&files.reserve) {
        tracing::warn!(%error, "the reserve was not there");
    }
}

/// Sets space aside for the next start on a full partition. Not having it is not worth a failure.
fn keep_reserve(path: &Path) {
    if path.exists() {
        return;
    }
    let unfinished = path.with_extension("new");
    let made = fs::write(&unfinished, vec![0; RESERVE_BYTES])
        .and_then(|()| fs::File::open(&unfinished)?.sync_all())
        .and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = made {
        tracing::warn!(%error, "no space could be set aside on the state partition");
        // Half of it would only take space.
        let _ = fs::remove_file(&unfinished);
    }
}

/// Opens and reads a database on a thread of its own: a panic is caught, and a hang is left behind.
fn open_guarded(path: &Path) -> Result<(SledJournal, Vec<Entry>), JournalError> {
    let path = path.to_owned();
    bounded("open", move || {
        let mut journal = SledJournal::open(&path)?;
        let entries = journal.load()?;
        Ok((journal, entries))
    })
}

/// Closes a database that is not trusted.
fn close(journal: SledJournal) {
    let closed = bounded("close", move || {
        drop(journal);
        Ok(())
    });
    if let Err(error) = closed {
        tracing::warn!(error = describe(&error), "the damaged journal did not close");
    }
}

fn bounded<T: Send + 'static>(
    action: &'static str,
    call: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more after the deadline.
        let _ = sender.send(guarded(action, call));
    });
    let stuck = JournalError::Stuck { action, seconds: OPEN_TIME.as_secs() };
    receiver.recv_timeout(OPEN_TIME).unwrap_or(Err(stuck))
}

fn new_mark(files: &Files, lineage: Uuid, revision: u64) -> Result<Mark, StoreError> {
    let mark = Mark::create(&files.mark, Marked { lineage, revision })
        .map_err(|error| StoreError::Journal(Arc::new(error)))?;
    sync_directory(&files.state).map_err(|source| StoreError::Directory {
        path: files.state.display().to_string(),
        source,
    })?;
    Ok(mark)
}

/// Which checkpoint files are not whole.
fn check_slots(slots: &[Slot], report: &mut OpenReport) -> Vec<PathBuf> {
    let mut bad = Vec::new();
    for slot in slots {
        if let Err(error) = slot.verify() {
            report.notes.push(format!("{}: {}", slot.path.display(), describe(&error)));
            bad.push(slot.path.clone());
        }
    }
    bad
}

/// After trouble there should again be a whole checkpoint in both places. Its failure is not the
/// store's: it is told and tried again after the next change.
fn renew_checkpoint(recovered: &mut Recovered, bad: &[PathBuf], now: fn() -> Timestamp) {
    let checkpoint = Checkpoint {
        lineage: recovered.lineage,
        revision: recovered.revision,
        written: now(),
        documents: recovered.documents.clone(),
    };
    match recovered.shelf.put(&checkpoint) {
        Ok((info, missed)) => {
            for path in bad.iter().filter(|path| !info.files.contains(path)) {
                // One that stays is only found damaged once more.
                let _ = fs::remove_file(path);
            }
            recovered.report.notes.extend(missed.map(|error| describe(&error)));
        }
        Err(error) => recovered.report.notes.push(describe(&error)),
    }
}

fn count_start(path: &Path) -> u32 {
    let before = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let starts = before.unwrap_or(0_u32).saturating_add(1);
    if let Err(error) = fs::write(path, starts.to_string()) {
        tracing::warn!(%error, "starts cannot be counted");
    }
    starts
}

fn remove_count(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, "the count of starts stays");
    }
}

//! Sixty copies of a store are damaged, each in its own way; every one must come up, say so, and hold
//! nothing that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use skerry_model::{Document, Job, Kind};
use skerry_store::{OpenReport, Rung, Store, Transaction};

use uuid::Uuid;

use crate::support::{Random, block_on, job, name, open, spec, status};

const COPIES: u64 = 60;
const JOBS: u64 = 300;

/// What was ever acknowledged.
struct Truth {
    /// Every version of every document, as JSON text.
    versions: BTreeSet<String>,
    /// The state at the end.
    last: BTreeMap<Uuid, String>,
    /// The state at the last checkpoint.
    checkpoint: BTreeMap<Uuid, Document>,
    checkpoint_revision: u64,
}

fn all(store: &Store) -> Vec<Document> {
    store.documents(Kind::Job).iter().map(|document| Document::clone(document)).collect()
}

fn text(document: &Document) -> String {
    serde_json::to_string(document).unwrap()
}

fn by_id(documents: &[Document]) -> BTreeMap<Uuid, String> {
    documents.iter().map(|one| (one.metadata.id, text(one))).collect()
}

/// A store with a past: many writes, two checkpoints, changes and removals after them.
fn build(root: &Path) -> Truth {
    let mut versions = BTreeSet::new();
    let mut random = Random(1);
    block_on(async {
        let (store, _) = open(root);
        let mut checkpoint = BTreeMap::new();
        let mut checkpoint_revision = 0;
        for n in 0..JOBS + 200 {
            let mut tx = Transaction::new();
            let filler = random.filler(1500);
            if n < JOBS {
                tx.create(job(n, &format!("made {n} {filler}")));
            } else {
                let k = random.below(JOBS);
                match (store.find::<Job>(&name(k)).unwrap(), random.below(4)) {
                    (Some(found), 0) => tx.remove(found.id()),
                    (Some(found), 1) => tx.put_status(found.id(), status(&format!("seen {n}"))),
                    (Some(found), _) => {
                        tx.put_spec(found.id(), None, spec(&format!("changed {n} {filler}")))
                    }
                    // The name comes back with another id: ids are never used twice.
                    (None, _) => {
                        let mut again = job(1000 + n, &format!("again {n} {filler}"));
                        again.name = name(k);
                        tx.create(again)
                    }
                };
            }
            let done = store.commit(tx).await.unwrap();
            versions.extend(done.changes.iter().filter_map(|c| Some(text(c.after.as_ref()?))));
            if n == JOBS / 2 || n == JOBS + 80 {
                checkpoint_revision = store.checkpoint().await.unwrap().revision;
                checkpoint = all(&store)
                    .into_iter()
                    .map(|document| (document.metadata.id, document))
                    .collect();
            }
        }
        let last = by_id(&all(&store));
        Truth { versions, last, checkpoint, checkpoint_revision }
    })
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
    found.sort();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Damages one file of the state directory. Every second time it is the database's main file, where
/// nearly everything lies. Gives what was done.
fn damage(state: &Path, seed: u64) -> String {
    let mut random = Random(seed);
    let mut candidates = Vec::new();
    files(state, &mut candidates);
    let path = if seed.is_multiple_of(2) {
        state.join("journal/db")
    } else {
        let chosen = random.below(candidates.len() as u64);
        candidates.swap_remove(usize::try_from(chosen).unwrap())
    };
    let file = fs::OpenOptions::new().write(true).read(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    let what = match (seed / 2) % 3 {
        0 => {
            let kept = random.below(length.max(1));
            file.set_len(kept).unwrap();
            format!("cut to {kept} of {length}")
        }
        1 => {
            let at = random.below(length.max(1));
            let count = (1 + random.below(8192)).min(length - at);
            file.write_all_at(&vec![0; usize::try_from(count).unwrap()], at).unwrap();
            format!("{count} bytes zeroed at {at} of {length}")
        }
        _ => {
            let flips = 1 + random.below(8);
            for _ in 0..flips {
                let at = random.below(length.max(1));
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << random.below(8))], at).unwrap();
            }
            format!("{flips} bits flipped of {length} bytes")
        }
    };
    format!("{}: {what}", path.strip_prefix(state).unwrap().display())
}

/// The promises, whatever was damaged.
fn check(truth: &Truth, found: &[Document], report: &OpenReport, case: &str) {
    let (mut stale, state) = (0, by_id(found));
    for document in found {
        assert!(truth.versions.contains(&text(document)), "{case}: never written: {document:?}");
        let (id, name) = (document.metadata.id, &document.metadata.name);
        if truth.last.get(&id) != Some(&text(document)) {
            stale += 1;
        }
        if let Some(old) = truth.checkpoint.get(&id) {
            let (new, old) = (document.metadata.revision, old.metadata.revision);
            assert!(new >= old, "{case}: {name} is older than in the checkpoint");
        } else {
            let revision = document.metadata.revision;
            assert!(revision > truth.checkpoint_revision, "{case}: {name} came back");
        }
    }
    let missing = truth.last.keys().filter(|id| !state.contains_key(*id));
    for id in missing.clone() {
        assert!(!truth.checkpoint.contains_key(id), "{case}: {id} of the checkpoint is gone");
    }
    if stale > 0 || missing.count() > 0 {
        assert!(report.missing_after.is_some(), "{case}: silently wrong: {report:?}");
    }
}

#[test]
fn sixty_damaged_copies_come_up_and_say_so() {
    let root = tempfile::tempdir().unwrap();
    let original = root.path().join("original");
    let truth = build(&original);
    let (mut unharmed, mut rungs) = (0, BTreeMap::<String, u32>::new());
    for seed in 0..COPIES {
        let place = root.path().join(format!("copy-{seed}"));
        copy(&original, &place);
        let case = format!("seed {seed}, {}", damage(&place.join("state"), seed));
        let (store, report) = open(&place);
        let found = all(&store);
        check(&truth, &found, &report, &case);
        if report.is_clean() {
            // Bytes that mean nothing any more were hit: then everything must be there.
            assert_eq!(by_id(&found), truth.last, "{case}: not told");
            unharmed += 1;
        }
        *rungs.entry(format!("{:?}", report.rung)).or_default() += 1;
        println!("{case}: {}", report.summary());
        writes_and_opens_again(store, &place, &found, &case);
        fs::remove_dir_all(&place).unwrap();
    }
    println!("{COPIES} copies: {unharmed} unharmed, rungs {rungs:?}");
    assert!(unharmed < COPIES / 2, "the damage hit too little to prove anything");
}

/// After recovery the store is whole: it takes writes, and the next open is clean.
fn writes_and_opens_again(store: Store, place: &Path, found: &[Document], case: &str) {
    block_on(async {
        let mut tx = Transaction::new();
        tx.create(job(9999, "after"));
        let done = store.commit(tx).await.unwrap();
        let highest = found.iter().map(|document| document.metadata.revision).max();
        assert!(done.revision > highest.unwrap_or(0), "{case}");
    });
    drop(store);
    let (store, report) = open(place);
    assert!(report.is_clean(), "{case}: {report:?}");
    assert_eq!(store.list::<Job>().unwrap().len(), found.len() + 1, "{case}");
}

#[test]
fn every_rung_is_reached_when_the_one_above_is_broken() {
    let root = tempfile::tempdir().unwrap();
    let original = root.path().join("original");
    let truth = build(&original);
    let try_with = |name: &str, hurt: &dyn Fn(&Path)| {
        let place = root.path().join(name);
        copy(&original, &place);
        hurt(&place);
        let (store, report) = open(&place);
        (by_id(&all(&store)), report)
    };
    let wipe_journal = |place: &Path| {
        fs::write(place.join("state/journal/db"), vec![0xa5; 100_000]).unwrap();
    };
    let wipe_first = |place: &Path| fs::remove_dir_all(place.join("state")).unwrap();

    let (state, report) = try_with("snapshot", &|place| {
        fs::write(place.join("state/journal/conf"), b"segment_size: nonsense").unwrap();
    });
    assert_eq!((report.rung, report.missing_after), (Rung::WithoutSnapshot, None), "{report:?}");
    assert_eq!(state, truth.last);

    let (state, report) = try_with("checkpoint", &wipe_journal);
    assert_eq!(report.rung, Rung::Checkpoint);
    assert_eq!(report.missing_after, Some(truth.checkpoint_revision));
    let expected: Vec<_> = truth.checkpoint.values().cloned().collect();
    assert_eq!(state, by_id(&expected));

    // The whole state partition is gone: the copy on the other one stands in.
    let (state, report) = try_with("second", &wipe_first);
    assert_eq!(report.rung, Rung::Checkpoint);
    assert_eq!(state, by_id(&expected));

    let (state, report) = try_with("salvage", &|place| {
        wipe_journal(place);
        fs::remove_dir_all(place.join("second")).unwrap();
        damage_text_of_checkpoints(&place.join("state/checkpoints"));
    });
    assert_eq!(report.rung, Rung::Salvaged, "{report:?}");
    assert_eq!(state.len(), expected.len() - 1);

    let (state, report) = try_with("empty", &|place| {
        wipe_journal(place);
        fs::remove_dir_all(place.join("second")).unwrap();
        fs::remove_dir_all(place.join("state/checkpoints")).unwrap();
    });
    assert_eq!((report.rung, report.missing_after), (Rung::Empty, Some(0)));
    assert!(state.is_empty() && !report.is_clean());
}

/// Changes one word inside each checkpoint, so that its own checksum and that of one document fail.
fn damage_text_of_checkpoints(directory: &Path) {
    let mut found = Vec::new();
    files(directory, &mut found);
    for path in found {
        let text = zstd::decode_all(fs::read(&path).unwrap().as_slice()).unwrap();
        let text =
            String::from_utf8(text).unwrap().replacen("\"deadline_s\":60", "\"deadline_s\":61", 1);
        fs::write(&path, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    }
}

#[test]
fn damaged_journals_are_kept_but_never_more_than_two() {
    let root = tempfile::tempdir().unwrap();
    build(root.path());
    for _ in 0..4 {
        fs::write(root.path().join("state/journal/db"), vec![0x5a; 50_000]).unwrap();
        let (_, report) = open(root.path());
        assert!(report.moved_to.unwrap().is_dir());
    }
    let kept = fs::read_dir(root.path().join("state/damaged")).unwrap().count();
    assert_eq!(kept, 2);
}

#[test]
fn a_journal_that_kills_every_start_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    let truth = build(root.path());
    // Three starts that never came to the end of opening.
    fs::write(root.path().join("state/starts"), "3").unwrap();
    let (store, report) = open(root.path());
    assert_eq!(report.rung, Rung::Checkpoint, "{report:?}");
    assert_eq!(all(&store).len(), truth.checkpoint.len());
    drop(store);
    assert!(open(root.path()).1.is_clean());
}

#[test]
fn checkpoints_of_another_store_are_not_mixed_in() {
    let root = tempfile::tempdir().unwrap();
    let (ours, theirs) = (root.path().join("ours"), root.path().join("theirs"));
    build(&theirs);
    block_on(async {
        let (store, _) = open(&ours);
        let mut tx = Transaction::new();
        tx.create(job(5000, "ours"));
        store.commit(tx).await.unwrap();
        store.checkpoint().await.unwrap();
        drop(store);
        fs::remove_dir_all(ours.join("second")).unwrap();
        copy(&theirs.join("second"), &ours.join("second"));
        fs::write(ours.join("state/journal/db"), vec![1; 10_000]).unwrap();
        let (store, _) = open(&ours);
        let names: Vec<_> = all(&store).iter().map(|one| one.metadata.name.to_string()).collect();
        assert_eq!(names, ["job-5000"]);
        // The next checkpoint takes the place of the stranger's.
        store.checkpoint().await.unwrap();
        assert_eq!(fs::read_dir(ours.join("second/checkpoints")).unwrap().count(), 1);
    });
}

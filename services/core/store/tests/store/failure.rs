//! What the store does when the disk fails while it runs, and its housekeeping.

use std::fs;
use std::time::Duration;

use skerry_model::Job;
use skerry_store::journal::{Entry, Journal, JournalError, JournalHealth, MemoryJournal, Write};
use skerry_store::{Store, StoreDirs, StoreError, Transaction};

use crate::support::{block_on, id, job, now, open, spec, status};

fn tx(n: u64) -> Transaction {
    let mut tx = Transaction::new();
    tx.create(job(n, "some"));
    tx
}

#[test]
fn many_writers_share_the_disk_and_all_are_durable() {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (store, _) = open(root.path());
        let writers: Vec<_> = (0..200)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.commit(tx(n)).await })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        // A refused one in the middle of others hurts nobody.
        let (left, right) = tokio::join!(store.commit(tx(1)), store.commit(tx(500)));
        assert!(matches!(left, Err(StoreError::NameTaken { .. } | StoreError::IdTaken { .. })));
        right.unwrap();
    });
    drop(runtime);
    let (store, report) = open(root.path());
    assert!(report.is_clean());
    assert_eq!(store.list::<Job>().unwrap().len(), 201);
}

#[test]
fn checkpoints_come_after_quiet_and_three_are_kept() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let (store, _) = open(root.path());
        for n in 0..5 {
            store.commit(tx(n)).await.unwrap();
            let info = store.checkpoint().await.unwrap();
            assert_eq!((info.revision, info.files.len()), (n + 1, 2));
        }
        let count = |place: &str| fs::read_dir(root.path().join(place)).unwrap().count();
        assert_eq!((count("state/checkpoints"), count("second/checkpoints")), (3, 1));

        let keeper = tokio::spawn({
            let store = store.clone();
            async move { store.keep_checkpoints(Duration::from_millis(1)).await }
        });
        tokio::task::yield_now().await;
        store.commit(tx(70)).await.unwrap();
        let wait = async {
            while store.health().checkpoint.is_none_or(|info| info.revision < 6) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
        keeper.abort();
    });
}

#[test]
fn a_second_partition_that_fails_is_told_and_harms_nothing() {
    let root = tempfile::tempdir().unwrap();
    let second = root.path().join("second");
    fs::write(&second, b"a file where a directory should be").unwrap();
    block_on(async {
        let (store, _) = open(root.path());
        store.commit(tx(1)).await.unwrap();
        let info = store.checkpoint().await.unwrap();
        assert_eq!(info.files.len(), 1);
        let health = store.health();
        assert!(health.checkpoint_failure.is_some() && !health.is_good());
        store.commit(tx(2)).await.unwrap();
        fs::remove_file(&second).unwrap();
        store.checkpoint().await.unwrap();
        assert!(store.health().is_good());
    });
}

/// A journal that works for a while and then fails, as on a full or broken disk.
struct Failing {
    inner: MemoryJournal,
    left: u32,
    panics: bool,
}

impl Journal for Failing {
    fn load(&mut self) -> Result<Vec<Entry>, JournalError> {
        self.inner.load()
    }

    fn append(&mut self, batch: &[Write]) -> Result<(), JournalError> {
        if self.left == 0 {
            assert!(!self.panics, "the database is beside itself");
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(JournalError::File { action: "write", path: "journal/db".into(), source });
        }
        self.left -= 1;
        self.inner.append(batch)
    }

    fn compact(&mut self) -> Result<(), JournalError> {
        self.inner.compact()
    }

    fn health(&self) -> JournalHealth {
        self.inner.health()
    }
}

#[tokio::test]
async fn after_a_failed_write_the_store_reads_on_and_says_why_it_does_not_write() {
    for panics in [false, true] {
        let journal = Failing { inner: MemoryJournal::new(), left: 2, panics };
        let store = Store::over(Box::new(journal), now);
        let mut watch = store.watch(None).unwrap();
        store.commit(tx(1)).await.unwrap();
        store.commit(tx(2)).await.unwrap();
        let error = store.commit(tx(3)).await.unwrap_err();
        assert!(matches!(error, StoreError::Journal(_)), "{error}");
        let error = store.commit(tx(4)).await.unwrap_err();
        let StoreError::ReadOnly { reason } = error else { panic!("{error}") };
        let expected = if panics { "beside itself" } else { "no storage space" };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(store.list::<Job>().unwrap().len(), 2);
        assert_eq!((store.revision(), store.health().read_only), (2, Some(reason)));
        for revision in 1..=2 {
            assert_eq!(watch.next().await.unwrap().revision, revision);
        }
        assert!(watch.ready().unwrap().is_none(), "what is not durable must not be seen");
        assert!(store.export().is_ok());
    }
}

#[test]
fn one_partition_is_enough_and_none_is_a_clear_error() {
    let root = tempfile::tempdir().unwrap();
    let blocked = root.path().join("file");
    fs::write(&blocked, b"").unwrap();
    let dirs = StoreDirs { state: blocked.join("state"), second: None };
    assert!(matches!(Store::open(&dirs, now), Err(StoreError::Directory { .. })));
    let dirs = StoreDirs { state: root.path().join("state"), second: None };
    let (store, report) = Store::open(&dirs, now).unwrap();
    assert!(report.is_clean());
    assert!(store.health().journal.durable);
}

/// Two services at once would be a fault, but it must not cost the state.
#[test]
fn a_store_in_use_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let (store, _) = open(root.path());
        store.commit(tx(1)).await.unwrap();
        let error = Store::open(&crate::support::dirs(root.path()), now).err().unwrap();
        assert!(matches!(error, StoreError::Journal(_)), "{error}");
        store.commit(tx(2)).await.unwrap();
        drop(store);
        let (store, report) = open(root.path());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(store.list::<Job>().unwrap().len(), 2);
    });
}

/// The moments at which a power cut can interrupt the replacement of the journal.
#[test]
fn an_interrupted_replacement_is_finished_or_undone() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let reopened = |what: &str| {
        let (store, report) = open(root.path());
        assert!(report.is_clean(), "{what}: {report:?}");
        assert_eq!(store.list::<Job>().unwrap().len(), 3, "{what}");
    };
    block_on(async {
        let (store, _) = open(root.path());
        for n in 0..3 {
            store.commit(tx(n)).await.unwrap();
        }
    });
    fs::create_dir(state.join("journal.next")).unwrap();
    fs::write(state.join("journal.next/db"), b"half of a new one").unwrap();
    reopened("while the new one is built");
    fs::rename(state.join("journal"), state.join("journal.next")).unwrap();
    reopened("when the old one was moved away");
    fs::create_dir(state.join("journal.old")).unwrap();
    reopened("before the old one is removed");
    assert!(!state.join("journal.next").exists() && !state.join("journal.old").exists());
}

#[test]
fn removals_are_forgotten_once_no_checkpoint_can_undo_them() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let (store, _) = open(root.path());
        store.commit(tx(1)).await.unwrap();
        store.checkpoint().await.unwrap();
        let mut remove = Transaction::new();
        remove.remove(id(1));
        store.commit(remove).await.unwrap();
        let with_removal = store.health().bytes;
        assert!(with_removal > 0);
        for n in 2..6 {
            store.commit(tx(n)).await.unwrap();
            let mut remove = Transaction::new();
            remove.remove(id(n));
            store.commit(remove).await.unwrap();
            store.checkpoint().await.unwrap();
        }
        assert!(store.health().bytes < with_removal * 4, "{:?}", store.health());
        drop(store);
        let (store, report) = open(root.path());
        assert!(report.is_clean());
        assert!(store.list::<Job>().unwrap().is_empty());
    });
}

/// Status writes go on for years: what the journal takes must not grow with their number.
#[test]
fn the_journal_does_not_grow_with_the_number_of_writes() {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (store, _) = open(root.path());
        for n in 0..20 {
            store.commit(tx(n)).await.unwrap();
        }
        for round in 0..400 {
            let writers: Vec<_> = (0..20)
                .map(|n| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        let mut tx = Transaction::new();
                        tx.put_status(id(n), status(&format!("{round} {}", "s".repeat(4000))));
                        store.commit(tx).await.unwrap();
                    })
                })
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
        }
        store.checkpoint().await.unwrap();
        let health = store.health();
        println!("{health:?}");
        assert!(health.journal.bytes_on_disk < 24 * 1024 * 1024, "{health:?}");
        let mut tx = Transaction::new();
        tx.put_spec(id(1), None, spec("still"));
        store.commit(tx).await.unwrap();
    });
    drop(runtime);
    let (store, report) = open(root.path());
    assert!(report.is_clean());
    assert_eq!(store.get(id(1)).unwrap().unwrap().spec.operation, "still");
}

//! Watches: every change once, in order, or a plain gap.

use std::time::Duration;

use skerry_store::{Store, Transaction};

use crate::support::{block_on, id, job, open, spec, status};

async fn change(store: &Store, n: u64) {
    let mut tx = Transaction::new();
    tx.put_status(id(1), status(&n.to_string()));
    store.commit(tx).await.unwrap();
}

async fn with_one() -> Store {
    let store = Store::in_memory();
    let mut tx = Transaction::new();
    tx.create(job(1, "watched"));
    store.commit(tx).await.unwrap();
    store
}

#[tokio::test]
async fn a_watch_tells_what_comes_after_it_and_no_more() {
    let store = with_one().await;
    let mut watch = store.watch(None).unwrap();
    assert!(watch.ready().unwrap().is_none());
    change(&store, 1).await;
    let heard = watch.next().await.unwrap();
    assert_eq!(heard.revision, 2);
    assert_eq!(heard.before.unwrap().metadata.revision, 1);
    assert!(watch.ready().unwrap().is_none());
    let mut earlier = store.watch(Some(0)).unwrap();
    assert_eq!(earlier.next().await.unwrap().revision, 1);
    assert_eq!(earlier.next().await.unwrap().revision, 2);
}

#[tokio::test]
async fn too_far_back_and_too_far_ahead_are_gaps() {
    let store = with_one().await;
    let mut slow = store.watch(None).unwrap();
    for n in 0..1100 {
        change(&store, n).await;
    }
    let gap = slow.next().await.unwrap_err();
    assert_eq!((gap.after, gap.newest), (1, 1101));
    assert!(store.watch(Some(0)).is_err());
    assert!(store.watch(Some(5000)).is_err());
    let mut oldest = store.watch(Some(gap.oldest)).unwrap();
    for revision in gap.oldest + 1..=gap.newest {
        assert_eq!(oldest.next().await.unwrap().revision, revision);
    }
}

/// Watches that start at any moment while others write see every change once and in order.
#[test]
fn nothing_is_lost_or_doubled_under_concurrency() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 150;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::in_memory();
        let mut tx = Transaction::new();
        for n in 0..WRITERS {
            tx.create(job(n, "start"));
        }
        store.commit(tx).await.unwrap();
        let writers = (0..WRITERS).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..EACH {
                    let mut tx = Transaction::new();
                    tx.put_spec(id(n), None, spec(&format!("{n} {round}")));
                    store.commit(tx).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let end = WRITERS + WRITERS * EACH;
        let watchers = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut watch = store.watch(None).unwrap();
                let mut expected = watch.position() + 1;
                while expected <= end {
                    let change = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
                    assert_eq!(change.expect("a change was lost").unwrap().revision, expected);
                    expected += 1;
                }
            })
        });
        for task in watchers.collect::<Vec<_>>().into_iter().chain(writers) {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_restart_keeps_revisions_but_not_history() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let (store, _) = open(root.path());
        for n in 0..5 {
            let mut tx = Transaction::new();
            tx.create(job(n, "kept"));
            store.commit(tx).await.unwrap();
        }
        drop(store);
        let (store, report) = open(root.path());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(store.revision(), 5);
        assert!(store.watch(Some(5)).is_ok());
        assert!(store.watch(Some(4)).is_err());
    });
}

//! What a commit may do and what it leaves.

use std::collections::BTreeMap;

use skerry_model::{Job, Owner, Phase};
use skerry_store::{Store, StoreError, Transaction};

use crate::support::{id, job, name, now, spec, status};

fn store() -> Store {
    Store::in_memory_with(now)
}

async fn with_one(finalizers: &[&str]) -> Store {
    let store = store();
    let mut new = job(1, "first");
    new.finalizers = finalizers.iter().map(|name| (*name).to_owned()).collect();
    store.commit(tx(|tx| tx.create(new))).await.unwrap();
    store
}

fn tx(build: impl FnOnce(&mut Transaction) -> &mut Transaction) -> Transaction {
    let mut tx = Transaction::new();
    build(&mut tx);
    tx
}

#[tokio::test]
async fn a_new_resource_is_found_by_id_and_name() {
    let store = with_one(&[]).await;
    let found = store.get(id(1)).unwrap().unwrap();
    assert_eq!((found.meta.generation, found.meta.revision), (1, 1));
    assert_eq!((found.meta.owner, found.meta.phase), (Owner::Local, Phase::Present));
    assert_eq!(store.find::<Job>(&name(1)).unwrap().unwrap(), found);
    assert_eq!(store.list::<Job>().unwrap(), [found]);
    assert_eq!(store.revision(), 1);
}

#[tokio::test]
async fn names_and_ids_are_unique_and_a_refused_transaction_leaves_nothing() {
    let store = with_one(&[]).await;
    let mut same_name = job(2, "second");
    same_name.name = name(1);
    let mut tx = tx(|tx| tx.create(job(3, "third")));
    tx.create(same_name);
    let error = store.commit(tx).await.unwrap_err();
    assert!(matches!(error, StoreError::NameTaken { .. }), "{error}");
    assert_eq!((store.revision(), store.list::<Job>().unwrap().len()), (1, 1));

    let mut same_id = job(1, "again");
    same_id.name = name(9);
    let mut tx = Transaction::new();
    tx.create(same_id);
    assert!(matches!(store.commit(tx).await, Err(StoreError::IdTaken { .. })));
}

#[tokio::test]
async fn only_another_spec_is_another_generation() {
    let store = with_one(&[]).await;
    let same = store.commit(tx(|tx| tx.put_spec(id(1), None, spec("first")))).await.unwrap();
    assert!(same.changes.is_empty());
    let other = store.commit(tx(|tx| tx.put_spec(id(1), Some(1), spec("other")))).await.unwrap();
    assert_eq!(other.revision, 2);
    let found = store.get(id(1)).unwrap().unwrap();
    assert_eq!((found.meta.generation, found.meta.revision), (2, 2));
    assert_eq!(found.spec.operation, "other");
}

#[tokio::test]
async fn a_stale_revision_is_refused_with_both_numbers() {
    let store = with_one(&[]).await;
    let error = store.commit(tx(|tx| tx.put_spec(id(1), Some(7), spec("x")))).await.unwrap_err();
    assert!(matches!(error, StoreError::Stale { expected: 7, found: 1, .. }), "{error}");
    let error = store.commit(tx(|tx| tx.begin_removal(id(1), Some(9)))).await.unwrap_err();
    assert!(matches!(error, StoreError::Stale { .. }), "{error}");
}

#[tokio::test]
async fn an_equal_status_and_one_of_a_missing_resource_change_nothing() {
    let store = with_one(&[]).await;
    let first = store.commit(tx(|tx| tx.put_status(id(1), status("half")))).await.unwrap();
    assert_eq!(first.changes.len(), 1);
    let again = store.commit(tx(|tx| tx.put_status(id(1), status("half")))).await.unwrap();
    assert!(again.changes.is_empty());
    let gone = store.commit(tx(|tx| tx.put_status(id(5), status("half")))).await.unwrap();
    assert!(gone.changes.is_empty());
    let found = store.get(id(1)).unwrap().unwrap();
    assert_eq!((found.meta.generation, found.meta.revision), (1, 2));
    assert_eq!(store.revision(), 2);
}

#[tokio::test]
async fn removal_waits_for_every_finalizer() {
    let store = with_one(&["compute", "network"]).await;
    store.commit(tx(|tx| tx.begin_removal(id(1), None))).await.unwrap();
    assert_eq!(store.get(id(1)).unwrap().unwrap().meta.phase, Phase::Removing);
    let error = store.commit(tx(|tx| tx.put_spec(id(1), None, spec("late")))).await.unwrap_err();
    assert!(matches!(error, StoreError::Removing { .. }), "{error}");
    store.commit(tx(|tx| tx.drop_finalizer(id(1), "network"))).await.unwrap();
    store.commit(tx(|tx| tx.drop_finalizer(id(1), "unknown"))).await.unwrap();
    assert!(store.get(id(1)).unwrap().is_some());
    let last = store.commit(tx(|tx| tx.drop_finalizer(id(1), "compute"))).await.unwrap();
    assert!(last.changes[0].after.is_none() && last.changes[0].before.is_some());
    assert!(store.get(id(1)).unwrap().is_none());
    // The name is free again.
    let mut again = job(2, "next");
    again.name = name(1);
    store.commit(tx(|tx| tx.create(again))).await.unwrap();
}

#[tokio::test]
async fn a_finalizer_dropped_while_wanted_does_not_remove() {
    let store = with_one(&["compute"]).await;
    store.commit(tx(|tx| tx.drop_finalizer(id(1), "compute"))).await.unwrap();
    assert!(store.get(id(1)).unwrap().is_some());
    store.commit(tx(|tx| tx.begin_removal(id(1), None))).await.unwrap();
    assert!(store.get(id(1)).unwrap().is_none());
    let gone = store.commit(tx(|tx| tx.remove(id(1)))).await.unwrap();
    assert!(gone.changes.is_empty());
}

#[tokio::test]
async fn another_name_is_another_generation_and_has_to_be_free() {
    let store = with_one(&[]).await;
    store.commit(tx(|tx| tx.create(job(2, "second")))).await.unwrap();
    let taken = store.commit(tx(|tx| tx.put_name(id(1), name(2)))).await;
    assert!(matches!(taken, Err(StoreError::NameTaken { .. })));
    let same = store.commit(tx(|tx| tx.put_name(id(1), name(1)))).await.unwrap();
    assert!(same.changes.is_empty());
    store.commit(tx(|tx| tx.put_name(id(1), name(7)))).await.unwrap();
    let found = store.find::<Job>(&name(7)).unwrap().unwrap();
    assert_eq!((found.id(), found.meta.generation), (id(1), 2));
    assert!(store.find::<Job>(&name(1)).unwrap().is_none());
    // Two in one commit may hand a name on, but not take what the other still has.
    let mut both = tx(|tx| tx.put_name(id(1), name(8)));
    both.put_name(id(2), name(7));
    store.commit(both).await.unwrap();
    assert_eq!(store.find::<Job>(&name(7)).unwrap().unwrap().id(), id(2));
    let missing = store.commit(tx(|tx| tx.put_name(id(9), name(9)))).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn what_a_transaction_touches_twice_is_one_change() {
    let store = store();
    let mut tx = tx(|tx| tx.create(job(1, "a")));
    tx.put_status(id(1), status("b"));
    tx.put_labels(id(1), BTreeMap::from([("tier".to_owned(), "edge".to_owned())]));
    tx.create(job(2, "c")).remove(id(2));
    let done = store.commit(tx).await.unwrap();
    assert_eq!((done.changes.len(), done.revision), (1, 1));
    let found = store.get(id(1)).unwrap().unwrap();
    assert_eq!((found.status.message.as_str(), found.meta.labels.len()), ("b", 1));
    assert!(store.get(id(2)).unwrap().is_none());
}

#[tokio::test]
async fn a_document_or_a_state_beyond_the_limit_is_refused_and_removal_still_works() {
    let store = with_one(&[]).await;
    let large = "x".repeat(300 * 1024);
    let error = store.commit(tx(|tx| tx.create(job(2, &large)))).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    let much = "x".repeat(200 * 1024);
    let mut full = None;
    for n in 10..400 {
        match store.commit(tx(|tx| tx.create(job(n, &much)))).await {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, StoreError::Full { .. }), "{error}");
                full = Some(n);
                break;
            }
        }
    }
    assert!(full.is_some(), "the store never filled up");
    store.commit(tx(|tx| tx.remove(id(10)))).await.unwrap();
    assert!(store.get(id(10)).unwrap().is_none());
}

#[tokio::test]
async fn an_export_becomes_the_whole_state_again() {
    let store = with_one(&[]).await;
    store.commit(tx(|tx| tx.create(job(2, "second")))).await.unwrap();
    let file = store.export().unwrap();
    let mut change = tx(|tx| tx.remove(id(1)));
    change.put_spec(id(2), None, spec("changed")).create(job(3, "third"));
    let before = store.commit(change).await.unwrap().revision;
    let done = store.import(&file).await.unwrap();
    assert!(done.revision > before);
    let specs: Vec<_> =
        store.list::<Job>().unwrap().into_iter().map(|job| job.spec.operation).collect();
    assert_eq!(specs, ["first", "second"]);
    assert!(store.import(&file[..file.len() - 1]).await.is_err());
    assert!(store.import(b"nonsense").await.is_err());
}

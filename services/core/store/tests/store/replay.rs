//! Whatever was committed, opening the store again gives the same state.

use std::collections::BTreeMap;

use proptest::prelude::*;
use skerry_model::{Document, Kind};
use skerry_store::{Store, Transaction};

use crate::support::{block_on, id, job, name, open, spec, status};

#[derive(Debug, Clone)]
enum Step {
    Create(u64),
    Spec(u64, String),
    Status(u64, String),
    Rename(u64, u64),
    Labels(u64, String),
    BeginRemoval(u64),
    DropFinalizer(u64),
    Remove(u64),
    Checkpoint,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..8_u64;
    prop_oneof![
        3 => n.clone().prop_map(Step::Create),
        3 => (n.clone(), "[a-c]{1,3}").prop_map(|(n, text)| Step::Spec(n, text)),
        3 => (n.clone(), "[a-c]{1,3}").prop_map(|(n, text)| Step::Status(n, text)),
        1 => (n.clone(), "\\PC{0,20}").prop_map(|(n, text)| Step::Labels(n, text)),
        2 => (n.clone(), n.clone()).prop_map(|(n, to)| Step::Rename(n, to)),
        2 => n.clone().prop_map(Step::BeginRemoval),
        2 => n.clone().prop_map(Step::DropFinalizer),
        1 => n.prop_map(Step::Remove),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

fn transaction(step: &Step) -> Transaction {
    let mut tx = Transaction::new();
    match step {
        Step::Create(n) => {
            let mut new = job(*n, "new");
            if n % 2 == 0 {
                new.finalizers = vec!["part".to_owned()];
            }
            tx.create(new)
        }
        Step::Spec(n, text) => tx.put_spec(id(*n), None, spec(text)),
        Step::Status(n, text) => tx.put_status(id(*n), status(text)),
        Step::Rename(n, to) => tx.put_name(id(*n), name(*to)),
        Step::Labels(n, text) => {
            tx.put_labels(id(*n), BTreeMap::from([("note".to_owned(), text.clone())]))
        }
        Step::BeginRemoval(n) => tx.begin_removal(id(*n), None),
        Step::DropFinalizer(n) => tx.drop_finalizer(id(*n), "part"),
        Step::Remove(n) => tx.remove(id(*n)),
        Step::Checkpoint | Step::Reopen => &mut tx,
    };
    tx
}

fn state(store: &Store) -> (u64, Vec<Document>) {
    let all = Kind::ALL.into_iter().flat_map(|kind| store.documents(kind));
    (store.revision(), all.map(|document| Document::clone(&document)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_store_on_disk_replays_to_the_state_of_one_in_memory(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let root = tempfile::tempdir().unwrap();
        block_on(async {
            let memory = Store::in_memory_with(crate::support::now);
            let (mut disk, _) = open(root.path());
            for step in &steps {
                let left = memory.commit(transaction(step)).await;
                let right = disk.commit(transaction(step)).await;
                prop_assert_eq!(left.is_ok(), right.is_ok());
                match step {
                    Step::Checkpoint => {
                        disk.checkpoint().await.unwrap();
                    }
                    Step::Reopen => {
                        drop(disk);
                        let (again, report) = open(root.path());
                        prop_assert!(report.is_clean(), "{:?}", report);
                        disk = again;
                    }
                    _ => {}
                }
                prop_assert_eq!(state(&memory), state(&disk));
            }
            drop(disk);
            let (disk, report) = open(root.path());
            prop_assert!(report.is_clean(), "{:?}", report);
            prop_assert_eq!(state(&memory), state(&disk));
            Ok(())
        })?;
    }
}

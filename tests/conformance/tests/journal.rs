//! What every journal must do. A new one is added to [`for_every_journal`], and nowhere else.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use proptest::prelude::*;
    use skerry_store::journal::{Entry, Journal, MemoryJournal, SledJournal, Write};

    /// How an implementation is opened, and whether it keeps anything after it is dropped.
    struct Kind {
        name: &'static str,
        durable: bool,
        open: fn(&Path) -> Box<dyn Journal>,
    }

    fn for_every_journal(check: impl Fn(&Kind, &Path)) {
        let kinds = [
            Kind { name: "memory", durable: false, open: |_| Box::new(MemoryJournal::new()) },
            Kind {
                name: "sled",
                durable: true,
                open: |path| Box::new(SledJournal::open(path).unwrap()),
            },
        ];
        for kind in kinds {
            let root = tempfile::tempdir().unwrap();
            check(&kind, &root.path().join("journal"));
        }
    }

    fn entry(key: &[u8], value: &[u8]) -> Entry {
        Entry { key: key.to_vec(), value: value.to_vec() }
    }

    fn put(key: &[u8], value: &[u8]) -> Write {
        Write::Put(entry(key, value))
    }

    fn delete(key: &[u8]) -> Write {
        Write::Delete { key: key.to_vec() }
    }

    #[test]
    fn a_new_journal_is_empty_and_says_whether_it_is_durable() {
        for_every_journal(|kind, path| {
            let mut journal = (kind.open)(path);
            assert!(journal.load().unwrap().is_empty(), "{}", kind.name);
            assert_eq!(journal.health().durable, kind.durable, "{}", kind.name);
        });
    }

    #[test]
    fn records_come_back_whole_and_in_the_order_of_keys() {
        for_every_journal(|kind, path| {
            let mut journal = (kind.open)(path);
            let large = vec![7; 300 * 1024];
            journal
                .append(&[
                    put(b"b", b"2"),
                    put(b"c", &large),
                    put(b"a", b""),
                    put(b"\xff\x00", b"x"),
                ])
                .unwrap();
            let expected = [
                entry(b"a", b""),
                entry(b"b", b"2"),
                entry(b"c", &large),
                entry(b"\xff\x00", b"x"),
            ];
            assert_eq!(journal.load().unwrap(), expected, "{}", kind.name);
        });
    }

    #[test]
    fn within_a_batch_the_last_write_of_a_key_counts() {
        for_every_journal(|kind, path| {
            let mut journal = (kind.open)(path);
            journal
                .append(&[put(b"a", b"1"), put(b"a", b"2"), put(b"b", b"1"), delete(b"b")])
                .unwrap();
            journal
                .append(&[
                    delete(b"never"),
                    delete(b"b"),
                    put(b"c", b"3"),
                    delete(b"c"),
                    put(b"c", b"4"),
                ])
                .unwrap();
            let expected = [entry(b"a", b"2"), entry(b"c", b"4")];
            assert_eq!(journal.load().unwrap(), expected, "{}", kind.name);
        });
    }

    #[test]
    fn an_empty_batch_changes_nothing() {
        for_every_journal(|kind, path| {
            let mut journal = (kind.open)(path);
            journal.append(&[put(b"a", b"1")]).unwrap();
            journal.append(&[]).unwrap();
            assert_eq!(journal.load().unwrap(), [entry(b"a", b"1")], "{}", kind.name);
        });
    }

    #[test]
    fn what_was_appended_is_there_when_it_is_opened_again() {
        for_every_journal(|kind, path| {
            if !kind.durable {
                return;
            }
            for round in 0..5_u8 {
                let mut journal = (kind.open)(path);
                assert_eq!(journal.load().unwrap().len(), usize::from(round), "{}", kind.name);
                journal.append(&[put(&[round], &[round; 1000])]).unwrap();
            }
        });
    }

    #[test]
    fn compaction_changes_no_record_and_the_journal_goes_on() {
        for_every_journal(|kind, path| {
            let mut journal = (kind.open)(path);
            for round in 0..200_u32 {
                let value = round.to_le_bytes().repeat(1000);
                journal
                    .append(&[put(b"often", &value), put(&round.to_be_bytes(), b"once")])
                    .unwrap();
            }
            let before = journal.load().unwrap();
            let size = journal.health().bytes_on_disk;
            journal.compact().unwrap();
            assert_eq!(journal.load().unwrap(), before, "{}", kind.name);
            assert!(journal.health().bytes_on_disk <= size, "{}", kind.name);
            journal.append(&[put(b"after", b"1")]).unwrap();
            assert_eq!(journal.load().unwrap().len(), before.len() + 1, "{}", kind.name);
            drop(journal);
            if kind.durable {
                let again = (kind.open)(path).load().unwrap();
                assert_eq!(again.len(), before.len() + 1, "{}", kind.name);
            }
        });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<(u8, Option<Vec<u8>>)>),
        Compact,
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..200));
        prop_oneof![
            8 => prop::collection::vec((0..12_u8, value), 0..6).prop_map(Step::Append),
            1 => Just(Step::Compact),
            1 => Just(Step::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

        #[test]
        fn every_journal_behaves_as_a_map(steps in prop::collection::vec(step(), 1..30)) {
            for_every_journal(|kind, path| {
                let mut journal = (kind.open)(path);
                let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
                for step in &steps {
                    match step {
                        Step::Append(changes) => {
                            let mut batch = Vec::new();
                            for (key, value) in changes {
                                match value {
                                    Some(value) => {
                                        map.insert(vec![*key], value.clone());
                                        batch.push(put(&[*key], value));
                                    }
                                    None => {
                                        map.remove(&vec![*key]);
                                        batch.push(delete(&[*key]));
                                    }
                                }
                            }
                            journal.append(&batch).unwrap();
                        }
                        Step::Compact => journal.compact().unwrap(),
                        Step::Reopen if kind.durable => {
                            drop(journal);
                            journal = (kind.open)(path);
                        }
                        Step::Reopen => {}
                    }
                    let expected: Vec<Entry> =
                        map.iter().map(|(key, value)| entry(key, value)).collect();
                    assert_eq!(journal.load().unwrap(), expected, "{}", kind.name);
                }
            });
        }
    }
}

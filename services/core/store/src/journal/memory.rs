//! A journal in memory, for tests and the simulated node. Nothing survives the process.

use std::collections::BTreeMap;

use super::{Entry, Journal, JournalError, JournalHealth, Write};

/// Keeps records in a map.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryJournal {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Journal for MemoryJournal {
    fn load(&mut self) -> Result<Vec<Entry>, JournalError> {
        let entry =
            |(key, value): (&Vec<u8>, &Vec<u8>)| Entry { key: key.clone(), value: value.clone() };
        Ok(self.records.iter().map(entry).collect())
    }

    fn append(&mut self, batch: &[Write]) -> Result<(), JournalError> {
        for write in batch {
            match write {
                Write::Put(entry) => {
                    self.records.insert(entry.key.clone(), entry.value.clone());
                }
                Write::Delete { key } => {
                    self.records.remove(key);
                }
            }
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn health(&self) -> JournalHealth {
        JournalHealth { durable: false, bytes_on_disk: 0 }
    }
}

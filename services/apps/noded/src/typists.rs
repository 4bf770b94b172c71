//! Who types into which container: one at a time. Any number may watch beside.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use skerry_model::{Id, Name, Pod};

type Key = (Id<Pod>, Name);

/// The containers into which somebody types.
#[derive(Debug, Clone, Default)]
pub struct Typists(Arc<Mutex<HashSet<Key>>>);

/// The right to type into a container, until dropped.
#[derive(Debug)]
pub struct Typist {
    key: Key,
    all: Typists,
}

impl Typists {
    /// The right to type, unless somebody has it.
    pub fn sit_down(&self, pod: Id<Pod>, container: &Name) -> Option<Typist> {
        let key = (pod, container.clone());
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(key.clone()).then(|| Typist { key, all: self.clone() })
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_types_into_each_container() {
        let typists = Typists::default();
        let pod: Id<Pod> = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap();
        let (web, db): (Name, Name) = ("web".parse().unwrap(), "db".parse().unwrap());
        let first = typists.sit_down(pod, &web);
        assert!(first.is_some() && typists.sit_down(pod, &web).is_none());
        assert!(typists.sit_down(pod, &db).is_some());
        drop(first);
        assert!(typists.sit_down(pod, &web).is_some());
    }
}

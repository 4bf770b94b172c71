//! Putting an engine together, and refusing what cannot work.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use skerry_model::{Kind, Timestamp};
use skerry_store::Store;

use crate::backoff::Jitter;
use crate::handle::Face;
use crate::{BuildError, Controller, Engine};

/// Passes at a time, if not said otherwise.
const CONCURRENCY: usize = 8;

/// Gathers what an engine needs.
pub struct EngineBuilder {
    store: Store,
    controllers: Vec<Arc<dyn Controller>>,
    concurrency: usize,
    seed: Option<u64>,
    now: fn() -> Timestamp,
}

impl EngineBuilder {
    pub(crate) fn new(store: Store) -> Self {
        let (controllers, now) = (Vec::new(), Timestamp::now as fn() -> Timestamp);
        Self { store, controllers, concurrency: CONCURRENCY, seed: None, now }
    }

    /// Adds a controller.
    #[must_use]
    pub fn controller(mut self, controller: Arc<dyn Controller>) -> Self {
        self.controllers.push(controller);
        self
    }

    /// How many passes may run at a time, over all controllers; 8 if not said.
    #[must_use]
    pub fn concurrency(mut self, passes: usize) -> Self {
        self.concurrency = passes;
        self
    }

    /// Makes the spread of retries repeatable.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The wall clock for reports.
    #[must_use]
    pub fn clock(mut self, now: fn() -> Timestamp) -> Self {
        self.now = now;
        self
    }

    /// Checks that the controllers can run together.
    pub fn build(self) -> Result<Engine, BuildError> {
        if self.concurrency == 0 {
            return Err(BuildError::NoConcurrency);
        }
        let mut writers: HashMap<Kind, &'static str> = HashMap::new();
        let mut names = HashSet::new();
        for controller in &self.controllers {
            let name = controller.name();
            if !names.insert(name) {
                return Err(BuildError::TwoOfOneName { name });
            }
            for kind in controller.writes() {
                if let Some(first) = writers.insert(*kind, name).filter(|first| *first != name) {
                    return Err(BuildError::TwoWriters { kind: *kind, first, second: name });
                }
            }
        }
        let face = Arc::new(Face::new(&self.controllers));
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one("jitter"));
        let Self { store, controllers, concurrency, now, .. } = self;
        Ok(Engine { store, controllers, concurrency, jitter: Jitter::new(seed), now, face })
    }
}

//! What the rest of the process may ask of a running engine.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skerry_model::Kind;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use crate::queue::Slot;
use crate::report::{PassEnd, PassReport};
use crate::{Controller, Key};

/// Passes of one key that are remembered.
const REMEMBERED: usize = 8;
/// Reports that a slow listener may be behind before it loses some.
const LISTENER_LAG: usize = 256;

/// Shared by the engine and its handles. No lock here is held while anything is waited for.
pub(crate) struct Face {
    controllers: Vec<Drawn>,
    notes: Mutex<Notes>,
    wake: Notify,
    reports: broadcast::Sender<PassReport>,
}

/// What the graph shows of a controller.
struct Drawn {
    name: &'static str,
    watches: &'static [Kind],
    writes: &'static [Kind],
}

struct Notes {
    /// Woken and not yet taken up; a set, so that a storm of events costs no more than its keys.
    keys: HashSet<Slot>,
    all: HashSet<usize>,
    reports: HashMap<Slot, VecDeque<PassReport>>,
    last_tick: Instant,
}

impl Face {
    pub fn new(controllers: &[Arc<dyn Controller>]) -> Self {
        let draw = |controller: &Arc<dyn Controller>| Drawn {
            name: controller.name(),
            watches: controller.watches(),
            writes: controller.writes(),
        };
        let notes = Notes {
            keys: HashSet::new(),
            all: HashSet::new(),
            reports: HashMap::new(),
            last_tick: Instant::now(),
        };
        Self {
            controllers: controllers.iter().map(draw).collect(),
            notes: Mutex::new(notes),
            wake: Notify::new(),
            reports: broadcast::Sender::new(LISTENER_LAG),
        }
    }

    pub fn tick(&self, now: Instant) {
        self.notes().last_tick = now;
    }

    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    pub fn take_wakes(&self) -> (HashSet<Slot>, HashSet<usize>) {
        let mut notes = self.notes();
        (std::mem::take(&mut notes.keys), std::mem::take(&mut notes.all))
    }

    pub fn report(&self, slot: Slot, report: PassReport) {
        {
            let mut notes = self.notes();
            let reports = notes.reports.entry(slot).or_default();
            reports.push_front(report.clone());
            reports.truncate(REMEMBERED);
        }
        // Nobody has to listen.
        let _ = self.reports.send(report);
    }

    pub fn forget(&self, slots: &[Slot]) {
        let mut notes = self.notes();
        for slot in slots {
            notes.reports.remove(slot);
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self, controller: &str) -> Option<usize> {
        self.controllers.iter().position(|known| known.name == controller)
    }
}

/// The engine's face to the rest of the process.
#[derive(Clone)]
pub struct EngineHandle {
    face: Arc<Face>,
}

impl EngineHandle {
    pub(crate) fn new(face: Arc<Face>) -> Self {
        Self { face }
    }

    /// Has a controller look at a key soon. Gives `false` if there is no such controller. Never
    /// waits, and costs nothing when repeated, so drivers may call it at every event.
    pub fn wake(&self, controller: &str, key: Key) -> bool {
        let Some(index) = self.face.index(controller) else { return false };
        self.face.notes().keys.insert((index, key));
        self.face.wake.notify_one();
        true
    }

    /// Has a controller look at all of its keys soon.
    pub fn wake_all(&self, controller: &str) -> bool {
        let Some(index) = self.face.index(controller) else { return false };
        self.face.notes().all.insert(index);
        self.face.wake.notify_one();
        true
    }

    /// When the loop last turned. It turns every two seconds at least; if it does not, it hangs.
    pub fn last_tick(&self) -> Instant {
        self.face.notes().last_tick
    }

    /// The latest passes over a key, of every controller, newest first.
    pub fn explain(&self, key: Key) -> Vec<PassReport> {
        let notes = self.face.notes();
        let about = |(slot, _): &(&Slot, &VecDeque<PassReport>)| slot.1 == key;
        let mut found: Vec<PassReport> =
            notes.reports.iter().filter(about).flat_map(|(_, reports)| reports).cloned().collect();
        found.sort_by_key(|report| std::cmp::Reverse((report.started, report.revision)));
        found
    }

    /// The last pass of every key whose last pass failed.
    pub fn failing(&self) -> Vec<PassReport> {
        let notes = self.face.notes();
        let last = notes.reports.values().filter_map(VecDeque::front);
        last.filter(|report| matches!(report.end, PassEnd::Failed { .. })).cloned().collect()
    }

    /// Every report from now on. A listener that falls behind loses the oldest.
    pub fn reports(&self) -> broadcast::Receiver<PassReport> {
        self.face.reports.subscribe()
    }

    /// Who watches and who writes what, for Graphviz.
    pub fn graph_dot(&self) -> String {
        let mut text = String::from("digraph controllers {\n  rankdir=LR;\n");
        let kinds = self.face.controllers.iter().flat_map(|c| c.watches.iter().chain(c.writes));
        let kinds: std::collections::BTreeSet<Kind> = kinds.copied().collect();
        // Writing to a string cannot fail.
        for kind in kinds {
            let _ = writeln!(text, "  \"{kind}\" [shape=box];");
        }
        for Drawn { name, watches, writes } in &self.face.controllers {
            let _ = writeln!(text, "  \"{name}\" [shape=ellipse];");
            for kind in *watches {
                let _ = writeln!(text, "  \"{kind}\" -> \"{name}\";");
            }
            for kind in *writes {
                let _ = writeln!(text, "  \"{name}\" -> \"{kind}\" [style=bold];");
            }
        }
        text.push_str("}\n");
        text
    }
}

//! What opening the store came to.

use std::path::PathBuf;

use serde::Serialize;

/// Where the store lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDirs {
    /// Journal, mark and checkpoints; on the state partition.
    pub state: PathBuf,
    /// A copy of the newest checkpoint; on another partition. Without one, a lost state partition
    /// is lost.
    pub second: Option<PathBuf>,
}

/// How far down the recovery ladder the store had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// There was nothing yet: a new store.
    Fresh,
    /// The journal opened.
    Journal,
    /// The journal opened after what it can do without was removed.
    WithoutSnapshot,
    /// The journal was unusable; a checkpoint stands in.
    Checkpoint,
    /// No checkpoint was whole either; what is wanted was picked from the pieces of damaged ones.
    Salvaged,
    /// Nothing was left.
    Empty,
}

/// What opening the store came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenReport {
    /// How far down the ladder.
    pub rung: Rung,
    /// The store's revision now.
    pub revision: u64,
    /// How many resources there are.
    pub documents: usize,
    /// Records that were not believed, each with the reason; at most a hundred are named.
    pub set_aside: Vec<String>,
    /// How many records were not believed.
    pub set_aside_count: usize,
    /// Records that a checkpoint had to supply.
    pub restored: usize,
    /// Changes after this revision may be missing; none are if absent.
    pub missing_after: Option<u64>,
    /// Everything else that was found wrong, for people.
    pub notes: Vec<String>,
    /// Where the damaged journal was put.
    pub moved_to: Option<PathBuf>,
}

/// Records named in a report.
const NAMED: usize = 100;

impl OpenReport {
    pub(crate) fn new(rung: Rung) -> Self {
        Self {
            rung,
            revision: 0,
            documents: 0,
            set_aside: Vec::new(),
            set_aside_count: 0,
            restored: 0,
            missing_after: None,
            notes: Vec::new(),
            moved_to: None,
        }
    }

    pub(crate) fn set_aside(&mut self, what: String) {
        self.set_aside_count += 1;
        if self.set_aside.len() < NAMED {
            self.set_aside.push(what);
        }
    }

    /// Whether everything was as it should be. If not, somebody should hear of it.
    pub fn is_clean(&self) -> bool {
        matches!(self.rung, Rung::Fresh | Rung::Journal)
            && self.set_aside_count == 0
            && self.restored == 0
            && self.missing_after.is_none()
            && self.notes.is_empty()
    }

    /// One paragraph for people: what was found, what was done, what may be missing.
    pub fn summary(&self) -> String {
        let from = match self.rung {
            Rung::Fresh => "A new store was made.",
            Rung::Journal => "The store's journal opened.",
            Rung::WithoutSnapshot => "The journal opened after its derived files were removed.",
            Rung::Checkpoint => "The journal was unusable; a checkpoint was loaded instead.",
            Rung::Salvaged => "Journal and checkpoints were damaged; readable pieces were used.",
            Rung::Empty => "Nothing readable was left; the store is empty.",
        };
        let mut text = format!("{from} {} resources.", self.documents);
        if self.set_aside_count > 0 {
            text += &format!(" {} records were damaged and set aside.", self.set_aside_count);
        }
        if self.restored > 0 {
            text += &format!(" {} records came from a checkpoint.", self.restored);
        }
        if let Some(revision) = self.missing_after {
            text += &format!(" Changes after revision {revision} may be missing.");
        }
        if !self.notes.is_empty() {
            let notes: Vec<&str> = self.notes.iter().take(4).map(String::as_str).collect();
            text += &format!(" Found: {}.", notes.join("; "));
        }
        text
    }
}

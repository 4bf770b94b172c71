//! Which key is looked at when. One pass per key at a time; a wake-up during a pass causes another.
//!
//! Pure: the caller tells the time, runs the passes and reports their ends.
//!
//! | state   | wake-up                          | end of its pass                                  |
//! |---------|----------------------------------|--------------------------------------------------|
//! | idle    | queued                           | -                                                |
//! | waiting | queued; if it fails, not sooner than 1 s after its last pass unless it is wanted anew | - |
//! | queued  | stays                            | -                                                |
//! | running | noted                            | queued if a wake-up was noted, else idle or waiting |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use skerry_model::LocalRef;
use tokio::time::Instant;

use crate::{Key, Outcome};

/// A controller, by its place in the engine, and one of its keys.
pub(crate) type Slot = (usize, Key);

/// The least time between two passes of a key that fails, however often it is woken: else a pass
/// whose own work causes the wake-up would fail in a tight loop.
const FAILING_PAUSE: Duration = Duration::from_secs(1);

/// Why a key is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    /// Something happened around it.
    Event,
    /// Something else is wanted of it: earlier failures mean nothing any more.
    Wanted,
}

/// How a pass ended, as far as the queue cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Good(Outcome),
    /// It failed; try again after this time.
    Bad(Duration),
}

#[derive(Debug, Default)]
struct Entry {
    phase: Phase,
    /// Failures in a row.
    failures: u32,
    ended: Option<Instant>,
    due: Option<Instant>,
    blocked_on: Option<LocalRef>,
}

#[derive(Debug, Default)]
enum Phase {
    /// Idle, or waiting for `due` or `blocked_on`.
    #[default]
    Resting,
    Queued,
    Running {
        woken: Option<Wake>,
        /// What changed meanwhile: a pass that ends blocked on one of these saw it too early.
        changed: HashSet<LocalRef>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: HashMap<Slot, Entry>,
    ready: VecDeque<Slot>,
    timers: BTreeSet<(Instant, Slot)>,
    blocked: BTreeMap<LocalRef, BTreeSet<Slot>>,
}

impl Queue {
    pub fn wake(&mut self, slot: Slot, wake: Wake, now: Instant) {
        let entry = self.entries.entry(slot).or_default();
        match &mut entry.phase {
            Phase::Queued => {}
            Phase::Running { woken, .. } => *woken = (*woken).max(Some(wake)),
            Phase::Resting => {
                if wake == Wake::Wanted {
                    entry.failures = 0;
                }
                let pause = entry.ended.map(|ended| ended + FAILING_PAUSE);
                match pause.filter(|until| entry.failures > 0 && *until > now) {
                    Some(until) if entry.due.is_some_and(|due| due <= until) => {}
                    Some(until) => self.rest(slot, Some(until), None),
                    None => self.enqueue(slot),
                }
            }
        }
    }

    /// A resource changed: wakes who is blocked on it.
    pub fn changed(&mut self, subject: LocalRef, now: Instant) {
        for slot in self.blocked.get(&subject).cloned().unwrap_or_default() {
            self.wake(slot, Wake::Event, now);
        }
        for entry in self.entries.values_mut() {
            if let Phase::Running { changed, .. } = &mut entry.phase {
                changed.insert(subject);
            }
        }
    }

    /// The next key to run a pass over; it counts as running from now on.
    pub fn start(&mut self) -> Option<Slot> {
        let slot = self.ready.pop_front()?;
        let entry = self.entries.entry(slot).or_default();
        entry.phase = Phase::Running { woken: None, changed: HashSet::new() };
        Some(slot)
    }

    /// A pass ended. Gives the time of the next one, if that is known.
    pub fn finish(&mut self, slot: Slot, end: End, now: Instant) -> Option<Instant> {
        let entry = self.entries.entry(slot).or_default();
        let phase = std::mem::take(&mut entry.phase);
        let (woken, changed) = match phase {
            Phase::Running { woken, changed } => (woken, changed),
            Phase::Resting | Phase::Queued => (None, HashSet::new()),
        };
        entry.ended = Some(now);
        match end {
            End::Good(_) => entry.failures = 0,
            End::Bad(_) => entry.failures = entry.failures.saturating_add(1),
        }
        match end {
            End::Good(Outcome::Done) => self.rest(slot, None, None),
            End::Good(Outcome::Again(after)) | End::Bad(after) => {
                // A day is the longest that anybody means; more could leave the clock's range.
                let after = after.min(Duration::from_secs(86_400));
                self.rest(slot, Some(now + after), None);
            }
            End::Good(Outcome::Blocked(on)) if changed.contains(&on) => self.enqueue(slot),
            End::Good(Outcome::Blocked(on)) => self.rest(slot, None, Some(on)),
        }
        if let Some(wake) = woken {
            self.wake(slot, wake, now);
        }
        self.next_of(slot, now)
    }

    /// Queues every key whose time has come.
    pub fn advance(&mut self, now: Instant) {
        while let Some((due, slot)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, slot));
            self.enqueue(slot);
        }
    }

    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    pub fn failures(&self, slot: Slot) -> u32 {
        self.entries.get(&slot).map_or(0, |entry| entry.failures)
    }

    /// Drops what is known of keys that rest and that nobody needs.
    pub fn forget(&mut self, needed: impl Fn(Slot) -> bool) -> Vec<Slot> {
        let gone: Vec<Slot> = self
            .entries
            .iter()
            .filter(|(slot, entry)| matches!(entry.phase, Phase::Resting) && !needed(**slot))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in &gone {
            self.rest(*slot, None, None);
            self.entries.remove(slot);
        }
        gone
    }

    fn next_of(&self, slot: Slot, now: Instant) -> Option<Instant> {
        let entry = self.entries.get(&slot)?;
        if matches!(entry.phase, Phase::Queued) { Some(now) } else { entry.due }
    }

    fn enqueue(&mut self, slot: Slot) {
        self.rest(slot, None, None);
        let entry = self.entries.entry(slot).or_default();
        entry.phase = Phase::Queued;
        self.ready.push_back(slot);
    }

    /// Sets what a resting key waits for, in place of what it waited for.
    fn rest(&mut self, slot: Slot, due: Option<Instant>, blocked_on: Option<LocalRef>) {
        let entry = self.entries.entry(slot).or_default();
        let old_due = std::mem::replace(&mut entry.due, due);
        let old_block = std::mem::replace(&mut entry.blocked_on, blocked_on);
        if let Some(old) = old_due {
            self.timers.remove(&(old, slot));
        }
        if let Some(old) = old_block
            && let Some(slots) = self.blocked.get_mut(&old)
        {
            slots.remove(&slot);
            if slots.is_empty() {
                self.blocked.remove(&old);
            }
        }
        if let Some(due) = due {
            self.timers.insert((due, slot));
        }
        if let Some(on) = blocked_on {
            self.blocked.entry(on).or_default().insert(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skerry_model::Kind;
    use uuid::Uuid;

    use super::*;

    fn slot(n: u8) -> Slot {
        (0, subject(n))
    }

    fn subject(n: u8) -> LocalRef {
        LocalRef { kind: Kind::Job, id: Uuid::from_u128(u128::from(n)) }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wake(u8, bool),
        Changed(u8),
        Start,
        /// Ends the pass that has run longest.
        Finish(Finish),
        Later(u16),
        Forget(u8),
    }

    #[derive(Debug, Clone)]
    enum Finish {
        Done,
        Again(u8),
        Blocked(u8),
        Bad(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let n = || 0..5_u8;
        let finish = prop_oneof![
            Just(Finish::Done),
            (1..90_u8).prop_map(Finish::Again),
            n().prop_map(Finish::Blocked),
            (1..90_u8).prop_map(Finish::Bad),
        ];
        prop_oneof![
            4 => (n(), any::<bool>()).prop_map(|(n, wanted)| Step::Wake(n, wanted)),
            2 => n().prop_map(Step::Changed),
            4 => Just(Step::Start),
            4 => finish.prop_map(Step::Finish),
            1 => (1..5000_u16).prop_map(Step::Later),
            1 => n().prop_map(Step::Forget),
        ]
    }

    fn end(finish: &Finish) -> End {
        let seconds = |n: &u8| Duration::from_secs(u64::from(*n));
        match finish {
            Finish::Done => End::Good(Outcome::Done),
            Finish::Again(after) => End::Good(Outcome::Again(seconds(after))),
            Finish::Blocked(on) => End::Good(Outcome::Blocked(subject(*on))),
            Finish::Bad(after) => End::Bad(seconds(after)),
        }
    }

    proptest! {
        /// Whatever happens: one pass a key at a time, and after every wake-up a pass that starts
        /// later than it, within the pause of a failing key.
        #[test]
        fn no_wake_up_is_lost_and_no_key_runs_twice(steps in prop::collection::vec(step(), 1..120)) {
            let mut queue = Queue::default();
            let mut now = Instant::now();
            let mut running: VecDeque<Slot> = VecDeque::new();
            // Keys that must still see a pass.
            let mut owed: HashSet<Slot> = HashSet::new();
            let start = |queue: &mut Queue, running: &mut VecDeque<Slot>, owed: &mut HashSet<Slot>| {
                if let Some(slot) = queue.start() {
                    assert!(!running.contains(&slot), "two passes over one key");
                    running.push_back(slot);
                    owed.remove(&slot);
                }
            };
            for step in steps {
                match step {
                    Step::Wake(n, wanted) => {
                        let wake = if wanted { Wake::Wanted } else { Wake::Event };
                        queue.wake(slot(n), wake, now);
                        owed.insert(slot(n));
                    }
                    Step::Changed(n) => queue.changed(subject(n), now),
                    Step::Start => start(&mut queue, &mut running, &mut owed),
                    Step::Finish(finish) => {
                        if let Some(slot) = running.pop_front() {
                            queue.finish(slot, end(&finish), now);
                        }
                    }
                    Step::Later(millis) => {
                        now += Duration::from_millis(u64::from(millis));
                        queue.advance(now);
                    }
                    Step::Forget(n) => {
                        let gone = queue.forget(|other| other != slot(n) || owed.contains(&other));
                        prop_assert!(gone.iter().all(|gone| !running.contains(gone)));
                    }
                }
            }
            // Left alone, everything owed is served after the pause.
            while let Some(slot) = running.pop_front() {
                queue.finish(slot, End::Good(Outcome::Done), now);
            }
            now += FAILING_PAUSE;
            queue.advance(now);
            for _ in 0..100 {
                start(&mut queue, &mut running, &mut owed);
                while let Some(slot) = running.pop_front() {
                    queue.finish(slot, End::Good(Outcome::Done), now);
                }
            }
            prop_assert!(owed.is_empty(), "never served: {:?}", owed);
        }

        /// The timers and the list of the blocked hold nothing for keys that were forgotten.
        #[test]
        fn forgetting_leaves_nothing_behind(steps in prop::collection::vec(step(), 1..60)) {
            let (mut queue, now) = (Queue::default(), Instant::now());
            for step in &steps {
                match step {
                    Step::Wake(n, _) => queue.wake(slot(*n), Wake::Event, now),
                    Step::Finish(finish) => {
                        if let Some(slot) = queue.start() {
                            queue.finish(slot, end(finish), now);
                        }
                    }
                    _ => {}
                }
            }
            while let Some(slot) = queue.start() {
                queue.finish(slot, End::Good(Outcome::Done), now);
            }
            queue.forget(|_| false);
            prop_assert!(queue.entries.is_empty());
            prop_assert!(queue.timers.is_empty() && queue.blocked.is_empty());
        }
    }
}

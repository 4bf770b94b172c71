//! Dangerous changes: apply, wait until somebody or something confirms, else restore.
//!
//! For what could cut the node off from those who could undo it: the management network, the firewall,
//! the boot slot. Each state is written down before it is acted on, so a power cut at any moment is
//! followed by the right half: a change that was not confirmed is waited for anew or taken back.
//!
//! | state     | event     | next      | effects |
//! |-----------|-----------|-----------|---------|
//! | planned   | started   | applying  | apply   |
//! | applying  | succeeded | waiting   | wait    |
//! | applying  | failed    | restoring | restore |
//! | applying  | restarted | restoring | restore |
//! | waiting   | confirmed | kept      |         |
//! | waiting   | expired   | restoring | restore |
//! | waiting   | restarted | waiting   | wait    |
//! | restoring | succeeded | restored  |         |
//! | restoring | failed    | restoring | pause, restore |
//! | restoring | restarted | restoring | restore |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use skerry_model::{Id, Job, JobState, JobStatus};
use skerry_store::{Store, StoreError, Transaction};
use tokio::time::{Instant, sleep, timeout_at};

use crate::Failure;

/// How far a guarded change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardState {
    /// Nothing was done yet.
    Planned,
    /// It is being made, and may be half made.
    Applying,
    /// It is made and not yet confirmed.
    Waiting,
    /// It is being taken back.
    Restoring,
    /// It is made and confirmed.
    Kept,
    /// It was taken back.
    Restored,
}

/// What happens to a guarded change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardEvent {
    /// It is to be made.
    Started,
    /// The effect succeeded.
    Succeeded,
    /// The effect failed.
    Failed,
    /// The probe or a person confirmed it.
    Confirmed,
    /// Nobody confirmed it in time.
    Expired,
    /// The node service started again.
    Restarted,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardEffect {
    /// Make the change.
    Apply,
    /// Wait for a confirmation.
    Wait,
    /// Wait a little before the next try.
    Pause,
    /// Take the change back.
    Restore,
}

/// An event that means nothing in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change that is {state} cannot be {event:?}")]
pub struct GuardRefused {
    /// The state.
    pub state: GuardState,
    /// The event.
    pub event: GuardEvent,
}

const STATES: [GuardState; 6] = [
    GuardState::Planned,
    GuardState::Applying,
    GuardState::Waiting,
    GuardState::Restoring,
    GuardState::Kept,
    GuardState::Restored,
];

impl fmt::Display for GuardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planned => "planned",
            Self::Applying => "applying",
            Self::Waiting => "waiting",
            Self::Restoring => "restoring",
            Self::Kept => "kept",
            Self::Restored => "restored",
        })
    }
}

impl FromStr for GuardState {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        STATES.into_iter().find(|state| state.to_string() == text).ok_or(())
    }
}

impl GuardState {
    /// What an event leads to.
    pub fn next(self, event: GuardEvent) -> Result<(Self, &'static [GuardEffect]), GuardRefused> {
        use {GuardEffect as Do, GuardEvent as On};
        Ok(match (self, event) {
            (Self::Planned, On::Started) => (Self::Applying, &[Do::Apply]),
            (Self::Applying, On::Succeeded) => (Self::Waiting, &[Do::Wait]),
            (Self::Applying, On::Failed | On::Restarted) => (Self::Restoring, &[Do::Restore]),
            (Self::Waiting, On::Confirmed) => (Self::Kept, &[]),
            (Self::Waiting, On::Expired) => (Self::Restoring, &[Do::Restore]),
            (Self::Waiting, On::Restarted) => (Self::Waiting, &[Do::Wait]),
            (Self::Restoring, On::Succeeded) => (Self::Restored, &[]),
            (Self::Restoring, On::Failed) => (Self::Restoring, &[Do::Pause, Do::Restore]),
            (Self::Restoring, On::Restarted) => (Self::Restoring, &[Do::Restore]),
            (state, event) => return Err(GuardRefused { state, event }),
        })
    }
}

/// A dangerous change. All three must bear being repeated.
#[async_trait]
pub trait Guarded: Send + Sync {
    /// Makes the change. What is needed to take it back must be safe before the first effect.
    async fn apply(&self) -> Result<(), Failure>;
    /// Takes it back, however much of it was made.
    async fn restore(&self) -> Result<(), Failure>;
    /// Whether it has proved itself: a peer answers, or a person said so.
    async fn confirmed(&self) -> bool;
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct GuardTimes {
    /// For a confirmation, from the change or from the start of the service.
    pub confirmation: Duration,
    /// Between two looks whether it is confirmed, and two tries to restore.
    pub pause: Duration,
}

/// Carries a guarded change to its end, starting where the job's status says that it was. The job is
/// made by the caller, together with whatever describes the change.
pub async fn carry_out(
    store: &Store,
    job: Id<Job>,
    change: &dyn Guarded,
    times: GuardTimes,
) -> Result<GuardState, StoreError> {
    let mut state = read(store, job)?;
    let mut event = match state {
        GuardState::Planned => GuardEvent::Started,
        GuardState::Kept | GuardState::Restored => return Ok(state),
        _ => GuardEvent::Restarted,
    };
    while let Ok((next, effects)) = state.next(event) {
        if next != state {
            write(store, job, next).await?;
        }
        state = next;
        match perform(change, effects, times).await {
            Some(follows) => event = follows,
            None => break,
        }
    }
    Ok(state)
}

/// Performs effects in order and tells what came of the last; `None` if there was none.
async fn perform(
    change: &dyn Guarded,
    effects: &[GuardEffect],
    times: GuardTimes,
) -> Option<GuardEvent> {
    let mut event = None;
    for effect in effects {
        event = Some(match effect {
            GuardEffect::Apply => outcome("made", change.apply().await),
            GuardEffect::Restore => outcome("taken back", change.restore().await),
            GuardEffect::Wait => wait(change, times).await,
            GuardEffect::Pause => {
                sleep(times.pause).await;
                continue;
            }
        });
    }
    event
}

fn outcome(what: &str, result: Result<(), Failure>) -> GuardEvent {
    match result {
        Ok(()) => GuardEvent::Succeeded,
        Err(failure) => {
            tracing::warn!(error = %failure, "a guarded change could not be {what}");
            GuardEvent::Failed
        }
    }
}

async fn wait(change: &dyn Guarded, times: GuardTimes) -> GuardEvent {
    let confirmed = async {
        while !change.confirmed().await {
            sleep(times.pause).await;
        }
    };
    match timeout_at(Instant::now() + times.confirmation, confirmed).await {
        Ok(()) => GuardEvent::Confirmed,
        Err(_) => GuardEvent::Expired,
    }
}

fn read(store: &Store, job: Id<Job>) -> Result<GuardState, StoreError> {
    let found = store.get(job)?.ok_or(StoreError::NotFound { subject: subject(job) })?;
    Ok(found.status.message.parse().unwrap_or(GuardState::Planned))
}

async fn write(store: &Store, job: Id<Job>, state: GuardState) -> Result<(), StoreError> {
    let found = store.get(job)?.ok_or(StoreError::NotFound { subject: subject(job) })?;
    let status = JobStatus {
        state: match state {
            GuardState::Planned => JobState::Queued,
            GuardState::Kept => JobState::Completed,
            GuardState::Restored => JobState::Failed,
            _ => JobState::Running,
        },
        message: state.to_string(),
        ..found.status
    };
    let mut tx = Transaction::new();
    tx.put_status(job, status);
    store.commit(tx).await.map(|_| ())
}

fn subject(job: Id<Job>) -> skerry_model::LocalRef {
    skerry_model::LocalRef { kind: skerry_model::Kind::Job, id: job.uuid() }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use skerry_model::{JobSpec, Name, NewResource};
    use uuid::Uuid;

    use super::*;

    const EVENTS: [GuardEvent; 6] = [
        GuardEvent::Started,
        GuardEvent::Succeeded,
        GuardEvent::Failed,
        GuardEvent::Confirmed,
        GuardEvent::Expired,
        GuardEvent::Restarted,
    ];

    #[test]
    fn the_table_above_is_the_function() {
        let mut rows = Vec::new();
        for (state, event) in STATES.into_iter().flat_map(|s| EVENTS.map(|e| (s, e))) {
            if let Ok((next, effects)) = state.next(event) {
                let effects: Vec<_> = effects.iter().map(|e| format!("{e:?}")).collect();
                let (event, effects) = (format!("{event:?}"), effects.join(", "));
                rows.push(format!("{state} {event} {next} {effects}").to_lowercase());
            }
        }
        let documented = include_str!("guard.rs").lines().filter_map(|line| {
            let row = line.strip_prefix("//! | ")?.strip_suffix('|')?;
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[0] != "state").then(|| cells.join(" "))
        });
        let (mut documented, mut rows) = (documented.collect::<Vec<_>>(), rows);
        documented.iter_mut().chain(&mut rows).for_each(|row| *row = row.trim().to_owned());
        documented.sort();
        rows.sort();
        assert_eq!(documented, rows);
    }

    /// A change that does as it is told.
    #[derive(Default)]
    struct Told {
        done: Mutex<Vec<&'static str>>,
        apply_fails: bool,
        failing_restores: Mutex<u32>,
        confirmed_after: Option<Duration>,
        since: Mutex<Option<Instant>>,
    }

    #[async_trait]
    impl Guarded for Told {
        async fn apply(&self) -> Result<(), Failure> {
            self.done.lock().unwrap().push("apply");
            if self.apply_fails { Err(Failure::retry("no")) } else { Ok(()) }
        }
        async fn restore(&self) -> Result<(), Failure> {
            self.done.lock().unwrap().push("restore");
            let mut left = self.failing_restores.lock().unwrap();
            if *left == 0 {
                return Ok(());
            }
            *left -= 1;
            Err(Failure::retry("not yet"))
        }
        async fn confirmed(&self) -> bool {
            let since = *self.since.lock().unwrap().get_or_insert_with(Instant::now);
            self.confirmed_after.is_some_and(|after| since.elapsed() >= after)
        }
    }

    const TIMES: GuardTimes =
        GuardTimes { confirmation: Duration::from_secs(60), pause: Duration::from_secs(1) };

    async fn planned() -> (Store, Id<Job>) {
        let (store, id) = (Store::in_memory(), Id::new(Uuid::from_u128(1)));
        let operation = "network.commit".to_owned();
        let spec = JobSpec { operation, deadline_s: 60, ..JobSpec::default() };
        let mut tx = Transaction::new();
        tx.create(NewResource::new(id, Name::new("commit").unwrap(), spec));
        store.commit(tx).await.unwrap();
        (store, id)
    }

    async fn run(change: &Told) -> (GuardState, Vec<&'static str>, JobState) {
        let (store, id) = planned().await;
        let state = carry_out(&store, id, change, TIMES).await.unwrap();
        let done = change.done.lock().unwrap().clone();
        (state, done, store.get(id).unwrap().unwrap().status.state)
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmed_change_is_kept() {
        let change = Told { confirmed_after: Some(Duration::from_secs(20)), ..Told::default() };
        assert_eq!(run(&change).await, (GuardState::Kept, vec!["apply"], JobState::Completed));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_confirms_in_time_is_taken_back() {
        let change = Told { confirmed_after: Some(Duration::from_secs(61)), ..Told::default() };
        let expected = (GuardState::Restored, vec!["apply", "restore"], JobState::Failed);
        assert_eq!(run(&change).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_half_way_is_taken_back_until_that_succeeds() {
        let change = Told { apply_fails: true, failing_restores: Mutex::new(2), ..Told::default() };
        let (state, done, _) = run(&change).await;
        assert_eq!(state, GuardState::Restored);
        assert_eq!(done, ["apply", "restore", "restore", "restore"]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_restart_it_goes_on_where_it_was() {
        for (found, expected) in [
            (GuardState::Applying, vec!["restore"]),
            (GuardState::Waiting, vec!["restore"]),
            (GuardState::Restoring, vec!["restore"]),
            (GuardState::Kept, vec![]),
            (GuardState::Restored, vec![]),
        ] {
            let (store, id) = planned().await;
            write(&store, id, found).await.unwrap();
            let change = Told::default();
            carry_out(&store, id, &change, TIMES).await.unwrap();
            assert_eq!(*change.done.lock().unwrap(), expected, "{found}");
            // And once more, at its end: nothing.
            carry_out(&store, id, &change, TIMES).await.unwrap();
            assert_eq!(*change.done.lock().unwrap(), expected, "{found}");
        }
        let (store, id) = planned().await;
        write(&store, id, GuardState::Waiting).await.unwrap();
        let change = Told { confirmed_after: Some(Duration::from_secs(9)), ..Told::default() };
        let state = carry_out(&store, id, &change, TIMES).await.unwrap();
        assert_eq!((state, change.done.lock().unwrap().len()), (GuardState::Kept, 0));
    }
}

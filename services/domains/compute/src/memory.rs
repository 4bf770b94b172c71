//! What is remembered of a machine between two passes, in this run of the service only.
//!
//! All of it is monotonic time or can be found out again; nothing here needs to survive.

use std::time::Duration;

use tokio::time::Instant;

/// How long a guest must have been off by its own doing before that is believed: when the host goes
/// down, guests are ended in the same way moments before this service is.
pub const SETTLE: Duration = Duration::from_secs(2);

/// How often the power button is pressed while a guest is asked to shut down. A guest that is still
/// booting hears only a later one.
pub const ASK_EVERY: Duration = Duration::from_secs(10);

/// How long a guest whose write found no space is held before it may try again.
pub const RETRY_WRITE: Duration = Duration::from_secs(10);

/// Notes on one machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// It has run, or was started, since this service looks at it.
    pub seen_up: bool,
    /// Since when it is known to run.
    pub running_since: Option<Instant>,
    /// Since when it is off without a known wish for it.
    pub off_since: Option<Instant>,
    /// Since when the hypervisor has held it for a disk.
    pub held_since: Option<Instant>,
    /// When the next start is due.
    pub next_try: Option<Instant>,
    /// Since when it has been waiting for its turn to start after a boot.
    pub queued_since: Option<Instant>,
    /// Since when it is its turn.
    pub turn_since: Option<Instant>,
    /// When a guest that was asked to shut down is forced off.
    pub stop_by: Option<Instant>,
    /// When it was last asked.
    pub asked_at: Option<Instant>,
    /// When the agent in its guest is asked next, and how long the wait for that is.
    pub hear_at: Option<Instant>,
    pub hear_wait: Duration,
    /// Whether that agent did not answer the last time.
    pub agent_silent: bool,
}

impl Memory {
    /// Whether a moment has come; one that is not set has not.
    pub fn past(moment: Option<Instant>) -> bool {
        moment.is_some_and(|moment| moment <= Instant::now())
    }

    /// Whether so much time has gone by since a moment.
    pub fn since(moment: Option<Instant>, time: Duration) -> bool {
        moment.is_some_and(|moment| moment.elapsed() >= time)
    }
}

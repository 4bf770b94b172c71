//! Tells systemd that the node is up and that its loop moves.
//!
//! The watchdog is fed only while the engine's loop has ticked lately: a loop that hangs gets the daemon
//! restarted, which no workload notices.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::node::Node;

/// How often the loop is looked at if systemd asks for no watchdog.
const USUAL: Duration = Duration::from_secs(10);

/// Runs for ever: says that the service is ready, then feeds the watchdog.
pub async fn watch_over(node: Arc<Node>) {
    let asked = sd_notify::watchdog_enabled();
    let limit = asked.unwrap_or(USUAL * 3);
    tell(&[NotifyState::Ready]);
    let mut ticks = interval(limit / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let silent = Instant::now().saturating_duration_since(node.engine.last_tick());
        if silent > limit {
            tracing::error!(?silent, "the engine's loop does not move; the watchdog is not fed");
        } else if asked.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

//! The end of the machine's boot: guests get their own shutdown before it.
//!
//! Asked for at one of the node's faces, the guests are stopped first and systemd is told then. If systemd begins by itself,
//! as after the power button, this service is told to end, and stops the guests as the last thing it does; its unit is
//! ordered so that libvirt and the guests' processes are left alone until then, and gives it the time.

use std::sync::Arc;
use std::time::Duration;

use skerry_compute::HostStop;
use skerry_engine::Controller;

use crate::node::Node;

/// Time for all guests to shut down before the machine does. `TimeoutStopSec` of the unit is longer.
const GUESTS: Duration = Duration::from_secs(180);

/// Stops the guests in their own way, then the machine. What is wanted of them stays as it is.
pub(crate) async fn go_down(node: Arc<Node>, action: skerry_upkeep::PowerAction) {
    stop_guests(&node).await;
    // What was wanted must be on disk before the machine goes down; a failure here is no reason to stay up.
    if let Err(error) = node.store.checkpoint().await {
        tracing::warn!(%error, "no checkpoint before the power action");
    }
    if let Err(error) = node.machine.host.power(action).await {
        tracing::error!(%error, "the machine refused to go down; guests are started again");
        node.vms.release();
        node.engine.wake_all(node.vms.name());
    }
}

/// At the end of this service: stops the guests if it ends since the machine goes down. Else they run on.
pub(crate) async fn stop_guests_with_machine(node: &Node) {
    node.vms.hold();
    if node.machine.host.going_down().await {
        tracing::info!("the machine goes down: its guests are shut down");
        stop_guests(node).await;
    }
}

async fn stop_guests(node: &Node) {
    let HostStop { forced, left } = node.vms.stop_all_for_host(GUESTS).await;
    if forced > 0 {
        tracing::warn!(forced, "guests did not shut down in time and were forced off");
    }
    if left > 0 {
        tracing::error!(left, "guests run on until the machine ends them");
    }
}

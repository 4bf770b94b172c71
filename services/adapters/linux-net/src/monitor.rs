//! Hearing of changes from the kernel.
//!
//! One netlink socket listens for changes of devices, addresses and routes. What changed is not passed on,
//! only that something did: listeners look for themselves, so a lost message does no harm. Bursts are drawn
//! together for those who look at everything.

use std::time::Duration;

use futures::StreamExt;
use rtnetlink::MulticastGroup;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::NetError;

/// Changes closer together than this count as one for [`Changes::settled`].
const SETTLE: Duration = Duration::from_millis(200);
/// Pause before the socket is opened again after it broke.
const REOPEN: Duration = Duration::from_secs(1);

/// Counters that move with changes.
#[derive(Debug, Clone)]
pub struct Changes {
    at_once: watch::Sender<u64>,
    settled: watch::Sender<u64>,
}

impl Changes {
    pub fn new() -> Self {
        Self { at_once: watch::Sender::new(0), settled: watch::Sender::new(0) }
    }

    /// Something changed, by whatever we know it.
    pub fn happened(&self) {
        self.at_once.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Moves with every message.
    pub fn at_once(&self) -> watch::Receiver<u64> {
        self.at_once.subscribe()
    }

    /// Moves once per burst.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }
}

/// Listens until cancelled.
pub fn start(changes: &Changes, cancel: &CancellationToken) {
    let (heard, stop) = (changes.clone(), cancel.clone());
    tokio::spawn(async move {
        // Cancelling in the middle of a message loses nothing that anybody still waits for.
        stop.run_until_cancelled(listen(heard)).await;
    });
    let (drawn, stop) = (changes.clone(), cancel.clone());
    tokio::spawn(async move {
        stop.run_until_cancelled(draw_together(drawn)).await;
    });
}

async fn listen(changes: Changes) {
    loop {
        if let Err(error) = listen_once(&changes).await {
            tracing::warn!(%error, "changes of devices are not heard; trying again");
        }
        tokio::time::sleep(REOPEN).await;
        // Whatever happened meanwhile was not heard.
        changes.happened();
    }
}

async fn listen_once(changes: &Changes) -> Result<(), NetError> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
    ];
    let (connection, _handle, mut messages) = rtnetlink::new_multicast_connection(&groups)
        .map_err(|source| NetError::Socket { source })?;
    let task = tokio::spawn(connection);
    while messages.next().await.is_some() {
        changes.happened();
    }
    task.abort();
    Ok(())
}

async fn draw_together(changes: Changes) {
    let mut heard = changes.at_once();
    while heard.changed().await.is_ok() {
        tokio::time::sleep(SETTLE).await;
        heard.mark_unchanged();
        changes.settled.send_modify(|count| *count = count.wrapping_add(1));
    }
}

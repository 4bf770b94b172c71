//! Uplinks: each has a task that keeps it switched on and gives it an address.
//!
//! The task waits for a carrier, runs the DHCP client while there is one, and after ten seconds without a
//! lease adds a link-local address while DHCP goes on. Nothing else waits for it. Addresses that are there
//! when the task starts stay until a lease says otherwise, so a restart of our process cuts nothing.

mod dhcp;
mod lease;
mod link_local;
mod resolver;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::NetError;
use crate::monitor::Changes;
use crate::netlink::{Link, Netlink};

pub use resolver::Resolver;

/// How long a task without a carrier sleeps if nothing is heard.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What an uplink got from its DHCP server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leased {
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
}

/// What every uplink's task needs.
#[derive(Clone)]
pub struct Surroundings {
    pub net: Netlink,
    pub changes: Changes,
    pub resolver: Arc<Resolver>,
    /// Name that DHCP servers are told.
    pub hostname: Option<String>,
}

/// All uplinks.
pub struct Uplinks {
    around: Surroundings,
    running: Mutex<BTreeMap<String, Running>>,
    cancel: CancellationToken,
}

struct Running {
    leased: Arc<Mutex<Leased>>,
    cancel: CancellationToken,
}

/// One uplink's task.
struct Uplink {
    device: String,
    around: Surroundings,
    leased: Arc<Mutex<Leased>>,
}

impl Uplinks {
    pub fn new(around: Surroundings, cancel: CancellationToken) -> Self {
        Self { around, running: Mutex::default(), cancel }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts looking after a card; one that is looked after already is left as it is.
    pub fn manage(&self, device: &str) {
        self.running().entry(device.to_owned()).or_insert_with(|| {
            let leased = Arc::<Mutex<Leased>>::default();
            let cancel = self.cancel.child_token();
            let uplink = Uplink {
                device: device.to_owned(),
                around: self.around.clone(),
                leased: Arc::clone(&leased),
            };
            let stop = cancel.clone();
            tokio::spawn(async move {
                // Every change it makes is complete in itself, so it may be stopped anywhere.
                stop.run_until_cancelled(uplink.live()).await;
            });
            Running { leased, cancel }
        });
        self.around.changes.happened();
    }

    /// Stops looking after a card.
    pub fn release(&self, device: &str) {
        if let Some(running) = self.running().remove(device) {
            running.cancel.cancel();
            self.around.resolver.forget(device);
            self.around.changes.happened();
        }
    }

    /// What a card got; `None` if it is not looked after.
    pub fn leased(&self, device: &str) -> Option<Leased> {
        let running = self.running();
        let found = running.get(device)?;
        let leased = found.leased.lock().unwrap_or_else(PoisonError::into_inner);
        Some(leased.clone())
    }
}

impl Uplink {
    async fn live(self) {
        let mut heard = self.around.changes.at_once();
        loop {
            heard.mark_unchanged();
            match self.look().await {
                Ok(Some(link)) if !link.up => self.switch_on(&link).await,
                Ok(Some(link)) if link.carrier => {
                    tracing::info!(device = self.device, "uplink has a carrier");
                    tokio::select! {
                        // Never ends by itself; what it did so far stays on the card.
                        () = self.serve(&link) => {}
                        // Only looks; cancelled never, since the other arm does not end.
                        () = self.carrier_lost(link.index) => {
                            tracing::info!(device = self.device, "uplink lost its carrier");
                        }
                    }
                    continue;
                }
                _ => {}
            }
            // Looks again by itself too, should switching on have failed.
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN, heard.changed()).await {
                return;
            }
        }
    }

    async fn look(&self) -> Result<Option<Link>, NetError> {
        let found = self.around.net.find(&self.device).await;
        if let Err(error) = &found {
            tracing::warn!(device = self.device, %error, "uplink could not be read");
        }
        found
    }

    async fn switch_on(&self, link: &Link) {
        if let Err(error) = self.around.net.set_up(link.index).await {
            tracing::warn!(device = self.device, %error, "uplink could not be switched on");
        }
    }

    async fn carrier_lost(&self, index: u32) {
        let mut heard = self.around.changes.at_once();
        loop {
            heard.mark_unchanged();
            let same = |link: &Link| link.index == index && link.up && link.carrier;
            // A look that failed says nothing about the carrier.
            let lost = self.look().await.is_ok_and(|link| !link.as_ref().is_some_and(same));
            if lost || heard.changed().await.is_err() {
                return;
            }
        }
    }

    fn set_leased(&self, leased: Leased) {
        self.around.resolver.set(&self.device, leased.dns.clone());
        *self.leased.lock().unwrap_or_else(PoisonError::into_inner) = leased;
        self.around.changes.happened();
    }
}

//! The DHCP client of one uplink, while its carrier is there.

use std::error::Error;
use std::time::Duration;

use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4State};
use tokio::sync::watch;

use super::{Uplink, lease, link_local};
use crate::netlink::Link;

/// Pause after the client gave up.
const AGAIN: Duration = Duration::from_secs(5);
/// A server that makes an offer and then does not confirm it is given up after this.
const CONFIRM: Duration = Duration::from_secs(20);

impl Uplink {
    /// Gets and keeps an address; does not end.
    pub(super) async fn serve(&self, link: &Link) {
        let has_lease = watch::Sender::new(false);
        let fallback = link_local::fall_back(self, link, has_lease.subscribe());
        futures::future::join(self.lease_for_ever(link, &has_lease), fallback).await;
    }

    async fn lease_for_ever(&self, link: &Link, has_lease: &watch::Sender<bool>) {
        loop {
            let ended = self.lease_until_lost(link, has_lease).await;
            if has_lease.send_replace(false) {
                tracing::warn!(device = self.device, "the DHCP lease is lost");
                self.set_leased(super::Leased::default());
            }
            tracing::info!(device = self.device, ended, "the DHCP client starts anew");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Runs one client to its end, and says why it ended.
    async fn lease_until_lost(&self, link: &Link, has_lease: &watch::Sender<bool>) -> String {
        let mut client = match DhcpV4Client::init(self.config(link), None).await {
            Ok(client) => client,
            Err(error) => return error.to_string(),
        };
        let mut confirming = false;
        loop {
            // A client that is dropped in the middle of an exchange is never used again.
            let state = if confirming {
                match tokio::time::timeout(CONFIRM, client.run()).await {
                    Ok(state) => state,
                    Err(_) => return "the server did not confirm its offer".to_owned(),
                }
            } else {
                client.run().await
            };
            match state {
                Ok(DhcpV4State::Done(lease)) => {
                    confirming = false;
                    match lease::apply(&self.around.net, link, &lease).await {
                        Ok(leased) => {
                            let address = lease.yiaddr;
                            tracing::info!(device = self.device, %address, "DHCP lease");
                            self.set_leased(leased);
                            has_lease.send_replace(true);
                        }
                        Err(error) => {
                            let source = error.source().map(ToString::to_string);
                            return format!("the lease could not be used: {error}: {source:?}");
                        }
                    }
                }
                Ok(DhcpV4State::InitReboot) if *has_lease.borrow() => {
                    return "the lease ended".to_owned();
                }
                Ok(state) => confirming = matches!(state, DhcpV4State::Selecting),
                Err(error) => return error.to_string(),
            }
        }
    }

    fn config(&self, link: &Link) -> DhcpV4Config {
        let mut config = DhcpV4Config::new(&self.device);
        config.set_iface_index(link.index);
        if let Err(error) = config.set_iface_mac(&link.mac) {
            tracing::warn!(device = self.device, %error, "the card has no Ethernet address");
        }
        config.use_mac_as_client_id();
        if let Some(name) = &self.around.hostname {
            config.set_host_name(name);
        }
        config
    }
}

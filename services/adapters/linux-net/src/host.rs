//! The Linux machine as a [`NetworkHost`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use skerry_engine::Failure;
use skerry_network::{
    DNSMASQ_FOLDER, NetworkHost, NetworkObserved, NetworkStep, Origin, UPSTREAM_FILE,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::NetError;
use crate::monitor::{self, Changes};
use crate::netlink::Netlink;
use crate::nft::Rules;
use crate::nics::Cards;
use crate::pod::{self, Pods};
use crate::service::Services;
use crate::units::Units;
use crate::uplink::{Resolver, Surroundings, Uplinks};
use crate::{bridge, files, metadata, nics};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What differs between machines.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which devices are network cards.
    pub cards: Cards,
    /// Name that DHCP servers are told.
    pub hostname: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cards: Cards::Hardware, hostname: None }
    }
}

/// The machine's network. Its tasks end when it is dropped.
pub struct LinuxNet {
    cards: Cards,
    net: Netlink,
    rules: Rules,
    pods: Pods,
    services: Services,
    uplinks: Uplinks,
    changes: Changes,
    cancel: CancellationToken,
}

impl Drop for LinuxNet {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl LinuxNet {
    /// Opens the calling thread's network namespace. Needs a runtime; changes nothing yet.
    pub fn start(settings: Settings, units: Arc<dyn Units>) -> Result<Self, NetError> {
        let net = Netlink::open()?;
        let changes = Changes::new();
        let cancel = CancellationToken::new();
        monitor::start(&changes, &cancel);
        let resolver = Arc::new(Resolver::new(PathBuf::from(UPSTREAM_FILE))?);
        let around = Surroundings {
            net: net.clone(),
            changes: changes.clone(),
            resolver,
            hostname: settings.hostname,
        };
        Ok(Self {
            cards: settings.cards,
            net,
            rules: Rules::default(),
            pods: Pods::new(resolv_folder(), Arc::clone(&units)),
            services: Services::new(PathBuf::from(DNSMASQ_FOLDER), units),
            uplinks: Uplinks::new(around, cancel.clone()),
            changes,
            cancel,
        })
    }

    async fn look(&self) -> Result<NetworkObserved, NetError> {
        let links = self.net.links().await?;
        let addresses = self.net.addresses().await?;
        let mut nics = nics::observe(&self.cards, &links, &addresses);
        for (device, nic) in &mut nics {
            if let Some(leased) = self.uplinks.leased(device) {
                nic.managed = true;
                // A lease that ended while the cable was out took its address along.
                if nic.addresses.iter().any(|a| a.address.is_ipv4() && a.origin == Origin::Dhcp) {
                    nic.gateway = leased.gateway;
                    nic.dns = leased.dns;
                }
            }
        }
        let rules = self.rules.mark().await.unwrap_or_else(|error| {
            // Taken for not loaded: loading them then fails with the reason, and the uplinks still work.
            tracing::warn!(%error, "packet rules could not be read");
            None
        });
        Ok(NetworkObserved {
            nics,
            bridges: bridge::observe(&links, &addresses),
            attachments: self.pods.observe(&links).await?,
            veths: links.iter().filter(|l| pod::is_ours(l)).map(|l| l.name.clone()).collect(),
            services: self.services.observe().await?,
            rules,
            metadata: metadata::observe(&links, &addresses),
            forwarding: files::read(Path::new(FORWARDING))?.is_some_and(|text| text.trim() == "1"),
        })
    }

    async fn take(&self, step: &NetworkStep) -> Result<(), NetError> {
        match step {
            NetworkStep::StopService { bridge } => self.services.stop(bridge).await,
            NetworkStep::RemoveAttachment { namespace } => {
                self.pods.remove(&self.net, namespace).await
            }
            NetworkStep::RemoveVeth { device } => self.net.remove_link(device).await,
            NetworkStep::RemoveBridge { bridge } => self.net.remove_link(bridge).await,
            NetworkStep::ReleaseUplink { device } => {
                self.uplinks.release(device);
                Ok(())
            }
            NetworkStep::LoadRules(rules) => self.rules.load(rules).await,
            NetworkStep::EnableForwarding => {
                std::fs::write(FORWARDING, "1\n").map_err(NetError::file(FORWARDING, "written"))
            }
            NetworkStep::AnswerGuests => metadata::ensure(&self.net).await,
            NetworkStep::ManageUplink { device } => {
                self.uplinks.manage(device);
                Ok(())
            }
            NetworkStep::EnsureBridge(wanted) => bridge::ensure(&self.net, wanted).await,
            NetworkStep::EnsureAttachment(wanted) => self.pods.ensure(&self.net, wanted).await,
            NetworkStep::StartService { bridge, files } => self.services.start(bridge, files).await,
            NetworkStep::ReloadService { bridge, files } => {
                self.services.reload(bridge, files).await
            }
        }
    }
}

/// The folder of [`skerry_network::resolv_path`].
fn resolv_folder() -> PathBuf {
    skerry_network::resolv_path("").parent().map(Path::to_owned).unwrap_or_default()
}

#[async_trait]
impl NetworkHost for LinuxNet {
    async fn observe(&self) -> Result<NetworkObserved, Failure> {
        Ok(self.look().await?)
    }

    async fn apply(&self, step: &NetworkStep) -> Result<(), Failure> {
        Ok(self.take(step).await?)
    }

    fn events(&self) -> watch::Receiver<u64> {
        self.changes.settled()
    }
}

//! What the adapter asks of the service manager: dnsmasq units, and namespaces made outside our sandbox.
//!
//! A daemon in its own mount namespace cannot make a named network namespace that others see, so the
//! manager runs `skerry-netns` in its stead. Behind a trait, so that the adapter can be tested without a manager.

use std::time::Duration;

use async_trait::async_trait;
use skerry_linux_host::systemd::{Active, Command, KillWhom, Systemd};

use crate::error::NetError;

const DEADLINE: Duration = Duration::from_secs(30);

/// Services and namespaces of the host.
#[async_trait]
pub trait Units: Send + Sync + 'static {
    /// Makes a named network namespace, of these users or of the machine's.
    async fn add_namespace(&self, name: &str, users: Option<u32>) -> Result<(), NetError>;
    /// Removes a named network namespace, and that of its users.
    async fn remove_namespace(&self, name: &str) -> Result<(), NetError>;
    /// Starts or restarts the dnsmasq of this bridge.
    async fn restart(&self, bridge: &str) -> Result<(), NetError>;
    /// Lets a running dnsmasq read its hosts and names again.
    async fn reload(&self, bridge: &str) -> Result<(), NetError>;
    /// Stops the dnsmasq of this bridge; one that does not run is fine.
    async fn stop(&self, bridge: &str) -> Result<(), NetError>;
    /// The bridges whose dnsmasq runs.
    async fn running(&self) -> Result<Vec<String>, NetError>;
}

/// systemd.
#[derive(Debug, Clone)]
pub struct SystemdUnits {
    systemd: Systemd,
}

impl SystemdUnits {
    /// Units of the system's manager.
    pub fn new(systemd: Systemd) -> Self {
        Self { systemd }
    }

    async fn netns(&self, words: &[&str]) -> Result<(), NetError> {
        let what = || format!("{} a network namespace", words.join(" "));
        let argv = std::iter::once("/usr/bin/skerry-netns").chain(words.iter().copied());
        let command = Command::new("netns", argv).deadline(DEADLINE);
        let output = self
            .systemd
            .run(command)
            .await
            .map_err(|source| NetError::Systemd { what: what(), source: Box::new(source) })?;
        if output.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(NetError::Program { program: "skerry-netns", output })
    }
}

fn unit(bridge: &str) -> String {
    format!("skerry-dnsmasq@{bridge}.service")
}

#[async_trait]
impl Units for SystemdUnits {
    async fn add_namespace(&self, name: &str, users: Option<u32>) -> Result<(), NetError> {
        match users {
            Some(first) => self.netns(&["add", name, &first.to_string()]).await,
            None => self.netns(&["add", name]).await,
        }
    }

    async fn remove_namespace(&self, name: &str) -> Result<(), NetError> {
        self.netns(&["delete", name]).await
    }

    async fn restart(&self, bridge: &str) -> Result<(), NetError> {
        let what = || format!("start DHCP and DNS on {bridge}");
        let result = self.systemd.restart(&unit(bridge), DEADLINE).await;
        result.map_err(|source| NetError::Systemd { what: what(), source: Box::new(source) })
    }

    async fn reload(&self, bridge: &str) -> Result<(), NetError> {
        let what = || format!("reload DHCP and DNS on {bridge}");
        let result = self.systemd.kill(&unit(bridge), KillWhom::Main, nix::libc::SIGHUP).await;
        result.map_err(|source| NetError::Systemd { what: what(), source: Box::new(source) })
    }

    async fn stop(&self, bridge: &str) -> Result<(), NetError> {
        let what = || format!("stop DHCP and DNS on {bridge}");
        let result = self.systemd.stop(&unit(bridge), DEADLINE).await;
        result.map_err(|source| NetError::Systemd { what: what(), source: Box::new(source) })
    }

    async fn running(&self) -> Result<Vec<String>, NetError> {
        let listed = self.systemd.list(&["skerry-dnsmasq@*.service"]).await;
        let listed = listed.map_err(|source| NetError::Systemd {
            what: "list services".to_owned(),
            source: Box::new(source),
        })?;
        let bridge = |name: &str| {
            Some(name.strip_prefix("skerry-dnsmasq@")?.strip_suffix(".service")?.to_owned())
        };
        Ok(listed
            .iter()
            .filter(|unit| matches!(unit.active, Active::Active | Active::Reloading))
            .filter_map(|unit| bridge(&unit.name))
            .collect())
    }
}

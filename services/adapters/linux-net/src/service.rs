//! The files and units of the networks' dnsmasq.
//!
//! Beside the three files of the domain there is a fourth, `.loaded`: it exists only while the service is
//! known to have read the others. So a stop of our process between writing and reloading is noticed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skerry_network::{DnsmasqFiles, ServiceObserved};

use crate::error::NetError;
use crate::files;
use crate::leases;
use crate::units::Units;

/// All networks' dnsmasq.
pub struct Services {
    folder: PathBuf,
    units: Arc<dyn Units>,
}

impl Services {
    pub fn new(folder: PathBuf, units: Arc<dyn Units>) -> Self {
        Self { folder, units }
    }

    fn file(&self, bridge: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{bridge}.{ending}"))
    }

    /// Every service of which there is a file or a running unit.
    pub async fn observe(&self) -> Result<BTreeMap<String, ServiceObserved>, NetError> {
        let running = self.units.running().await.unwrap_or_else(|error| {
            // Without the manager nothing is known to run: the steps that follow fail and say why.
            tracing::warn!(%error, "services could not be listed");
            Vec::new()
        });
        let mut found = BTreeMap::new();
        for bridge in self.configured()?.into_iter().chain(running.iter().cloned()) {
            let files = self.loaded(&bridge)?;
            let running = running.contains(&bridge);
            found.insert(bridge, ServiceObserved { running, files });
        }
        Ok(found)
    }

    fn configured(&self) -> Result<Vec<String>, NetError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(NetError::file(&self.folder, "read")(error)),
        };
        let name = |path: &Path| {
            let conf = path.extension().is_some_and(|e| e == "conf");
            conf.then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
        };
        Ok(entries.filter_map(Result::ok).filter_map(|entry| name(&entry.path())).collect())
    }

    fn loaded(&self, bridge: &str) -> Result<DnsmasqFiles, NetError> {
        if !self.file(bridge, "loaded").exists() {
            return Ok(DnsmasqFiles::default());
        }
        let text = |ending| Ok(files::read(&self.file(bridge, ending))?.unwrap_or_default());
        Ok(DnsmasqFiles { config: text("conf")?, hosts: text("hosts")?, names: text("names")? })
    }

    fn write(&self, bridge: &str, wanted: &DnsmasqFiles) -> Result<(), NetError> {
        files::remove(&self.file(bridge, "loaded"))?;
        files::replace(&self.file(bridge, "hosts"), &wanted.hosts)?;
        files::replace(&self.file(bridge, "names"), &wanted.names)?;
        files::replace(&self.file(bridge, "conf"), &wanted.config)
    }

    /// Starts a service with new files, or restarts it.
    pub async fn start(&self, bridge: &str, wanted: &DnsmasqFiles) -> Result<(), NetError> {
        self.write(bridge, wanted)?;
        self.units.restart(bridge).await?;
        self.give_back(bridge, wanted).await;
        files::replace(&self.file(bridge, "loaded"), "")
    }

    /// Lets a running service read new hosts and names.
    pub async fn reload(&self, bridge: &str, wanted: &DnsmasqFiles) -> Result<(), NetError> {
        self.write(bridge, wanted)?;
        self.units.reload(bridge).await?;
        self.give_back(bridge, wanted).await;
        files::replace(&self.file(bridge, "loaded"), "")
    }

    async fn give_back(&self, bridge: &str, wanted: &DnsmasqFiles) {
        leases::give_back(bridge, &self.file(bridge, "leases"), &wanted.hosts).await;
    }

    /// Stops a service and removes its files.
    pub async fn stop(&self, bridge: &str) -> Result<(), NetError> {
        self.units.stop(bridge).await?;
        for ending in ["loaded", "hosts", "names", "leases", "conf"] {
            files::remove(&self.file(bridge, ending))?;
        }
        Ok(())
    }
}

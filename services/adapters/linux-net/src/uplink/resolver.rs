//! The node's own list of name servers, in the form of resolv.conf.
//!
//! The file also serves the networks' dnsmasq as their upstream; they notice a new one by themselves. It is
//! there, if empty, before the first lease, and an earlier process's content stays until one comes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::error::NetError;
use crate::files;

/// Name servers by uplink.
#[derive(Debug)]
pub struct Resolver {
    path: PathBuf,
    servers: Mutex<BTreeMap<String, Vec<Ipv4Addr>>>,
}

impl Resolver {
    /// Makes the file if there is none.
    pub fn new(path: PathBuf) -> Result<Self, NetError> {
        if !path.exists() {
            files::replace(&path, &text(&BTreeMap::new()))?;
        }
        Ok(Self { path, servers: Mutex::default() })
    }

    /// An uplink's servers, as its lease says.
    pub fn set(&self, device: &str, list: Vec<Ipv4Addr>) {
        self.change(|servers| {
            servers.insert(device.to_owned(), list);
        });
    }

    /// An uplink is no longer looked after.
    pub fn forget(&self, device: &str) {
        self.change(|servers| {
            servers.remove(device);
        });
    }

    fn change(&self, edit: impl FnOnce(&mut BTreeMap<String, Vec<Ipv4Addr>>)) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut servers);
        // Names are a convenience: without this file everything but foreign names works on.
        if let Err(error) = files::replace(&self.path, &text(&servers)) {
            tracing::warn!(%error, "name servers could not be written");
        }
    }
}

fn text(servers: &BTreeMap<String, Vec<Ipv4Addr>>) -> String {
    let mut text = String::from(
        "# Name servers of the uplinks. Written by the node; changes are overwritten.\n",
    );
    let mut seen = Vec::new();
    for server in servers.values().flatten() {
        if !seen.contains(server) {
            seen.push(*server);
            text.push_str(&format!("nameserver {server}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_all_uplinks_are_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let resolver = Resolver::new(path.clone()).unwrap();
        let server = |last| Ipv4Addr::new(192, 168, 1, last);
        let lines = || -> Vec<String> {
            let text = std::fs::read_to_string(&path).unwrap();
            text.lines().skip(1).map(str::to_owned).collect()
        };
        assert!(lines().is_empty(), "the file is there before the first lease");
        resolver.set("ens3", vec![server(1), server(2)]);
        resolver.set("ens4", vec![server(2)]);
        assert_eq!(lines(), ["nameserver 192.168.1.1", "nameserver 192.168.1.2"]);
        resolver.forget("ens3");
        assert_eq!(lines(), ["nameserver 192.168.1.2"]);
    }
}

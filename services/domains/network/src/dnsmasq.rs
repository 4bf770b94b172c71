//! The files of one network's dnsmasq, which serves DHCP and DNS on the network's bridge.
//!
//! Pure. Leases are derived from ports: every port has one entry and an unknown Ethernet address gets
//! nothing. What changes with every workload is in the hosts and names files, which a reload reads again; the
//! main file changes only with the network itself. Callers pass names that are DNS labels and unique addresses:
//! dnsmasq refuses to start on two entries with one address.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use skerry_model::{METADATA_ADDRESS, NetworkMode, Subnet};

use crate::DnsmasqFiles;

/// Where the files are; also the folder of dnsmasq's own report of leases.
pub const FOLDER: &str = "/run/skerry/dnsmasq";
/// Name servers of the uplinks. dnsmasq looks at the file's time before it asks, so a new lease needs no
/// reload, and a missing or empty file means that only local names are answered.
pub const UPSTREAM: &str = "/run/skerry/resolv.conf";

/// A network as dnsmasq needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsmasqInput {
    /// The network's name, also its domain below `internal`.
    pub network: String,
    /// The bridge.
    pub bridge: String,
    /// With or without a way out.
    pub mode: NetworkMode,
    /// Its addresses.
    pub subnet: Subnet,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Ethernet address, address and host name of each port.
    pub ports: Vec<(String, Ipv4Addr, String)>,
    /// Folder of all files; [`FOLDER`] but in tests.
    pub folder: String,
    /// File with the upstream name servers; [`UPSTREAM`] but in tests.
    pub upstream: String,
}

/// The domain of a network.
pub fn domain(network: &str) -> String {
    format!("{network}.internal")
}

/// Writes the three files.
pub fn dnsmasq_files(input: &DnsmasqInput) -> DnsmasqFiles {
    let domain = domain(&input.network);
    let mut hosts = String::new();
    let mut names = String::new();
    for (mac, address, hostname) in &input.ports {
        // `id:*`: firmware, installer and system of one port give different client ids but get one address.
        let _ = writeln!(hosts, "{mac},id:*,{address},{hostname},1h");
        let _ = writeln!(names, "{address} {hostname}.{domain} {hostname}");
    }
    DnsmasqFiles { config: config(input, &domain), hosts, names }
}

fn config(input: &DnsmasqInput, domain: &str) -> String {
    let DnsmasqInput { network, bridge, subnet, mtu, folder, upstream, .. } = input;
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(subnet.prefix.into())).unwrap_or(0);
    let mask = Ipv4Addr::from(mask);
    let mut text = format!(
        "# Network {network}. Written by the node; changes are overwritten.
interface={bridge}
except-interface=lo
bind-dynamic
no-hosts
addn-hosts={folder}/{bridge}.names
domain={domain}
local=/{domain}/
domain-needed
bogus-priv
cache-size=1000
dhcp-range={},static,{mask},1h
dhcp-authoritative
dhcp-hostsfile={folder}/{bridge}.hosts
dhcp-leasefile={folder}/{bridge}.leases
dhcp-option=option:mtu,{mtu}
dhcp-option=option:domain-search,{domain}
",
        subnet.network
    );
    match input.mode {
        NetworkMode::Nat => {
            let _ = writeln!(text, "resolv-file={upstream}");
        }
        // Neither a route nor foreign names where there is no way out, but one to where a guest learns of itself.
        NetworkMode::Isolated => {
            let gateway = subnet.gateway();
            let _ = writeln!(
                text,
                "no-resolv\ndhcp-option=option:router\ndhcp-option=option:classless-static-route,{METADATA_ADDRESS}/32,{gateway}"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(mode: NetworkMode) -> DnsmasqInput {
        DnsmasqInput {
            network: "default".into(),
            bridge: "skb00000001".into(),
            mode,
            subnet: Subnet { network: Ipv4Addr::new(10, 88, 0, 0), prefix: 22 },
            mtu: 1500,
            ports: vec![
                ("02:00:00:00:00:01".into(), Ipv4Addr::new(10, 88, 0, 2), "web".into()),
                ("02:00:00:00:00:02".into(), Ipv4Addr::new(10, 88, 0, 3), "db".into()),
            ],
            folder: FOLDER.into(),
            upstream: UPSTREAM.into(),
        }
    }

    #[test]
    fn the_files_are_the_golden_ones() {
        let files = dnsmasq_files(&input(NetworkMode::Nat));
        assert_eq!(files.config, include_str!("golden/dnsmasq.conf"));
        assert_eq!(files.hosts, include_str!("golden/dnsmasq.hosts"));
        assert_eq!(files.names, include_str!("golden/dnsmasq.names"));
    }

    #[test]
    fn an_isolated_network_offers_no_router_and_asks_nobody() {
        let config = dnsmasq_files(&input(NetworkMode::Isolated)).config;
        assert!(config.contains("no-resolv\n"));
        assert!(config.contains("dhcp-option=option:router\n"));
        let route = "option:classless-static-route,169.254.169.254/32,10.88.0.1\n";
        assert!(config.contains(route), "guests find their data all the same: {config}");
        assert!(!config.contains("resolv-file"));
    }

    #[test]
    fn workloads_coming_and_going_leave_the_main_file_alone() {
        let mut other = input(NetworkMode::Nat);
        other.ports.clear();
        assert_eq!(dnsmasq_files(&other).config, dnsmasq_files(&input(NetworkMode::Nat)).config);
    }
}

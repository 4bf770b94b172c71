//! The network of a Linux machine: implements [`skerry_network::NetworkHost`].
//!
//! Links, addresses and routes go through rtnetlink, packet rules through `nft`, DHCP and DNS for workloads
//! through one dnsmasq unit per network, and addresses for the uplinks through a DHCP client of the process
//! itself. It decides nothing: every step names its end state. Devices, rules, addresses and units that do
//! not carry our names are never touched.

mod bridge;
mod error;
mod files;
mod host;
mod leases;
mod metadata;
mod monitor;
mod namespace;
mod netlink;
mod netns;
mod nft;
mod nics;
mod pod;
mod service;
mod units;
mod uplink;

pub use error::NetError;
pub use host::{LinuxNet, Settings};
pub use netns::program as netns_program;
pub use nics::Cards;
pub use units::{SystemdUnits, Units};

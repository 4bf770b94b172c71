//! The address at which guests ask for their data.
//!
//! It is on the loopback device, so it belongs to no network and is there whatever bridges come and go; a guest
//! reaches it by its gateway, or directly, since the node answers ARP for every address of its own. Who may use it
//! is up to the packet rules.

use skerry_model::METADATA_ADDRESS;

use crate::error::NetError;
use crate::netlink::{Address, Link, Netlink};

const LOOPBACK: &str = "lo";

/// Whether the address is there.
pub fn observe(links: &[Link], addresses: &[Address]) -> bool {
    let Some(loopback) = links.iter().find(|link| link.loopback && link.up) else { return false };
    addresses.iter().any(|a| a.index == loopback.index && a.address == METADATA_ADDRESS)
}

/// Puts it there.
pub async fn ensure(net: &Netlink) -> Result<(), NetError> {
    let missing = || NetError::NoDevice { device: LOOPBACK.to_owned() };
    let loopback = net.find(LOOPBACK).await?.ok_or_else(missing)?;
    if !loopback.up {
        net.set_up(loopback.index).await?;
    }
    net.put_address(loopback.index, METADATA_ADDRESS, 32, None).await
}

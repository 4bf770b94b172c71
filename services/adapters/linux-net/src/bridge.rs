//! Bridges of networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use skerry_network::{BRIDGE_PREFIX, Bridge};

use crate::error::NetError;
use crate::netlink::{Address, Link, Netlink};

/// Our bridges; `None` for one that is not wholly set up.
pub fn observe(links: &[Link], addresses: &[Address]) -> BTreeMap<String, Option<Bridge>> {
    let ours = links.iter().filter(|link| link.bridge && link.name.starts_with(BRIDGE_PREFIX));
    ours.map(|link| (link.name.clone(), whole(link, addresses))).collect()
}

fn whole(link: &Link, addresses: &[Address]) -> Option<Bridge> {
    let mut v4 = addresses.iter().filter(|a| a.index == link.index && a.address.is_ipv4());
    let (Some(Address { address: IpAddr::V4(address), prefix, .. }), None) = (v4.next(), v4.next())
    else {
        return None;
    };
    link.up.then(|| Bridge {
        name: link.name.clone(),
        mac: link.mac.clone(),
        address: *address,
        prefix: *prefix,
        mtu: link.mtu,
    })
}

/// Makes a bridge, or brings an existing one to this form.
pub async fn ensure(net: &Netlink, wanted: &Bridge) -> Result<(), NetError> {
    if net.find(&wanted.name).await?.is_none() {
        net.add_bridge(&wanted.name, &wanted.mac, wanted.mtu).await?;
    }
    let missing = || NetError::NoDevice { device: wanted.name.clone() };
    let link = net.find(&wanted.name).await?.ok_or_else(missing)?;
    if !link.bridge {
        return Err(NetError::ForeignDevice { device: link.name, expected: "bridge" });
    }
    net.set_basics(&link, &wanted.mac, wanted.mtu).await?;
    net.set_only_address(link.index, wanted.address, wanted.prefix).await?;
    if link.up { Ok(()) } else { net.set_up(link.index).await }
}

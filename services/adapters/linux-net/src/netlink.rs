//! Links, addresses and routes of one network namespace, through rtnetlink.
//!
//! A [`Netlink`] speaks for the namespace in which it was opened. All setters bring about an end state and
//! are no error when it is there already. Nothing here knows what a device is for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use rtnetlink::packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::sync::Mutex;

use crate::error::NetError;

/// How often a listing is tried when the kernel is still busy with one that was given up.
const TRIES: u32 = 50;
/// Pause between two tries.
const BUSY: Duration = Duration::from_millis(20);

/// A connection to the kernel; the task behind it ends with the last clone of the handle.
#[derive(Clone)]
pub struct Netlink {
    handle: Handle,
    /// The kernel makes one listing per socket at a time and refuses a second one.
    listing: Arc<Mutex<()>>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: String,
    pub mtu: u32,
    pub up: bool,
    pub carrier: bool,
    /// Index of the bridge it is on.
    pub controller: Option<u32>,
    /// Index of the other end of a pair, in that one's namespace.
    pub peer: Option<u32>,
    pub bridge: bool,
    pub loopback: bool,
}

/// An address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub index: u32,
    pub address: IpAddr,
    pub prefix: u8,
    /// Without it the kernel removes the address when its time is over.
    pub permanent: bool,
}

/// An IPv4 route out of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub index: u32,
    pub destination: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub source: Option<Ipv4Addr>,
    pub metric: u32,
    /// Made by our DHCP client.
    pub dhcp: bool,
}

impl Netlink {
    /// Opens a connection in the calling thread's namespace.
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| NetError::Socket { source })?;
        tokio::spawn(connection);
        Ok(Self { handle, listing: Arc::default() })
    }

    /// All devices.
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let found = self.list("list devices", || self.handle.link().get().execute()).await?;
        Ok(found.into_iter().map(link).collect())
    }

    /// The device of this name.
    pub async fn find(&self, name: &str) -> Result<Option<Link>, NetError> {
        let request = self.handle.link().get().match_name(name.to_owned());
        // Asking for one device is no listing and does not wait for one.
        match Box::pin(request.execute()).try_next().await {
            Ok(found) => Ok(found.map(link)),
            Err(error) if is(&error, nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(NetError::netlink(format!("show {name}"))(error)),
        }
    }

    /// All addresses.
    pub async fn addresses(&self) -> Result<Vec<Address>, NetError> {
        let found = self.list("list addresses", || self.handle.address().get().execute()).await?;
        Ok(found.into_iter().filter_map(|message| address(&message)).collect())
    }

    /// The IPv4 routes of the main table.
    pub async fn routes(&self) -> Result<Vec<Route>, NetError> {
        let any = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let found =
            self.list("list routes", || self.handle.route().get(any.clone()).execute()).await?;
        Ok(found.into_iter().filter_map(|message| route(&message)).collect())
    }

    async fn list<T, S>(&self, what: &str, ask: impl Fn() -> S) -> Result<Vec<T>, NetError>
    where
        S: Stream<Item = Result<T, rtnetlink::Error>>,
    {
        let _one = self.listing.lock().await;
        let mut tries = TRIES;
        loop {
            match ask().try_collect().await {
                // A listing whose reader was cancelled goes on in the kernel for a moment.
                Err(error) if is(&error, nix::libc::EBUSY) && tries > 0 => {
                    tries -= 1;
                    tokio::time::sleep(BUSY).await;
                }
                other => return other.map_err(NetError::netlink(what)),
            }
        }
    }

    /// Makes a bridge that forwards at once; it is not switched on yet.
    pub async fn add_bridge(&self, name: &str, mac: &str, mtu: u32) -> Result<(), NetError> {
        let message = LinkBridge::new(name)
            .down()
            .address(mac_bytes(mac)?)
            .mtu(mtu)
            .set_info_data(InfoData::Bridge(vec![InfoBridge::ForwardDelay(0)]))
            .build();
        let what = format!("make bridge {name}");
        self.handle.link().add(message).execute().await.map_err(NetError::netlink(what))
    }

    /// Makes a pair of devices, the other end in the namespace behind `namespace`.
    pub async fn add_veth(
        &self,
        name: &str,
        peer: &str,
        peer_mac: &str,
        namespace: std::os::fd::BorrowedFd<'_>,
    ) -> Result<(), NetError> {
        use std::os::fd::AsRawFd;
        let inner = LinkUnspec::new_with_name(peer)
            .address(mac_bytes(peer_mac)?)
            .append_extra_attribute(LinkAttribute::NetNsFd(namespace.as_raw_fd()))
            .build();
        let message =
            LinkVeth::new(name, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(inner))).build();
        let what = format!("make the pair of devices {name} and {peer}");
        self.handle.link().add(message).execute().await.map_err(NetError::netlink(what))
    }

    /// Removes a device; one that is gone is fine.
    pub async fn remove_link(&self, name: &str) -> Result<(), NetError> {
        let Some(link) = self.find(name).await? else { return Ok(()) };
        let removed = self.handle.link().del(link.index).execute().await;
        match removed {
            Err(error) if is(&error, nix::libc::ENODEV) => Ok(()),
            other => other.map_err(NetError::netlink(format!("remove {name}"))),
        }
    }

    /// Switches a device on.
    pub async fn set_up(&self, index: u32) -> Result<(), NetError> {
        self.set(LinkUnspec::new_with_index(index).up().build(), "switch a device on").await
    }

    /// Gives a device its Ethernet address and largest packet.
    pub async fn set_basics(&self, link: &Link, mac: &str, mtu: u32) -> Result<(), NetError> {
        if link.mac != mac {
            let message = LinkUnspec::new_with_index(link.index).address(mac_bytes(mac)?).build();
            self.set(message, "set an Ethernet address").await?;
        }
        self.set_mtu(link, mtu).await
    }

    /// Sets the largest packet.
    pub async fn set_mtu(&self, link: &Link, mtu: u32) -> Result<(), NetError> {
        if link.mtu == mtu {
            return Ok(());
        }
        self.set(LinkUnspec::new_with_index(link.index).mtu(mtu).build(), "set an MTU").await
    }

    /// Puts a device on a bridge.
    pub async fn set_controller(&self, index: u32, bridge: u32) -> Result<(), NetError> {
        let message = LinkUnspec::new_with_index(index).controller(bridge).build();
        self.set(message, "put a device on a bridge").await
    }

    async fn set(&self, message: LinkMessage, what: &str) -> Result<(), NetError> {
        self.handle.link().set(message).execute().await.map_err(NetError::netlink(what))
    }

    /// Makes `address` the device's only IPv4 address.
    pub async fn set_only_address(
        &self,
        index: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), NetError> {
        let found = self.addresses().await?;
        for other in found.iter().filter(|a| a.index == index && a.address.is_ipv4()) {
            if (other.address, other.prefix) != (address.into(), prefix) {
                self.remove_address(other).await?;
            }
        }
        self.put_address(index, address, prefix, None).await
    }

    /// Adds an address or renews its time, which ends after `lifetime` seconds if given.
    pub async fn put_address(
        &self,
        index: u32,
        address: Ipv4Addr,
        prefix: u8,
        lifetime: Option<u32>,
    ) -> Result<(), NetError> {
        let mut request = self.handle.address().add(index, address.into(), prefix).replace();
        if let Some(seconds) = lifetime {
            let mut time = CacheInfo::default();
            time.ifa_valid = seconds;
            time.ifa_preferred = seconds;
            request.message_mut().attributes.push(AddressAttribute::CacheInfo(time));
        }
        request.execute().await.map_err(NetError::netlink(format!("add address {address}")))
    }

    /// Removes an address; one that is gone is fine.
    pub async fn remove_address(&self, address: &Address) -> Result<(), NetError> {
        let IpAddr::V4(v4) = address.address else { return Ok(()) };
        let message = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(address.index)
            .address(v4, address.prefix)
            .build();
        match self.handle.address().del(message).execute().await {
            Err(error) if is(&error, nix::libc::EADDRNOTAVAIL) => Ok(()),
            other => other.map_err(NetError::netlink(format!("remove address {v4}"))),
        }
    }

    /// Adds a route or puts it in place of one to the same destination with the same metric.
    pub async fn put_route(&self, route: &Route) -> Result<(), NetError> {
        let what = format!("route {}/{}", route.destination, route.prefix);
        let request = self.handle.route().add(message_of(route)).replace();
        request.execute().await.map_err(NetError::netlink(what))
    }

    /// Removes a route; one that is gone is fine.
    pub async fn remove_route(&self, route: &Route) -> Result<(), NetError> {
        match self.handle.route().del(message_of(route)).execute().await {
            Err(error) if is(&error, nix::libc::ESRCH) => Ok(()),
            other => other.map_err(NetError::netlink(format!(
                "remove the route to {}/{}",
                route.destination, route.prefix
            ))),
        }
    }
}

fn is(error: &rtnetlink::Error, code: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(answer) if answer.raw_code() == -code)
}

fn message_of(route: &Route) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.destination, route.prefix)
        .output_interface(route.index);
    if route.metric != 0 {
        builder = builder.priority(route.metric);
    }
    if route.dhcp {
        builder = builder.protocol(RouteProtocol::Dhcp);
    }
    if let Some(source) = route.source {
        builder = builder.pref_source(source);
    }
    match route.gateway {
        // A server may name a gateway outside the subnet (RFC 3442): it is on the link all the same.
        Some(gateway) => builder.gateway(gateway).onlink().build(),
        None => builder.scope(RouteScope::Link).build(),
    }
}

fn link(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: String::new(),
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        controller: None,
        peer: None,
        bridge: false,
        loopback: flags.contains(LinkFlags::Loopback),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = mac_text(&bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.controller = Some(index).filter(|i| *i != 0),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkInfo(infos) => {
                link.bridge = infos.iter().any(|i| matches!(i, LinkInfo::Kind(InfoKind::Bridge)));
            }
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut other = None;
    let mut flags = AddressFlags::empty();
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Address(found) => other = Some(*found),
            AddressAttribute::Flags(found) => flags = *found,
            _ => {}
        }
    }
    Some(Address {
        index: message.header.index,
        address: local.or(other)?,
        prefix: message.header.prefix_len,
        permanent: flags.contains(AddressFlags::Permanent),
    })
}

fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut found = Route {
        index: 0,
        destination: Ipv4Addr::UNSPECIFIED,
        prefix: header.destination_prefix_length,
        gateway: None,
        source: None,
        metric: 0,
        dhcp: header.protocol == RouteProtocol::Dhcp,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => found.destination = *to,
            RouteAttribute::Gateway(RouteAddress::Inet(by)) => found.gateway = Some(*by),
            RouteAttribute::PrefSource(RouteAddress::Inet(from)) => found.source = Some(*from),
            RouteAttribute::Oif(index) => found.index = *index,
            RouteAttribute::Priority(metric) => found.metric = *metric,
            _ => {}
        }
    }
    (header.table == RouteHeader::RT_TABLE_MAIN && found.index != 0).then_some(found)
}

fn mac_text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

fn mac_bytes(text: &str) -> Result<Vec<u8>, NetError> {
    let octets: Result<Vec<u8>, _> = text.split(':').map(|o| u8::from_str_radix(o, 16)).collect();
    octets
        .ok()
        .filter(|o| o.len() == 6)
        .ok_or_else(|| NetError::Value { text: text.to_owned(), expected: "an Ethernet address" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses_round_trip() {
        let bytes = mac_bytes("02:00:5e:10:00:ff").unwrap();
        assert_eq!(mac_text(&bytes), "02:00:5e:10:00:ff");
        for bad in ["", "02:00", "02:00:5e:10:00:zz", "02:00:5e:10:00:01:02"] {
            assert!(mac_bytes(bad).is_err(), "{bad}");
        }
    }
}

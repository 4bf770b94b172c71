//! Putting a DHCP lease on the card.
//!
//! The address gets the lease's time: should our process be gone when it ends, the kernel removes the
//! address, and with it the routes that name it as their source.

use std::net::Ipv4Addr;

use mozim::DhcpV4Lease;

use super::Leased;
use crate::error::NetError;
use crate::netlink::{Link, Netlink, Route};

/// Routes by DHCP have this metric plus the card's index, so that two uplinks do not fight for one.
const METRIC: u32 = 1024;

/// Makes the lease's address and routes the card's, and removes those of an earlier lease.
pub async fn apply(net: &Netlink, link: &Link, lease: &DhcpV4Lease) -> Result<Leased, NetError> {
    let prefix = lease.prefix_length();
    net.put_address(link.index, lease.yiaddr, prefix, Some(lease.lease_time_sec)).await?;
    for other in net.addresses().await? {
        let own = other.index == link.index && other.address.is_ipv4() && !other.permanent;
        if own && (other.address, other.prefix) != (lease.yiaddr.into(), prefix) {
            net.remove_address(&other).await?;
        }
    }
    let wanted = routes(link.index, lease);
    for route in net.routes().await? {
        if route.index == link.index && route.dhcp && !wanted.contains(&route) {
            net.remove_route(&route).await?;
        }
    }
    for route in &wanted {
        net.put_route(route).await?;
    }
    let gateway = wanted.iter().find(|route| route.prefix == 0).and_then(|route| route.gateway);
    Ok(Leased { gateway, dns: lease.dns_srvs.clone().unwrap_or_default() })
}

/// The lease's routes. Where the server sends classless routes, its plain gateway does not count (RFC 3442).
fn routes(index: u32, lease: &DhcpV4Lease) -> Vec<Route> {
    let route = |destination, prefix, gateway: Ipv4Addr| Route {
        index,
        destination,
        prefix,
        gateway: Some(gateway).filter(|gateway| !gateway.is_unspecified()),
        source: Some(lease.yiaddr),
        metric: METRIC.saturating_add(index),
        dhcp: true,
    };
    match &lease.classless_routes {
        Some(list) => {
            list.iter().map(|r| route(r.destination, r.prefix_length, r.router)).collect()
        }
        None => lease
            .gateways
            .iter()
            .flatten()
            .take(1)
            .map(|gateway| route(Ipv4Addr::UNSPECIFIED, 0, *gateway))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(192, 168, 1, 7);
        lease.gateways = Some(vec![Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(192, 168, 1, 2)]);
        lease
    }

    #[test]
    fn the_first_gateway_is_the_default_route() {
        let found = routes(3, &lease());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].gateway, Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!((found[0].metric, found[0].source), (1027, Some(Ipv4Addr::new(192, 168, 1, 7))));
    }

    #[test]
    fn no_gateway_is_no_problem() {
        let mut lease = lease();
        lease.gateways = None;
        assert!(routes(3, &lease).is_empty());
    }
}

//! The address of a card that gets none: one of 169.254/16 (RFC 3927), made from its Ethernet address.
//!
//! The same card always takes the same address, so a page that was open stays reachable. Whether somebody
//! else on the link has it is not asked: with 65,000 addresses on links of a few machines that is rare, and
//! the consoles and IPv6 remain.

use std::net::Ipv4Addr;
use std::time::Duration;

use skerry_model::METADATA_ADDRESS;
use tokio::sync::watch;

use super::Uplink;
use crate::error::NetError;
use crate::netlink::Link;

/// How long DHCP is given first.
const PATIENCE: Duration = Duration::from_secs(10);
const PREFIX: u8 = 16;

/// Adds the address whenever there has been no lease for a while, and removes it once there is one.
pub async fn fall_back(uplink: &Uplink, link: &Link, mut has_lease: watch::Receiver<bool>) {
    loop {
        let waited = tokio::time::timeout(PATIENCE, has_lease.wait_for(|has| *has)).await;
        let has = match waited.map(|has| has.map(|has| *has)) {
            // The sender lives in the same task, so it is there; if it were not, nothing is left to do.
            Ok(Err(_)) => return,
            Ok(Ok(has)) => has,
            Err(_) => false,
        };
        let done = if has { remove(uplink, link).await } else { add(uplink, link).await };
        if let Err(error) = done {
            tracing::warn!(device = uplink.device, %error, "link-local address");
        }
        if has_lease.wait_for(|now| *now != has).await.is_err() {
            return;
        }
    }
}

async fn add(uplink: &Uplink, link: &Link) -> Result<(), NetError> {
    let address = address(&link.mac);
    tracing::info!(device = uplink.device, %address, "no DHCP answer: link-local address");
    uplink.around.net.put_address(link.index, address, PREFIX, None).await
}

async fn remove(uplink: &Uplink, link: &Link) -> Result<(), NetError> {
    let net = &uplink.around.net;
    let own = address(&link.mac);
    for found in net.addresses().await? {
        if found.index == link.index && found.address == own {
            net.remove_address(&found).await?;
        }
    }
    Ok(())
}

/// 169.254.1.0 to 169.254.254.255: the first and last 256 are reserved. The FNV hash spreads cards whose
/// addresses differ in the last octet only. Where guests ask for their data no card may be.
fn address(mac: &str) -> Ipv4Addr {
    let hash = mac
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let folded = (hash ^ (hash >> 16)) % (254 * 256);
    avoiding(METADATA_ADDRESS, Ipv4Addr::from(0xa9fe_0100_u32.saturating_add(folded)))
}

fn avoiding(taken: Ipv4Addr, address: Ipv4Addr) -> Ipv4Addr {
    if address == taken { Ipv4Addr::from(u32::from(address) ^ 1) } else { address }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn addresses_are_valid_stable_and_spread() {
        let macs: Vec<_> = (0..=255_u8).map(|n| format!("52:54:00:12:34:{n:02x}")).collect();
        let all: BTreeSet<_> = macs.iter().map(|mac| address(mac)).collect();
        assert!(all.len() >= 254, "neighbouring cards must not share addresses: {}", all.len());
        for found in all {
            let [a, b, c, _] = found.octets();
            assert_eq!((a, b), (169, 254));
            assert!((1..=254).contains(&c), "{found}");
        }
        assert_eq!(address("52:54:00:12:34:56"), address("52:54:00:12:34:56"));
    }

    #[test]
    fn no_card_takes_the_address_of_guests_data() {
        let (own, other) = (METADATA_ADDRESS, Ipv4Addr::new(169, 254, 169, 253));
        assert_eq!(avoiding(own, own), Ipv4Addr::new(169, 254, 169, 255));
        assert_eq!(avoiding(own, other), other);
    }
}

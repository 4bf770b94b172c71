//! The rules by which no workload passes for another one, and which let only guests ask for their data.
//!
//! Pure. Bridges learn from every frame who is where, so a workload that sends with its neighbour's addresses
//! would get what is meant for that neighbour. The table `bridge skerry` drops such frames before the bridge learns
//! from them: an address that the node gave out is taken only from the device it was given to. Addresses
//! that nobody was given stay free, so that guests may share one among themselves.
//!
//! The data of guests ([`METADATA_ADDRESS`]) is answered to whoever has the right address, so nobody may have the
//! wrong one: a question comes in by the guest's own device, from its own Ethernet and IPv4 address, or not at all.
//! Both tables hold it to that, each by itself. It lies on the node itself and is never forwarded nor published.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use skerry_model::METADATA_ADDRESS;

use crate::rules::named;

/// What a workload was given, by its device on the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortGuard {
    /// Its bridge.
    pub bridge: String,
    /// Its Ethernet address, in lower case.
    pub mac: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether it is a virtual machine, which may ask for its data.
    pub guest: bool,
}

/// The table of the bridges. `gateways` are the node's own addresses on them.
pub fn bridge_table(ports: &BTreeMap<String, PortGuard>, gateways: &BTreeSet<Ipv4Addr>) -> String {
    let mut text = "table bridge skerry {\n".to_owned();
    let own = |(device, port): (&String, &PortGuard)| format!("\"{device}\" . {}", port.mac);
    named(&mut text, "set own_ether", "ifname . ether_addr", "", ports.iter().map(own));
    let own = |(device, port): (&String, &PortGuard)| format!("\"{device}\" . {}", port.address);
    named(&mut text, "set own_address", "ifname . ipv4_addr", "", ports.iter().map(own));
    let all: BTreeSet<_> = ports.values().map(|port| port.mac.clone()).collect();
    named(&mut text, "set ethers", "ether_addr", "", all.into_iter());
    let mut all: BTreeSet<_> = ports.values().map(|port| port.address).collect();
    all.extend(gateways);
    all.insert(METADATA_ADDRESS);
    let all = all.into_iter().map(|address| address.to_string());
    named(&mut text, "set addresses", "ipv4_addr", "", all);
    let guests = ports.iter().filter(|(_, port)| port.guest);
    let guest = |(device, port): (&String, &PortGuard)| entry(device, port);
    named(&mut text, "set guests", TRIPLE, "", guests.map(guest));
    text.push_str(BRIDGE);
    text.push_str("}\n");
    text
}

/// Who may ask, as the table of the node's own traffic sees it: there a frame comes from its bridge.
pub fn guests(text: &mut String, ports: &BTreeMap<String, PortGuard>) {
    let guests = ports.values().filter(|port| port.guest);
    named(text, "set guests", TRIPLE, "", guests.map(|port| entry(&port.bridge, port)));
}

const TRIPLE: &str = "ifname . ether_addr . ipv4_addr";

fn entry(device: &str, port: &PortGuard) -> String {
    format!("\"{device}\" . {} . {}", port.mac, port.address)
}

/// In this family a hook before the bridge learns has a number below -300. A frame with several tags of which the
/// outer one is VLAN 0 hides from these rules what it carries, and whoever gets it unwraps it all the same: nobody
/// needs such frames. What reaches the node itself must have been looked at whole.
const BRIDGE: &str = "\tchain prerouting {
\t\ttype filter hook prerouting priority -310; policy accept;
\t\tvlan id 0 vlan type { 8021q, 8021ad } drop
\t\tether type 8021ad vlan id 0 vlan type { 8021q, 8021ad } drop
\t\tether saddr @ethers iifname . ether saddr != @own_ether drop
\t\tarp saddr ether @ethers iifname . arp saddr ether != @own_ether drop
\t\tarp saddr ip @addresses iifname . arp saddr ip != @own_address drop
\t\tip saddr @addresses iifname . ip saddr != @own_address drop
\t}
\tchain input {
\t\ttype filter hook input priority 0; policy accept;
\t\tmeta protocol != { ip, arp, ip6 } drop
\t\tip daddr 169.254.169.254 iifname . ether saddr . ip saddr != @guests drop
\t}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> BTreeMap<String, PortGuard> {
        let port = |mac: &str, last, guest| PortGuard {
            bridge: "skb00000001".to_owned(),
            mac: mac.to_owned(),
            address: Ipv4Addr::new(10, 88, 0, last),
            guest,
        };
        BTreeMap::from([
            ("skt00000011".to_owned(), port("02:00:00:00:00:11", 2, true)),
            ("skv00000012".to_owned(), port("02:00:00:00:00:12", 3, false)),
        ])
    }

    #[test]
    fn the_table_is_the_golden_one() {
        let gateways = BTreeSet::from([Ipv4Addr::new(10, 88, 0, 1)]);
        assert_eq!(bridge_table(&ports(), &gateways), include_str!("golden/bridge.nft"));
    }

    #[test]
    fn only_guests_may_ask() {
        let mut text = String::new();
        guests(&mut text, &ports());
        assert!(text.contains("{ \"skb00000001\" . 02:00:00:00:00:11 . 10.88.0.2 }"), "{text}");
        let mut text = String::new();
        guests(&mut text, &BTreeMap::new());
        assert!(!text.contains("elements"), "an empty list is a syntax error");
    }

    #[test]
    fn the_rules_speak_of_the_address_that_is_listened_on() {
        for text in [BRIDGE, crate::rules::NAT, crate::rules::INPUT, crate::rules::FORWARD] {
            assert!(text.contains(&format!("ip daddr {METADATA_ADDRESS} ")));
        }
    }
}

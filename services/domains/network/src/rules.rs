//! The node's packet rules as one text.
//!
//! Pure. The tables `inet skerry` and `bridge skerry` are replaced as a whole in one transaction, so no packet ever
//! meets half a rule set, and connections in flight keep their entries. Membership is in sets and maps: the number of
//! rules does not grow with networks and ports. The name of an empty chain carries a digest of the text, by
//! which a running rule set is recognised after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use skerry_model::{NetworkMode, Protocol, Subnet};

use crate::RuleSet;
use crate::guard::{PortGuard, bridge_table, guests};

/// Starts the name of the chain that carries the digest.
pub const MARK_PREFIX: &str = "mark_";

/// What the rules are made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleInput {
    /// Cards through which the node is reached.
    pub uplinks: BTreeSet<String>,
    /// Bridges with their mode and subnet.
    pub bridges: BTreeMap<String, (NetworkMode, Subnet)>,
    /// Published ports of the node, each with the workload's address and port.
    pub published: BTreeMap<(Protocol, u16), (Ipv4Addr, u16)>,
    /// What workloads were given, by their devices on the bridges.
    pub ports: BTreeMap<String, PortGuard>,
}

/// The complete rule set.
pub fn ruleset(input: &RuleInput) -> RuleSet {
    let body = format!("{}{}{}{}", sets(input), NAT, INPUT, FORWARD);
    let gateways = input.bridges.values().map(|(_, subnet)| subnet.gateway()).collect();
    let bridge = bridge_table(&input.ports, &gateways);
    let digest: String =
        blake3::hash(format!("{body}{bridge}").as_bytes()).to_hex().chars().take(16).collect();
    let mark = format!("{MARK_PREFIX}{digest}");
    // Adding before deleting makes the deletion valid when the table is not there yet.
    let text = format!(
        "add table inet skerry\ndelete table inet skerry\nadd table bridge skerry\ndelete table bridge skerry\n{bridge}table inet skerry {{\n\tchain {mark} {{\n\t}}\n{body}}}\n"
    );
    RuleSet { mark, text }
}

fn sets(input: &RuleInput) -> String {
    let of_mode = |wanted| {
        input.bridges.iter().filter(move |(_, (mode, _))| *mode == wanted).map(|(name, _)| name)
    };
    let quoted = |name: &String| format!("\"{name}\"");
    let own = |(_, subnet): &(NetworkMode, Subnet)| {
        let cidr = format!("{}/{}", subnet.network, subnet.prefix);
        format!("{cidr} . {cidr}")
    };
    let published =
        |wanted| {
            input.published.iter().filter(move |((protocol, _), _)| *protocol == wanted).map(
                |((_, host_port), (address, port))| format!("{host_port} : {address} . {port}"),
            )
        };
    let mut text = String::new();
    named(&mut text, "set uplinks", "ifname", "", input.uplinks.iter().map(quoted));
    named(&mut text, "set workloads", "ifname", "", input.bridges.keys().map(quoted));
    named(&mut text, "set nat", "ifname", "", of_mode(NetworkMode::Nat).map(quoted));
    named(&mut text, "set isolated", "ifname", "", of_mode(NetworkMode::Isolated).map(quoted));
    let pair = "ipv4_addr . ipv4_addr";
    named(&mut text, "set same_network", pair, "interval", input.bridges.values().map(own));
    let target = "inet_service : ipv4_addr . inet_service";
    named(&mut text, "map tcp_ports", target, "", published(Protocol::Tcp));
    named(&mut text, "map udp_ports", target, "", published(Protocol::Udp));
    guests(&mut text, &input.ports);
    text
}

/// Writes a set or map; an empty list of elements is a syntax error, so it is left out.
pub fn named(
    text: &mut String,
    name: &str,
    kind: &str,
    flags: &str,
    elements: impl Iterator<Item = String>,
) {
    let _ = write!(text, "\t{name} {{\n\t\ttype {kind}\n");
    if !flags.is_empty() {
        let _ = writeln!(text, "\t\tflags {flags}");
    }
    let list: Vec<_> = elements.collect();
    if !list.is_empty() {
        let _ = writeln!(text, "\t\telements = {{ {} }}", list.join(", "));
    }
    text.push_str("\t}\n");
}

/// Published ports answer at every address of the node, for the outside, for workloads of other networks
/// and for the node itself; loopback addresses are left out since their packets cannot leave the node.
/// A workload that comes back to its own network by the node's address must see the reply come from the
/// node, or it drops it: hence the masquerade of `same_network`. Where guests ask for their data nobody else may
/// publish.
pub const NAT: &str = "\tchain publish {
\t\tdnat ip to tcp dport map @tcp_ports
\t\tdnat ip to udp dport map @udp_ports
\t}
\tchain prerouting {
\t\ttype nat hook prerouting priority -100; policy accept;
\t\tiifname @isolated return
\t\tip daddr 169.254.169.254 return
\t\tfib daddr type local jump publish
\t}
\tchain output {
\t\ttype nat hook output priority -100; policy accept;
\t\tip daddr 169.254.169.254 return
\t\tip daddr != 127.0.0.0/8 fib daddr type local jump publish
\t}
\tchain postrouting {
\t\ttype nat hook postrouting priority 100; policy accept;
\t\tct status dnat ip saddr . ip daddr @same_network masquerade
\t\tiifname @nat oifname @uplinks masquerade
\t}
";

/// The host firewall. The page and the API are for the uplinks only: a workload never reaches the node's
/// management, whatever address it tries. Nor may it speak IPv6 to the node: a router advertisement from a
/// workload would become the node's own default route. Guests, and nobody else, may ask for their data.
pub const INPUT: &str = "\tchain input {
\t\ttype filter hook input priority 0; policy drop;
\t\tct state established,related accept
\t\tct state invalid drop
\t\tiifname \"lo\" accept
\t\tip daddr 169.254.169.254 tcp dport 80 iifname . ether saddr . ip saddr @guests accept
\t\tip daddr 169.254.169.254 drop
\t\ticmp type echo-request accept
\t\tiifname @uplinks meta l4proto ipv6-icmp accept
\t\tiifname @uplinks tcp dport 443 accept
\t\tiifname @uplinks udp sport 67 udp dport 68 accept
\t\tiifname @workloads udp dport { 53, 67 } accept
\t\tiifname @workloads tcp dport 53 accept
\t}
";

/// What may pass through the node: published ports, and workloads of NAT networks to the outside.
/// Networks do not reach each other, and a workload cannot send with an address that is not on its network.
/// Traffic inside one network is switched and does not come here, unless `br_netfilter` is loaded: then it
/// must pass all the same.
pub const FORWARD: &str = "\tchain forward {
\t\ttype filter hook forward priority 0; policy drop;
\t\tip daddr 169.254.169.254 drop
\t\tiifname @workloads fib saddr . iif oif missing drop
\t\tiifname @workloads ip saddr . ip daddr @same_network accept
\t\tiifname @isolated drop
\t\toifname @isolated drop
\t\tiifname @nat oifname @uplinks tcp flags syn tcp option maxseg size set rt mtu
\t\tct state established,related accept
\t\tct state invalid drop
\t\tct status dnat accept
\t\tiifname @nat oifname @uplinks accept
\t}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> RuleInput {
        let subnet = |third| Subnet { network: Ipv4Addr::new(10, 88, third, 0), prefix: 24 };
        RuleInput {
            uplinks: ["ens3", "ens4"].map(str::to_owned).into(),
            bridges: [
                ("skb00000001".to_owned(), (NetworkMode::Nat, subnet(0))),
                ("skb00000002".to_owned(), (NetworkMode::Isolated, subnet(1))),
            ]
            .into(),
            published: [
                ((Protocol::Tcp, 8080), (Ipv4Addr::new(10, 88, 0, 2), 80)),
                ((Protocol::Tcp, 8081), (Ipv4Addr::new(10, 88, 0, 3), 80)),
                ((Protocol::Udp, 5000), (Ipv4Addr::new(10, 88, 0, 2), 5000)),
            ]
            .into(),
            ports: [(
                "skt00000011".to_owned(),
                PortGuard {
                    bridge: "skb00000001".to_owned(),
                    mac: "02:00:00:00:00:11".to_owned(),
                    address: Ipv4Addr::new(10, 88, 0, 2),
                    guest: true,
                },
            )]
            .into(),
        }
    }

    #[test]
    fn the_text_is_the_golden_one() {
        assert_eq!(ruleset(&input()).text, include_str!("golden/rules.nft"));
    }

    #[test]
    fn an_empty_node_still_has_its_firewall() {
        let rules = ruleset(&RuleInput::default());
        assert!(!rules.text.contains("{  }"), "an empty list is a syntax error");
        assert!(rules.text.contains("hook input priority 0; policy drop;"));
        assert!(rules.text.contains(&rules.mark));
    }

    #[test]
    fn the_mark_follows_the_content() {
        let mut other = input();
        other.published.clear();
        assert_eq!(ruleset(&input()), ruleset(&input()));
        assert_ne!(ruleset(&input()).mark, ruleset(&other).mark);
    }
}

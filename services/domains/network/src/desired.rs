//! What the machine should have, from the store's networks and ports and the cards that are there.
//!
//! Pure. A resource that cannot be carried out (two networks with one address range, a port with a foreign
//! address) is left out and named as a [`Problem`]; it never keeps the others from working.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use skerry_model::{
    Id, Kind, LocalRef, Name, Network, NetworkMode, Phase, Port, Protocol, Resource, Subnet,
};
use uuid::Uuid;

use crate::dnsmasq::{DnsmasqInput, FOLDER, UPSTREAM, dnsmasq_files, domain};
use crate::guard::PortGuard;
use crate::names::{bridge_mac, bridge_name, namespace_name, tap_name, veth_name};
use crate::owner::{NetnsOwner, NetnsOwners};
use crate::rules::{RuleInput, ruleset};
use crate::status::NO_DEVICE;
use crate::{Attachment, Bridge, DnsmasqFiles, NicObserved, RuleSet};

/// Largest packet on a network. NAT networks have no underlay of their own, so Ethernet's default holds.
pub const MTU: u32 = 1500;

/// Which network cards the node is reached through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkPolicy {
    /// First match wins; a card that none matches is left alone.
    pub rules: Vec<UplinkRule>,
}

/// One rule of an [`UplinkPolicy`]; all conditions given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UplinkRule {
    /// Path of the card on its bus.
    pub path: Option<String>,
    /// Kernel driver.
    pub driver: Option<String>,
    /// Whether the node is reached through it.
    pub management: bool,
}

impl Default for UplinkPolicy {
    /// Every card is an uplink.
    fn default() -> Self {
        Self { rules: vec![UplinkRule { management: true, ..UplinkRule::default() }] }
    }
}

impl UplinkPolicy {
    fn is_uplink(&self, nic: &NicObserved) -> bool {
        let fits = |wanted: &Option<String>, found: &Option<String>| {
            wanted.is_none() || wanted.as_ref() == found.as_ref()
        };
        self.rules
            .iter()
            .find(|rule| fits(&rule.path, &nic.path) && fits(&rule.driver, &nic.driver))
            .is_some_and(|rule| rule.management)
    }
}

/// Why a resource is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One CamelCase word.
    pub reason: &'static str,
    /// What happened and what to do.
    pub message: String,
}

/// What the machine should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Cards to look after.
    pub uplinks: BTreeSet<String>,
    /// Whether the kernel must forward.
    pub forwarding: bool,
    /// Whether guests may ask the node for their data.
    pub metadata: bool,
    /// Packet rules.
    pub rules: RuleSet,
    /// Bridges by name.
    pub bridges: BTreeMap<String, Bridge>,
    /// Pods' wiring by namespace.
    pub attachments: BTreeMap<String, Attachment>,
    /// DHCP and DNS by bridge.
    pub services: BTreeMap<String, DnsmasqFiles>,
    /// Resources left out, by id.
    pub problems: BTreeMap<Uuid, Problem>,
}

/// Works out what should be. `ports` are those whose workload is there; order does not matter. `owners` says whose the
/// namespaces of pods are; one that is not named is the machine's.
pub fn desired(
    networks: &[Resource<Network>],
    ports: &[Resource<Port>],
    owners: &NetnsOwners,
    nics: &BTreeMap<String, NicObserved>,
    policy: &UplinkPolicy,
) -> Desired {
    let mut out = Desired {
        uplinks: nics
            .iter()
            .filter(|(_, nic)| policy.is_uplink(nic))
            .map(|(device, _)| device.clone())
            .collect(),
        ..Desired::default()
    };
    let networks = usable_networks(networks, ports, &mut out.problems);
    let ports = usable_ports(&networks, ports, &mut out.problems);
    out.forwarding = networks.values().any(|n| n.spec.mode == NetworkMode::Nat);
    out.metadata = !networks.is_empty();
    out.rules = ruleset(&rule_input(&out.uplinks, &networks, &ports));
    for (id, network) in &networks {
        let here: Vec<_> = ports.iter().copied().filter(|p| p.spec.network == *id).collect();
        let bridge = bridge(network);
        out.services.insert(bridge.name.clone(), service(network, &here));
        for port in here.iter().filter(|p| p.spec.workload.kind == Kind::Pod) {
            let users = match owners.get(&port.spec.workload.id) {
                // Made now it would be the machine's, and have to be made again.
                Some(NetnsOwner::Awaited) => {
                    out.problems.insert(port.meta.id, no_users_yet());
                    continue;
                }
                Some(NetnsOwner::Pod(first)) => Some(*first),
                Some(NetnsOwner::Node) | None => None,
            };
            let wired = attachment(network, port, users);
            out.attachments.insert(wired.namespace.clone(), wired);
        }
        out.bridges.insert(bridge.name.clone(), bridge);
    }
    out
}

/// Networks that can be carried out. An older one wins over a newer one: what works stays.
fn usable_networks<'a>(
    networks: &'a [Resource<Network>],
    ports: &[Resource<Port>],
    problems: &mut BTreeMap<Uuid, Problem>,
) -> BTreeMap<Id<Network>, &'a Resource<Network>> {
    let mut sorted: Vec<_> = networks.iter().collect();
    sorted.sort_by_key(|n| (n.meta.created, n.meta.id));
    let mut usable: BTreeMap<Id<Network>, &Resource<Network>> = BTreeMap::new();
    for network in sorted {
        let in_use = ports.iter().any(|p| p.spec.network == network.id());
        if network.meta.phase == Phase::Removing && !in_use {
            continue;
        }
        let clash = usable.values().find(|other| {
            other.spec.subnet.overlaps(network.spec.subnet)
                || other.id().short() == network.id().short()
        });
        match clash {
            Some(other) => {
                let message = format!(
                    "network `{}` shares addresses or device names with network `{}`: remove it and create it with another subnet",
                    network.meta.name, other.meta.name
                );
                problems.insert(network.meta.id, Problem { reason: "Overlap", message });
            }
            None => {
                usable.insert(network.id(), network);
            }
        }
    }
    usable
}

/// Ports that can be carried out; the stored values are checked again, since they become part of
/// configuration files and device names.
fn usable_ports<'a>(
    networks: &BTreeMap<Id<Network>, &Resource<Network>>,
    ports: &'a [Resource<Port>],
    problems: &mut BTreeMap<Uuid, Problem>,
) -> Vec<&'a Resource<Port>> {
    let mut sorted: Vec<_> = ports.iter().collect();
    sorted.sort_by_key(|p| (p.meta.created, p.meta.id));
    let mut usable: Vec<&Resource<Port>> = Vec::new();
    for port in sorted {
        match port_problem(networks.get(&port.spec.network).copied(), port, &usable) {
            Some(problem) => {
                problems.insert(port.meta.id, problem);
            }
            None => usable.push(port),
        }
    }
    usable
}

fn port_problem(
    network: Option<&Resource<Network>>,
    port: &Resource<Port>,
    earlier: &[&Resource<Port>],
) -> Option<Problem> {
    let name = &port.meta.name;
    let problem =
        |reason, text: String| Some(Problem { reason, message: format!("port `{name}` {text}") });
    let Some(network) = network else {
        return problem(
            "NetworkMissing",
            "belongs to a network that does not exist or cannot be set up".into(),
        );
    };
    let Subnet { network: base, prefix } = network.spec.subnet;
    let subnet = network.spec.subnet;
    let special = [base, subnet.gateway(), subnet.broadcast()].contains(&port.spec.address);
    if !subnet.contains(port.spec.address) || special {
        let address = port.spec.address;
        return problem(
            "AddressForeign",
            format!("has address {address}, which workloads of {base}/{prefix} cannot have"),
        );
    }
    if Name::new(port.spec.hostname.clone()).is_err() || !is_mac(&port.spec.mac) {
        return problem(
            "Malformed",
            "has a host name or Ethernet address that cannot be used".into(),
        );
    }
    let clash = earlier.iter().find(|other| {
        let same_network = other.spec.network == port.spec.network;
        let same_host = other.spec.address == port.spec.address
            || other.spec.hostname == port.spec.hostname
            || other.spec.mac.eq_ignore_ascii_case(&port.spec.mac);
        (same_network && same_host)
            || other.id().short() == port.id().short()
            || interface(other) == interface(port)
            || other.spec.publish.iter().any(|p| {
                port.spec
                    .publish
                    .iter()
                    .any(|q| (p.protocol, p.host_port) == (q.protocol, q.host_port))
            })
    });
    clash.and_then(|other| {
        problem(
            "Conflict",
            format!(
                "wants what port `{}` already has: remove one of the two workloads",
                other.meta.name
            ),
        )
    })
}

/// What a port is for: no two can be for the same. Only virtual machines have further interfaces.
fn interface(port: &Resource<Port>) -> (LocalRef, Option<&Name>) {
    let workload = port.spec.workload;
    (workload, port.spec.further.as_ref().filter(|_| workload.kind == Kind::Vm))
}

fn is_mac(text: &str) -> bool {
    let octets: Vec<_> = text.split(':').collect();
    octets.len() == 6
        && octets.iter().all(|o| o.len() == 2 && o.chars().all(|c| c.is_ascii_hexdigit()))
}

fn rule_input(
    uplinks: &BTreeSet<String>,
    networks: &BTreeMap<Id<Network>, &Resource<Network>>,
    ports: &[&Resource<Port>],
) -> RuleInput {
    let reachable = |port: &&&Resource<Port>| {
        networks.get(&port.spec.network).is_some_and(|n| n.spec.mode == NetworkMode::Nat)
    };
    let entries = |port: &&Resource<Port>| -> Vec<((Protocol, u16), (Ipv4Addr, u16))> {
        let address = port.spec.address;
        let entry =
            |p: &skerry_model::Publish| ((p.protocol, p.host_port), (address, p.workload_port));
        port.spec.publish.iter().map(entry).collect()
    };
    RuleInput {
        uplinks: uplinks.clone(),
        bridges: networks
            .iter()
            .map(|(id, n)| (bridge_name(*id), (n.spec.mode, n.spec.subnet)))
            .collect(),
        published: ports.iter().filter(reachable).flat_map(entries).collect(),
        ports: ports.iter().copied().map(guard).collect(),
    }
}

/// What a workload was given, by its device on the bridge.
fn guard(port: &Resource<Port>) -> (String, PortGuard) {
    let guest = port.spec.workload.kind == Kind::Vm;
    let device = if guest { tap_name(port.id()) } else { veth_name(port.id()) };
    let guard = PortGuard {
        bridge: bridge_name(port.spec.network),
        mac: port.spec.mac.to_ascii_lowercase(),
        address: port.spec.address,
        guest,
    };
    (device, guard)
}

fn bridge(network: &Resource<Network>) -> Bridge {
    Bridge {
        name: bridge_name(network.id()),
        mac: bridge_mac(network.id()),
        address: network.spec.subnet.gateway(),
        prefix: network.spec.subnet.prefix,
        mtu: MTU,
    }
}

fn service(network: &Resource<Network>, ports: &[&Resource<Port>]) -> DnsmasqFiles {
    let entry = |p: &&Resource<Port>| {
        (p.spec.mac.to_ascii_lowercase(), p.spec.address, p.spec.hostname.clone())
    };
    let mut entries: Vec<_> = ports.iter().map(entry).collect();
    entries.sort_by_key(|(_, address, _)| *address);
    dnsmasq_files(&DnsmasqInput {
        network: network.meta.name.to_string(),
        bridge: bridge_name(network.id()),
        mode: network.spec.mode,
        subnet: network.spec.subnet,
        mtu: MTU,
        ports: entries,
        folder: FOLDER.to_owned(),
        upstream: UPSTREAM.to_owned(),
    })
}

fn no_users_yet() -> Problem {
    let message = "waits for its pod to be given users of its own".to_owned();
    Problem { reason: NO_DEVICE, message }
}

fn attachment(
    network: &Resource<Network>,
    port: &Resource<Port>,
    users: Option<u32>,
) -> Attachment {
    let subnet = network.spec.subnet;
    let gateway = subnet.gateway();
    Attachment {
        namespace: namespace_name(port.spec.workload.id),
        device: veth_name(port.id()),
        bridge: bridge_name(network.id()),
        mac: port.spec.mac.to_ascii_lowercase(),
        address: port.spec.address,
        prefix: subnet.prefix,
        gateway: (network.spec.mode == NetworkMode::Nat).then_some(gateway),
        mtu: MTU,
        resolv: format!("nameserver {gateway}\nsearch {}\n", domain(network.meta.name.as_str())),
        users,
    }
}

/// The device by which a port's workload is reached, in a namespace of these users.
pub fn binding(port: &Resource<Port>, users: Option<u32>) -> skerry_model::Binding {
    let bridge = bridge_name(port.spec.network);
    match port.spec.workload.kind {
        Kind::Pod => skerry_model::Binding::Veth {
            namespace: namespace_name(port.spec.workload.id),
            device: veth_name(port.id()),
            bridge,
            users,
        },
        _ => skerry_model::Binding::Tap { device: tap_name(port.id()), bridge },
    }
}

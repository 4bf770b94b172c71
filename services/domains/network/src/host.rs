//! The door to the machine: what can be seen of its network, and the steps that change it.
//!
//! Everything here is plain data, so that a simulated machine can hold it. A driver applies one step at a
//! time; each step names its end state and is idempotent. A driver must leave alone every device, rule and
//! address that it did not make.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use async_trait::async_trait;
use skerry_engine::Failure;
use skerry_model::NicAddress;
use tokio::sync::watch;

/// The machine's network.
#[async_trait]
pub trait NetworkHost: Send + Sync + 'static {
    /// What is there now.
    async fn observe(&self) -> Result<NetworkObserved, Failure>;

    /// Brings about one step's end state; done already is success.
    async fn apply(&self, step: &NetworkStep) -> Result<(), Failure>;

    /// A counter that moves when something may have changed: a link, an address, a lease, a service.
    fn events(&self) -> watch::Receiver<u64>;
}

/// What the machine has, as far as it concerns the node's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkObserved {
    /// Physical network cards by device name.
    pub nics: BTreeMap<String, NicObserved>,
    /// Bridges of ours by name; `None` if one is there but not wholly set up.
    pub bridges: BTreeMap<String, Option<Bridge>>,
    /// Pods' namespaces by name; `None` if one is there but not wholly wired.
    pub attachments: BTreeMap<String, Option<Attachment>>,
    /// Outer ends of pods' device pairs, whether or not their namespace is known.
    pub veths: BTreeSet<String>,
    /// DHCP and DNS services by bridge name.
    pub services: BTreeMap<String, ServiceObserved>,
    /// Mark of the loaded rule set; `None` if none is loaded or if it was changed by others since.
    pub rules: Option<String>,
    /// Whether the kernel forwards IPv4.
    pub forwarding: bool,
    /// Whether the node has the address at which guests ask for their data.
    pub metadata: bool,
}

impl NetworkObserved {
    /// Every address of the network cards, as the node's status and the consoles show them.
    pub fn addresses(&self) -> Vec<NicAddress> {
        self.nics
            .iter()
            .flat_map(|(device, nic)| {
                nic.addresses.iter().map(|found| NicAddress {
                    device: device.clone(),
                    address: found.address,
                    prefix: found.prefix,
                    origin: found.origin.as_str().to_owned(),
                })
            })
            .collect()
    }
}

/// A physical network card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NicObserved {
    /// Ethernet address.
    pub mac: String,
    /// Path on its bus, such as `0000:01:00.0`.
    pub path: Option<String>,
    /// Kernel driver.
    pub driver: Option<String>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether a cable with a live other end is in it.
    pub carrier: bool,
    /// Whether the driver looks after its addresses (link up, DHCP, link-local).
    pub managed: bool,
    /// Its addresses.
    pub addresses: Vec<AddressObserved>,
    /// Default gateway from DHCP.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers from DHCP.
    pub dns: Vec<Ipv4Addr>,
}

/// An address on a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressObserved {
    /// The address.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix: u8,
    /// How it came.
    pub origin: Origin,
}

/// How an address came to a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// By DHCP, or for IPv6 by a router's advertisement.
    Dhcp,
    /// Self-made, valid on the link only.
    LinkLocal,
    /// Set by somebody.
    Static,
}

impl Origin {
    /// The word used in the node's status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dhcp => "dhcp",
            Self::LinkLocal => "link-local",
            Self::Static => "static",
        }
    }
}

/// A network's bridge, switched on, with the gateway's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Device name.
    pub name: String,
    /// Its own Ethernet address.
    pub mac: String,
    /// The gateway's address.
    pub address: Ipv4Addr,
    /// Prefix length of the subnet.
    pub prefix: u8,
    /// Largest packet in bytes.
    pub mtu: u32,
}

/// A pod's way to its network: a namespace with loopback up and one end of a device pair as `eth0`, the
/// other end on the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Namespace below `/run/netns`.
    pub namespace: String,
    /// Device outside.
    pub device: String,
    /// Bridge that the outer device is on.
    pub bridge: String,
    /// Ethernet address inside.
    pub mac: String,
    /// Address inside.
    pub address: Ipv4Addr,
    /// Prefix length of the subnet.
    pub prefix: u8,
    /// Default route; none in an isolated network.
    pub gateway: Option<Ipv4Addr>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Content of [`crate::resolv_path`].
    pub resolv: String,
    /// The first of the 65536 users of the machine whose the namespace is, so that they have a say in it; it is the
    /// machine's own if not given.
    pub users: Option<u32>,
}

/// The three files of one network's dnsmasq.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsmasqFiles {
    /// Main configuration: a change needs a restart.
    pub config: String,
    /// DHCP hosts: a change needs a reload only.
    pub hosts: String,
    /// Names with addresses: a change needs a reload only.
    pub names: String,
}

/// A DHCP and DNS service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceObserved {
    /// Whether it runs.
    pub running: bool,
    /// What it has loaded, as far as known.
    pub files: DnsmasqFiles,
}

/// The packet rules as one whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Made from the text; the loaded rules carry it, so that they can be recognised.
    pub mark: String,
    /// Input for `nft -f -`: replaces the tables `inet skerry` and `bridge skerry` in one
    /// transaction.
    pub text: String,
}

/// One change, named by its end state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkStep {
    /// Stop a network's DHCP and DNS and remove its files.
    StopService {
        /// Name of the service's bridge.
        bridge: String,
    },
    /// Remove a pod's namespace and what is in it.
    RemoveAttachment {
        /// The namespace.
        namespace: String,
    },
    /// Remove an outer device that belongs to no pod.
    RemoveVeth {
        /// The device.
        device: String,
    },
    /// Remove a bridge.
    RemoveBridge {
        /// The bridge.
        bridge: String,
    },
    /// Stop looking after a network card's addresses; what it has stays.
    ReleaseUplink {
        /// The card.
        device: String,
    },
    /// Replace the packet rules.
    LoadRules(RuleSet),
    /// Let the kernel forward IPv4.
    EnableForwarding,
    /// Give the node the address at which guests ask for their data ([`skerry_model::METADATA_ADDRESS`]).
    AnswerGuests,
    /// Switch a network card on and look after its addresses from now on. Returns at once: neither
    /// cable nor DHCP server need be there.
    ManageUplink {
        /// The card.
        device: String,
    },
    /// Make a bridge, or bring an existing one to this form.
    EnsureBridge(Bridge),
    /// Wire a pod, or bring its wiring to this form.
    EnsureAttachment(Attachment),
    /// Start a network's DHCP and DNS, or restart it since a reload would not do.
    StartService {
        /// Name of the service's bridge.
        bridge: String,
        /// What it is to load.
        files: DnsmasqFiles,
    },
    /// Let a running service read its hosts and names again.
    ReloadService {
        /// Name of the service's bridge.
        bridge: String,
        /// What it is to load.
        files: DnsmasqFiles,
    },
}

//! Ports: how a workload attaches to a network. The same port serves a virtual machine and a pod.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Conditions, Id, Invalid, Kind, LocalRef, Name, Network, Pod, ResourceKind, Validate};

/// Marks [`crate::Resource`]s that are ports.
#[derive(Debug, Clone, Copy)]
pub enum Port {}

impl ResourceKind for Port {
    const KIND: Kind = Kind::Port;
    type Spec = PortSpec;
    type Status = PortStatus;
}

/// The transport of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Makes a port of a workload reachable at the node's own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Transport; TCP if not said.
    #[serde(default = "Publish::tcp")]
    pub protocol: Protocol,
    /// Port at the node.
    pub host_port: u16,
    /// Port at the workload.
    pub workload_port: u16,
}

impl Publish {
    const fn tcp() -> Protocol {
        Protocol::Tcp
    }

    /// Collects what is wrong with a list of published ports.
    pub(crate) fn validate_all(list: &[Self], found: &mut Invalid) {
        for (index, publish) in list.iter().enumerate() {
            let field = |name| format!("spec.publish[{index}].{name}");
            if publish.host_port == 0 {
                found.add(field("host_port"), "must be 1 to 65535");
            }
            if publish.workload_port == 0 {
                found.add(field("workload_port"), "must be 1 to 65535");
            }
            let same = |other: &&Self| {
                other.protocol == publish.protocol && other.host_port == publish.host_port
            };
            if list.iter().take(index).any(|other| same(&other)) {
                found.add(field("host_port"), format!("{} is given twice", publish.host_port));
            }
        }
    }
}

/// What is wanted of a port. Made by the node together with the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// The network.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
    pub network: Id<Network>,
    /// The virtual machine or pod.
    pub workload: LocalRef,
    /// The network's name, if this is a further interface of the workload and not its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub further: Option<Name>,
    /// Name under which the workload answers on its network.
    pub hostname: String,
    /// Ethernet address, `02:…` (locally administered, IEEE 802 clause 8.4).
    pub mac: String,
    /// Fixed IPv4 address out of the network's subnet.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: Ipv4Addr,
    /// What is reachable at the node's addresses.
    #[serde(default)]
    pub publish: Vec<Publish>,
}

/// The device through which a port reaches its workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// A tap device that the hypervisor opens and puts on the bridge.
    Tap {
        /// Device name, at most 15 characters.
        device: String,
        /// Bridge it belongs on.
        bridge: String,
    },
    /// A pair of virtual Ethernet devices, one end inside a network namespace.
    Veth {
        /// Name of the namespace, below `/run/netns`.
        namespace: String,
        /// Device outside.
        device: String,
        /// Bridge the outer device is on.
        bridge: String,
        /// The first of the pod's own users whose the namespace is; it is the node's if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        users: Option<u32>,
    },
}

impl Binding {
    /// Starts the name of every pod's network namespace.
    pub const NAMESPACE_PREFIX: &str = "skerry-pod-";

    /// Where the user namespaces are that own pods' network namespaces, by the same names.
    pub const USERS_FOLDER: &str = "/run/skerry/users";

    /// The network namespace of a pod, below `/run/netns`. It is known before anything is wired.
    pub fn namespace_of(pod: Id<Pod>) -> String {
        format!("{}{}", Self::NAMESPACE_PREFIX, pod.short())
    }
}

/// What a port is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PortStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// The device, once known.
    pub binding: Option<Binding>,
    /// `Ready`: the workload may start.
    pub conditions: Conditions,
}

impl Validate for PortSpec {
    fn validate(&self, found: &mut Invalid) {
        let octets: Vec<_> = self.mac.split(':').collect();
        let good = octets.len() == 6
            && octets.iter().all(|o| o.len() == 2 && u8::from_str_radix(o, 16).is_ok());
        found.require(good, "spec.mac", "must be six hex octets such as 02:00:00:00:00:01");
        Publish::validate_all(&self.publish, found);
    }
}

//! Wiring of pods: a namespace, which is the pod's users' if it has some of its own, a pair of devices, an address, a default route and the resolver's file.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skerry_network::{Attachment, NAMESPACE_PREFIX};

use crate::error::NetError;
use crate::netlink::{Address, Link, Netlink, Route};
use crate::units::Units;
use crate::{files, namespace};

/// Name of the device inside, which is what containers expect.
const INNER: &str = "eth0";

/// All pods' wiring.
pub struct Pods {
    /// Folder of the resolver's files.
    folder: PathBuf,
    units: Arc<dyn Units>,
}

/// What is inside a namespace.
struct Inside {
    users: Option<u32>,
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

impl Inside {
    async fn read(net: &Netlink) -> Result<Self, NetError> {
        Ok(Self {
            users: namespace::owner()?,
            links: net.links().await?,
            addresses: net.addresses().await?,
            routes: net.routes().await?,
        })
    }

    fn device(&self) -> Option<&Link> {
        self.links.iter().find(|link| link.name == INNER)
    }
}

impl Pods {
    pub fn new(folder: PathBuf, units: Arc<dyn Units>) -> Self {
        Self { folder, units }
    }

    fn resolv(&self, namespace: &str) -> PathBuf {
        self.folder.join(format!("{namespace}.conf"))
    }

    /// Every namespace of ours; `None` for one that is not wholly wired.
    pub async fn observe(
        &self,
        links: &[Link],
    ) -> Result<BTreeMap<String, Option<Attachment>>, NetError> {
        let mut found = BTreeMap::new();
        for name in namespaces()? {
            let seen = match self.look_inside(&name, links).await {
                Ok(seen) => seen,
                Err(error) => {
                    // Gone in between, or half made: the plan makes it again.
                    tracing::debug!(namespace = name, %error, "namespace could not be read");
                    None
                }
            };
            found.insert(name, seen);
        }
        Ok(found)
    }

    async fn look_inside(
        &self,
        name: &str,
        links: &[Link],
    ) -> Result<Option<Attachment>, NetError> {
        let inside =
            namespace::inside(name, || async { Inside::read(&Netlink::open()?).await }).await?;
        if !is_named(name, inside.users) {
            return Ok(None);
        }
        let resolv = files::read(&self.resolv(name))?.unwrap_or_default();
        Ok(whole(name, &inside, links, resolv))
    }

    /// Wires a pod, or brings its wiring to this form.
    pub async fn ensure(&self, net: &Netlink, wanted: &Attachment) -> Result<(), NetError> {
        let name = &wanted.namespace;
        if !is_of(name, wanted.users).await? {
            // Somebody else's, or what a failed or interrupted `add` has left.
            self.remove(net, name).await?;
            self.units.add_namespace(name, wanted.users).await?;
        }
        self.ensure_pair(net, wanted).await?;
        let inner = wanted.clone();
        namespace::inside(name, || async move { set_up_inside(&Netlink::open()?, &inner).await })
            .await?;
        files::replace(&self.resolv(name), &wanted.resolv)
    }

    async fn ensure_pair(&self, net: &Netlink, wanted: &Attachment) -> Result<(), NetError> {
        let missing = |device: &str| NetError::NoDevice { device: device.to_owned() };
        let bridge = net.find(&wanted.bridge).await?.ok_or_else(|| missing(&wanted.bridge))?;
        let inner =
            namespace::inside(&wanted.namespace, || async { Netlink::open()?.find(INNER).await });
        let inner = inner.await?;
        let outer = net.find(&wanted.device).await?;
        let paired = match (&outer, &inner) {
            (Some(outer), Some(inner)) => inner.peer == Some(outer.index),
            _ => false,
        };
        if !paired {
            // Either end takes the other along, so what is left of an earlier pair goes first.
            net.remove_link(&wanted.device).await?;
            namespace::inside(&wanted.namespace, || async {
                Netlink::open()?.remove_link(INNER).await
            })
            .await?;
            let entry = namespace::open(&wanted.namespace)?;
            net.add_veth(&wanted.device, INNER, &wanted.mac, entry.as_fd()).await?;
        }
        let outer = net.find(&wanted.device).await?.ok_or_else(|| missing(&wanted.device))?;
        net.set_mtu(&outer, wanted.mtu).await?;
        if outer.controller != Some(bridge.index) {
            net.set_controller(outer.index, bridge.index).await?;
        }
        if outer.up { Ok(()) } else { net.set_up(outer.index).await }
    }

    /// Removes a pod's namespace. Its devices go first: processes that linger inside keep a namespace alive
    /// after its name is gone, and the pod's address must be free now.
    pub async fn remove(&self, net: &Netlink, name: &str) -> Result<(), NetError> {
        if namespace::is_there(name) {
            let peer = namespace::inside(name, || async {
                Ok(Netlink::open()?.find(INNER).await?.and_then(|link| link.peer))
            });
            let peer = peer.await?;
            let links = net.links().await?;
            let outer = links.iter().find(|link| Some(link.index) == peer && is_ours(link));
            if let Some(outer) = outer {
                net.remove_link(&outer.name).await?;
            }
        }
        if namespace::path(name).exists() || namespace::users_path(name).exists() {
            self.units.remove_namespace(name).await?;
        }
        files::remove(&self.resolv(name))
    }
}

/// Whether the namespace is there, and whole, and of these users.
async fn is_of(name: &str, users: Option<u32>) -> Result<bool, NetError> {
    if !namespace::is_there(name) {
        return Ok(false);
    }
    let owner = namespace::inside(name, || async { namespace::owner() }).await?;
    Ok(owner == users && is_named(name, users))
}

/// Whether the user namespace that owns it can be joined too.
fn is_named(name: &str, users: Option<u32>) -> bool {
    users.is_none() || namespace::is_namespace(&namespace::users_path(name))
}

/// The outer end of a pod's pair.
pub fn is_ours(link: &Link) -> bool {
    link.name.starts_with(skerry_network::VETH_PREFIX)
}

fn namespaces() -> Result<Vec<String>, NetError> {
    let folder = Path::new(namespace::FOLDER);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(NetError::file(folder, "read")(error)),
    };
    let names = entries.filter_map(Result::ok).filter_map(|e| e.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(NAMESPACE_PREFIX)).collect())
}

async fn set_up_inside(net: &Netlink, wanted: &Attachment) -> Result<(), NetError> {
    let inside = Inside::read(net).await?;
    if let Some(lo) = inside.links.iter().find(|link| link.loopback && !link.up) {
        net.set_up(lo.index).await?;
    }
    let missing = || NetError::NoDevice { device: format!("{INNER} in {}", wanted.namespace) };
    let device = inside.device().ok_or_else(missing)?;
    net.set_basics(device, &wanted.mac, wanted.mtu).await?;
    net.set_only_address(device.index, wanted.address, wanted.prefix).await?;
    if !device.up {
        net.set_up(device.index).await?;
    }
    let wrong = |route: &&Route| is_default(route) && route.gateway != wanted.gateway;
    for route in inside.routes.iter().filter(wrong) {
        net.remove_route(route).await?;
    }
    match wanted.gateway {
        Some(gateway) => net.put_route(&default_route(device.index, gateway)).await,
        None => Ok(()),
    }
}

fn is_default(route: &Route) -> bool {
    route.prefix == 0 && route.destination == Ipv4Addr::UNSPECIFIED
}

const fn default_route(index: u32, gateway: Ipv4Addr) -> Route {
    Route {
        index,
        destination: Ipv4Addr::UNSPECIFIED,
        prefix: 0,
        gateway: Some(gateway),
        source: None,
        metric: 0,
        dhcp: false,
    }
}

/// The wiring as it is, if everything is up and there is exactly one of each.
fn whole(name: &str, inside: &Inside, links: &[Link], resolv: String) -> Option<Attachment> {
    let device = inside.device().filter(|device| device.up)?;
    inside.links.iter().find(|link| link.loopback && link.up)?;
    let outer =
        links.iter().find(|link| Some(link.index) == device.peer && is_ours(link) && link.up)?;
    let bridge = links.iter().find(|link| Some(link.index) == outer.controller)?;
    let mut v4 = inside.addresses.iter().filter(|a| a.index == device.index && a.address.is_ipv4());
    let (Some(Address { address: IpAddr::V4(address), prefix, .. }), None) = (v4.next(), v4.next())
    else {
        return None;
    };
    let mut defaults = inside.routes.iter().filter(|route| is_default(route));
    let (gateway, None) = (defaults.next().and_then(|r| r.gateway), defaults.next()) else {
        return None;
    };
    Some(Attachment {
        namespace: name.to_owned(),
        device: outer.name.clone(),
        bridge: bridge.name.clone(),
        mac: device.mac.clone(),
        address: *address,
        prefix: *prefix,
        gateway,
        // The outer end must agree, or large packets vanish on the way.
        mtu: if outer.mtu == device.mtu { device.mtu } else { 0 },
        resolv,
        users: inside.users,
    })
}

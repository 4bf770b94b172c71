//! What is wanted of a pod, in the form in which plans and adapters take it.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};
use skerry_model::{
    Capabilities, Container, ContainerPages, Hidden, HugePageSize, HugePagesTaken, Id, IoLimits,
    LogRate, Name, Pod, Tmpfs, VolumeMount,
};

use crate::VolumeDesired;

/// Where a container's image lies: in an archive, or in the node's store of blobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageArchive {
    /// The image's name, for people.
    pub name: Name,
    /// Where the archive lies; empty for the store of blobs.
    pub path: String,
    /// SHA-256 of the archive, or of the manifest in the store of blobs; this is the image's identity.
    pub sha256: String,
}

impl ImageArchive {
    /// Whether it lies in the store of blobs.
    pub fn is_stored(&self) -> bool {
        self.path.is_empty()
    }
}

/// The network that a pod's containers share. It is wired before the first of them starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNetwork {
    /// Name of the namespace, below `/run/netns`; empty for the node's own.
    pub namespace: String,
    /// The pod's host name.
    pub hostname: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The network's gateway, which is also its name server.
    pub gateway: Ipv4Addr,
}

impl PodNetwork {
    /// The node's own: no namespace, and the node's own name.
    pub const fn of_node() -> Self {
        Self {
            namespace: String::new(),
            hostname: String::new(),
            address: Ipv4Addr::LOCALHOST,
            gateway: Ipv4Addr::LOCALHOST,
        }
    }

    /// Whether it is the node's own.
    pub const fn is_of_node(&self) -> bool {
        self.namespace.is_empty()
    }
}

/// A volume of the node that a pod sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// What the pod calls it.
    pub name: Name,
    /// Where it lies on the machine.
    pub path: String,
    /// Nothing in the pod may write to it.
    pub read_only: bool,
}

/// Huge pages that are set aside for a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodPages {
    /// How many of each size all of its containers may have together.
    pub limits: Vec<(HugePageSize, u64)>,
    /// The NUMA nodes that they are of, ascending; empty while that is not known.
    pub nodes: Vec<u32>,
}

/// What is wanted of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerDesired {
    /// Unique within the pod.
    pub name: Name,
    /// What it starts from.
    pub image: ImageArchive,
    /// Program and leading arguments; the image's entry point if empty.
    pub command: Vec<String>,
    /// Arguments; the image's own if this and `command` are empty.
    pub args: Vec<String>,
    /// Its standard input stays open for those who attach to it.
    pub stdin: bool,
    /// Its input and outputs are a terminal.
    pub tty: bool,
    /// Added to the image's environment: names and values, those of configs and secrets put in.
    pub env: Vec<(String, Hidden)>,
    /// Where the program starts; where the image says if empty.
    pub working_dir: String,
    /// Who it runs as; who the image says if empty.
    pub user: String,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// Folders in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Volumes of the pod that it sees.
    pub mounts: Vec<VolumeMount>,
    /// Volumes of the node among these. They are there already and outlive the pod.
    pub outside: Vec<Outside>,
    /// Devices of the machine that it may use.
    pub devices: Vec<String>,
    /// Changes to the short list of capabilities.
    pub capabilities: Capabilities,
    /// Nearly nothing holds it.
    pub privileged: bool,
    /// Hard memory limit in MiB.
    pub memory_mib: u64,
    /// Memory in MiB that is kept for it.
    pub memory_reservation_mib: Option<u64>,
    /// Processor limit in thousandths of a CPU.
    pub cpu_limit_m: Option<u32>,
    /// Share of busy processors in thousandths of a CPU.
    pub cpu_request_m: u32,
    /// Most processes at once.
    pub pids: u32,
    /// Memory in huge pages that it may have.
    pub huge_pages: Vec<ContainerPages>,
    /// Those of its pod, if that has any.
    pub pod_pages: Option<PodPages>,
    /// What it may do with the disk.
    pub io: Option<IoLimits>,
    /// How fast its log may grow, if not as usual.
    pub log_rate: Option<LogRate>,
    /// The first of the users of the machine that its users are; they are the machine's own if not given.
    pub users: Option<u32>,
    /// Seconds between the stop signal and the kill.
    pub stop_timeout_s: u32,
    /// The network to join.
    pub network: PodNetwork,
    /// Names the container's definition and image. The writable layer lives as long as this.
    pub layer: String,
    /// Names all that the bundle is made from: the above and the network, and behind a dot the values that come
    /// from configs and secrets. These alone are no reason to replace what runs: they count from the next start.
    pub bundle: String,
}

impl ContainerDesired {
    /// Puts together what a specification says with what its image and port turned out to be. `env` are its
    /// variables with their values.
    pub fn new(
        spec: &Container,
        image: ImageArchive,
        network: PodNetwork,
        stop_timeout_s: u32,
        env: Vec<(String, Hidden)>,
    ) -> Self {
        let layer = layer_fingerprint(spec, &image);
        let mut bundle = bundle_fingerprint(&layer, &network, stop_timeout_s);
        if spec.env.iter().any(|variable| variable.config.is_some() || variable.secret.is_some()) {
            let mut print = Fingerprint::default();
            env.iter().for_each(|(name, value)| print.add(name, value.reveal()));
            bundle = format!("{bundle}.{}", print.finish());
        }
        Self {
            name: spec.name.clone(),
            image,
            command: spec.command.clone(),
            args: spec.args.clone(),
            stdin: spec.stdin,
            tty: spec.tty,
            env,
            working_dir: spec.working_dir.clone(),
            user: spec.user.clone(),
            read_only_root: spec.read_only_root,
            tmpfs: spec.tmpfs.clone(),
            mounts: spec.mounts.clone(),
            outside: Vec::new(),
            users: None,
            devices: spec.devices.clone(),
            capabilities: spec.capabilities.clone(),
            privileged: spec.privileged,
            memory_mib: spec.memory_mib,
            memory_reservation_mib: spec.memory_reservation_mib,
            cpu_limit_m: spec.cpu_limit_m,
            cpu_request_m: spec.cpu_request_m,
            pids: spec.pids,
            huge_pages: spec.huge_pages.clone(),
            pod_pages: None,
            io: spec.io,
            log_rate: spec.log_rate,
            stop_timeout_s,
            network,
            layer,
            bundle,
        }
    }

    /// Lets it see those of these volumes of the node that it mounts. Another volume in the place of one is another
    /// bundle.
    #[must_use]
    pub fn with_outside(mut self, all: &[Outside]) -> Self {
        let seen = |outside: &&Outside| self.mounts.iter().any(|it| it.volume == outside.name);
        self.outside = all.iter().filter(seen).cloned().collect();
        let list = self.outside.iter().map(|outside| {
            (outside.name.to_string(), format!("{} {}", outside.read_only, outside.path))
        });
        let list: Vec<(String, String)> = list.collect();
        self.rename_bundle(&list);
        self
    }

    /// Gives it users of its own, these of the machine. That is another bundle; the layer stays, since its files keep
    /// their owners.
    #[must_use]
    pub fn with_users(mut self, first: Option<u32>) -> Self {
        self.users = first;
        let list: Vec<_> =
            first.map(|first| ("users".to_owned(), first.to_string())).into_iter().collect();
        self.rename_bundle(&list);
        self
    }

    /// Lets it be held with its pod to the pod's huge pages, where these are. Another number of them is another bundle.
    #[must_use]
    pub fn with_pages(
        mut self,
        limits: Vec<(HugePageSize, u64)>,
        taken: &[HugePagesTaken],
    ) -> Self {
        if limits.is_empty() {
            return self;
        }
        let text = |(size, count): &(HugePageSize, u64)| {
            ("huge_pages".to_owned(), format!("{} {count}", size.mib()))
        };
        self.rename_bundle(&limits.iter().map(text).collect::<Vec<_>>());
        let mut nodes: Vec<u32> = taken.iter().map(|pages| pages.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        self.pod_pages = Some(PodPages { limits, nodes });
        self
    }

    /// Lets the bundle's name stand for these as well; for none of them it stays. The values of configs and secrets
    /// stay apart.
    fn rename_bundle(&mut self, more: &[(String, String)]) {
        if more.is_empty() {
            return;
        }
        let (definition, values) = match self.bundle.split_once('.') {
            Some((definition, values)) => (definition, format!(".{values}")),
            None => (self.bundle.as_str(), String::new()),
        };
        let mut print = Fingerprint::default();
        print.add("bundle", definition);
        more.iter().for_each(|(key, value)| print.add(key, value));
        self.bundle = format!("{}{values}", print.finish());
    }
}

/// Names a container's definition and image.
///
/// Only what departs from the defaults goes in, each under its own key: a field that a later version adds
/// must not change the name of what is already there, since that would throw its data away.
fn layer_fingerprint(spec: &Container, image: &ImageArchive) -> String {
    let mut print = Fingerprint::default();
    print.add("image", &image.sha256);
    spec.command.iter().for_each(|word| print.add("command", word));
    spec.args.iter().for_each(|word| print.add("args", word));
    for variable in &spec.env {
        for (kind, key) in [("config", &variable.config), ("secret", &variable.secret)] {
            if let Some(key) = key {
                print.add(kind, &format!("{}={} {}", variable.name, key.name, key.key));
            }
        }
        print.add("env", &format!("{}={}", variable.name, variable.value));
    }
    print.add("memory_mib", &spec.memory_mib.to_string());
    if let Some(limit) = spec.cpu_limit_m {
        print.add("cpu_limit_m", &limit.to_string());
    }
    print.add("pids", &spec.pids.to_string());
    add_hold(spec, &mut print);
    print.finish()
}

/// What a container may do and where it starts, as far as it is not as usual.
fn add_hold(spec: &Container, print: &mut Fingerprint) {
    for (key, text) in [("working_dir", &spec.working_dir), ("user", &spec.user)] {
        if !text.is_empty() {
            print.add(key, text);
        }
    }
    if spec.stdin {
        print.add("stdin", "true");
    }
    if spec.tty {
        print.add("tty", "true");
    }
    if spec.privileged {
        print.add("privileged", "true");
    }
    if spec.read_only_root {
        print.add("read_only_root", "true");
    }
    for folder in &spec.tmpfs {
        print.add("tmpfs", &format!("{} {}", folder.size_mib, folder.path));
    }
    for mount in &spec.mounts {
        print.add("mount", &format!("{} {} {}", mount.volume, mount.read_only, mount.path));
    }
    spec.devices.iter().for_each(|path| print.add("device", path));
    spec.capabilities.add.iter().for_each(|word| print.add("add", word));
    spec.capabilities.drop.iter().for_each(|word| print.add("drop", word));
    if spec.cpu_request_m != USUAL_CPU_REQUEST {
        print.add("cpu_request_m", &spec.cpu_request_m.to_string());
    }
    if let Some(kept) = spec.memory_reservation_mib {
        print.add("memory_reservation_mib", &kept.to_string());
    }
    for pages in &spec.huge_pages {
        print.add("huge_pages", &format!("{} {}", pages.size.mib(), pages.mib));
    }
    if let Some(io) = spec.io {
        for (key, value) in [
            ("read_bytes_per_s", io.read_bytes_per_s),
            ("write_bytes_per_s", io.write_bytes_per_s),
            ("read_iops", io.read_iops),
            ("write_iops", io.write_iops),
        ] {
            value.iter().for_each(|value| print.add(key, &value.to_string()));
        }
    }
    if let Some(rate) = spec.log_rate {
        print.add("log_rate", &format!("{} {}", rate.lines, rate.interval_s));
    }
}

/// The processor share that a container has if nothing is said.
const USUAL_CPU_REQUEST: u32 = 100;

/// Names all that a bundle is made from.
fn bundle_fingerprint(layer: &str, network: &PodNetwork, stop_timeout_s: u32) -> String {
    let mut print = Fingerprint::default();
    print.add("layer", layer);
    print.add("namespace", &network.namespace);
    print.add("hostname", &network.hostname);
    print.add("address", &network.address.to_string());
    print.add("gateway", &network.gateway.to_string());
    print.add("stop_timeout_s", &stop_timeout_s.to_string());
    print.finish()
}

/// A digest over keys and values, each with its length so that no two lists run together.
#[derive(Default)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    pub fn add(&mut self, key: &str, value: &str) {
        for part in [key, value] {
            self.0.update(part.len().to_le_bytes());
            self.0.update(part.as_bytes());
        }
    }

    pub fn finish(self) -> String {
        hex::encode(self.0.finalize().get(..16).unwrap_or_default())
    }
}

/// Whether two bundles are of one definition, whatever values from configs and secrets are in them.
pub(crate) fn same_definition(one: &str, other: &str) -> bool {
    let definition = |text: &str| text.split('.').next().map(str::to_owned);
    definition(one) == definition(other)
}

/// Where a container should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Up, as described.
    Run(Box<ContainerDesired>),
    /// All but started: its network is still being wired, which nothing else has to wait for. What was written to a
    /// layer is not thrown away for that.
    Prepare(Box<ContainerDesired>),
    /// As it is: it ended and waits, or something that it needs is missing.
    Hold,
    /// Down, with everything but the writable layer gone. `kill`: at once.
    Down {
        /// Do not wait for it to end by itself.
        kill: bool,
    },
    /// Down, and nothing of it left.
    Gone {
        /// Do not wait for it to end by itself.
        kill: bool,
    },
}

/// What is wanted of a pod at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodWanted {
    /// The pod.
    pub pod: Id<Pod>,
    /// Its containers, in the order in which they start. A container that is there but not listed here is
    /// to be gone.
    pub containers: Vec<(Name, Want)>,
    /// Its volumes; `None` leaves them as they are. They are there before the first container.
    pub volumes: Option<Vec<VolumeDesired>>,
    /// The pod itself is to be gone, once all its containers are.
    pub gone: bool,
    /// Containers that are not listed are killed instead of stopped.
    pub kill_strays: bool,
}

impl PodWanted {
    /// Whether anything is made ready that is not to start yet.
    pub fn prepares(&self) -> bool {
        self.containers.iter().any(|(_, want)| matches!(want, Want::Prepare(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{desired, network};

    #[test]
    fn the_layer_outlives_a_new_address_but_not_a_new_definition() {
        let first = desired("web");
        let mut moved = network();
        moved.address = Ipv4Addr::new(10, 0, 0, 99);
        let text = r#"{"name": "web", "image": "tiny"}"#;
        let spec: Container = serde_json::from_str(text).unwrap();
        let again = ContainerDesired::new(&spec, first.image.clone(), moved, 30, Vec::new());
        assert_eq!(again.layer, first.layer);
        assert_ne!(again.bundle, first.bundle);
        let changed = Container { memory_mib: 65, ..spec };
        let changed =
            ContainerDesired::new(&changed, first.image.clone(), network(), 30, Vec::new());
        assert_ne!(changed.layer, first.layer);
    }

    /// A node that is updated must find what runs as it is wanted: the name of a plain container is what it always
    /// was.
    #[test]
    fn fields_that_came_later_do_not_rename_what_runs() {
        let named = |text: &str| {
            let spec: Container = serde_json::from_str(text).unwrap();
            let desired =
                ContainerDesired::new(&spec, desired("web").image, network(), 30, Vec::new());
            (desired.layer, desired.bundle)
        };
        let plain = named(r#"{"name": "web", "image": "tiny"}"#);
        assert_eq!(plain, (PLAIN_LAYER.to_owned(), PLAIN_BUNDLE.to_owned()));
        for (later, unset, text) in [
            ("log_rate", "null", r#"{"lines": 5}"#),
            ("memory_reservation_mib", "null", "5"),
            ("io", "null", r#"{"read_iops": 50}"#),
            ("privileged", "false", "true"),
            ("tty", "false", "true"),
            ("huge_pages", "[]", r#"[{"size": "2Mi", "mib": 4}]"#),
        ] {
            let plainly = format!(r#"{{"name": "web", "image": "tiny", "{later}": {unset}}}"#);
            assert_eq!(named(&plainly), plain, "{later}");
            let other = format!(r#"{{"name": "web", "image": "tiny", "{later}": {text}}}"#);
            assert_ne!(named(&other).0, plain.0, "{later}");
        }
    }

    const PLAIN_LAYER: &str = "78821dbe58a0e418ebc5e425f7acda04";
    const PLAIN_BUNDLE: &str = "3ee6ea50d0f69dba63e53735ad14f775";

    #[test]
    fn other_users_are_another_bundle_with_the_same_layer() {
        let plain = desired("web");
        assert_eq!(plain.clone().with_users(None), plain);
        let first = plain.clone().with_users(Some(655_360));
        let second = plain.clone().with_users(Some(720_896));
        assert!(first.layer == plain.layer && second.layer == plain.layer);
        assert!(first.bundle != plain.bundle && first.bundle != second.bundle);
    }

    #[test]
    fn other_pages_of_the_pod_are_another_bundle_wherever_they_lie() {
        let plain = desired("web");
        assert_eq!(plain.clone().with_pages(Vec::new(), &[]), plain);
        let taken = |node| HugePagesTaken { node, size: HugePageSize::Mib2, count: 2 };
        let with =
            |count, taken: &[_]| plain.clone().with_pages(vec![(HugePageSize::Mib2, count)], taken);
        let first = with(4, &[taken(1), taken(0), taken(1)]);
        assert_eq!(first.pod_pages.as_ref().unwrap().nodes, [0, 1]);
        assert!(first.layer == plain.layer && first.bundle != plain.bundle);
        assert_eq!(first.bundle, with(4, &[]).bundle);
        assert_ne!(first.bundle, with(2, &[]).bundle);
    }

    #[test]
    fn another_volume_of_the_node_is_another_bundle_with_the_same_layer() {
        let text = r#"{"name": "web", "image": "tiny", "mounts": [{"volume": "v", "path": "/v"}]}"#;
        let spec: Container = serde_json::from_str(text).unwrap();
        let image = desired("web").image;
        let env = || vec![("A".to_owned(), Hidden::new("b"))];
        let plain = || ContainerDesired::new(&spec, image.clone(), network(), 30, env());
        let outside = |name: &str, path: &str, read_only| {
            [Outside { name: name.parse().unwrap(), path: path.to_owned(), read_only }]
        };
        let first = plain().with_outside(&outside("v", "/a", false));
        assert_eq!(first.layer, plain().layer);
        assert_eq!(plain().with_outside(&outside("other", "/a", false)), plain());
        for (path, read_only) in [("/b", false), ("/a", true)] {
            let other = plain().with_outside(&outside("v", path, read_only));
            assert_ne!(other.bundle, first.bundle);
        }
    }
}

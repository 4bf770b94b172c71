//! The OCI runtime configuration of a container (`config.json`), as safe as ordinary programs allow.
//!
//! What holds a container: users of the pod's own unless it has the node's, a short list of capabilities,
//! `no_new_privileges`, an allow-list of system calls, masked and read-only parts of `/proc` and `/sys`, its own process,
//! mount, host name, message and control-group namespaces, the pod's network namespace. Limits and devices are the
//! unit's part.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxDevice, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp, Mount, MountBuilder, Process,
    ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use skerry_containers::ContainerDesired;
use skerry_model::Name;

use crate::devices::Device;
use crate::ids;
use crate::images::ImageRecord;
use crate::oci::Oci;
use crate::pages;
use crate::places::Places;
use crate::powers;
use crate::user::User;

/// System calls that a container may make: an allow-list, everything else is answered with "no such call", or
/// with "not permitted" where programs expect that. New threads may not make namespaces; `clone3`, whose
/// arguments a filter cannot see, is answered so that libraries fall back to `clone`. Only 64-bit calls. Huge pages
/// (`MAP_HUGETLB`, `MFD_HUGETLB`, `SHM_HUGETLB`), of whatever size, are answered with "no memory", unless the container
/// has some (`pages`): they are set aside for others, and programs that try them go on without.
const SECCOMP: &str = include_str!("../../../../config/seccomp/container.json");

/// What is left to a container's root: what package managers, web servers and databases need to change owners,
/// users and signals within the container, and to open ports below 1024.
const CAPABILITIES: [Capability; 10] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Neither the pod nor the image says what to run.
    #[error("container `{container}` has nothing to run: give it a command, its image has none")]
    NoCommand {
        /// The container.
        container: String,
    },
    /// The image's working directory is not absolute.
    #[error("container `{container}`: its image's working directory `{path}` is not absolute")]
    WorkingDirectory {
        /// The container.
        container: String,
        /// The path.
        path: String,
    },
    /// A volume that has not been made.
    #[error("container `{container}` sees the volume `{volume}`, which is not there")]
    NoVolume {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
    },
    /// A capability that the runtime does not know.
    #[error("there is no capability `{word}`")]
    Capability {
        /// The word.
        word: String,
    },
    /// A device that the machine does not have.
    #[error("the machine has no device {path}: remove it from the container, or bring it in")]
    Device {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The parts do not make a configuration.
    #[error("the runtime configuration cannot be put together")]
    Spec(#[from] OciSpecError),
    /// The built-in list of system calls is broken.
    #[error("the list of system calls for containers is broken")]
    Seccomp(#[from] serde_json::Error),
}

/// The configuration. `bundle` is the folder that it is for, `volumes` where the runtime finds the pod's
/// volumes; of the places only the runtime and those of the namespaces to join count.
pub fn spec(
    desired: &ContainerDesired,
    image: &ImageRecord,
    user: &User,
    bundle: &Path,
    places: &Places,
    volumes: &BTreeMap<Name, PathBuf>,
) -> Result<Spec, BundleError> {
    let mut spec = SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path("rootfs").readonly(desired.read_only_root).build()?)
        .process(process(desired, image, user)?)
        .mounts(mounts(desired, bundle, volumes, Oci::present(places).turns_owners())?)
        .linux(linux(desired, places)?)
        .build()?;
    // With the node's network it has the node's name, which it does not set.
    let own = Some(&desired.network.hostname).filter(|_| !desired.network.is_of_node());
    spec.set_hostname(own.cloned());
    Ok(spec)
}

fn process(
    desired: &ContainerDesired,
    image: &ImageRecord,
    user: &User,
) -> Result<Process, BundleError> {
    let allowed = capabilities(desired)?;
    let capabilities = || allowed.clone();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities())
        .effective(capabilities())
        .permitted(capabilities())
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?;
    let user = UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .additional_gids(user.groups.clone())
        .build()?;
    Ok(ProcessBuilder::default()
        .terminal(desired.tty)
        .user(user)
        .args(arguments(desired, image)?)
        .env(environment(desired, image))
        .cwd(working_directory(desired, image)?)
        .capabilities(capabilities)
        .no_new_privileges(!desired.privileged)
        .build()?)
}

/// The short list, or all for a privileged one, less what is dropped, and what is added.
fn capabilities(desired: &ContainerDesired) -> Result<HashSet<Capability>, BundleError> {
    let changes = &desired.capabilities;
    let list = if desired.privileged { powers::all() } else { CAPABILITIES.to_vec() };
    let all = changes.drop.iter().any(|word| word == "ALL");
    let dropped = changes.drop.iter().filter(|word| *word != "ALL").map(|word| capability(word));
    let dropped = dropped.collect::<Result<HashSet<_>, _>>()?;
    let usual = list.into_iter().filter(|word| !all && !dropped.contains(word));
    let added = changes.add.iter().map(|word| capability(word));
    usual.map(Ok).chain(added).collect()
}

fn capability(word: &str) -> Result<Capability, BundleError> {
    word.parse().map_err(|_| BundleError::Capability { word: word.chars().take(40).collect() })
}

/// The pod's command replaces the image's entry point and arguments; its arguments only the arguments.
fn arguments(desired: &ContainerDesired, image: &ImageRecord) -> Result<Vec<String>, BundleError> {
    let mut words = Vec::new();
    if desired.command.is_empty() {
        words.extend(image.entrypoint.iter().cloned());
        let rest = if desired.args.is_empty() { &image.cmd } else { &desired.args };
        words.extend(rest.iter().cloned());
    } else {
        words.extend(desired.command.iter().chain(&desired.args).cloned());
    }
    if words.first().is_none_or(String::is_empty) {
        return Err(BundleError::NoCommand { container: desired.name.to_string() });
    }
    Ok(words)
}

/// The image's variables, then the pod's; the later one of a name counts.
fn environment(desired: &ContainerDesired, image: &ImageRecord) -> Vec<String> {
    let hostname = match desired.network.is_of_node() {
        true => format!("HOSTNAME={}", node_name()),
        false => format!("HOSTNAME={}", desired.network.hostname),
    };
    let own = desired.env.iter().map(|(name, value)| format!("{name}={}", value.reveal()));
    let all = [DEFAULT_PATH.to_owned(), hostname].into_iter().chain(image.env.clone()).chain(own);
    let mut list: Vec<String> = Vec::new();
    for variable in all.filter(|variable| !variable.contains('\0')) {
        let Some((name, _)) = variable.split_once('=') else { continue };
        let same = |other: &String| other.split_once('=').is_some_and(|(old, _)| old == name);
        match list.iter_mut().find(|other| same(other)) {
            Some(old) => *old = variable,
            None => list.push(variable),
        }
    }
    list
}

fn working_directory(
    desired: &ContainerDesired,
    image: &ImageRecord,
) -> Result<PathBuf, BundleError> {
    let own = Some(desired.working_dir.as_str()).filter(|path| !path.is_empty());
    match own.unwrap_or(&image.working_dir) {
        "" => Ok(PathBuf::from("/")),
        path if path.starts_with('/') => Ok(PathBuf::from(path)),
        path => Err(BundleError::WorkingDirectory {
            container: desired.name.to_string(),
            path: path.chars().take(200).collect(),
        }),
    }
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .typ(kind)
        .source(source)
        .destination(target)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
}

fn mounts(
    desired: &ContainerDesired,
    bundle: &Path,
    volumes: &BTreeMap<Name, PathBuf>,
    turns_owners: bool,
) -> Result<Vec<Mount>, BundleError> {
    let turns = turns_owners && desired.users.is_some();
    let quiet = ["nosuid", "noexec", "nodev"];
    let mut list = vec![
        mount("proc", "proc", "/proc", &quiet)?,
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=64k"])?,
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"])?,
        mount("mqueue", "mqueue", "/dev/mqueue", &quiet)?,
        mount(
            "sysfs",
            "sysfs",
            "/sys",
            &["nosuid", "noexec", "nodev", if desired.privileged { "rw" } else { "ro" }],
        )?,
        mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "ro"])?,
    ];
    for folder in &desired.tmpfs {
        let size = format!("size={}m", folder.size_mib);
        list.push(mount("tmpfs", "tmpfs", &folder.path, &["nosuid", "nodev", "mode=1777", &size])?);
    }
    for seen in &desired.mounts {
        let source = volumes.get(&seen.volume).ok_or_else(|| BundleError::NoVolume {
            container: desired.name.to_string(),
            volume: seen.volume.to_string(),
        })?;
        let access = if seen.read_only { "ro" } else { "rw" };
        let mut options = vec!["bind", access, "nosuid", "nodev"];
        // Its files are the pod's users' by number, as on disk.
        options.extend(turns.then_some("idmap"));
        list.push(mount("bind", &source.to_string_lossy(), &seen.path, &options)?);
    }
    for name in ETC_FILES {
        let source = bundle.join("etc").join(name);
        let mut options = vec!["bind", "ro", "nosuid", "noexec", "nodev"];
        options.extend(turns.then_some("idmap"));
        list.push(mount("bind", &source.to_string_lossy(), &format!("/etc/{name}"), &options)?);
    }
    Ok(list)
}

/// Files of the bundle's `etc` folder that a container sees in its own.
const ETC_FILES: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// The content of those files.
pub fn etc_files(desired: &ContainerDesired) -> [(&'static str, String); 3] {
    let network = &desired.network;
    if network.is_of_node() {
        return node_files();
    }
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost\n{}\t{}\n",
        network.address, network.hostname
    );
    let [hostname, hosts_name, resolv] = ETC_FILES;
    [
        (hostname, format!("{}\n", network.hostname)),
        (hosts_name, hosts),
        (resolv, format!("nameserver {}\n", network.gateway)),
    ]
}

/// The same of the node, as they are now.
fn node_files() -> [(&'static str, String); 3] {
    let name = node_name();
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{name}\n");
    let [hostname, hosts_name, resolv] = ETC_FILES;
    // A node without a resolver has none to give.
    let servers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    [(hostname, format!("{name}\n")), (hosts_name, hosts), (resolv, servers)]
}

fn node_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}

fn namespace(kind: LinuxNamespaceType) -> Result<LinuxNamespace, OciSpecError> {
    LinuxNamespaceBuilder::default().typ(kind).build()
}

fn devices(paths: &[String]) -> Result<Vec<LinuxDevice>, BundleError> {
    let find = |path: &String| {
        let absent = |source| BundleError::Device { path: path.clone(), source };
        Ok(Device::find(path).map_err(absent)?.described()?)
    };
    paths.iter().map(find).collect()
}

fn linux(desired: &ContainerDesired, places: &Places) -> Result<Linux, BundleError> {
    let network = &desired.network;
    let mut list = vec![
        namespace(LinuxNamespaceType::Pid)?,
        namespace(LinuxNamespaceType::Mount)?,
        namespace(LinuxNamespaceType::Ipc)?,
        namespace(LinuxNamespaceType::Cgroup)?,
    ];
    let mut sysctl = HashMap::new();
    if !network.is_of_node() {
        list.push(namespace(LinuxNamespaceType::Uts)?);
        let joined = |kind, folder: &Path| {
            let path = folder.join(&network.namespace);
            LinuxNamespaceBuilder::default().typ(kind).path(path).build()
        };
        list.push(joined(LinuxNamespaceType::Network, &places.namespaces)?);
        if desired.users.is_some() {
            // The one that owns the network: only from there is `/sys` mounted with the network's own links.
            list.push(joined(LinuxNamespaceType::User, &places.users)?);
        }
        // Programs without privileges may ping and open low ports: the namespace is the pod's alone.
        let groups = if desired.users.is_some() { ids::ALL_GROUPS } else { "0 2147483647" };
        sysctl.insert("net.ipv4.ping_group_range".to_owned(), groups.to_owned());
        sysctl.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    }
    let mut linux = LinuxBuilder::default()
        .namespaces(list)
        .sysctl(sysctl)
        .devices(devices(&desired.devices)?)
        .build()?;
    if let Some(first) = desired.users {
        let mapping = ids::mapping(first)?;
        linux.set_uid_mappings(Some(mapping.clone())).set_gid_mappings(Some(mapping));
    }
    hold(&mut linux, desired)?;
    Ok(without_resources(linux))
}

/// The list of system calls, and what of the kernel's own files is hidden or cannot be written; nothing of it for a
/// privileged one.
fn hold(linux: &mut Linux, desired: &ContainerDesired) -> Result<(), BundleError> {
    if desired.privileged {
        linux.set_seccomp(None).set_masked_paths(None).set_readonly_paths(None);
        return Ok(());
    }
    let mut profile = serde_json::from_str(SECCOMP)?;
    if !desired.huge_pages.is_empty() {
        pages::allow_in(&mut profile);
    }
    let seccomp: LinuxSeccomp = serde_json::from_value(profile)?;
    let mut masked = oci_spec::runtime::get_default_maskedpaths();
    masked.extend(["/proc/interrupts", "/sys/devices/virtual/powercap"].map(str::to_owned));
    linux
        .set_seccomp(Some(seccomp))
        .set_masked_paths(Some(masked))
        .set_readonly_paths(Some(oci_spec::runtime::get_default_readonly_paths()));
    Ok(())
}

/// The builder's default lets a runtime set up control groups; here the unit has them, and asking it for
/// limits as well would fail.
fn without_resources(mut linux: Linux) -> Linux {
    linux.set_resources(None);
    linux.set_cgroups_path(None);
    linux
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;

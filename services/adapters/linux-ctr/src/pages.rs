//! Huge pages of containers: how many each may have, and how that is held.
//!
//! The kernel counts them in control groups (`hugetlb`), of which the service manager knows nothing. So a small program,
//! `skerry-pages` ([`crate::allot`]), writes the limits into the control group that it was started in and becomes the
//! container. A pod that has huge pages has a slice of its own with the limit of all of it: folders in huge pages outlive
//! the containers that filled them, and programs of people and probes are in units of their own.
//!
//! Nearly all containers have none, and are kept from them by the list of system calls alone. A privileged one has no such
//! list and gets limits of none.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skerry_containers::{ContainerDesired, PodPages, RuntimeError};
use skerry_linux_host::systemd::{Properties, Systemd, SystemdError};
use skerry_model::{HugePageSize, Id, Pod};

use crate::places::Places;
use crate::runtime::io_failed;
use crate::service::SLICE;
use crate::supervisor::HostMount;
use crate::volumes;

/// The file in the bundle that says how programs in the container are held.
const FILE: &str = "pages";
/// Where the kernel tells the NUMA nodes that it has.
const NODES: &str = "/sys/devices/system/node/online";
/// How long a slice may take to come up.
const DEADLINE: Duration = Duration::from_secs(20);
/// System calls that ask for huge pages by a flag.
const CALLS: [&str; 3] = ["mmap", "memfd_create", "shmget"];

/// How a container is held to its huge pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allotment {
    /// The slice that its units are in.
    pub slice: String,
    /// What stands before the words of a program in it.
    words: Vec<String>,
}

impl Allotment {
    /// The one of this container; `None` if the list of system calls is enough.
    pub fn of(pod: Id<Pod>, desired: &ContainerDesired, places: &Places) -> Option<Self> {
        let own: Vec<_> = desired.huge_pages.iter().map(|it| (it.size, it.count())).collect();
        if own.is_empty() && !desired.privileged {
            // In a slice with limits it may be all the same, so that its neighbours' count.
            let slice = desired.pod_pages.as_ref().map(|_| slice_of(pod))?;
            return Some(Self { slice, words: Vec::new() });
        }
        let mut words = vec![places.pages.to_string_lossy().into_owned()];
        if let Some(PodPages { limits, .. }) = &desired.pod_pages {
            words.push("above".to_owned());
            words.extend(limits.iter().map(limit));
        }
        words.push("own".to_owned());
        words.extend(own.iter().map(limit));
        words.push("--".to_owned());
        let slice = desired.pod_pages.as_ref().map_or(SLICE.to_owned(), |_| slice_of(pod));
        Some(Self { slice, words })
    }

    /// A program's words with what holds it before them.
    pub fn before(&self, program: Vec<String>) -> Vec<String> {
        self.words.iter().cloned().chain(program).collect()
    }

    /// Notes it in the bundle, for those who start programs in the container.
    pub fn note(this: Option<&Self>, bundle: &Path) -> io::Result<()> {
        match this {
            Some(this) => {
                crate::folders::write(&bundle.join(FILE), &serde_json::to_vec(this)?, 0o600)
            }
            None => crate::folders::absent_is_fine(fs::remove_file(bundle.join(FILE))),
        }
    }

    /// The slice and the words of a program that is to run in the container of this bundle.
    pub fn hold(
        bundle: &Path,
        program: Vec<String>,
    ) -> Result<(String, Vec<String>), RuntimeError> {
        let failed = || io_failed("cannot read how the container is held to its huge pages");
        match fs::read(bundle.join(FILE)) {
            Ok(text) => {
                let this: Self = serde_json::from_slice(&text).map_err(|e| failed()(e.into()))?;
                let words = this.before(program);
                Ok((this.slice, words))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok((SLICE.to_owned(), program))
            }
            Err(error) => Err(failed()(error)),
        }
    }
}

/// The slice of a pod that has huge pages.
pub fn slice_of(pod: Id<Pod>) -> String {
    format!("skerry-pods-{}.slice", pod.short())
}

/// A limit as `skerry-pages` takes it: the kernel's word for the size, and bytes.
fn limit((size, count): &(HugePageSize, u64)) -> String {
    let bytes = count.saturating_mul(size.mib()).saturating_mul(1 << 20);
    let word = match size {
        HugePageSize::Mib2 => "2MB",
        HugePageSize::Gib1 => "1GB",
    };
    format!("{word}={bytes}")
}

/// Sees to it that a pod's slice is there, and that its memory is of the NUMA nodes where its huge pages are counted.
pub async fn make_slice(
    systemd: &Systemd,
    slice: &str,
    pages: &PodPages,
) -> Result<(), SystemdError> {
    let nodes = memory_nodes(pages, &fs::read_to_string(NODES).unwrap_or_default());
    let places = || Properties::new().octets("AllowedMemoryNodes", nodes.clone());
    let about = places().text("Description", "Skerry: a pod that has huge pages");
    match systemd.start_transient(slice, &about, DEADLINE).await {
        Err(error) if error.is_unit_exists() => systemd.set_properties(slice, &places()).await,
        other => other,
    }
}

/// The NUMA nodes as the service manager takes them, a bit for each; none, which is any, where there is only one.
fn memory_nodes(pages: &PodPages, online: &str) -> Vec<u8> {
    let mut bits = Vec::new();
    let is_one = online.trim().parse::<u32>().is_ok() || online.is_empty();
    for node in pages.nodes.iter().filter(|_| !is_one) {
        let (byte, bit) = (usize::try_from(node / 8).unwrap_or(0), node % 8);
        bits.resize(bits.len().max(byte + 1), 0_u8);
        if let Some(byte) = bits.get_mut(byte) {
            *byte |= 1 << bit;
        }
    }
    bits
}

/// The file system of a folder in huge pages.
pub fn mount(folder: &Path, size: HugePageSize, size_mib: Option<u64>) -> HostMount {
    let page = match size {
        HugePageSize::Mib2 => "2M",
        HugePageSize::Gib1 => "1G",
    };
    let most = size_mib.map(|most| format!(",size={most}M")).unwrap_or_default();
    let options = format!("nosuid,nodev,mode=777,pagesize={page}{most}");
    let (kind, what) = ("hugetlbfs", "hugetlbfs".into());
    HostMount { kind, what, target: volumes::tree(folder), options }
}

/// Takes out of a list of system calls what keeps a container from huge pages.
pub fn allow_in(profile: &mut Value) {
    let Some(rules) = profile.get_mut("syscalls").and_then(Value::as_array_mut) else { return };
    rules.retain(|rule| !CALLS.iter().any(|call| rule.get("names") == Some(&json!([call]))));
    rules.push(json!({"names": CALLS, "action": "SCMP_ACT_ALLOW"}));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{desired, pod};
    use skerry_model::ContainerPages;

    const SMALL: HugePageSize = HugePageSize::Mib2;

    fn places() -> Places {
        Places::below(Path::new("/d"), Path::new("/r"))
    }

    fn program() -> Vec<String> {
        vec!["/usr/bin/crun".to_owned(), "run".to_owned()]
    }

    fn with_pages(own: &[(HugePageSize, u64)]) -> ContainerDesired {
        let mut desired = desired("web").with_pages(vec![(SMALL, 5)], &[]);
        desired.huge_pages =
            own.iter().map(|(size, mib)| ContainerPages { size: *size, mib: *mib }).collect();
        desired
    }

    #[test]
    fn nothing_stands_before_a_container_that_is_held_by_its_system_calls() {
        assert_eq!(Allotment::of(pod(), &desired("web"), &places()), None);
        let beside = Allotment::of(pod(), &with_pages(&[]), &places()).unwrap();
        assert_eq!(beside.before(program()), program());
        assert_eq!(beside.slice, "skerry-pods-0b6d1a52.slice");
    }

    #[test]
    fn limits_stand_before_those_that_have_some_and_those_that_nothing_else_keeps_from_them() {
        let both = with_pages(&[(SMALL, 4), (HugePageSize::Gib1, 1024)]);
        let words = Allotment::of(pod(), &both, &places()).unwrap().before(program());
        let text = "/usr/bin/skerry-pages above 2MB=10485760 own 2MB=4194304 1GB=1073741824 -- \
                    /usr/bin/crun run";
        assert_eq!(words.join(" "), text);
        let mut mighty = desired("web");
        mighty.privileged = true;
        let held = Allotment::of(pod(), &mighty, &places()).unwrap();
        assert_eq!(held.before(vec!["x".to_owned()]).join(" "), "/usr/bin/skerry-pages own -- x");
        assert_eq!(held.slice, SLICE);
    }

    #[test]
    fn who_starts_programs_finds_it_in_the_bundle() {
        let bundle = tempfile::tempdir().unwrap();
        let none = Allotment::hold(bundle.path(), program()).unwrap();
        assert_eq!(none, (SLICE.to_owned(), program()));
        let held = Allotment::of(pod(), &with_pages(&[(SMALL, 2)]), &places());
        Allotment::note(held.as_ref(), bundle.path()).unwrap();
        let found = Allotment::hold(bundle.path(), program()).unwrap();
        let held = held.unwrap();
        assert_eq!(found, (held.slice.clone(), held.before(program())));
        fs::write(bundle.path().join(FILE), "{").unwrap();
        assert!(Allotment::hold(bundle.path(), program()).is_err(), "not held is not started");
        Allotment::note(None, bundle.path()).unwrap();
        assert_eq!(Allotment::hold(bundle.path(), program()).unwrap(), none);
    }

    #[test]
    fn memory_is_of_the_nodes_where_pages_are_counted_if_there_are_several() {
        let pages = |nodes: &[u32]| PodPages { limits: Vec::new(), nodes: nodes.to_vec() };
        assert_eq!(memory_nodes(&pages(&[0]), "0\n"), [0; 0]);
        assert_eq!(memory_nodes(&pages(&[0]), ""), [0; 0]);
        assert_eq!(memory_nodes(&pages(&[1]), "0-1\n"), [2]);
        assert_eq!(memory_nodes(&pages(&[0, 9]), "0,9\n"), [1, 2]);
        assert_eq!(memory_nodes(&pages(&[]), "0-1\n"), [0; 0]);
    }

    #[test]
    fn a_folder_is_of_one_size_of_pages_and_may_have_a_size_of_its_own() {
        let made = |size, most| mount(Path::new("/v"), size, most).options;
        assert_eq!(made(SMALL, None), "nosuid,nodev,mode=777,pagesize=2M");
        assert!(made(HugePageSize::Gib1, Some(2048)).ends_with("pagesize=1G,size=2048M"));
    }

    #[test]
    fn the_list_of_system_calls_loses_nothing_else() {
        let profile = include_str!("../../../../config/seccomp/container.json");
        let before: Value = serde_json::from_str(profile).unwrap();
        let mut after = before.clone();
        allow_in(&mut after);
        let rules = |value: &Value| value["syscalls"].as_array().unwrap().clone();
        assert_eq!(rules(&after).len(), rules(&before).len() - 2 * CALLS.len() + 1);
        let rest: Vec<Value> =
            rules(&before).into_iter().filter(|rule| rules(&after).contains(rule)).collect();
        assert_eq!(rest, rules(&after)[..rest.len()]);
        let allowed = json!({"names": CALLS, "action": "SCMP_ACT_ALLOW"});
        assert_eq!(rules(&after).last(), Some(&allowed));
    }
}

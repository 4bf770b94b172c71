//! Processors with their cores and NUMA nodes, and huge pages, from `/sys/devices/system`.

use std::collections::BTreeMap;
use std::path::Path;

use skerry_compute::{HostCpu, NumaNode, PagePool, Topology};
use skerry_model::{CpuSet, HugePageSize};

use crate::roots::{Roots, names, number, text};

/// What the kernel says now. A kernel that tells nothing of cores or nodes has cores of one thread, or one node.
pub(crate) fn topology(roots: &Roots) -> Topology {
    let cpus = roots.sys.join("devices/system/cpu");
    let isolated = set(&cpus.join("isolated"));
    let nodes = nodes(roots);
    let node_of: BTreeMap<u32, u32> = nodes
        .iter()
        .flat_map(|(node, members)| members.iter().map(|cpu| (cpu, node.id)).collect::<Vec<_>>())
        .collect();
    let first = nodes.first().map_or(0, |(node, _)| node.id);
    let cpu = |id: u32| {
        let mates = set(&cpus.join(format!("cpu{id}/topology/thread_siblings_list")));
        HostCpu {
            id,
            core: mates.iter().next().unwrap_or(id),
            node: node_of.get(&id).copied().unwrap_or(first),
            isolated: isolated.contains(id),
        }
    };
    Topology {
        cpus: set(&cpus.join("online")).iter().map(cpu).collect(),
        nodes: nodes.into_iter().map(|(node, _)| node).collect(),
    }
}

fn set(path: &Path) -> CpuSet {
    text(path).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The NUMA nodes with their processors.
fn nodes(roots: &Roots) -> Vec<(NumaNode, CpuSet)> {
    let folder = roots.sys.join("devices/system/node");
    let node = |name: String| {
        let id = name.strip_prefix("node")?.parse().ok()?;
        let own = folder.join(&name);
        let memory_mib = memory_mib(&own.join("meminfo"));
        let pages = pages(&own.join("hugepages"));
        Some((NumaNode { id, memory_mib, pages }, set(&own.join("cpulist"))))
    };
    let mut found: Vec<_> = names(&folder).into_iter().filter_map(node).collect();
    found.sort_by_key(|(node, _)| node.id);
    if found.is_empty() {
        let memory_mib = memory_mib(&roots.proc.join("meminfo"));
        let pages = pages(&roots.sys.join("kernel/mm/hugepages"));
        found.push((NumaNode { id: 0, memory_mib, pages }, CpuSet::default()));
    }
    found
}

/// `MemTotal` in KiB, with `Node 0` before it or not.
fn memory_mib(path: &Path) -> u64 {
    let meminfo = text(path).unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.split_once("MemTotal:"));
    let kib = total.and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn pages(folder: &Path) -> Vec<PagePool> {
    let sizes = [(HugePageSize::Mib2, 2048), (HugePageSize::Gib1, 1_048_576)];
    let pool = |(size, kib): (HugePageSize, u32)| {
        let own = folder.join(format!("hugepages-{kib}kB"));
        let total = number(own.join("nr_hugepages"))?;
        Some(PagePool { size, total, free: number(own.join("free_hugepages")).unwrap_or(0) })
    };
    sizes.into_iter().filter_map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{content}\n")).unwrap();
        }
        let roots = Roots::below(root.path());
        (root, roots)
    }

    #[test]
    fn a_machine_of_two_nodes_is_read() {
        let cpu = "sys/devices/system/cpu";
        let node = "sys/devices/system/node";
        let mates = |id: u32| format!("{cpu}/cpu{id}/topology/thread_siblings_list");
        let (a, b, c, d) = (mates(0), mates(1), mates(2), mates(3));
        let (_root, roots) = tree(&[
            (&format!("{cpu}/online"), "0-3"),
            (&format!("{cpu}/isolated"), "1,3"),
            (&a, "0,2"),
            (&b, "1,3"),
            (&c, "0,2"),
            (&d, "1,3"),
            (&format!("{node}/node0/cpulist"), "0,2"),
            (
                &format!("{node}/node0/meminfo"),
                "Node 0 MemTotal:  4194304 kB\nNode 0 MemFree: 1 kB",
            ),
            (&format!("{node}/node1/cpulist"), "1,3"),
            (&format!("{node}/node1/meminfo"), "Node 1 MemTotal:  2097152 kB"),
            (&format!("{node}/node1/hugepages/hugepages-2048kB/nr_hugepages"), "512"),
            (&format!("{node}/node1/hugepages/hugepages-2048kB/free_hugepages"), "500"),
            (&format!("{node}/node1/hugepages/hugepages-16kB/nr_hugepages"), "1"),
            (&format!("{node}/possible"), "0-1"),
        ]);
        let seen = topology(&roots);
        let short: Vec<_> =
            seen.cpus.iter().map(|cpu| (cpu.id, cpu.core, cpu.node, cpu.isolated)).collect();
        assert_eq!(short, [(0, 0, 0, false), (1, 1, 1, true), (2, 0, 0, false), (3, 1, 1, true)]);
        let pool = PagePool { size: HugePageSize::Mib2, total: 512, free: 500 };
        let node = |id, memory_mib, pages| NumaNode { id, memory_mib, pages };
        assert_eq!(seen.nodes, [node(0, 4096, vec![]), node(1, 2048, vec![pool])]);
    }

    #[test]
    fn a_kernel_that_tells_little_has_one_node_and_plain_cores() {
        let (_root, roots) = tree(&[
            ("sys/devices/system/cpu/online", "0-1"),
            ("proc/meminfo", "MemTotal:       1048576 kB"),
        ]);
        assert_eq!(topology(&roots), Topology::plain(2, 1024));
        let (_root, empty) = tree(&[]);
        assert_eq!(topology(&empty), Topology::plain(0, 0));
    }
}

//! Why the machine has no place for a guest, with the numbers.

use std::fmt;

use skerry_model::{CpuSet, HugePageSize};

/// What one NUMA node has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRoom {
    /// Its number.
    pub node: u32,
    /// Processors of whole free cores.
    pub cpus: u32,
    /// Free huge pages of the size in question.
    pub pages: u64,
    /// Free ordinary memory in MiB.
    pub memory_mib: u64,
}

/// One thing that is short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacementShortage {
    /// Processors that were named are not there.
    CpusMissing {
        /// Them.
        missing: CpuSet,
        /// All there are.
        online: CpuSet,
    },
    /// Processors that were named are kept for the node.
    CpusKept {
        /// Them.
        kept: CpuSet,
        /// Those that may be named.
        pool: CpuSet,
    },
    /// Processors that were named are another guest's.
    CpusTaken {
        /// Them.
        taken: CpuSet,
        /// Whose.
        holders: Vec<String>,
    },
    /// Processors that were named belong to several NUMA nodes.
    CpusApart {
        /// Them.
        set: CpuSet,
        /// Their nodes.
        nodes: Vec<u32>,
    },
    /// Not enough processors are left.
    Cpus {
        /// Asked for.
        wanted: u32,
        /// Free, in whole cores.
        free: u32,
        /// All that are given away.
        total: u32,
    },
    /// The machine has no huge pages of this size.
    NoPages {
        /// It.
        size: HugePageSize,
    },
    /// Not enough huge pages are left.
    Pages {
        /// Their size.
        size: HugePageSize,
        /// Asked for.
        wanted: u64,
        /// Free.
        free: u64,
        /// All there are.
        total: u64,
    },
    /// There is enough, but on no single NUMA node.
    OneNode {
        /// Processors asked for.
        cpus: u32,
        /// Huge pages asked for.
        pages: Option<(HugePageSize, u64)>,
        /// Ordinary memory asked for, in MiB.
        memory_mib: u64,
        /// What each has.
        nodes: Vec<NodeRoom>,
    },
}

/// The machine has no place for a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PlacementRefused {
    /// Everything that is short.
    pub shortages: Vec<PlacementShortage>,
}

impl PlacementRefused {
    /// One word for programs: whether processors that were named do not exist, or something is in use.
    pub fn reason(&self) -> &'static str {
        let missing = |short: &PlacementShortage| {
            matches!(
                short,
                PlacementShortage::CpusMissing { .. } | PlacementShortage::NoPages { .. }
            )
        };
        if self.shortages.iter().any(missing) { "NotOnThisMachine" } else { "DoesNotFit" }
    }
}

impl fmt::Display for PlacementRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("does not fit on this machine: ")?;
        for (index, short) in self.shortages.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "; " })?;
            write!(f, "{short}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PlacementShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CpusMissing { missing, online } => write!(
                f,
                "asks for the CPUs {missing}, which the machine does not have: it has {online}"
            ),
            Self::CpusKept { kept, pool } if pool.is_empty() => write!(
                f,
                "asks for the CPUs {kept}, which are kept for the node, and there are no others"
            ),
            Self::CpusKept { kept, pool } => write!(
                f,
                "asks for the CPUs {kept}, which are kept for the node: choose from {pool}"
            ),
            Self::CpusTaken { taken, holders } => write!(
                f,
                "asks for the CPUs {taken}, which belong to {}: choose others, or stop that",
                holders.join(", ")
            ),
            Self::CpusApart { set, nodes } => write!(
                f,
                "the CPUs {set} lie on the NUMA nodes {}: choose from one, or set numa to spread",
                list(nodes)
            ),
            Self::Cpus { wanted, free, total } => write!(
                f,
                "asks for {wanted} dedicated CPUs, {free} of {total} are free in whole cores: ask for fewer, \
                 or stop another that has some"
            ),
            Self::NoPages { size } => write!(
                f,
                "asks for huge pages of {}, and the machine has none set aside: the kernel's arguments \
                 of its board do that",
                size.shown()
            ),
            Self::Pages { size, wanted, free, total } => write!(
                f,
                "asks for {wanted} huge pages of {}, {free} of {total} are free: ask for less memory, or \
                 stop another that has some",
                size.shown()
            ),
            Self::OneNode { cpus, pages, memory_mib, nodes } => {
                one_node(f, *cpus, *pages, *memory_mib, nodes)
            }
        }
    }
}

fn one_node(
    f: &mut fmt::Formatter<'_>,
    cpus: u32,
    pages: Option<(HugePageSize, u64)>,
    memory_mib: u64,
    nodes: &[NodeRoom],
) -> fmt::Result {
    let parts = |cpus: u32, pages: Option<(HugePageSize, u64)>, memory_mib: u64| {
        let cpus = (cpus > 0).then(|| format!("{cpus} dedicated CPUs"));
        let pages = pages.map(|(size, count)| format!("{count} huge pages of {}", size.shown()));
        let memory = (memory_mib > 0).then(|| format!("{memory_mib} MiB"));
        [cpus, pages, memory].into_iter().flatten().collect::<Vec<_>>().join(" and ")
    };
    write!(f, "asks for {} of one NUMA node; ", parts(cpus, pages, memory_mib))?;
    for room in nodes {
        let cpus = (cpus > 0).then(|| format!("{} CPUs", room.cpus));
        let pages = pages.map(|_| format!("{} pages", room.pages));
        let memory = (memory_mib > 0).then(|| format!("{} MiB", room.memory_mib));
        let left = [cpus, pages, memory].into_iter().flatten().collect::<Vec<_>>().join(", ");
        write!(f, "node {} has {left} free; ", room.node)?;
    }
    f.write_str("ask for less, or set numa to spread")
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

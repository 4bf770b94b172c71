//! What the machine has of processors, NUMA nodes and huge pages, and the port by which that is seen.
//!
//! Data and a few questions to it. What becomes of it is decided by [`crate::place`].

use async_trait::async_trait;
use skerry_model::{CpuSet, HostDevice, HugePageSize, PciAddress};

use crate::{PciFunction, VirtualCard, VirtualError};

/// A logical processor that is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCpu {
    /// Its number.
    pub id: u32,
    /// The lowest number among the threads of its core, which stands for the core.
    pub core: u32,
    /// Its NUMA node.
    pub node: u32,
    /// Whether the kernel puts nothing on it by itself (`isolcpus`).
    pub isolated: bool,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagePool {
    /// Their size.
    pub size: HugePageSize,
    /// All that are set aside.
    pub total: u64,
    /// Those in nobody's use now.
    pub free: u64,
}

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumaNode {
    /// Its number.
    pub id: u32,
    /// Its memory in MiB, huge pages included.
    pub memory_mib: u64,
    /// Its huge pages.
    pub pages: Vec<PagePool>,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Its processors, by number.
    pub cpus: Vec<HostCpu>,
    /// Its NUMA nodes, by number; at least one.
    pub nodes: Vec<NumaNode>,
}

/// The port to the machine's topology and its PCI functions.
#[async_trait]
pub trait TopologyHost: Send + Sync + 'static {
    /// How things stand now: huge pages can be set aside while the machine runs. Small files of the kernel's are read,
    /// which takes a few milliseconds at most.
    fn topology(&self) -> Topology;

    /// The machine's PCI functions, by address.
    fn pci(&self) -> Vec<PciFunction>;

    /// Gives a function so many virtual ones, and no driver of the machine's takes them. Nothing is done if it has them;
    /// otherwise those that it has go.
    async fn make_virtual(&self, of: &PciAddress, count: u32) -> Result<(), VirtualError>;

    /// Tells a card what it is to know of a virtual function before a guest has that.
    async fn set_virtual(&self, card: &VirtualCard) -> Result<(), VirtualError>;

    /// The devices that virtual machines may have, and those that they may not.
    fn devices(&self) -> Vec<HostDevice>;
}

impl Topology {
    /// A machine of one NUMA node, whose cores have one thread each, without huge pages.
    pub fn plain(cpus: u32, memory_mib: u64) -> Self {
        let cpu = |id| HostCpu { id, core: id, node: 0, isolated: false };
        let node = NumaNode { id: 0, memory_mib, pages: Vec::new() };
        Self { cpus: (0..cpus).map(cpu).collect(), nodes: vec![node] }
    }

    /// All processors.
    pub fn online(&self) -> CpuSet {
        self.cpus.iter().map(|cpu| cpu.id).collect()
    }

    /// Those on which the kernel puts nothing by itself.
    pub fn isolated(&self) -> CpuSet {
        self.cpus.iter().filter(|cpu| cpu.isolated).map(|cpu| cpu.id).collect()
    }

    /// Those that may be given to a guest for itself: the isolated ones; if there are none, all but the first core,
    /// which is kept for the node.
    pub fn pool(&self) -> CpuSet {
        let isolated = self.isolated();
        if !isolated.is_empty() {
            return isolated;
        }
        let first = self.cpus.iter().map(|cpu| cpu.core).min();
        self.cpus.iter().filter(|cpu| Some(cpu.core) != first).map(|cpu| cpu.id).collect()
    }

    /// Those that are never given away: for the node, and for those threads of QEMU that are not the guest's.
    pub fn housekeeping(&self) -> CpuSet {
        self.online().without(&self.pool())
    }

    /// Whether there are several NUMA nodes.
    pub const fn has_numa(&self) -> bool {
        self.nodes.len() > 1
    }

    /// The NUMA nodes of some processors, ascending.
    pub fn nodes_of(&self, cpus: &CpuSet) -> Vec<u32> {
        let mut nodes: Vec<u32> =
            self.cpus.iter().filter(|cpu| cpus.contains(cpu.id)).map(|cpu| cpu.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Memory in huge pages, in use or not, in MiB.
    pub fn huge_mib(&self) -> u64 {
        let pools = self.nodes.iter().flat_map(|node| &node.pages);
        pools.map(|pool| pool.total.saturating_mul(pool.size.mib())).fold(0, u64::saturating_add)
    }
}

impl NumaNode {
    /// Its huge pages of a size; none if there are none.
    pub fn pool(&self, size: HugePageSize) -> PagePool {
        let none = PagePool { size, total: 0, free: 0 };
        self.pages.iter().find(|pool| pool.size == size).copied().unwrap_or(none)
    }

    /// Its memory in ordinary pages, in MiB.
    pub fn ordinary_mib(&self) -> u64 {
        let huge = self.pages.iter().map(|pool| pool.total.saturating_mul(pool.size.mib()));
        self.memory_mib.saturating_sub(huge.fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> CpuSet {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_core_with_all_its_threads_is_kept_for_the_node() {
        let mut machine = Topology::plain(4, 1024);
        assert_eq!((machine.pool(), machine.housekeeping()), (set("1-3"), set("0")));
        for (cpu, core) in machine.cpus.iter_mut().zip([0, 1, 0, 1]) {
            cpu.core = core;
        }
        assert_eq!((machine.pool(), machine.housekeeping()), (set("1,3"), set("0,2")));
        assert!(Topology::plain(1, 1024).pool().is_empty());
        assert!(Topology::default().pool().is_empty());
    }

    #[test]
    fn isolated_processors_are_the_pool_if_there_are_any() {
        let mut machine = Topology::plain(4, 1024);
        machine.cpus[3].isolated = true;
        assert_eq!((machine.pool(), machine.housekeeping()), (set("3"), set("0-2")));
    }

    #[test]
    fn huge_pages_are_no_ordinary_memory() {
        let mut machine = Topology::plain(2, 4096);
        let pool = |size, total| PagePool { size, total, free: 0 };
        machine.nodes[0].pages = vec![pool(HugePageSize::Mib2, 100), pool(HugePageSize::Gib1, 1)];
        assert_eq!((machine.huge_mib(), machine.nodes[0].ordinary_mib()), (1224, 2872));
        assert_eq!(Topology::plain(1, 1).nodes[0].pool(HugePageSize::Mib2).total, 0);
    }
}

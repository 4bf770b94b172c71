//! Which of the machine's processors and huge pages a guest gets for itself.
//!
//! Pure: the machine, what others have and the wish come in; a placement or every shortage with its numbers comes out.
//! Whole cores are given, so that no thread of another guest runs beside one of this. What a guest had the last time it
//! has again if that is free. Everything comes from one NUMA node unless the wish allows more, and then from as few as
//! possible.

use std::collections::BTreeMap;

use skerry_model::{CpuSet, HugePageSize, HugePagesTaken, NumaPolicy, VmPlacement, VmSpec};

use crate::Topology;
use crate::cells::{cells, share};
use crate::shortage::{NodeRoom, PlacementRefused, PlacementShortage};

/// What is wanted for one guest alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// How many processors; none if they are shared.
    pub cpus: u32,
    /// Which, if that is not left to the node.
    pub set: Option<CpuSet>,
    /// Huge pages, by size and number.
    pub pages: Option<(HugePageSize, u64)>,
    /// Ordinary memory in MiB; none if the pages are huge.
    pub memory_mib: u64,
    /// Whether it may come from several NUMA nodes.
    pub spread: bool,
    /// Whether its guest then sees these nodes. One whose memory may grow does not: it has one node, which grows.
    pub cells: bool,
}

impl Wish {
    /// What this spec wants; `None` if nothing has to be set apart.
    pub fn of(spec: &VmSpec) -> Option<Self> {
        let pages = spec.huge_pages.map(|size| (size, spec.memory_mib.div_ceil(size.mib())));
        spec.needs_placement().then(|| Self {
            cpus: if spec.has_dedicated_cpus() { spec.vcpus } else { 0 },
            set: spec.cpu.as_ref().and_then(|cpu| cpu.set.clone()),
            pages,
            memory_mib: if pages.is_some() { 0 } else { spec.memory_mib },
            spread: spec.numa == Some(NumaPolicy::Spread),
            cells: spec.max_memory_mib.is_none(),
        })
    }
}

/// What others have for themselves.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Processors, and who has them.
    cpus: BTreeMap<u32, String>,
    /// Huge pages by NUMA node and size.
    pages: BTreeMap<(u32, HugePageSize), u64>,
    /// Ordinary memory in MiB by NUMA node, of those that have it from one.
    memory_mib: BTreeMap<u32, u64>,
    /// Whether the kernel's own count of free pages is to be believed, too: for a start, not for a plan.
    now: bool,
}

impl Taken {
    /// Nothing yet. With `now` the kernel's own count of free pages is to be believed, too.
    pub fn nothing(now: bool) -> Self {
        Self { now, ..Self::default() }
    }

    /// Adds what one of them has.
    pub fn add(&mut self, who: &str, placement: &VmPlacement, memory_mib: u64) {
        for cpu in placement.reserved.iter() {
            self.cpus.insert(cpu, who.to_owned());
        }
        self.add_pages(&placement.huge_pages);
        if let ([node], true) = (placement.numa_nodes.as_slice(), placement.huge_pages.is_empty()) {
            let held = self.memory_mib.entry(*node).or_default();
            *held = held.saturating_add(memory_mib);
        }
    }

    /// Adds huge pages that somebody has.
    pub fn add_pages(&mut self, pages: &[HugePagesTaken]) {
        for taken in pages {
            let count = self.pages.entry((taken.node, taken.size)).or_default();
            *count = count.saturating_add(taken.count);
        }
    }

    /// The same without the kernel's own count.
    #[must_use]
    pub fn by_the_records(self) -> Self {
        Self { now: false, ..self }
    }

    /// Whether these are left of the machine.
    pub fn leaves(&self, topology: &Topology, pages: &HugePagesTaken) -> bool {
        let machine = Machine { topology, taken: self };
        machine.free_pages_of(pages.node, pages.size) >= pages.count
    }

    /// The processors.
    fn cpus(&self) -> CpuSet {
        self.cpus.keys().copied().collect()
    }
}

/// A place for a guest. `former` is what it had the last time, if that is what it still wants.
pub fn place(
    topology: &Topology,
    taken: &Taken,
    wish: &Wish,
    former: Option<&VmPlacement>,
) -> Result<VmPlacement, PlacementRefused> {
    if let Some(same) = former.and_then(|former| keep(topology, taken, former)) {
        return Ok(same);
    }
    let machine = Machine { topology, taken };
    match &wish.set {
        Some(set) => machine.named(wish, set),
        None => machine.chosen(wish),
    }
}

/// The same place again, if the machine still has it and it is free.
pub fn keep(topology: &Topology, taken: &Taken, former: &VmPlacement) -> Option<VmPlacement> {
    let free = topology.pool().without(&taken.cpus());
    let machine = Machine { topology, taken };
    let nodes = topology.nodes_of(&former.reserved);
    let there = former.reserved.is_within(&free)
        && match topology.has_numa() {
            true => nodes.iter().all(|node| former.numa_nodes.contains(node)),
            false => former.numa_nodes.is_empty(),
        }
        && former
            .huge_pages
            .iter()
            .all(|pages| machine.free_pages_of(pages.node, pages.size) >= pages.count);
    there.then(|| VmPlacement {
        emulator: machine.emulator(!former.cpus.is_empty()),
        ..former.clone()
    })
}

/// The machine and what is taken of it.
struct Machine<'a> {
    topology: &'a Topology,
    taken: &'a Taken,
}

/// What one NUMA node has left.
#[derive(Debug, Clone)]
struct Room {
    node: u32,
    /// Whole free cores, by their threads.
    cores: Vec<Vec<u32>>,
    pages: u64,
    memory_mib: u64,
}

impl Room {
    fn cpus(&self) -> usize {
        self.cores.iter().map(Vec::len).sum()
    }

    fn holds(&self, wish: &Wish) -> bool {
        let cpus = usize::try_from(wish.cpus).unwrap_or(usize::MAX);
        self.cpus() >= cpus
            && wish.pages.is_none_or(|(_, count)| self.pages >= count)
            && self.memory_mib >= wish.memory_mib
    }
}

impl Machine<'_> {
    fn free_pages_of(&self, node: u32, size: HugePageSize) -> u64 {
        let node = self.topology.nodes.iter().find(|other| other.id == node);
        let Some(node) = node else { return 0 };
        let pool = node.pool(size);
        let held = self.taken.pages.get(&(node.id, size)).copied().unwrap_or(0);
        let left = pool.total.saturating_sub(held);
        if self.taken.now { left.min(pool.free) } else { left }
    }

    /// Threads of QEMU keep off processors that are given away.
    fn emulator(&self, dedicated: bool) -> CpuSet {
        if dedicated { self.topology.housekeeping() } else { CpuSet::default() }
    }

    fn rooms(&self, wish: &Wish) -> Vec<Room> {
        let pool = self.topology.pool();
        let taken = self.taken.cpus();
        let mut cores: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
        for cpu in &self.topology.cpus {
            cores.entry((cpu.node, cpu.core)).or_default().push(cpu.id);
        }
        let free = |cpu: &u32| pool.contains(*cpu) && !taken.contains(*cpu);
        cores.retain(|_, threads| threads.iter().all(free));
        let room = |node: &crate::NumaNode| {
            let held = self.taken.memory_mib.get(&node.id).copied().unwrap_or(0);
            let own = cores.iter().filter(|((of, _), _)| *of == node.id);
            Room {
                node: node.id,
                cores: own.map(|(_, threads)| threads.clone()).collect(),
                pages: wish.pages.map_or(0, |(size, _)| self.free_pages_of(node.id, size)),
                // With one node there is nothing to choose, and admission counts its memory already.
                memory_mib: match self.topology.has_numa() {
                    true => node.ordinary_mib().saturating_sub(held),
                    false => u64::MAX,
                },
            }
        };
        self.topology.nodes.iter().map(room).collect()
    }

    /// Processors that were named.
    fn named(&self, wish: &Wish, set: &CpuSet) -> Result<VmPlacement, PlacementRefused> {
        let (online, pool) = (self.topology.online(), self.topology.pool());
        let missing = set.without(&online);
        let kept = set.shared_with(&online).without(&pool);
        let shared = set.shared_with(&self.taken.cpus());
        let mut shortages = Vec::new();
        if !missing.is_empty() {
            shortages.push(PlacementShortage::CpusMissing { missing, online });
        }
        if !kept.is_empty() {
            shortages.push(PlacementShortage::CpusKept { kept, pool });
        }
        if !shared.is_empty() {
            let holders = shared.iter().filter_map(|cpu| self.taken.cpus.get(&cpu).cloned());
            let mut holders: Vec<String> = holders.collect();
            holders.sort();
            holders.dedup();
            shortages.push(PlacementShortage::CpusTaken { taken: shared, holders });
        }
        let nodes = self.topology.nodes_of(set);
        if nodes.len() > 1 && !wish.spread {
            shortages.push(PlacementShortage::CpusApart { set: set.clone(), nodes: nodes.clone() });
        }
        let rooms: Vec<Room> =
            self.rooms(wish).into_iter().filter(|room| nodes.contains(&room.node)).collect();
        self.missing_pages(wish, &rooms, &mut shortages);
        let memory_fits = rooms.iter().any(|room| room.memory_mib >= wish.memory_mib);
        if shortages.is_empty() && !wish.spread && !memory_fits {
            shortages.push(one_node(wish, &rooms));
        }
        if !shortages.is_empty() {
            return Err(PlacementRefused { shortages });
        }
        Ok(self.placement(wish, set.iter().collect(), set.clone(), &rooms))
    }

    /// Processors and pages that are left to the node to choose.
    fn chosen(&self, wish: &Wish) -> Result<VmPlacement, PlacementRefused> {
        let mut rooms = self.rooms(wish);
        // What fits tightest leaves the most for a larger one.
        let tightest = rooms.iter().filter(|room| room.holds(wish));
        let tightest = tightest.min_by_key(|room| (room.cpus(), room.pages, room.node)).cloned();
        if let Some(room) = tightest {
            return Ok(self.fill(wish, &[room]));
        }
        let mut shortages = Vec::new();
        let total = self.topology.pool().len();
        let free: usize = rooms.iter().map(Room::cpus).sum();
        if usize::try_from(wish.cpus).is_ok_and(|cpus| cpus > free) {
            let (wanted, free, total) = (wish.cpus, count(free), count(total));
            shortages.push(PlacementShortage::Cpus { wanted, free, total });
        }
        self.missing_pages(wish, &rooms, &mut shortages);
        if !shortages.is_empty() {
            return Err(PlacementRefused { shortages });
        }
        if !wish.spread {
            let shortages = vec![one_node(wish, &rooms)];
            return Err(PlacementRefused { shortages });
        }
        rooms.sort_by_key(|room| std::cmp::Reverse((room.cpus(), room.pages)));
        Ok(self.fill(wish, &rooms))
    }

    fn missing_pages(&self, wish: &Wish, rooms: &[Room], shortages: &mut Vec<PlacementShortage>) {
        let Some((size, wanted)) = wish.pages else { return };
        let free = rooms.iter().map(|room| room.pages).fold(0, u64::saturating_add);
        let total = self.topology.nodes.iter().map(|node| node.pool(size).total).sum();
        if total == 0 {
            shortages.push(PlacementShortage::NoPages { size });
        } else if free < wanted {
            shortages.push(PlacementShortage::Pages { size, wanted, free, total });
        }
    }

    /// Takes what is wanted from these NUMA nodes, which have enough, in this order.
    fn fill(&self, wish: &Wish, rooms: &[Room]) -> VmPlacement {
        let wanted = usize::try_from(wish.cpus).unwrap_or(usize::MAX);
        let mut reserved = Vec::new();
        for core in rooms.iter().flat_map(|room| &room.cores) {
            if reserved.len() >= wanted {
                break;
            }
            reserved.extend_from_slice(core);
        }
        let cpus = reserved.iter().take(wanted).copied().collect();
        self.placement(wish, cpus, reserved.into_iter().collect(), rooms)
    }

    fn placement(
        &self,
        wish: &Wish,
        cpus: Vec<u32>,
        reserved: CpuSet,
        rooms: &[Room],
    ) -> VmPlacement {
        let huge_pages = self.pages(wish, &cpus, rooms);
        let cells = match wish.cells {
            true => cells(self.topology, &cpus, &huge_pages, wish.memory_mib),
            false => Vec::new(),
        };
        let mut numa_nodes = self.topology.nodes_of(&reserved);
        numa_nodes.extend(huge_pages.iter().map(|pages| pages.node));
        numa_nodes.sort_unstable();
        numa_nodes.dedup();
        if !self.topology.has_numa() {
            numa_nodes.clear();
        }
        VmPlacement {
            emulator: self.emulator(!cpus.is_empty()),
            cpus,
            reserved,
            numa_nodes,
            huge_pages,
            cells,
            pci: Vec::new(),
        }
    }

    /// Huge pages from these NUMA nodes, which have enough: where its processors are, as far as possible.
    fn pages(&self, wish: &Wish, cpus: &[u32], rooms: &[Room]) -> Vec<HugePagesTaken> {
        let Some((size, wanted)) = wish.pages else { return Vec::new() };
        let own = |room: &Room| {
            let here = |cpu: &&u32| self.topology.nodes_of(&[**cpu].into_iter().collect());
            let here = cpus.iter().filter(|cpu| here(cpu).contains(&room.node)).count();
            share(wanted, here, cpus.len()).min(room.pages)
        };
        let mut counts: Vec<u64> = rooms.iter().map(own).collect();
        let mut left = wanted.saturating_sub(counts.iter().sum());
        for (count, room) in counts.iter_mut().zip(rooms) {
            let more = left.min(room.pages.saturating_sub(*count));
            *count = count.saturating_add(more);
            left = left.saturating_sub(more);
        }
        let taken = rooms.iter().zip(counts).filter(|(_, count)| *count > 0);
        taken.map(|(room, count)| HugePagesTaken { node: room.node, size, count }).collect()
    }
}

fn one_node(wish: &Wish, rooms: &[Room]) -> PlacementShortage {
    let room = |room: &Room| NodeRoom {
        node: room.node,
        cpus: count(room.cpus()),
        pages: room.pages,
        memory_mib: room.memory_mib,
    };
    let (cpus, pages, memory_mib) = (wish.cpus, wish.pages, wish.memory_mib);
    PlacementShortage::OneNode { cpus, pages, memory_mib, nodes: rooms.iter().map(room).collect() }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;

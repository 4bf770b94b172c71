//! The NUMA nodes that a guest sees: those of the machine that it has processors and memory of.
//!
//! Pure. A guest whose processors and memory are of one node sees none, and neither does one that has only the one or
//! the other of some node: it would be told of distances that help it nothing.

use skerry_model::{CpuSet, GuestCell, HugePagesTaken};

use crate::Topology;

/// The cells of a guest with these processors, huge pages, and so much ordinary memory in MiB, which is shared out by
/// processors.
pub fn cells(
    topology: &Topology,
    cpus: &[u32],
    pages: &[HugePagesTaken],
    memory_mib: u64,
) -> Vec<GuestCell> {
    let mut nodes = topology.nodes_of(&cpus.iter().copied().collect());
    nodes.extend(pages.iter().map(|pages| pages.node));
    nodes.sort_unstable();
    nodes.dedup();
    if nodes.len() < 2 {
        return Vec::new();
    }
    let mut left = memory_mib;
    let last = nodes.last().copied();
    let cell = |node: u32| {
        let own = |cpu: u32| topology.cpus.iter().any(|it| it.id == cpu && it.node == node);
        let own = cpus.iter().enumerate().filter(|(_, cpu)| own(**cpu));
        let vcpus: CpuSet = own.filter_map(|(vcpu, _)| u32::try_from(vcpu).ok()).collect();
        let huge = pages.iter().filter(|pages| pages.node == node);
        let huge = huge.map(|pages| pages.count.saturating_mul(pages.size.mib())).sum::<u64>();
        let share = match Some(node) == last {
            true => left,
            false => share(memory_mib, vcpus.len(), cpus.len()),
        };
        left = left.saturating_sub(share);
        GuestCell { node, vcpus, memory_mib: huge.saturating_add(share) }
    };
    let cells: Vec<_> = nodes.into_iter().map(cell).collect();
    let whole = cells.iter().all(|cell| !cell.vcpus.is_empty() && cell.memory_mib > 0);
    if whole { cells } else { Vec::new() }
}

/// So many parts of a whole that has so many.
pub fn share(whole: u64, parts: usize, of: usize) -> u64 {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    whole.saturating_mul(number(parts)).checked_div(number(of)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NumaNode;
    use proptest::prelude::*;
    use skerry_model::HugePageSize;

    /// Two nodes with the processors 0 to 3 and 4 to 7.
    fn machine() -> Topology {
        let mut machine = Topology::plain(8, 4096);
        machine.cpus.iter_mut().for_each(|cpu| cpu.node = cpu.id / 4);
        machine.nodes.push(NumaNode { id: 1, memory_mib: 4096, pages: Vec::new() });
        machine
    }

    fn cell(node: u32, vcpus: &str, memory_mib: u64) -> GuestCell {
        GuestCell { node, vcpus: vcpus.parse().unwrap(), memory_mib }
    }

    fn pages(node: u32, count: u64) -> HugePagesTaken {
        HugePagesTaken { node, size: HugePageSize::Mib2, count }
    }

    #[test]
    fn a_guest_sees_the_nodes_that_it_has_both_of() {
        let machine = machine();
        let spread = [1, 2, 3, 4];
        assert_eq!(cells(&machine, &spread, &[], 1023), [cell(0, "0-2", 767), cell(1, "3", 256)]);
        let both = [pages(0, 10), pages(1, 6)];
        assert_eq!(cells(&machine, &[4, 1], &both, 0), [cell(0, "1", 20), cell(1, "0", 12)]);
        for (cpus, pages) in [
            (&[1, 2][..], &[][..]),
            (&[1, 2], &[pages(1, 4)]),
            (&spread, &[pages(0, 4)]),
            (&[], &[pages(0, 4), pages(1, 4)]),
        ] {
            assert_eq!(cells(&machine, cpus, pages, 0), [], "{cpus:?} {pages:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_between_the_cells(
            cpus in prop::collection::btree_set(0_u32..8, 1..8), memory in 1_u64..100_000,
        ) {
            let cpus: Vec<u32> = cpus.into_iter().collect();
            let found = cells(&machine(), &cpus, &[], memory);
            if !found.is_empty() {
                prop_assert_eq!(found.iter().map(|cell| cell.memory_mib).sum::<u64>(), memory);
                prop_assert_eq!(found.iter().map(|cell| cell.vcpus.len()).sum::<usize>(), cpus.len());
            }
        }
    }
}

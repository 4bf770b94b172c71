//! Every small machine in every state, and larger ones at random.

use super::*;
use crate::{HostCpu, NumaNode, PagePool};
use proptest::prelude::*;

const SIZE: HugePageSize = HugePageSize::Mib2;

/// Threads of one core lie far apart, as most firmware numbers them.
fn machine(nodes: u32, cores: u32, threads: u32, pages: u64) -> Topology {
    let all = nodes * cores;
    let cpu = |id: u32| {
        let core = id % all;
        HostCpu { id, core, node: core / cores, isolated: false }
    };
    let pool = PagePool { size: SIZE, total: pages, free: pages };
    let node = |id| NumaNode { id, memory_mib: 4096 + pages * 2, pages: vec![pool] };
    Topology { cpus: (0..all * threads).map(cpu).collect(), nodes: (0..nodes).map(node).collect() }
}

fn wish(cpus: u32) -> Wish {
    Wish { cpus, set: None, pages: None, memory_mib: 0, spread: false, cells: true }
}

fn set(text: &str) -> CpuSet {
    text.parse().unwrap()
}

fn taken(cpus: &CpuSet) -> Taken {
    let mut taken = Taken::default();
    taken.add("db", &VmPlacement { reserved: cpus.clone(), ..VmPlacement::default() }, 0);
    taken
}

/// Processors of cores of which nobody has a thread, by node.
fn whole_free(machine: &Topology, held: &CpuSet) -> BTreeMap<u32, u32> {
    let pool = machine.pool();
    let mut free: BTreeMap<u32, u32> = machine.nodes.iter().map(|node| (node.id, 0)).collect();
    for cpu in &machine.cpus {
        let mates = machine.cpus.iter().filter(|other| other.core == cpu.core);
        if mates.into_iter().all(|mate| pool.contains(mate.id) && !held.contains(mate.id)) {
            *free.entry(cpu.node).or_default() += 1;
        }
    }
    free
}

fn check(machine: &Topology, held: &CpuSet, wish: &Wish, got: &VmPlacement) {
    let own: CpuSet = got.cpus.iter().copied().collect();
    assert_eq!(own.len(), usize::try_from(wish.cpus).unwrap(), "as many, and none twice");
    assert!(own.is_within(&got.reserved));
    assert!(got.reserved.is_within(&machine.pool().without(held)));
    assert!(got.emulator.shared_with(&got.reserved).is_empty());
    assert_eq!(got.emulator.is_empty(), wish.cpus == 0 || machine.housekeeping().is_empty());
    if wish.set.is_none() {
        let whole = machine.cpus.iter().filter(|cpu| {
            machine.cpus.iter().any(|o| o.core == cpu.core && got.reserved.contains(o.id))
        });
        assert_eq!(whole.map(|cpu| cpu.id).collect::<CpuSet>(), got.reserved, "whole cores");
    }
    let pages: u64 = got.huge_pages.iter().map(|pages| pages.count).sum();
    assert_eq!(pages, wish.pages.map_or(0, |(_, count)| count));
    if !wish.spread {
        assert!(machine.nodes_of(&got.reserved).len() <= 1 && got.numa_nodes.len() <= 1);
    }
}

#[test]
fn on_every_small_machine_a_place_is_found_exactly_if_there_is_one() {
    for (nodes, cores, threads) in [(1, 4, 1), (1, 3, 2), (2, 3, 1), (3, 2, 1)] {
        let machine = machine(nodes, cores, threads, 0);
        let all: Vec<u32> = machine.online().iter().collect();
        for state in 0_u32..1 << all.len() {
            let held: CpuSet = all.iter().copied().filter(|cpu| state & (1 << cpu) != 0).collect();
            let free = whole_free(&machine, &held);
            for cpus in 1..=u32::try_from(all.len()).unwrap() {
                for spread in [false, true] {
                    let wish = Wish { spread, ..wish(cpus) };
                    let fits = match spread {
                        true => free.values().sum::<u32>() >= cpus,
                        false => free.values().any(|free| *free >= cpus),
                    };
                    let got = place(&machine, &taken(&held), &wish, None);
                    assert_eq!(got.is_ok(), fits, "{held} of {machine:?}: {wish:?} {got:?}");
                    if let Ok(got) = got {
                        check(&machine, &held, &wish, &got);
                    }
                }
            }
        }
    }
}

#[test]
fn pages_lie_where_the_processors_are_and_a_guest_sees_both() {
    let two = machine(2, 4, 1, 64);
    let wide = Wish { pages: Some((SIZE, 10)), spread: true, ..wish(5) };
    let got = place(&two, &Taken::default(), &wide, None).unwrap();
    let short = |got: &VmPlacement| {
        let cell =
            |cell: &skerry_model::GuestCell| (cell.node, cell.vcpus.to_string(), cell.memory_mib);
        got.cells.iter().map(cell).collect::<Vec<_>>()
    };
    assert_eq!(short(&got), [(0, "4".to_owned(), 4), (1, "0-3".to_owned(), 16)]);
    assert_eq!(keep(&two, &Taken::default(), &got), Some(got.clone()));
    let grows = Wish { cells: false, ..wide };
    assert_eq!(short(&place(&two, &Taken::default(), &grows, None).unwrap()), []);
    let plain = Wish { spread: true, memory_mib: 1000, ..wish(5) };
    let plain = place(&two, &Taken::default(), &plain, None).unwrap();
    assert_eq!(short(&plain), [(0, "4".to_owned(), 200), (1, "0-3".to_owned(), 800)]);
}

#[test]
fn threads_of_one_core_are_neighbours_in_the_guest_and_an_odd_one_stays_idle() {
    let machine = machine(1, 4, 2, 0);
    let got = place(&machine, &Taken::default(), &wish(3), None).unwrap();
    assert_eq!((got.cpus.as_slice(), got.reserved.to_string()), (&[1, 5, 2][..], "1-2,5-6".into()));
    assert_eq!((got.emulator.to_string(), got.numa_nodes), ("0,4".into(), vec![]));
}

#[test]
fn refusals_have_numbers() {
    let one = machine(1, 8, 1, 256);
    let told = |machine: &Topology, taken: &Taken, wish: &Wish| {
        place(machine, taken, wish, None).unwrap_err().to_string()
    };
    let held = taken(&set("1-5"));
    let said = told(&one, &held, &wish(4));
    assert!(said.contains("asks for 4 dedicated CPUs, 2 of 7 are free"), "{said}");
    let paged = Wish { pages: Some((SIZE, 512)), ..wish(4) };
    let said = told(&one, &held, &paged);
    assert!(
        said.contains("2 of 7 are free")
            && said.contains("asks for 512 huge pages of 2 MiB, 256 of 256"),
        "{said}"
    );
    let large = Wish { pages: Some((HugePageSize::Gib1, 1)), ..wish(0) };
    let said = place(&one, &held, &large, None).unwrap_err();
    assert!(said.to_string().contains("none set aside"), "{said}");
    assert_eq!(said.reason(), "NotOnThisMachine");
    let two = machine(2, 4, 1, 256);
    let said = told(&two, &taken(&set("4-5")), &wish(4));
    assert!(
        said.contains("node 0 has 3 CPUs free; node 1 has 2 CPUs free; ask for less, or set numa"),
        "{said}"
    );
    let memory = Wish { memory_mib: 8000, ..wish(1) };
    let said = told(&two, &Taken::default(), &memory);
    assert!(
        said.contains(
            "1 dedicated CPUs and 8000 MiB of one NUMA node; node 0 has 3 CPUs, 4096 MiB"
        ),
        "{said}"
    );
}

#[test]
fn named_processors_are_taken_or_explained() {
    let two = machine(2, 4, 1, 0);
    let named =
        |text: &str| Wish { set: Some(set(text)), ..wish(u32::try_from(set(text).len()).unwrap()) };
    let got = place(&two, &Taken::default(), &named("2-3"), None).unwrap();
    assert_eq!((got.cpus, got.reserved, got.numa_nodes), (vec![2, 3], set("2-3"), vec![0]));
    for (text, says) in [
        ("7-9", "asks for the CPUs 8-9, which the machine does not have: it has 0-7"),
        ("0-1", "the CPUs 0, which are kept for the node: choose from 1-7"),
        ("5-6", "the CPUs 5, which belong to db"),
        ("3-4", "lie on the NUMA nodes 0 and 1"),
    ] {
        let said = place(&two, &taken(&set("5")), &named(text), None).unwrap_err();
        assert!(said.to_string().contains(says), "{said}");
        assert_eq!(said.reason() == "NotOnThisMachine", text == "7-9");
    }
    let apart = Wish { spread: true, ..named("3-4") };
    assert_eq!(place(&two, &Taken::default(), &apart, None).unwrap().numa_nodes, [0, 1]);
}

#[test]
fn the_former_place_is_kept_while_it_is_there_and_free() {
    let mut two = machine(2, 4, 1, 64);
    let wish = Wish { pages: Some((SIZE, 8)), ..wish(2) };
    let former = place(&two, &taken(&set("1-3")), &wish, None).unwrap();
    assert_eq!(former.numa_nodes, [1]);
    let again = |machine: &Topology, taken: &Taken| place(machine, taken, &wish, Some(&former));
    assert_eq!(again(&two, &Taken::default()).unwrap(), former, "though another is as good");
    assert_ne!(again(&two, &taken(&set("4"))).unwrap(), former);
    let mut busy = Taken { now: true, ..Taken::default() };
    assert_eq!(again(&two, &busy).unwrap(), former);
    two.nodes[1].pages[0].free = 7;
    assert_eq!(again(&two, &busy).unwrap().numa_nodes, [0], "the kernel has fewer than it should");
    busy.now = false;
    assert_eq!(again(&two, &busy).unwrap(), former);
    two.cpus.truncate(4);
    two.nodes.truncate(1);
    let moved = again(&two, &busy).unwrap();
    assert!(moved.reserved.is_within(&set("1-3")) && moved.numa_nodes.is_empty(), "{moved:?}");
}

#[test]
fn memory_of_a_numa_node_is_not_promised_twice() {
    let two = machine(2, 4, 1, 0);
    let wish = Wish { memory_mib: 3000, ..wish(1) };
    let mut taken = Taken::default();
    let mut nodes = Vec::new();
    for who in ["a", "b"] {
        let got = place(&two, &taken, &wish, None).unwrap();
        taken.add(who, &got, 3000);
        nodes.extend(got.numa_nodes);
    }
    assert_eq!(nodes, [0, 1]);
    assert!(place(&two, &taken, &wish, None).is_err());
}

proptest! {
    #[test]
    fn nobody_gets_what_another_has(
        shape in (1_u32..4, 1_u32..5, 1_u32..3), pages in 0_u64..40,
        wishes in prop::collection::vec((0_u32..6, 0_u64..30, any::<bool>()), 1..12),
    ) {
        let machine = machine(shape.0, shape.1, shape.2, pages);
        let mut taken = Taken::default();
        let mut used: BTreeMap<u32, u64> = BTreeMap::new();
        for (cpus, count, spread) in wishes {
            let pages_wanted = (count > 0).then_some((SIZE, count));
            let wish = Wish { pages: pages_wanted, spread, ..wish(cpus) };
            let held = taken.cpus();
            let Ok(got) = place(&machine, &taken, &wish, None) else { continue };
            check(&machine, &held, &wish, &got);
            prop_assert_eq!(keep(&machine, &taken, &got), Some(got.clone()));
            taken.add("a", &got, 0);
            for pages in &got.huge_pages {
                *used.entry(pages.node).or_default() += pages.count;
            }
        }
        prop_assert!(used.values().all(|used| *used <= pages));
    }
}

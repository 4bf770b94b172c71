//! Huge pages of pods, from the same account as those of virtual machines.
//!
//! Programs in pods have no place of their own, so a pod's pages need not be of one NUMA node; they are if one has enough.
//! The account is worked out from records alone: a pod holds what its status says, which is written before it starts and
//! taken back once it is down.

use skerry_model::{HugePageSize, HugePagesTaken, Id, Kind, LocalRef, Pod, are_as_many};
use skerry_store::StoreError;
use tokio::sync::OwnedMutexGuard;

use crate::controller::VmController;
use crate::ledger::{Holding, taken};
use crate::{PlacementRefused, Taken, Topology, Wish, place};

/// Huge pages for a pod, by size and number. `former` is what it had the last time, which it has again if that is what it
/// wants and nobody else has it.
pub fn place_pages(
    topology: &Topology,
    taken: &Taken,
    wanted: &[(HugePageSize, u64)],
    former: &[HugePagesTaken],
) -> Result<Vec<HugePagesTaken>, PlacementRefused> {
    let again = former.iter().all(|pages| taken.leaves(topology, pages));
    if again && are_as_many(former, wanted) {
        return Ok(former.to_vec());
    }
    let mut found = Vec::new();
    let mut shortages = Vec::new();
    for pages in wanted {
        match place(topology, taken, &wish(*pages), None) {
            Ok(place) => found.extend(place.huge_pages),
            Err(refused) => shortages.extend(refused.shortages),
        }
    }
    if shortages.is_empty() { Ok(found) } else { Err(PlacementRefused { shortages }) }
}

/// Pages and nothing else, from wherever they are.
const fn wish(pages: (HugePageSize, u64)) -> Wish {
    Wish { cpus: 0, set: None, pages: Some(pages), memory_mib: 0, spread: true, cells: false }
}

impl VmController {
    /// While this is held, no start of a virtual machine takes anything of the machine. To be held from when pages for a pod
    /// are looked for until its status says so.
    pub async fn turn_of_starts(&self) -> OwnedMutexGuard<()> {
        self.admission.clone().lock_owned().await
    }

    /// Huge pages for a pod that is to start beside all that runs. `held` is what its status says.
    pub fn pages_for(
        &self,
        pod: Id<Pod>,
        wanted: &[(HugePageSize, u64)],
        held: &[HugePagesTaken],
    ) -> Result<Result<Vec<HugePagesTaken>, PlacementRefused>, StoreError> {
        let topology = self.topology.topology();
        let except = Some(LocalRef { kind: Kind::Pod, id: pod.uuid() });
        let others = taken(&self.store, &topology, Holding::Running, except)?;
        if !held.is_empty() && are_as_many(held, wanted) {
            // Its folders may hold some of its pages, which the kernel does not count as free.
            let known = others.clone().by_the_records();
            if held.iter().all(|pages| known.leaves(&topology, pages)) {
                return Ok(Ok(held.to_vec()));
            }
        }
        Ok(place_pages(&topology, &others, wanted, held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NumaNode, PagePool};

    const SMALL: HugePageSize = HugePageSize::Mib2;
    const LARGE: HugePageSize = HugePageSize::Gib1;

    fn machine(nodes: &[&[(HugePageSize, u64)]]) -> Topology {
        let mut machine = Topology::plain(0, 65_536);
        let pool = |(size, total): &(HugePageSize, u64)| PagePool {
            size: *size,
            total: *total,
            free: *total,
        };
        let node = |(id, pools): (u32, &&[(HugePageSize, u64)])| NumaNode {
            id,
            memory_mib: 65_536,
            pages: pools.iter().map(pool).collect(),
        };
        machine.nodes = (0..).zip(nodes).map(node).collect();
        machine
    }

    fn of(node: u32, size: HugePageSize, count: u64) -> HugePagesTaken {
        HugePagesTaken { node, size, count }
    }

    fn found(machine: &Topology, taken: &Taken, wanted: &[(HugePageSize, u64)]) -> String {
        match place_pages(machine, taken, wanted, &[]) {
            Ok(pages) => format!("{pages:?}"),
            Err(refused) => refused.to_string(),
        }
    }

    #[test]
    fn they_are_of_one_node_if_one_has_enough_and_of_several_otherwise() {
        let machine = machine(&[&[(SMALL, 10)], &[(SMALL, 6), (LARGE, 2)]]);
        let none = Taken::nothing(true);
        let place = |wanted: &[_]| place_pages(&machine, &none, wanted, &[]).unwrap();
        assert_eq!(place(&[(SMALL, 5)]), [of(1, SMALL, 5)], "what fits tightest");
        assert_eq!(place(&[(SMALL, 9), (LARGE, 1)]), [of(0, SMALL, 9), of(1, LARGE, 1)]);
        assert_eq!(place(&[(SMALL, 16)]), [of(0, SMALL, 10), of(1, SMALL, 6)]);
        assert_eq!(place(&[]), []);
    }

    #[test]
    fn a_refusal_names_every_size_with_its_numbers() {
        let machine = machine(&[&[(SMALL, 10)]]);
        let mut taken = Taken::nothing(false);
        taken.add_pages(&[of(0, SMALL, 8)]);
        let text = found(&machine, &taken, &[(SMALL, 3), (LARGE, 1)]);
        assert!(text.contains("asks for 3 huge pages of 2 MiB, 2 of 10 are free"), "{text}");
        assert!(text.contains("huge pages of 1 GiB, and the machine has none"), "{text}");
    }

    #[test]
    fn what_it_had_it_has_again_unless_it_wants_another_number_or_others_have_it() {
        let machine = machine(&[&[(SMALL, 4)], &[(SMALL, 8)]]);
        let former = [of(1, SMALL, 4)];
        let again = |taken: &Taken, count| {
            place_pages(&machine, taken, &[(SMALL, count)], &former).unwrap()
        };
        let mut taken = Taken::nothing(false);
        assert_eq!(again(&taken, 4), former);
        assert_eq!(again(&taken, 3), [of(0, SMALL, 3)]);
        taken.add_pages(&[of(1, SMALL, 5)]);
        assert_eq!(again(&taken, 4), [of(0, SMALL, 4)]);
    }

    #[test]
    fn what_the_kernel_has_given_to_strangers_is_not_free_for_a_start() {
        let mut machine = machine(&[&[(SMALL, 10)]]);
        machine.nodes[0].pages[0].free = 1;
        let (now, plan) = (Taken::nothing(true), Taken::nothing(false));
        assert!(found(&machine, &now, &[(SMALL, 2)]).contains("1 of 10 are free"));
        assert!(place_pages(&machine, &plan, &[(SMALL, 2)], &[]).is_ok());
        assert!(place_pages(&machine, &now.by_the_records(), &[(SMALL, 2)], &[]).is_ok());
    }
}

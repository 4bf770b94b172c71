//! What a pod is charged, and whether the machine can hold it. Numbers only: the ledger's sums come from
//! whoever knows all workloads.

use skerry_model::PodSpec;

/// What the runtime itself needs for one container: its process, its unit, kernel structures.
const OVERHEAD_PER_CONTAINER_MIB: u64 = 4;

/// Memory that a pod is charged while it is on: its limits and the runtime's own need.
pub fn memory_charge_mib(spec: &PodSpec) -> u64 {
    spec.containers
        .iter()
        .map(|container| container.memory_mib.saturating_add(OVERHEAD_PER_CONTAINER_MIB))
        .fold(0, u64::saturating_add)
}

/// The memory of a machine as admission counts it, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLedger {
    /// All there is.
    pub total_mib: u64,
    /// Charged to workloads that are on, virtual machines and pods alike, without the one asked about.
    pub charged_mib: u64,
}

/// A refusal with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "memory: {requested_mib} MiB are needed and {free_mib} MiB of {total_mib} MiB are free \
     ({held_back_mib} MiB are held back for the node); stop a workload or ask for less"
)]
pub struct Shortage {
    /// What was asked for, with overhead.
    pub requested_mib: u64,
    /// What is free for workloads.
    pub free_mib: u64,
    /// All there is.
    pub total_mib: u64,
    /// Kept for the node itself.
    pub held_back_mib: u64,
}

impl MemoryLedger {
    /// Memory kept for the node itself: half of machines up to 1 GiB, 512 MiB up to 4 GiB, else 1 GiB.
    pub fn held_back_mib(&self) -> u64 {
        match self.total_mib {
            small if small <= 1024 => small / 2,
            middle if middle <= 4096 => 512,
            _ => 1024,
        }
    }

    /// What workloads can still be charged.
    pub fn free_mib(&self) -> u64 {
        self.total_mib.saturating_sub(self.held_back_mib()).saturating_sub(self.charged_mib)
    }

    /// Whether a charge fits.
    pub fn admit(&self, requested_mib: u64) -> Result<(), Shortage> {
        let free_mib = self.free_mib();
        if requested_mib <= free_mib {
            return Ok(());
        }
        Err(Shortage {
            requested_mib,
            free_mib,
            total_mib: self.total_mib,
            held_back_mib: self.held_back_mib(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_charged_limits_and_overhead() {
        let text = r#"{"containers":[{"name":"a","image":"tiny"},
            {"name":"b","image":"tiny","memory_mib":100}]}"#;
        let spec: PodSpec = serde_json::from_str(text).unwrap();
        assert_eq!(memory_charge_mib(&spec), 64 + 100 + 8);
    }

    #[test]
    fn the_edge_fits_and_one_more_does_not() {
        let ledger = MemoryLedger { total_mib: 4096, charged_mib: 3000 };
        assert_eq!(ledger.free_mib(), 584);
        assert_eq!(ledger.admit(584), Ok(()));
        let refused = ledger.admit(585).unwrap_err();
        assert_eq!((refused.free_mib, refused.held_back_mib), (584, 512));
        assert!(refused.to_string().contains("585 MiB are needed and 584 MiB of 4096 MiB"));
    }

    #[test]
    fn small_and_overcommitted_machines_do_not_wrap_round() {
        assert_eq!(MemoryLedger { total_mib: 900, charged_mib: 0 }.free_mib(), 450);
        assert_eq!(MemoryLedger { total_mib: 900, charged_mib: 9000 }.free_mib(), 0);
        assert_eq!(MemoryLedger { total_mib: 8192, charged_mib: 0 }.held_back_mib(), 1024);
    }
}

//! What of a guest's hardware follows from its processor, its place on the machine, and its size.
//!
//! Pure. Part of the definition; all of it unset is left out of the fingerprint, as it was before it could be chosen.

use serde::Serialize;
use skerry_model::{
    Accelerator, CpuSet, CpuTopology, GuestCell, HOST_MODEL, HOST_PASSTHROUGH, HugePageSize,
    PciAddress, VmPlacement, VmSpec,
};

/// Queues of a network interface that nobody asked for otherwise, at most.
const MOST_QUEUES: u32 = 8;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HardwareDefinition {
    /// The model of its processor; what fits the accelerator if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// How its virtual processors are arranged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<CpuTopology>,
    /// The machine's processor for each virtual one; empty if they run anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u32>,
    /// Where QEMU's other threads run; anywhere if empty.
    #[serde(skip_serializing_if = "CpuSet::is_empty")]
    pub emulator: CpuSet,
    /// NUMA nodes of its memory; any if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numa_nodes: Vec<u32>,
    /// Huge pages that its memory is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<HugePageSize>,
    /// How many virtual processors it may be given while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_vcpus: Option<u32>,
    /// How much memory it may be given while it runs, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_mib: Option<u64>,
    /// Queues of its network interface, if more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nic_queues: Option<u32>,
    /// Threads of QEMU that work on disks alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_threads: Option<u32>,
    /// NUMA nodes that the guest itself sees; none if its processors and memory are of one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<GuestCell>,
    /// PCI functions of the machine that it has for itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<PciAddress>,
    /// Its share of processors that are short, against those of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// What it may use of the processors at most, in percent of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_limit_percent: Option<u32>,
}

impl HardwareDefinition {
    /// What this spec asks for, at this place if it suits.
    pub fn of(spec: &VmSpec, placement: Option<&VmPlacement>) -> Self {
        let cpu = spec.cpu.as_ref();
        // They are there from the start on, also for processors that come later.
        let most = spec.max_vcpus.unwrap_or(spec.vcpus);
        let queues = spec.queues.unwrap_or(most.min(MOST_QUEUES));
        let mut hardware = Self {
            cpu_model: cpu.and_then(|cpu| cpu.model.clone()),
            topology: cpu.and_then(|cpu| cpu.topology),
            huge_pages: spec.huge_pages,
            max_vcpus: spec.max_vcpus,
            max_memory_mib: spec.max_memory_mib,
            nic_queues: (queues > 1).then_some(queues),
            io_threads: spec.io_threads,
            cpu_weight: spec.cpu_weight,
            cpu_limit_percent: spec.cpu_limit_percent,
            ..Self::default()
        };
        if let Some(placement) = placement.filter(|place| place.suits(spec)) {
            hardware.cpus.clone_from(&placement.cpus);
            hardware.emulator.clone_from(&placement.emulator);
            hardware.numa_nodes.clone_from(&placement.numa_nodes);
            hardware.cells.clone_from(&placement.cells);
            hardware.pci = placement.pci.iter().map(|given| given.address.clone()).collect();
        }
        hardware
    }

    /// Whether nothing was chosen.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Why this node cannot show a guest the processor that is asked for.
pub fn unfit_cpu(spec: &VmSpec, accelerator: Accelerator) -> Option<String> {
    let model = spec.cpu.as_ref()?.model.as_deref()?;
    let needs_kvm = [HOST_PASSTHROUGH, HOST_MODEL].contains(&model);
    (needs_kvm && accelerator == Accelerator::Emulation).then(|| {
        format!(
            "{model} needs KVM, and this node emulates its guests: leave it out, or name a model"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(fields: serde_json::Value) -> VmSpec {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn what_is_not_asked_for_is_plain() {
        let plain = spec(serde_json::json!({"image": "tiny"}));
        assert!(HardwareDefinition::of(&plain, None).is_plain());
        let odd = VmPlacement { cpus: vec![3], ..VmPlacement::default() };
        assert!(HardwareDefinition::of(&plain, Some(&odd)).is_plain(), "a place of an older wish");
    }

    #[test]
    fn queues_follow_the_processors_up_to_a_bound() {
        let queues = |vcpus: u32| {
            let many = spec(serde_json::json!({"image": "tiny", "vcpus": vcpus}));
            HardwareDefinition::of(&many, None).nic_queues
        };
        assert_eq!([1, 2, 8, 64].map(queues), [None, Some(2), Some(8), Some(8)]);
        let asked = spec(serde_json::json!({"image": "tiny", "vcpus": 4, "queues": 1}));
        assert_eq!(HardwareDefinition::of(&asked, None).nic_queues, None);
    }

    #[test]
    fn the_machines_own_processor_needs_kvm() {
        let with =
            |model: &str| spec(serde_json::json!({"image": "tiny", "cpu": {"model": model}}));
        for model in ["host-passthrough", "host-model"] {
            assert!(unfit_cpu(&with(model), Accelerator::Emulation).unwrap().contains("KVM"));
            assert_eq!(unfit_cpu(&with(model), Accelerator::Kvm), None);
        }
        assert_eq!(unfit_cpu(&with("EPYC-v4"), Accelerator::Emulation), None);
    }
}
